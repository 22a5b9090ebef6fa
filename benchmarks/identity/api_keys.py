"""API keys: created, changed, found and listed among 100,000, by one client."""

from __future__ import annotations

import functools
import itertools
import random
import uuid

from benchmarks.ground import Ground
from benchmarks.harness import Figure
from benchmarks.identity.filling import OPERATOR, key_of, people
from benchmarks.identity.timing import time_operation
from benchmarks.identity.users import FAR_PAGES, LIST, READ, WRITE
from tallystick.identity import APIKeyRepository


def run(ground: Ground) -> list[Figure]:
    """Return operations a second and p99 of each."""
    there = people(ground)
    chance = random.Random(8)
    anyone = functools.partial(chance.randint, 1, there.rows)
    versions: dict[int, int] = {}
    far: str | None = None
    for _ in range(min(FAR_PAGES, there.rows // 10 - 2)):
        far = there.database.read(
            lambda tx, far=far: APIKeyRepository(tx).list_by_tier(  # type: ignore[misc]
                "enterprise", limit=10, after=far
            )
        ).next

    def create(number: int) -> None:
        with there.database.transaction() as tx:
            APIKeyRepository(tx).create(
                f"user{number % there.rows + 1}", name="new", scopes=["log:read"], actor=OPERATOR
            )

    def update(number: int) -> None:
        which = number % there.rows + 1
        with there.database.transaction() as tx:
            changed = APIKeyRepository(tx).update(
                uuid.UUID(int=which),
                expected_version=versions.get(which, 1),
                name=f"named {number}",
                actor=OPERATOR,
            )
        versions[which] = changed.version

    def by_id(_: int) -> None:
        there.database.read(lambda tx: APIKeyRepository(tx).get_by_id(uuid.UUID(int=anyone())))

    def by_hash(_: int) -> None:
        there.database.read(lambda tx: APIKeyRepository(tx).get_by_hash(key_of(anyone())[0]))

    def list_first(_: int, after: str | None = None) -> None:
        there.database.read(
            lambda tx: APIKeyRepository(tx).list_by_tier("enterprise", limit=10, after=after)
        )

    time_it = functools.partial(time_operation, ground)
    return list(
        itertools.chain(
            time_it("API keys: create", create, **WRITE),
            time_it("API keys: update", update, **WRITE),
            time_it("API keys: get by id", by_id, **READ),
            time_it("API keys: get by hash", by_hash, **READ),
            time_it("API keys: list by tier, first page of 10", list_first, **LIST),
            time_it(
                "API keys: list by tier, thousandth page of 10",
                functools.partial(list_first, after=far),
                **LIST,
            ),
        )
    )
