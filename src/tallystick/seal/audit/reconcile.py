"""
Reconcile: what a table holds and its log does not say becomes queue rows, via `r`.

On a trigger source a difference is a finding first and is queued only when somebody asks for
the repair. Repairs run in transactions of up to 5,000 keys under a lock on the table,
where each finding is looked at again. Follows log.md, section 4.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import psycopg

from tallystick.db import Database, Transaction
from tallystick.outbox import emit
from tallystick.seal.audit import rows, store
from tallystick.seal.audit.blocks import Finding
from tallystick.seal.errors import LogNotFoundError, SourceBusyError, SourceNotFoundError

REPAIR_KEYS: Final = 5000
"""Writers wait for a repair's lock no longer than so many rows take."""
POLLED_KEYS: Final = 50_000
"""No writer waits here, and each batch compares the whole table: so many fit into memory."""


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What a reconcile found, and how many rows it queued."""

    log_name: str
    source_table: str
    rows: int
    queued: int
    findings: tuple[Finding, ...]


def reconcile_source(
    database: Database, log_name: str, source_table: str, *, repair: bool = False
) -> ReconcileReport:
    """
    Compare one source with its table, record the verdict, and with *repair* queue what differs.

    What a poll could not see is no finding: of a source that is polled it is queued in any case.

    Raises:
        LogNotFoundError, SourceNotFoundError: There is no such log, or the table does not feed it.
        SourceBusyError: The table stayed locked by others; what was queued before stays queued.
    """
    late = queue_late_rows(database, log_name, source_table)
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        store.lift_timeouts(tx)
        snapshot = store.export_snapshot(tx)
        log = store.audited_log(tx, log_name)
        if log is None:
            raise LogNotFoundError(f"there is no log {log_name!r}")
        source = find_source(tx, log.log_id, source_table)
        counted = store.count_rows(tx, source.source_no)
        findings = [] if source.is_polled else rows.compare_source(tx, source)
    queued = late + (repair_findings(database, source, findings) if repair else 0)
    counts = {"rows": counted, "queued": queued, "findings": len(findings)}
    with database.transaction() as tx:
        store.insert_audit(
            tx, log, kind="reconcile", snapshot=snapshot, counts=counts, findings=findings
        )
        if findings:
            kinds = sorted({finding.kind for finding in findings})
            payload = {"log": log_name, "table": source.source_table, "kinds": kinds}
            emit(tx, "source.finding", key=log_name, payload={**payload, "count": len(findings)})
        store.set_reconciled(tx, source.source_no)
    return ReconcileReport(log_name, source.source_table, counted, queued, tuple(findings))


def queue_late_rows(database: Database, log_name: str, source_table: str) -> int:
    """
    Queue what table and log of a polled source differ in, and return how many rows that is.

    Raises:
        As `reconcile_source`.
    """
    with database.transaction(read_only=True) as tx:
        log = store.audited_log(tx, log_name)
        if log is None:
            raise LogNotFoundError(f"there is no log {log_name!r}")
        source = find_source(tx, log.log_id, source_table)
    queued = 0
    while source.is_polled:
        try:
            with database.transaction() as tx:
                store.lift_timeouts(tx)
                batch = store.repair_polled(tx, source.source_no, limit=POLLED_KEYS)
        except psycopg.errors.LockNotAvailable as raised:
            raise SourceBusyError(f"{source.source_table} is being polled by another") from raised
        queued += batch.queued
        # What is left after a batch that queued nothing is poison, which waits in quarantine.
        if batch.differences < POLLED_KEYS or not batch.queued:
            break
    return queued


def find_source(tx: Transaction, log_id: int, source_table: str) -> store.ComparableSource:
    """Return the source of this table; it may be named with or without the schema `public`."""
    names = {source_table, source_table.removeprefix("public.")}
    for source in store.comparable_sources(tx, log_id):
        if source.source_table in names:
            return source
    raise SourceNotFoundError(f"{source_table} does not feed this log, or is not installed")


def repair_findings(
    database: Database, source: store.ComparableSource, findings: list[Finding]
) -> int:
    """Queue what the findings' keys hold now, and return how many rows that is."""
    keys = [f.source_key for f in findings if f.kind.startswith("row_") and f.source_key]
    queued = 0
    for batch in chunks(keys):
        try:
            with database.transaction() as tx:
                store.lift_timeouts(tx)
                queued += store.repair_rows(tx, source.source_no, batch)
        except psycopg.errors.LockNotAvailable as raised:
            raise SourceBusyError(f"{source.source_table} stayed locked by others") from raised
    return queued


def chunks(keys: list[str]) -> list[list[str]]:
    """Return *keys* cut into the batches of one repair transaction each."""
    return [keys[start : start + REPAIR_KEYS] for start in range(0, len(keys), REPAIR_KEYS)]
