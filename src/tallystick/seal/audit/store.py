"""The SQL of audits; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.rows import args_row
from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.audit.blocks import (
    BLOCK_LEAVES,
    PART_LEAVES,
    Finding,
    StoredBlock,
    StoredLeaves,
)
from tallystick.seal.audit.notes import KeyPeriod, StoredCheckpoint, StoredCosignature
from tallystick.seal.audit.records import StoredRecord
from tallystick.seal.wal import is_from_wal, wait_until_read
from tallystick.tlog import TILE_WIDTH


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    export_snapshot: Query
    audited_log: Query
    checkpoint_notes: Query
    checkpoint_at: Query
    key_periods: Query
    cosignature_lines: Query
    stored_leaves: Query
    stored_records: Query
    missing_records: Query
    redacted: Query
    stray_leaves: Query
    stray_tiles: Query
    heads_seen: Query
    stored_tiles: Query
    high_tiles: Query
    insert_audit: Query
    insert_findings: Query
    findings: Query
    audits: Query
    findings_of: Query
    comparable_sources: Query
    count_rows: Query
    compare_rows: Query
    lock_source: Query
    repair_rows: Query
    repair_polled: Query
    lock_upkeep: Query
    due_sources: Query
    set_reconciled: Query


SQL = load_queries(Queries, __package__)

NO_TIMEOUTS = Query(
    b"SELECT set_config('statement_timeout', '0', true),"
    b" set_config('idle_in_transaction_session_timeout', '0', true)"
)
"""An audit reads a whole log in one snapshot; the limits are made for requests."""


@dataclass(frozen=True, slots=True)
class AuditedLog:
    """The log as the audit's snapshot sees it."""

    log_id: int
    log_name: str
    origin: str
    mode: str
    minimum_index: int
    size: int
    root: bytes
    began_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class PastFinding:
    """A finding of an earlier audit."""

    finding_id: int
    audit_id: int
    audit: str
    finished_at: datetime.datetime
    kind: str
    source_table: str | None
    source_key: str | None
    leaf_index: int | None
    columns: list[str] | None


@dataclass(frozen=True, slots=True)
class PastAudit:
    """An audit, reconcile or check of an export that ended; *counts* says what it looked at."""

    audit_id: int
    kind: str
    verdict: Literal["clean", "findings"]
    tree_size: int
    root: bytes
    started_at: datetime.datetime
    finished_at: datetime.datetime
    counts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredFinding:
    """One finding of an audit as it is stored; digests, never values."""

    audit_id: int
    kind: str
    source_table: str | None
    source_key: str | None
    leaf_index: int | None
    expected_digest: bytes | None
    actual_digest: bytes | None
    columns: list[str] | None


@dataclass(frozen=True, slots=True)
class ComparableSource:
    """A source whose table stands there to be compared."""

    source_no: int
    source_table: str
    ignores_absence: bool
    status: str
    is_polled: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """One key on which table and log disagree; digests, never values."""

    kind: str
    source_key: str
    leaf_index: int | None
    expected: bytes | None
    actual: bytes | None
    columns: list[str] | None


def lift_timeouts(tx: Transaction) -> None:
    """Let this transaction take as long as the log is large."""
    tx.execute(NO_TIMEOUTS)


def export_snapshot(tx: Transaction) -> str:
    """Return the name under which other connections may read this transaction's snapshot."""
    return str(tx.value(SQL.export_snapshot))


def audited_log(tx: Transaction, log_name: str) -> AuditedLog | None:
    """Return the log with its head; None where there is no such log."""
    return tx.row(AuditedLog, SQL.audited_log, {"log_name": log_name})


def checkpoints_after(tx: Transaction, log_id: int, since: int) -> list[StoredCheckpoint]:
    """Return the stored checkpoints above a size, the smallest first."""
    return tx.rows(StoredCheckpoint, SQL.checkpoint_notes, {"log_id": log_id, "since": since})


def checkpoint_at(tx: Transaction, log_id: int, size: int) -> StoredCheckpoint | None:
    """Return the stored checkpoint of exactly this size."""
    return tx.row(StoredCheckpoint, SQL.checkpoint_at, {"log_id": log_id, "tree_size": size})


def key_periods(tx: Transaction, log_id: int) -> list[KeyPeriod]:
    """Return the log's keys with the sizes that each may sign."""
    return tx.rows(KeyPeriod, SQL.key_periods, {"log_id": log_id})


def cosignatures_after(tx: Transaction, log_id: int, since: int) -> list[StoredCosignature]:
    """Return the stored cosignatures of checkpoints above a size."""
    return tx.rows(StoredCosignature, SQL.cosignature_lines, {"log_id": log_id, "since": since})


def stored_block(tx: Transaction, log_id: int, *, first: int, width: int) -> StoredBlock:
    """Return what is stored for the *width* leaves from *first* on, and for their tiles."""
    level0 = stored_tiles(tx, log_id, 0, first // TILE_WIDTH, tiles_in(width))
    level1 = stored_tiles(tx, log_id, 1, first // BLOCK_LEAVES, 1)
    parts = stored_parts(tx, log_id, first=first, end=first + width)
    return StoredBlock(first, parts, level0, level1)


def stored_parts(tx: Transaction, log_id: int, *, first: int, end: int) -> Iterator[StoredLeaves]:
    """Read the leaves from *first* up to *end* as they are asked for, some thousand at once."""
    for start in range(first, end, PART_LEAVES):
        part = tx.row(
            StoredLeaves,
            SQL.stored_leaves,
            {"log_id": log_id, "first": start, "end": min(start + PART_LEAVES, end)},
        )
        assert part is not None, "an aggregate always has a row"
        yield part


def stored_records(tx: Transaction, log_id: int, *, first: int, end: int) -> Iterator[StoredRecord]:
    """Read the records kept beside these leaves one by one: each may be as long as a row."""
    with tx.connection.cursor(row_factory=args_row(StoredRecord)) as cursor:
        yield from cursor.stream(SQL.stored_records, {"log_id": log_id, "first": first, "end": end})


def missing_records(tx: Transaction, log_id: int, *, first: int, end: int) -> list[Finding]:
    """Return `leaf_missing` for each leaf whose record is gone and was not redacted."""
    return tx.rows(
        lambda index, table, key: Finding(
            "leaf_missing",
            source_table=table,
            source_key=key,
            leaf_index=index,
            detail="the record kept beside the leaf is gone",
        ),
        SQL.missing_records,
        {"log_id": log_id, "first": first, "end": end},
    )


@dataclass(frozen=True, slots=True)
class Redacted:
    """Leaves whose records were erased, and rows whose last leaf is one of them."""

    leaves: int
    rows: int


def redacted(tx: Transaction, log_id: int, *, since: int) -> Redacted:
    """Return how much of the log, from index *since* on, cannot be opened any more."""
    found = tx.row(Redacted, SQL.redacted, {"log_id": log_id, "since": since})
    assert found is not None, "an aggregate always has a row"
    return found


def stray_leaves(tx: Transaction, log_id: int, size: int) -> list[Finding]:
    """Return `leaf_changed` for leaves that no checkpoint covers."""
    return tx.rows(
        lambda index, table, key: Finding(
            "leaf_changed",
            source_table=table,
            source_key=key,
            leaf_index=index,
            detail="it stands beyond the last checkpoint",
        ),
        SQL.stray_leaves,
        {"log_id": log_id, "size": size},
    )


def stray_tiles(tx: Transaction, log_id: int, size: int) -> list[Finding]:
    """Return `tile_changed` for tiles that the tree does not have."""
    return tx.rows(
        lambda level, index: Finding(
            "tile_changed", detail=f"tile {level}/{index} stands beyond the last checkpoint"
        ),
        SQL.stray_tiles,
        {"log_id": log_id, "size": size},
    )


def lost_heads(tx: Transaction, log_id: int) -> list[Finding]:
    """Return `root_mismatch` for heads that an audit or a witness saw and the log has no more."""
    return tx.rows(
        lambda seen_by, size, expected, actual: Finding(
            "root_mismatch",
            expected_digest=expected,
            actual_digest=actual,
            detail=f"{seen_by} saw another head of size {size}",
        ),
        SQL.heads_seen,
        {"log_id": log_id},
    )


def tiles_in(width: int) -> int:
    """Return how many level-0 tiles hold *width* leaves."""
    return -(-width // TILE_WIDTH)


def stored_tiles(tx: Transaction, log_id: int, level: int, first: int, count: int) -> bytes:
    """Return the hashes of *count* tiles of one level, side by side."""
    return bytes(
        tx.value(
            SQL.stored_tiles,
            {"log_id": log_id, "level": level, "first": first, "end": first + count},
        )
    )


def high_tiles(tx: Transaction, log_id: int) -> dict[tuple[int, int], bytes]:
    """Return the tiles from level 2 up, by (level, index)."""
    return dict(
        tx.rows(
            lambda level, index, hashes: ((level, index), bytes(hashes)),
            SQL.high_tiles,
            {"log_id": log_id},
        )
    )


def insert_audit(
    tx: Transaction,
    log: AuditedLog,
    *,
    kind: str,
    snapshot: str,
    counts: dict[str, Any],
    findings: Sequence[Finding],
) -> int:
    """Record an audit that ended, with its findings, and return its number."""
    audit_id = tx.value(
        SQL.insert_audit,
        {
            "log_id": log.log_id,
            "kind": kind,
            "snapshot": snapshot,
            "tree_size": log.size,
            "root_hash": log.root,
            "started_at": log.began_at,
            "counts": Jsonb(counts),
            "verdict": "findings" if findings else "clean",
        },
    )
    rows = [
        {
            "kind": finding.kind,
            "source_table": finding.source_table,
            "source_key": finding.source_key,
            "leaf_index": finding.leaf_index,
            "expected": finding.expected_digest.hex() if finding.expected_digest else None,
            "actual": finding.actual_digest.hex() if finding.actual_digest else None,
            "columns": finding.columns,
        }
        for finding in findings
    ]
    if rows:
        tx.execute(SQL.insert_findings, {"audit_id": audit_id, "findings": Jsonb(rows)})
    return int(audit_id)


def list_findings(
    tx: Transaction, log_id: int, *, before: int = 2**63 - 1, limit: int = 100
) -> list[PastFinding]:
    """Return findings of the log's audits, the newest first."""
    return tx.rows(PastFinding, SQL.findings, {"log_id": log_id, "before": before, "limit": limit})


def list_audits(
    tx: Transaction, log_id: int, *, before: int = 2**63 - 1, limit: int = 100
) -> list[PastAudit]:
    """Return audits of the log with numbers below *before*, the newest first."""
    return tx.rows(PastAudit, SQL.audits, {"log_id": log_id, "before": before, "limit": limit})


def findings_of(tx: Transaction, audit_ids: Sequence[int], *, limit: int) -> list[StoredFinding]:
    """Return the first *limit* findings of each of these audits, in the order they were stored."""
    parameters = {"audit_ids": list(audit_ids), "limit": limit}
    return tx.rows(StoredFinding, SQL.findings_of, parameters)


def comparable_sources(tx: Transaction, log_id: int) -> list[ComparableSource]:
    """Return the installed, attached sources of a log whose tables are there."""
    return tx.rows(ComparableSource, SQL.comparable_sources, {"log_id": log_id})


def count_rows(tx: Transaction, source_no: int) -> int:
    """Return how many rows the source's table has."""
    return int(tx.value(SQL.count_rows, {"source_no": source_no}))


def compare_rows(tx: Transaction, source_no: int, *, limit: int) -> list[Difference]:
    """Return up to *limit* keys on which table and log disagree, in the order of their keys."""
    return tx.rows(Difference, SQL.compare_rows, {"source_no": source_no, "limit": limit})


def repair_rows(tx: Transaction, source_no: int, keys: Sequence[str]) -> int:
    """
    Queue what still differs for *keys* and return how many rows that is.

    The table is locked first, with the caller's rights: the statement behind it sees every
    writer that ended before, and no other can begin.
    """
    tx.execute(SQL.lock_source, {"source_no": source_no})
    if is_from_wal(tx, source_no):
        # What those writers did must be in the queue, before what is found now.
        wait_until_read(tx)
    return int(tx.value(SQL.repair_rows, {"source_no": source_no, "keys": list(keys)}))


@dataclass(frozen=True, slots=True)
class RepairedBatch:
    """What one batch of a polled source's reconcile found, and how many rows it queued."""

    differences: int
    queued: int


def repair_polled(tx: Transaction, source_no: int, *, limit: int) -> RepairedBatch:
    """Queue up to *limit* differences between a polled table and its log."""
    batch = tx.row(RepairedBatch, SQL.repair_polled, {"source_no": source_no, "limit": limit})
    assert batch is not None, "the function returns one row"
    return batch


@dataclass(frozen=True, slots=True)
class DueSource:
    """A source whose reconcile is due."""

    source_no: int
    log_name: str
    source_table: str
    status: str


def lock_upkeep(tx: Transaction) -> bool:
    """Return whether this transaction alone does the reconciles that are due."""
    return bool(tx.value(SQL.lock_upkeep))


def due_sources(tx: Transaction) -> list[DueSource]:
    """Return the sources to be reconciled now."""
    return tx.rows(DueSource, SQL.due_sources)


def set_reconciled(tx: Transaction, source_no: int) -> None:
    """Note that a reconcile of the source ended."""
    tx.execute(SQL.set_reconciled, {"source_no": source_no})
