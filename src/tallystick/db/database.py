"""
Connections and transactions: every operation of a slice takes the caller's transaction.

A `Database` is a pool. `database.transaction()` gives a `Transaction` that commits when its
block ends and rolls back when it raises; `database.run(function)` is the only place that
tries again. Errors of the driver leave as named errors (`db.sqlstate`), all others as they
are. Follows log.md, section 2.8.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Self, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import args_row, dict_row, scalar_row, tuple_row
from psycopg_pool import ConnectionPool, PoolTimeout

from tallystick.db.cache import Cache, decode_value, encode_value
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.db.queries import Query
from tallystick.db.replica import WRITTEN, Connection, Replica, WalPosition
from tallystick.db.sqlstate import first_line, translate

STATEMENT_TIMEOUT_SECONDS = 30
"""No statement of a request or a worker needs longer; audits and backfills raise it themselves."""
IDLE_IN_TRANSACTION_TIMEOUT_SECONDS = 60
"""A transaction that its owner forgot must not hold row locks for ever."""
CONNECT_TIMEOUT_SECONDS = 10
POOL_TIMEOUT_SECONDS = 10.0
"""How long a caller waits for a free connection before it is told that there is none."""
RETRIES = 5
RETRY_SQLSTATES = frozenset({"40001", "40P01"})
"""Serialization failure and deadlock: the only errors that running again can mend."""

Parameters = Mapping[str, object]
Isolation = Literal["read committed", "repeatable read", "serializable"]
Row = TypeVar("Row")
Result = TypeVar("Result")


class Transaction:
    """One open transaction; ends with the block that `Database.transaction` opened."""

    __slots__ = ("_after_commit", "_cache", "_changed", "_connection")

    def __init__(self, connection: Connection | None, *, cache: Cache | None = None) -> None:
        self._connection = connection
        self._cache = cache
        self._changed: set[str] = set()
        self._after_commit: list[Callable[[], None]] = []

    @property
    def connection(self) -> Connection:
        """The connection that this transaction is open on."""
        assert self._connection is not None
        return self._connection

    def execute(self, query: Query | sql.Composed, parameters: Parameters | None = None) -> int:
        """Run *query* and return the number of rows it touched."""
        return self.connection.execute(query, parameters).rowcount

    def rows(
        self,
        row: Callable[..., Row],
        query: Query | sql.Composed,
        parameters: Parameters | None = None,
        *,
        binary: bool = False,
    ) -> list[Row]:
        """
        Return every row of *query*, each as `row(*columns)`.

        *binary* spares spelling long bytes in hexadecimal; every column's type must have it.
        """
        with self.connection.cursor(row_factory=args_row(row), binary=binary) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def row(
        self,
        row: Callable[..., Row],
        query: Query | sql.Composed,
        parameters: Parameters | None = None,
    ) -> Row | None:
        """Return the first row of *query* as `row(*columns)`, or None where there is none."""
        with self.connection.cursor(row_factory=args_row(row)) as cursor:
            return cursor.execute(query, parameters).fetchone()

    def value(self, query: Query | sql.Composed, parameters: Parameters | None = None) -> Any:
        """Return the first column of the first row, or None where there is no row."""
        with self.connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query, parameters).fetchone()

    def values(
        self, query: Query | sql.Composed, parameters: Parameters | None = None
    ) -> list[Any]:
        """Return the first column of every row."""
        with self.connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    def records(
        self, query: Query | sql.Composed, parameters: Parameters | None = None
    ) -> list[dict[str, Any]]:
        """Return every row as a dictionary, where the columns are only known at run time."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[None]:
        """A nested block: what it did is undone when it raises, and the transaction goes on."""
        try:
            with self.connection.transaction():
                yield
        except psycopg.Error as raised:
            raise_translated(raised)

    def after_commit(self, function: Callable[[], None]) -> None:
        """Call *function* once the transaction has committed; never when it rolls back."""
        self._after_commit.append(function)

    def committed(self) -> None:
        """Run what waits for the commit, in the order in which it was asked for."""
        if self._cache is not None:
            self._cache.forget(self._changed)
        for function in self._after_commit:
            function()

    def changed(self, *subjects: str) -> None:
        """Say that what the cache may hold of each of *subjects* is old once this commits."""
        self._changed.update(subjects)

    def cached(self, subject: str, name: str, kind: Any, read: Callable[[], Result]) -> Result:
        """
        Return `read()`, a value of type *kind*.

        A `database.reader()` without a position may return what a cache keeps under *name* of
        *subject*, at most 5 s old; who may write reads what is there.
        """
        del subject, name, kind
        return read()


class ReadTransaction(Transaction):
    """A transaction that reads, on a replica perhaps, and opens once something is not cached."""

    __slots__ = ("_lend",)

    def __init__(self, lend: Callable[[bool], Connection], cache: Cache | None) -> None:
        super().__init__(None, cache=cache)
        self._lend = lend

    @property
    def connection(self) -> Connection:
        """The connection, which is lent at its first use."""
        if self._connection is None:
            self._connection = self._lend(False)
        return self._connection

    def cached(self, subject: str, name: str, kind: Any, read: Callable[[], Result]) -> Result:
        """Return what the cache keeps under *name* of *subject*, else `read()`, and keep that."""
        if self._cache is None:
            return read()
        kept, slot = self._cache.look_up(subject, name)
        if kept is not None:
            value: Result | None = decode_value(kept, kind)
            if value is not None:
                return value
        # What is kept must be no older than its generation: a replica might not have seen that.
        is_new = self._connection is None
        if is_new:
            self._connection = self._lend(True)
        found = read()
        if slot is not None and is_new:
            self._cache.keep(slot, encode_value(found))
        return found


class Database:
    """A pool of connections to one database, and the transactions on it."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        application: str = "tallystick",
        replica_url: str | None = None,
        cache_url: str | None = None,
    ) -> None:
        self.url = url
        self._cache = Cache(cache_url) if cache_url else None
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            url,
            min_size=0,
            max_size=pool_size,
            timeout=POOL_TIMEOUT_SECONDS,
            max_idle=300,
            kwargs=session_settings(application),
            # A pooled connection may have died with its server; one that answers is cheap to ask.
            check=ConnectionPool.check_connection,
            open=True,
            name=application,
        )
        # Opened by the first read: a worker that only writes needs none of them.
        self._readers: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            url,
            min_size=0,
            max_size=pool_size,
            timeout=POOL_TIMEOUT_SECONDS,
            max_idle=300,
            kwargs={**session_settings(f"{application}-reads"), "autocommit": True},
            open=False,
            name=f"{application}-reads",
        )
        self._replica: Replica | None = None
        if replica_url is not None:
            self._replica = Replica(
                ConnectionPool(
                    replica_url,
                    min_size=0,
                    max_size=pool_size,
                    max_idle=300,
                    kwargs={**session_settings(f"{application}-replica"), "autocommit": True},
                    open=False,
                    name=f"{application}-replica",
                )
            )

    @contextlib.contextmanager
    def transaction(
        self, *, isolation: Isolation = "read committed", read_only: bool = False
    ) -> Iterator[Transaction]:
        """
        Open a transaction that commits at the end of the block and rolls back if it raises.

        Raises:
            DatabaseUnavailableError: No connection, none free in time, or it broke.
            DatabaseRuleError: The database refused by one of its rules; each has a subclass.
            psycopg.Error: Anything else that the server says.
        """
        try:
            with self._connection() as connection, connection.transaction():
                begin = f"SET TRANSACTION ISOLATION LEVEL {isolation.upper()}"
                if read_only or isolation != "read committed":
                    mode = ", READ ONLY" if read_only else ""
                    connection.execute(Query(f"{begin}{mode}".encode()))
                transaction = Transaction(connection, cache=self._cache)
                yield transaction
        except PoolTimeout as raised:
            raise DatabaseUnavailableError(str(raised)) from raised
        except psycopg.Error as raised:
            raise_translated(raised)
        transaction.committed()

    @contextlib.contextmanager
    def reader(self, *, after: WalPosition | None = None) -> Iterator[Transaction]:
        """
        Open a transaction for reads that need not be the newest: on a replica where there is
        one, and from the cache where there is one (`Transaction.cached`).

        With *after*, a position of `written_position`, it sees all that was committed before:
        on a replica that has replayed it within 100 ms, else on the primary, never cached.

        Raises:
            DatabaseUnavailableError: Neither answers, or the replica ended while it was read.
            psycopg.Error: Anything else that the server says.
        """
        with contextlib.ExitStack() as stack:

            def lend(from_primary: bool) -> Connection:  # noqa: FBT001 (called here alone)
                replica = None if from_primary else self._replica
                connection = replica.lend(after) if replica is not None else None
                if replica is None or connection is None:
                    return stack.enter_context(self.transaction(read_only=True)).connection
                stack.callback(replica.take_back, connection)
                return connection

            try:
                yield ReadTransaction(lend, self._cache if after is None else None)
            except psycopg.Error as raised:
                # A standby ends a read that holds up its replay; asked again it answers.
                if raised.sqlstate in RETRY_SQLSTATES:
                    raise DatabaseUnavailableError(first_line(raised)) from raised
                raise_translated(raised)

    def written_position(self) -> WalPosition | None:
        """
        Return a position behind everything that was committed before this call.

        None where every reader is on the primary and not cached: then each sees all of it.
        """
        if self._replica is None and self._cache is None:
            return None
        return self.read(lambda tx: WalPosition(str(tx.value(WRITTEN))))

    def read(self, function: Callable[[Transaction], Result]) -> Result:
        """
        Return `function(reader)`, whose statements are transactions of their own: one round
        trip each. For reads that are one statement, hence one snapshot; what must agree across
        statements needs `transaction`, and so does what writes.

        The connection is not asked first whether it lives. Where it turns out broken, all that
        are idle are asked, and *function* is run once more.

        Raises:
            DatabaseUnavailableError: No connection, none free in time, or it broke twice.
            psycopg.Error: Anything else that the server says.
        """
        try:
            return self._read(function)
        except DatabaseUnavailableError as raised:
            if isinstance(raised.__cause__, PoolTimeout):
                raise
        self._readers.check()
        return self._read(function)

    def statement(self, function: Callable[[Transaction], Result]) -> Result:
        """
        Return `function(tx)`, which runs one statement that may write: a transaction of its own,
        committed when the statement returns, whatever *function* raises afterwards.

        It runs once more where the connection broke, so doing it twice must be harmless.

        Raises:
            As `read`.
        """
        return self.read(function)

    def _read(self, function: Callable[[Transaction], Result]) -> Result:
        try:
            if self._readers.closed:
                self._readers.open()
            with self._readers.connection() as connection:
                return function(Transaction(connection))
        except PoolTimeout as raised:
            raise DatabaseUnavailableError(str(raised)) from raised
        except psycopg.Error as raised:
            raise_translated(raised)
        raise AssertionError("what was raised is raised again")

    def run(
        self, function: Callable[[Transaction], Result], *, isolation: Isolation = "read committed"
    ) -> Result:
        """
        Return `function(transaction)`, committed; run it again, at most five times, where the
        server reports a serialization failure or a deadlock. *function* must be repeatable.
        """
        for attempt in range(1, RETRIES + 1):
            try:
                with self.transaction(isolation=isolation) as transaction:
                    return function(transaction)
            except psycopg.Error as raised:
                if raised.sqlstate not in RETRY_SQLSTATES or attempt == RETRIES:
                    raise
                # Spread the contenders: whoever collided once would collide again in step.
                time.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 (not a secret)
        raise AssertionError("the last attempt returns or raises")

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in autocommit mode, for LISTEN, VACUUM and advisory session locks."""
        settings = {**session_settings("tallystick-session"), "autocommit": True}
        try:
            with psycopg.connect(self.url, **settings) as connection:
                yield connection
        except psycopg.Error as raised:
            raise_translated(raised)

    def close(self) -> None:
        """Close every connection; a `Database` that is closed stays closed."""
        self._pool.close()
        self._readers.close()
        if self._replica is not None:
            self._replica.close()
        if self._cache is not None:
            self._cache.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._pool.connection() as connection:
            yield connection


def connect(url: str, *, pool_size: int = 10, application: str = "tallystick") -> Database:
    """Return a `Database` for *url*; it connects when it is first used."""
    return Database(url, pool_size=pool_size, application=application)


def session_settings(application: str) -> dict[str, Any]:
    """Return the connection settings that every session of Tallystick has."""
    return {
        "application_name": application,
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "row_factory": tuple_row,
        "options": (
            f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS}s"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_SECONDS}s"
            " -c timezone=UTC"
        ),
    }


def raise_translated(raised: psycopg.Error) -> None:
    """Raise the named error that *raised* stands for, or *raised* itself."""
    named = translate(raised)
    if named is None:
        raise raised
    raise named from raised
