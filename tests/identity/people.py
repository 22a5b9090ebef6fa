"""What tests of identity do before the thing that they are about: users, keys, time, races."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from tallystick.errors import Error
from tallystick.identity import APIKeyRepository, IssuedKey, User, UserRepository

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Sequence

    from tallystick.db import Database, Query

SYSTEM = "system:test"
Result = TypeVar("Result")


def wallet(number: int) -> str:
    """A wallet that no other number has."""
    return f"0x{number:040x}"


def make_user(database: Database, number: int = 1, **fields: Any) -> User:
    """A committed user with the wallet of *number*."""
    with database.transaction() as tx:
        return UserRepository(tx).create(wallet(number), **fields)


def make_key(
    database: Database, user: User, *, scopes: Sequence[str] = (), **fields: Any
) -> IssuedKey:
    """A committed key of *user*, made by the system."""
    with database.transaction() as tx:
        return APIKeyRepository(tx).create(
            user.id, **{"name": "key", "actor": SYSTEM, "scopes": scopes, **fields}
        )


def set_limits(database: Database, tier: str, rate_limit: int, daily_quota: int | None) -> None:
    """The tier has these limits from now on."""
    with database.transaction() as tx:
        APIKeyRepository(tx).set_tier_limits(
            tier, rate_limit=rate_limit, daily_quota=daily_quota, actor=SYSTEM
        )


def flush(database: Database) -> int:
    """What the worker does every ten seconds."""
    with database.transaction() as tx:
        return APIKeyRepository(tx).flush_usage()


def set_clock(database: Database, moment: datetime.datetime) -> None:
    """It is *moment*, and time stands still."""
    execute(database, "SELECT tally.set_test_clock(%(at)s)", at=moment)


def execute(database: Database, statement: str, **parameters: Any) -> None:
    """Run one statement as the superuser, committed."""
    with database.session() as connection:
        connection.execute(as_query(statement), parameters)


def fetch(database: Database, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement."""
    with database.session() as connection:
        return connection.execute(as_query(statement), parameters).fetchall()


def as_query(statement: str) -> Query:
    """A test's own statement as the driver takes it."""
    from tallystick.db import Query

    return Query(statement.encode())


def at_once(count: int, work: Callable[[int], Result]) -> list[Result | Error]:
    """The results of `work(0)`, `work(1)`, ... begun together; a named error is a result."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> Result | Error:
        barrier.wait()
        try:
            return work(number)
        except Error as raised:
            return raised

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(begin, range(count)))


def kinds(results: Sequence[object]) -> dict[str, int]:
    """How many results are of each class."""
    found: dict[str, int] = {}
    for result in results:
        name = type(result).__name__
        found[name] = found.get(name, 0) + 1
    return found
