"""
Reconciling a source and making a broken one whole again (log.md, sections 3.2 and 4.7).

What differs is queued in short transactions first. Then, for a broken source, one transaction
validates it, holds its table's writers back, looks once more and makes it active: so nothing
can slip in between the last look and the first captured change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.db import Database, Transaction
from tallystick.seal.audit import store
from tallystick.seal.audit.reconcile import ReconcileReport, reconcile_source
from tallystick.seal.audit.upkeep import was_reconciled
from tallystick.seal.sources import Problem, Source, check_source, get_source

PAGE_KEYS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a reconcile found and queued, the source's state since, and what is still wrong."""

    report: ReconcileReport
    status: str
    problems: list[Problem]


def reconcile_and_mend(database: Database, log: str, table: str, *, repair: bool) -> Reconciled:
    """
    Compare a source with its table; with *repair* queue what differs, and mend a broken source.

    Raises:
        LogNotFoundError, SourceNotFoundError: There is no such log, or the table does not feed it.
        SourceBusyError: The table stayed locked by others; what was queued before stays queued.
    """
    with database.transaction(read_only=True) as tx:
        source = get_source(tx, log, table)
    report = reconcile_source(database, log, source.source_table, repair=repair)
    problems: list[Problem] = []
    if repair and source.status == "broken":
        with database.transaction() as tx:
            hook = was_reconciled if source.is_polled else queue_differences
            problems = check_source(tx, source, reconcile=hook)
    with database.transaction(read_only=True) as tx:
        status = get_source(tx, log, source.source_table).status
    return Reconciled(report, status, problems)


def queue_differences(tx: Transaction, source: Source) -> None:
    """Queue everything in which table and log differ, with the table's writers held back."""
    store.lift_timeouts(tx)
    # No keys: only the lock, so that what is compared next cannot change any more.
    store.repair_rows(tx, source.source_no, [])
    while True:
        differences = store.compare_rows(tx, source.source_no, limit=PAGE_KEYS)
        keys = [difference.source_key for difference in differences]
        if not keys or not store.repair_rows(tx, source.source_no, keys):
            break
    store.set_reconciled(tx, source.source_no)
