"""
Migrations: numbered SQL files, forward only, checksummed, under an advisory lock.

`NNNN_words.sql` is applied in one transaction, as the role `tally_owner`, under a
`lock_timeout`; its SHA-256 is written beside it. A second migrator waits for the first.
Follows log.md, section 2.8.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import re
import time
from dataclasses import dataclass
from typing import Any

import psycopg

from tallystick.db.database import raise_translated, session_settings
from tallystick.db.errors import (
    MigrationChecksumError,
    NotMigratedError,
    SchemaTooNewError,
    UnfitDatabaseError,
)
from tallystick.db.queries import Query, load_queries

LOCK_CLASS = 1952541817
"""`taly` in ASCII: the advisory lock class of the log; object 0 is the migrations' lock."""
OLDEST_SERVER = 150000
AS_OWNER = Query(b"SET LOCAL ROLE tally_owner")
FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> bytes:
        """The checksum of the file's bytes."""
        return hashlib.sha256(self.text.encode()).digest()


@dataclass(frozen=True, slots=True)
class MigrationQueries:
    """The statements of this module; its SQL stands in `db/queries.sql`."""

    server_facts: Query
    create_ledger: Query
    applied_migrations: Query
    record_migration: Query
    ledger_exists: Query
    create_owner: Query
    create_schema: Query
    become_member: Query
    leave_owner: Query


SQL = load_queries(MigrationQueries, __package__)


def load_migrations() -> list[Migration]:
    """Return the program's migrations, in the order of their numbers, each of which stands once."""
    folder = importlib.resources.files("tallystick.db").joinpath("migrations")
    found = sorted(
        (
            Migration(int(match[1]), file.name[:-4], file.read_text("utf-8"))
            for file in folder.iterdir()
            if (match := FILE_NAME.fullmatch(file.name))
        ),
        key=lambda migration: migration.number,
    )
    assert len({m.number for m in found}) == len(found), "a migration's number is its own"
    return found


def migrate(database_url: str, *, test: bool = False) -> list[Migration]:
    """
    Bring the database up to this program's schema and return what was applied.

    With *test* the database also gets `tally.set_test_clock`; such a database is not fit for
    production, and nothing takes the function away again.

    Raises:
        MigrationChecksumError: An applied migration differs from the program's file.
        SchemaTooNewError: The database knows a migration that this program does not.
        UnfitDatabaseError: The server is older than PostgreSQL 15 or not in UTF8.
        DatabaseUnavailableError: The server does not answer.
    """
    try:
        settings = session_settings("tallystick-migrate")
        with psycopg.connect(database_url, autocommit=True, **settings) as connection:
            return migrate_connection(connection, test=test)
    except psycopg.Error as raised:
        raise_translated(raised)
        raise


def migrate_connection(connection: psycopg.Connection[Any], *, test: bool) -> list[Migration]:
    """As `migrate`, on a connection in autocommit mode; it must not be in a transaction."""
    check_server(connection)
    connection.execute(Query(b"SET statement_timeout = 0"))
    connection.execute(Query(b"SELECT pg_advisory_lock(%s, 0)"), (LOCK_CLASS,))
    try:
        migrations = load_migrations()
        with connection.transaction():
            connection.execute(SQL.create_owner)
            connection.execute(SQL.become_member)
            connection.execute(SQL.create_schema)
        with connection.transaction():
            connection.execute(AS_OWNER)
            connection.execute(SQL.create_ledger)
            done = check_applied(connection, migrations)
        pending = [migration for migration in migrations if migration.number not in done]
        for migration in pending:
            apply(connection, migration)
        if test:
            install_test_clock(connection)
        connection.execute(SQL.leave_owner)
    finally:
        connection.execute(Query(b"SELECT pg_advisory_unlock(%s, 0)"), (LOCK_CLASS,))
    return pending


def check_server(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the server can carry the schema.

    Raises:
        UnfitDatabaseError: It is older than PostgreSQL 15, or its encoding is not UTF8.
    """
    version, encoding = connection.execute(SQL.server_facts).fetchone() or (0, "")
    if version < OLDEST_SERVER:
        raise UnfitDatabaseError(f"PostgreSQL 15 or newer is needed, this is {version // 10000}")
    if encoding != "UTF8":
        raise UnfitDatabaseError(f"the database's encoding must be UTF8, it is {encoding}")


def check_applied(connection: psycopg.Connection[Any], migrations: list[Migration]) -> set[int]:
    """
    Return the numbers of the applied migrations, each verified against the program's file.

    Raises:
        MigrationChecksumError: A file was changed after it was applied.
        SchemaTooNewError: A number is applied that the program does not know.
    """
    known = {migration.number: migration for migration in migrations}
    applied: dict[int, bytes] = dict(connection.execute(SQL.applied_migrations).fetchall())
    for number, sha256 in applied.items():
        if number not in known:
            raise SchemaTooNewError(
                f"the database has migration {number}, this program ends at {max(known)}",
                evidence={"applied": number, "known": max(known)},
            )
        if known[number].sha256 != sha256:
            raise MigrationChecksumError(
                f"migration {known[number].name} differs from the one that was applied",
                evidence={"expected": sha256.hex(), "actual": known[number].sha256.hex()},
            )
    return set(applied)


def check_migrated(connection: psycopg.Connection[Any]) -> None:
    """
    Check that the database stands exactly at this program's schema.

    Raises:
        NotMigratedError: The schema is absent, or migrations are missing.
        MigrationChecksumError, SchemaTooNewError: As `check_applied`.
    """
    row = connection.execute(SQL.ledger_exists).fetchone()
    if row is None or not row[0]:
        raise NotMigratedError
    migrations = load_migrations()
    missing = len(migrations) - len(check_applied(connection, migrations))
    if missing:
        raise NotMigratedError(f"{missing} migrations are missing; run `tally migrate`")


def apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    """Apply one migration in one transaction, as `tally_owner`."""
    began = time.monotonic()
    with connection.transaction():
        connection.execute(Query(b"SET LOCAL lock_timeout = '4s'"))
        connection.execute(AS_OWNER)
        connection.execute(Query(b"SET LOCAL search_path = pg_catalog"))
        connection.execute(Query(migration.text.encode()))
        connection.execute(
            SQL.record_migration,
            {
                "number": migration.number,
                "name": migration.name,
                "sha256": migration.sha256,
                "duration_ms": round((time.monotonic() - began) * 1000),
            },
        )


def install_test_clock(connection: psycopg.Connection[Any]) -> None:
    """Give a test database a clock that tests can set."""
    text = importlib.resources.files("tallystick.db").joinpath("test_clock.sql").read_text("utf-8")
    with connection.transaction():
        connection.execute(Query(text.encode()))
