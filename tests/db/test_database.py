"""Transactions: what commits, what retries, what errors become (log.md, section 2.8)."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tallystick.db import connect
from tallystick.db.errors import DatabaseUnavailableError, IllegalTransitionError
from tallystick.db.queries import Query
from tallystick.db.sqlstate import rule_errors


@pytest.fixture
def database(database_url):
    """A pool on the test's database with one table of one counter."""
    with connect(database_url) as opened:
        with opened.transaction() as tx:
            tx.execute(Query(b"CREATE TABLE counter (value integer)"))
            tx.execute(Query(b"INSERT INTO counter VALUES (0)"))
        yield opened


def value(database) -> int:
    """The committed value of the counter."""
    with database.transaction(read_only=True) as tx:
        return tx.value(Query(b"SELECT value FROM counter"))


def test_block_commits_or_rolls_back(database):
    """A block that ends commits; a block that raises leaves nothing."""
    with database.transaction() as tx:
        tx.execute(Query(b"UPDATE counter SET value = 1"))
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        tx.execute(Query(b"UPDATE counter SET value = 2"))
        raise ZeroDivisionError
    assert value(database) == 1


def test_after_commit_runs_only_after_a_commit(database):
    """What waits for the commit runs once it happened, and never when it did not."""
    ran: list[str] = []
    with database.transaction() as tx:
        tx.after_commit(lambda: ran.append("committed"))
        assert ran == []
    with pytest.raises(ZeroDivisionError), database.transaction() as tx:
        tx.after_commit(lambda: ran.append("never"))
        raise ZeroDivisionError
    assert ran == ["committed"]


def test_run_repeats_serialization_failures(database):
    """`run` tries again where two serializable transactions collide, so that no update is lost."""

    def increment(tx) -> None:
        seen = tx.value(Query(b"SELECT value FROM counter"))
        tx.execute(Query(b"UPDATE counter SET value = %(value)s"), {"value": seen + 1})

    threads = [
        threading.Thread(target=lambda: database.run(increment, isolation="serializable"))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(database) == 4


def test_read_only_transactions_write_nothing(database):
    """A read-only transaction refuses a write."""
    with (
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        database.transaction(read_only=True) as tx,
    ):
        tx.execute(Query(b"UPDATE counter SET value = 1"))


def test_unreachable_server_is_named():
    """A server that does not answer ends in DatabaseUnavailableError, not in the driver's words."""
    with (
        connect("postgresql://nobody@127.0.0.1:1/none") as database,
        pytest.raises(DatabaseUnavailableError),
        database.transaction(),
    ):
        pass


def test_rules_carry_their_evidence(database):
    """A reserved SQLSTATE becomes its error, with the evidence that the database sent."""
    with pytest.raises(IllegalTransitionError) as raised, database.transaction() as tx:
        tx.execute(
            Query(
                b"INSERT INTO tally.outbox_cursors (sink, kind, status)"
                b" VALUES ('a', 'sse', 'paused')"
            )
        )
    assert raised.value.evidence == {
        "table": "outbox_cursors",
        "column": "status",
        "from": None,
        "to": "paused",
    }


def test_every_sqlstate_is_claimed_once():
    """The map from SQLSTATE to error has no state twice, and only reserved ones."""
    import tallystick.seal.errors  # noqa: F401

    states = rule_errors()
    assert len(states) >= 15
    assert all(state.startswith("TS") and len(state) == 5 for state in states)
