"""Users: created, changed, found and listed among 100,000, by one client."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable
from typing import Any, Final

from benchmarks.ground import Ground
from benchmarks.harness import Figure
from benchmarks.identity.filling import OPERATOR, People, people
from benchmarks.identity.timing import time_operation
from tallystick.identity import UserRepository

WRITE: Final[dict[str, Any]] = {"calls": 300, "most_p99_ms": 5.0, "least_rate": 200.0}
READ: Final[dict[str, Any]] = {"calls": 1_000, "most_p99_ms": 2.0, "least_rate": 500.0}
LIST: Final[dict[str, Any]] = {"calls": 200, "most_p99_ms": 10.0, "least_rate": 100.0}
FAR_PAGES: Final = 999
"""Pages before the thousandth."""
NEW: Final = 10_000_000
"""Numbers of users that the figure creates begin above those that are there."""


def run(ground: Ground) -> list[Figure]:
    """Return operations a second and p99 of each."""
    there = people(ground)
    chance = random.Random(8)
    time_it = functools.partial(time_operation, ground)
    anyone = functools.partial(chance.randint, 1, there.rows)
    versions: dict[int, int] = {}

    def create(number: int) -> None:
        with there.database.transaction() as tx:
            UserRepository(tx).create(f"0x{NEW + number:040x}", username=f"new{number}")

    def update(number: int) -> None:
        who = number % there.rows + 1
        with there.database.transaction() as tx:
            changed = UserRepository(tx).update(
                f"user{who}", expected_version=versions.get(who, 1), tags=["all", str(number)]
            )
        versions[who] = changed.version

    def set_risk(number: int) -> None:
        with there.database.transaction() as tx:
            UserRepository(tx).update_risk_score(
                f"user{anyone()}", number % 100, reason_code="a", reason="b", actor=OPERATOR
            )

    def by_id(_: int) -> None:
        there.database.read(lambda tx: UserRepository(tx).get_by_id(f"user{anyone()}"))

    def by_wallet(_: int) -> None:
        there.database.read(lambda tx: UserRepository(tx).get_by_wallet(f"0x{anyone():040x}"))

    # A wallet has one user each: what was updated keeps its.
    return list(
        itertools.chain(
            time_it("users: create", create, **WRITE),
            time_it("users: update", update, **WRITE),
            time_it("users: set the risk", set_risk, **WRITE),
            time_it("users: get by id", by_id, **READ),
            time_it("users: get by wallet", by_wallet, **READ),
            *(
                time_it(f"users: list by {name}, {page} page of 10", turn, **LIST)
                for name, page, turn in lists(there)
            ),
        )
    )


def lists(there: People) -> list[tuple[str, str, Callable[[int], object]]]:
    """Return what reads the first and the thousandth page of a list by risk and by tag."""
    walks: dict[str, Callable[[UserRepository, str | None], Any]] = {
        "risk": lambda users, after: users.list_by_risk_score(0, limit=10, after=after),
        "tag": lambda users, after: users.list_by_tag("all", limit=10, after=after),
    }
    found: list[tuple[str, str, Callable[[int], object]]] = []
    for name, walk in walks.items():
        far = None
        pages = min(FAR_PAGES, there.rows // 10 - 2)
        for _ in range(pages):
            far = there.database.read(
                lambda tx, walk=walk, far=far: walk(UserRepository(tx), far)  # type: ignore[misc]
            ).next

        def turn(_: int, walk: Any = walk, after: str | None = None) -> None:
            there.database.read(lambda tx: walk(UserRepository(tx), after))

        found.append((name, "first", turn))
        found.append((name, "thousandth", functools.partial(turn, after=far)))
    return found
