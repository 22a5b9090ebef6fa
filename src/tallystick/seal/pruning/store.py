"""The SQL of pruning; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs import LogId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    prune_log: Query
    delete_pruned: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class DeletedBatch:
    """What one batch deleted and kept; the next begins at *next_index*, None at the end."""

    next_index: int | None
    deleted: int
    kept: int


def prune_log(
    tx: Transaction,
    log_id: LogId,
    *,
    to_index: int,
    export_url: str,
    manifest_sha256: bytes,
    actor: str,
    reason: str,
) -> int:
    """Raise the log's minimum index and return the index before."""
    parameters = {
        "log_id": log_id,
        "to_index": to_index,
        "export_url": export_url,
        "manifest_sha256": manifest_sha256,
        "actor": actor,
        "reason": reason,
    }
    return int(tx.value(SQL.prune_log, parameters))


def delete_pruned(tx: Transaction, log_id: LogId, *, from_index: int, leaves: int) -> DeletedBatch:
    """Delete what no table needs of the next *leaves* leaves below the minimum index."""
    parameters = {"log_id": log_id, "from_index": from_index, "leaves": leaves}
    batch = tx.row(DeletedBatch, SQL.delete_pruned, parameters)
    assert batch is not None, "the function returns one row"
    return batch
