"""The SQL of the log of logs; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    take_heads: Query


SQL = load_queries(Queries, __package__)


def take_heads(tx: Transaction, log_name: str, *, pause_seconds: float) -> int:
    """Queue the notes of new published heads as leaves of *log_name*; return how many."""
    return int(
        tx.value(SQL.take_heads, {"log_name": log_name, "pause_seconds": pause_seconds}) or 0
    )
