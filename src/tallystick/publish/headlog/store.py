"""The SQL of proofs through the log of logs; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.publish.heads import PublishedHead
from tallystick.tlog import LeafIndex, TreeSize


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    taken_head: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class TakenHead:
    """A checkpoint of a log whose note is the leaf at *head_index* of the log of logs."""

    size: TreeSize
    head_index: LeafIndex


def taken_head(
    tx: Transaction, head: PublishedHead, heads: PublishedHead, *, index: int
) -> TakenHead | None:
    """Return the newest head of a log beyond the leaf at *index* that *heads* has published."""
    return tx.row(
        TakenHead,
        SQL.taken_head,
        {
            "log_id": head.log_id,
            "heads_log_id": heads.log_id,
            "heads_size": heads.size,
            "index": index,
        },
    )
