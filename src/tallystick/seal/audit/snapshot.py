"""
The snapshot of an audit, read by any process on any machine that reaches the database.

The one that exports it must keep its transaction open until all have read (log.md, section 4.7).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from tallystick.db import Query, Transaction
from tallystick.db.database import session_settings
from tallystick.seal.audit import store


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An exported snapshot: where the database is, and the snapshot's name there."""

    database_url: str
    name: str


@contextlib.contextmanager
def reading(snapshot: Snapshot) -> Iterator[Transaction]:
    """Yield a read-only transaction that sees exactly what *snapshot* does."""
    with (
        psycopg.connect(
            snapshot.database_url, **session_settings("tallystick-audit")
        ) as connection,
        connection.transaction(),
    ):
        connection.execute(Query(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(
            sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(snapshot.name))
        )
        tx = Transaction(connection)
        store.lift_timeouts(tx)
        yield tx
