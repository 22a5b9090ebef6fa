"""The SQL of exports: bundles by the chunk, keys, and the record of a check."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.publish.export.manifest import ExportKey
from tallystick.seal.logs import LogId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    log_keys: Query
    bundles: Query
    record_check: Query
    record_finding: Query
    clock: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """The *count* entries of one bundle, as they are served, and their hashes side by side."""

    index: int
    count: int
    data: bytes
    hashes: bytes


def log_keys(tx: Transaction, log_id: LogId) -> list[ExportKey]:
    """Return the log's keys that sign or signed, with their periods."""
    return tx.rows(ExportKey, SQL.log_keys, {"log_id": log_id})


def read_bundles(tx: Transaction, log_id: LogId, *, first: int, end: int) -> list[StoredBundle]:
    """Return the bundles of the leaves from *first* up to *end*, as far as they are stored."""
    parameters = {"log_id": log_id, "first": first, "end": end}
    return tx.rows(StoredBundle, SQL.bundles, parameters, binary=True)


def now(tx: Transaction) -> datetime.datetime:
    """Return the database's time."""
    time: datetime.datetime = tx.value(SQL.clock)
    return time


def record_check(
    tx: Transaction,
    log_id: LogId,
    *,
    url: str,
    size: int,
    root: bytes,
    started_at: datetime.datetime,
    counts: dict[str, Any],
    finding: str | None,
) -> int:
    """Record a check that ended, clean or with the *finding* that ended it; return its number."""
    audit_id = int(
        tx.value(
            SQL.record_check,
            {
                "log_id": log_id,
                "url": url,
                "tree_size": size,
                "root_hash": root,
                "started_at": started_at,
                "counts": Jsonb(counts),
                "verdict": "findings" if finding else "clean",
            },
        )
    )
    if finding:
        tx.execute(SQL.record_finding, {"audit_id": audit_id, "kind": finding})
    return audit_id
