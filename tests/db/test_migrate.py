"""Migrations: checksummed, forward only, one migrator at a time (log.md, section 2.8)."""

from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg import sql

from tallystick.db import LOCK_CLASS, migrate
from tallystick.db.errors import (
    AppendOnlyError,
    MigrationChecksumError,
    NotMigratedError,
    SchemaTooNewError,
    UnfitDatabaseError,
)
from tallystick.db.migrate import check_migrated, load_migrations
from tallystick.db.sqlstate import translate


def execute(url: str, statement: str, parameters: object = None) -> None:
    """Run one statement as the superuser, with the append-only trigger out of the way."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE tally.schema_migrations DISABLE TRIGGER ALL")
        connection.execute(statement, parameters)


def test_fresh_database_gets_every_migration_once(empty_database_url):
    """A fresh database gets all migrations; a second run applies nothing."""
    assert [m.number for m in migrate(empty_database_url)] == [m.number for m in load_migrations()]
    assert migrate(empty_database_url) == []


def test_changed_file_is_refused(database_url):
    """log 30: a migration whose file was changed after it was applied stops the start."""
    execute(
        database_url, "UPDATE tally.schema_migrations SET sha256 = sha256('x') WHERE number = 2"
    )
    with pytest.raises(MigrationChecksumError) as raised:
        migrate(database_url)
    assert "0002" in raised.value.message


def test_newer_schema_is_refused(database_url):
    """An older program refuses a database that a newer one migrated."""
    execute(
        database_url,
        "INSERT INTO tally.schema_migrations VALUES (9999, '9999_later', sha256('x'), now(), 1)",
    )
    with pytest.raises(SchemaTooNewError):
        migrate(database_url)


def test_second_migrator_waits(empty_database_url):
    """log 30: while one migrator has the lock another waits, and then finds nothing to do."""
    done = threading.Event()
    with psycopg.connect(empty_database_url, autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(%s, 0)", (LOCK_CLASS,))
        second = threading.Thread(target=lambda: (migrate(empty_database_url), done.set()))
        second.start()
        assert not done.wait(0.5)
        first.execute("SELECT pg_advisory_unlock(%s, 0)", (LOCK_CLASS,))
        second.join(30)
    assert done.is_set()


def test_two_migrators_at_once(empty_database_url):
    """log 30: of two migrators that start together each migration is applied by one."""
    applied: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: applied.extend(m.number for m in migrate(empty_database_url))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [m.number for m in load_migrations()]


def test_unmigrated_database_is_named(empty_database_url):
    """A program that finds no schema says that `tally migrate` is missing."""
    with (
        psycopg.connect(empty_database_url, autocommit=True) as connection,
        pytest.raises(NotMigratedError),
    ):
        check_migrated(connection)


def test_other_encodings_are_refused(test_server):
    """A database that is not in UTF8 is refused before anything is made in it."""
    name = sql.Identifier("latin")
    with psycopg.connect(test_server.server.url(), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'").format(
                name
            )
        )
        try:
            with pytest.raises(UnfitDatabaseError, match="LATIN1"):
                migrate(test_server.server.url("latin"))
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_ledger_is_append_only(database_url):
    """The list of applied migrations can be neither changed nor shortened."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for statement in (
            "UPDATE tally.schema_migrations SET name = 'x'",
            "DELETE FROM tally.schema_migrations",
            "TRUNCATE tally.schema_migrations",
        ):
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(statement)
            assert isinstance(translate(raised.value), AppendOnlyError)


def test_production_has_no_test_clock(empty_database_url):
    """`tally.set_test_clock` exists only where a database was made for tests."""
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        found = connection.execute("SELECT to_regproc('tally.set_test_clock')").fetchone()
    assert found == (None,)


def test_owner_has_no_members(database_url):
    """Nobody is a member of tally_owner, and nobody can log in as it."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT rolcanlogin, (SELECT count(*) FROM pg_auth_members WHERE roleid = r.oid)"
            " FROM pg_roles AS r WHERE rolname = 'tally_owner'"
        ).fetchone()
    assert row == (False, 0)
