"""Reads of one statement: no transaction around them, and a lost connection mends itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from tallystick.db import Database, Transaction, connect
from tallystick.db.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = sql.SQL("SELECT pg_backend_pid(), pg_current_xact_id_if_assigned()").format()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool over the test's database."""
    with connect(database_url, pool_size=2) as opened:
        yield opened


def own_pid(tx: Transaction) -> int:
    """Return the process that serves the reader."""
    return int(tx.value(OWN))


def kill(database: Database, pid: int) -> None:
    """End a server process, as a restart of the server would."""
    with database.session() as session:
        session.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))


def test_a_read_is_no_transaction_of_several_statements(database: Database) -> None:
    """Two statements of one reader see two moments: each is a transaction of its own."""
    moment = sql.SQL("SELECT now()").format()

    def twice(tx: Transaction) -> bool:
        return bool(tx.value(moment) < tx.value(moment))

    assert database.read(twice)


def test_a_read_mends_a_lost_connection(database: Database) -> None:
    """Where its connection turns out broken, a read is run once more on another."""
    pid = database.read(own_pid)
    assert database.read(own_pid) == pid
    kill(database, pid)
    assert database.read(own_pid) != pid


def test_a_read_of_a_database_that_is_away_is_unavailable() -> None:
    """Without a server a read ends in a named error."""
    with (
        connect("postgresql://nobody@127.0.0.1:1/none?connect_timeout=1") as away,
        pytest.raises(DatabaseUnavailableError),
    ):
        away._readers.timeout = 0.5
        away.read(own_pid)


def test_long_bytes_come_in_binary(database: Database) -> None:
    """Binary rows are the same values as those spelled in text."""
    query = sql.SQL("SELECT 7, '\\x00ff'::bytea").format()
    found = [
        database.read(lambda tx, binary=binary: tx.rows(tuple_of, query, binary=binary))
        for binary in (False, True)
    ]
    assert found[0] == found[1] == [(7, b"\x00\xff")]


def tuple_of(number: int, data: bytes) -> tuple[int, bytes]:
    """Return a row as it is."""
    return number, data
