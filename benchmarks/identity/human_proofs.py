"""Human proofs: created, decided, found and listed among 100,000, by one client."""

from __future__ import annotations

import functools
import itertools
from decimal import Decimal
from typing import Final

import psycopg

from benchmarks.ground import Ground
from benchmarks.harness import Figure
from benchmarks.identity.filling import People, people
from benchmarks.identity.timing import time_operation
from benchmarks.identity.users import FAR_PAGES, LIST, READ, WRITE
from tallystick.identity.human_proofs import (
    HumanProofId,
    HumanProofRepository,
    HumanProofRules,
    NewProof,
)
from tallystick.identity.verifiers import BehaviourVerifier

RULES: Final = HumanProofRules({"behaviour": BehaviourVerifier()})
MANY: Final = "user1"
"""He has a ninth of all proofs, so that his list has a thousandth page."""
PROOFS: Final = """
  INSERT INTO tally.human_proofs (user_id, proof_hash, created_at, verified_at, expires_at,
    verifier, verifier_version, assurance, score, status)
  SELECT CASE WHEN mod(i, 9) = 0 THEN 'user1' ELSE 'user' || i END,
    sha256(convert_to(i::text, 'UTF8')), tally.clock() - i * interval '1 second', tally.clock(),
    tally.clock() + interval '1 day', 'behaviour', 1, 2, 1, 'verified'
  FROM generate_series(1, %(rows)s) AS g (i)
"""


def run(ground: Ground) -> list[Figure]:
    """Return operations a second and p99 of each."""
    there = people(ground)
    fill(there)
    time_it = functools.partial(time_operation, ground)
    made: list[HumanProofId] = []

    def create(number: int) -> None:
        new = NewProof(
            user_id=f"user{number % there.rows + 1}",
            verifier="behaviour",
            submission_sha256=number.to_bytes(32, "big"),
        )
        with there.database.transaction() as tx:
            made.append(HumanProofRepository(tx, RULES).create(new).id)

    def mark(_: int) -> None:
        # What was created is decided, newest first; each number of the nullifier is used once.
        proof_id = made.pop()
        with there.database.transaction() as tx:
            HumanProofRepository(tx, RULES).mark_verified(
                proof_id, score=Decimal(1), assurance=2, nullifier=proof_id.bytes * 2
            )

    def has_valid(number: int) -> None:
        user = f"user{number % there.rows + 1}"
        assert there.database.read(
            lambda tx: HumanProofRepository(tx, RULES).has_valid(user) in {True, False}
        )

    created = time_it("human proofs: create", create, **WRITE)
    known = made[0]

    def by_id(_: int) -> None:
        there.database.read(lambda tx: HumanProofRepository(tx).get_by_id(known))

    far = far_page(there)
    return list(
        itertools.chain(
            created,
            time_it("human proofs: mark verified", mark, **WRITE),
            time_it("human proofs: has_valid", has_valid, **READ),
            time_it("human proofs: get by id", by_id, **READ),
            *(
                time_it(
                    f"human proofs: list, {page} page of 10",
                    functools.partial(read_page, there, after),
                    **LIST,
                )
                for page, after in (("first", None), ("thousandth", far))
            ),
        )
    )


def read_page(there: People, after: str | None, _: int) -> None:
    """Read a page of the proofs of the user who has many."""
    there.database.read(
        lambda tx: HumanProofRepository(tx).list_by_user(
            MANY, valid_only=True, limit=10, after=after
        )
    )


def far_page(there: People) -> str | None:
    """Return where the thousandth page of that user begins, or his last but one."""
    after = None
    for _ in range(min(FAR_PAGES, there.rows // 100 - 2)):
        after = there.database.read(
            lambda tx, after=after: HumanProofRepository(tx).list_by_user(  # type: ignore[misc]
                MANY, limit=10, after=after
            )
        ).next
    return after


def fill(there: People) -> None:
    """Put as many proofs there as there are users."""
    with psycopg.connect(there.url, autocommit=True) as connection:
        connection.execute("SET statement_timeout = 0")
        connection.execute("ALTER TABLE tally.human_proofs DISABLE TRIGGER USER")
        connection.execute(PROOFS, {"rows": there.rows})
        connection.execute("ALTER TABLE tally.human_proofs ENABLE TRIGGER USER")
        connection.execute("VACUUM ANALYZE tally.human_proofs")
