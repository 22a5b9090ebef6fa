"""Reads on a replica: who says what he wrote sees it, and a replica that is gone costs little."""

from __future__ import annotations

import psycopg
import pytest

from tallystick.db import Database
from tallystick.db.errors import InvalidPositionError
from tallystick.db.queries import Query
from tallystick.db.replica import parse_position
from tests.support.replica import streaming_replica, wait_until_replayed
from tests.support.server import running_server

IS_STANDBY = Query(b"SELECT pg_is_in_recovery()")
PID = Query(b"SELECT pg_backend_pid()")
COUNT = Query(b"SELECT count(*) FROM note")


@pytest.fixture(scope="module")
def pair(postgres_bin):
    """The URLs of one database on a primary and on its replica."""
    with (
        running_server(postgres_bin, wal_level="replica") as primary,
        primary.database() as url,
        streaming_replica(primary.server, postgres_bin) as standby,
    ):
        name = url.split("@/")[1].split("?")[0]
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE note (text text)")
        wait_until_replayed(url, standby.url(name))
        yield url, standby.url(name)


@pytest.fixture
def database(pair):
    """A database whose readers may use the replica."""
    with Database(pair[0], replica_url=pair[1]) as opened:
        yield opened


def write(database) -> None:
    """Write a row in a transaction."""
    with database.transaction() as tx:
        tx.execute(Query(b"INSERT INTO note VALUES ('a')"))


def test_a_reader_is_on_the_replica_and_cannot_write(database, pair):
    """A read goes to the replica, also after a position that it has; nothing can be written."""
    write(database)
    position = database.written_position()
    wait_until_replayed(*pair)
    with database.reader(after=position) as tx:
        assert (tx.value(IS_STANDBY), tx.value(COUNT)) == (True, 1)
    with database.reader() as tx:
        assert tx.value(IS_STANDBY) is True
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), database.reader() as tx:
        tx.execute(Query(b"INSERT INTO note VALUES ('b')"))


def test_a_paused_replica_hides_nothing_from_its_writer(database, pair):
    """identity 13: with the replica paused, a read that sends its position sees the write."""
    with psycopg.connect(pair[1], autocommit=True) as standby:
        with database.reader(after=database.written_position()) as tx:
            before = tx.value(COUNT)
        standby.execute("SELECT pg_wal_replay_pause()")
        try:
            write(database)
            position = database.written_position()
            with database.reader() as tx:
                assert (tx.value(IS_STANDBY), tx.value(COUNT)) == (True, before)
            with database.reader(after=position) as tx:
                assert (tx.value(IS_STANDBY), tx.value(COUNT)) == (False, before + 1)
        finally:
            standby.execute("SELECT pg_wal_replay_resume()")


def test_a_busy_replica_is_not_given_up(pair):
    """Where every connection to the replica is lent, the next reader is on the primary at once."""
    with Database(pair[0], replica_url=pair[1], pool_size=1) as database:
        with database.reader() as one:
            assert one.value(IS_STANDBY) is True
            with database.reader() as other:
                assert other.value(IS_STANDBY) is False
        with database.reader() as tx:
            assert tx.value(IS_STANDBY) is True


def test_without_a_replica_a_reader_is_on_the_primary(pair):
    """Where there is no replica everything is read on the primary, and there is no position."""
    with Database(pair[0]) as database:
        assert database.written_position() is None
        with database.reader() as tx:
            assert tx.value(IS_STANDBY) is False


def test_a_replica_that_is_nowhere_is_no_obstacle(pair):
    """A replica that does not answer is left out, at once and for a while."""
    with Database(pair[0], replica_url="postgresql://127.0.0.1:1/none") as database:
        for _ in range(3):
            with database.reader() as tx:
                assert tx.value(IS_STANDBY) is False


def test_a_replica_that_was_restarted_fails_no_read(database, pair):
    """A connection that died while nobody used it is found out, and the primary answers."""
    with database.reader() as tx:
        pid = tx.value(PID)
    with psycopg.connect(pair[1], autocommit=True) as standby:
        standby.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    with database.reader() as tx:
        assert tx.value(IS_STANDBY) is False


@pytest.mark.parametrize("text", ["", "0", "0/", "g/0", "0/123456789", "0/0; SELECT", "-1/0"])
def test_a_position_of_no_form_is_refused(text):
    """A position that is not of its form is a named error before anything is asked."""
    with pytest.raises(InvalidPositionError):
        parse_position(text)


def test_a_position_is_what_the_server_says(database):
    """What the database calls its position parses as one."""
    position = database.written_position()
    assert position is not None
    assert parse_position(position) == position
