"""The states of challenges and proofs, each step once and no other (identity.md, section 3)."""

from __future__ import annotations

import itertools
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError, IllegalTransitionError, PermissionDeniedError
from tallystick.db.sqlstate import translate
from tallystick.identity.errors import EvidenceDeletionError
from tallystick.identity.human_proofs import HumanProof, ProofRefused

SPEC = Path(__file__).parents[4] / "shared" / "spec" / "identity.md"
CHALLENGE_STEPS = {(None, "pending"), ("pending", "verified"), ("pending", "failed")}
PROOF_STEPS = {
    (None, "pending"),
    (None, "verified"),
    ("pending", "verified"),
    ("pending", "rejected"),
    ("verified", "revoked"),
}


def test_each_step_succeeds_once(bench):
    """identity 7: each transition of section 3 is made by its function."""
    assert bench.challenge().status == "pending"
    failing = bench.challenge()
    left = [bench.refuse(failing) for _ in range(3)]
    assert left == [ProofRefused("wrong_signer", n) for n in (2, 1, 0)]
    assert status(bench, "human_proof_challenges", failing.challenge_id) == "failed"
    verified = bench.prove()
    assert status(bench, "human_proof_challenges", verified.challenge_id) == "verified"
    assert verified.status == "verified"
    revoked = bench.run(lambda repo: repo.revoke(verified.id, reason="shared", actor="db:test"))
    assert revoked.status == "revoked"
    pending, other = bench.pending(number=1), bench.pending(number=2)
    assert (pending.status, other.status) == ("pending", "pending")
    rejected = bench.run(lambda repo: repo.reject(other.id, "too_regular"))
    assert rejected.status == "rejected"
    marked = bench.run(lambda repo: repo.mark_verified(pending.id, score=Decimal(1), assurance=2))
    assert marked.status == "verified"


@pytest.mark.parametrize(
    ("table", "steps"),
    [("human_proof_challenges", CHALLENGE_STEPS), ("human_proofs", PROOF_STEPS)],
)
def test_steps_are_those_of_the_table(bench, table, steps):
    """identity 7: status_transitions holds the transitions of section 3 and no others."""
    stored = bench.sql(
        "SELECT from_status, to_status FROM tally.status_transitions"
        " WHERE table_name = %s AND column_name = 'status'",
        table,
    )
    assert set(stored) == steps


@pytest.mark.parametrize(
    ("table", "steps"),
    [("human_proof_challenges", CHALLENGE_STEPS), ("human_proofs", PROOF_STEPS)],
)
def test_every_other_pair_is_refused_to_plain_updates(bench, table, steps):
    """identity 7: any other pair of states is TS001 for a plain UPDATE, by the owner too."""
    challenge = bench.challenge()
    rows = {
        "human_proof_challenges": challenge.challenge_id,
        "human_proofs": bench.pending().id,
    }
    states = [
        state
        for (state,) in bench.sql(
            "SELECT unnest(enum_range(NULL::tally.human_challenge_status))::text"
            if table == "human_proof_challenges"
            else "SELECT unnest(enum_range(NULL::tally.human_proof_status))::text"
        )
    ]
    for before, after in itertools.permutations(states, 2):
        if (before, after) in steps:
            continue
        with (
            psycopg.connect(bench.database.url, autocommit=True) as connection,
            pytest.raises(psycopg.Error) as raised,
            connection.transaction(),
        ):
            connection.execute(f"ALTER TABLE tally.{table} DISABLE TRIGGER USER")
            connection.execute(FACTS_OF[table].format(before), (rows[table],))
            connection.execute(f"ALTER TABLE tally.{table} ENABLE TRIGGER USER")
            connection.execute("SET LOCAL ROLE tally_owner")
            connection.execute(
                f"UPDATE tally.{table} SET status = '{after}' WHERE id = %s", (rows[table],)
            )
        assert isinstance(translate(raised.value), IllegalTransitionError), (before, after)


FACTS_OF = {
    "human_proof_challenges": (
        "UPDATE tally.human_proof_challenges SET status = '{0}',"
        " attempts_left = CASE WHEN '{0}' = 'failed' THEN 0 ELSE 3 END WHERE id = %s"
    ),
    "human_proofs": (
        "UPDATE tally.human_proofs AS p SET status = '{0}',"
        " verified_at = CASE WHEN '{0}' IN ('verified', 'revoked') THEN now() END,"
        " assurance = CASE WHEN '{0}' IN ('verified', 'revoked') THEN 1 END,"
        " score = CASE WHEN '{0}' IN ('verified', 'revoked') THEN 1 END,"
        " rejection_code = CASE WHEN '{0}' = 'rejected' THEN 'x' END,"
        " revoked_at = CASE WHEN '{0}' = 'revoked' THEN now() END,"
        " revoked_by = CASE WHEN '{0}' = 'revoked' THEN 'db:test' END,"
        " revoke_reason = CASE WHEN '{0}' = 'revoked' THEN 'x' END WHERE id = %s"
    ),
}


def in_state(bench, wanted):
    """A proof in the state *wanted*."""
    if wanted == "verified":
        return bench.prove()
    proof = bench.pending(number=7)
    if wanted == "rejected":
        return bench.run(lambda repo: repo.reject(proof.id, "x"))
    if wanted == "revoked":
        made = bench.prove()
        return bench.run(lambda repo: repo.revoke(made.id, reason="x", actor="db:test"))
    return proof


@pytest.mark.parametrize("before", ["pending", "verified", "rejected", "revoked"])
def test_every_other_pair_is_refused_by_the_functions(bench, before):
    """identity 7: a function that does not lead away from a proof's state is TS001."""
    proof = in_state(bench, before)
    steps = {
        "verified": lambda repo: repo.mark_verified(proof.id, score=Decimal(1), assurance=1),
        "rejected": lambda repo: repo.reject(proof.id, "x"),
        "revoked": lambda repo: repo.revoke(proof.id, reason="x", actor="db:test"),
    }
    for after, step in steps.items():
        if (before, after) in PROOF_STEPS:
            continue
        with pytest.raises(IllegalTransitionError):
            bench.run(step)
        assert bench.run(lambda repo: repo.get_by_id(proof.id)) == proof


@pytest.mark.parametrize("status_of_birth", ["failed", "rejected", "revoked"])
def test_births_are_those_of_the_table(bench, status_of_birth):
    """identity 7: a challenge or a proof is not born in another state."""
    table = "human_proof_challenges" if status_of_birth == "failed" else "human_proofs"
    with pytest.raises(psycopg.Error) as raised:
        bench.sql(f"INSERT INTO tally.{table} (status) VALUES ('{status_of_birth}')")
    assert isinstance(translate(raised.value), IllegalTransitionError)


@pytest.mark.parametrize("state", ["verified", "rejected", "revoked"])
def test_decided_proofs_are_not_deleted(bench, state):
    """identity 9: law 11: no function, owner or replication role deletes a decided proof."""
    proof = in_state(bench, state)
    with pytest.raises(EvidenceDeletionError):
        bench.run(lambda repo: repo.delete(proof.id))
    for role in ("SET ROLE tally_owner", "SET session_replication_role = replica"):
        with psycopg.connect(bench.database.url, autocommit=True) as connection:
            connection.execute(role)
            with pytest.raises(psycopg.Error) as raised:
                connection.execute("DELETE FROM tally.human_proofs WHERE id = %s", (proof.id,))
            assert isinstance(translate(raised.value), EvidenceDeletionError)
            with pytest.raises(psycopg.Error) as raised:
                connection.execute("TRUNCATE tally.human_proofs")
            assert isinstance(translate(raised.value), AppendOnlyError)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE tally.human_nullifiers SET user_id = 'bob'",
        "DELETE FROM tally.human_nullifiers",
        "TRUNCATE tally.human_nullifiers CASCADE",
    ],
)
def test_nullifiers_never_change(bench, change):
    """identity 9: law 11: a nullifier stays its first user's, for the tables' owner too."""
    bench.prove()
    for role, refusal in (("tally_owner", AppendOnlyError), ("tally_app", PermissionDeniedError)):
        with psycopg.connect(bench.database.url, autocommit=True) as connection:
            connection.execute(f"SET ROLE {role}")
            with pytest.raises(psycopg.Error) as raised:
                connection.execute(change)
            assert isinstance(translate(raised.value), refusal)


def status(bench, table, row_id):
    """The stored state of a row."""
    [(found,)] = bench.sql(f"SELECT status::text FROM tally.{table} WHERE id = %s", row_id)
    return found


def test_an_expired_challenge_reads_as_expired(bench):
    """Expiry is no state: it is read from expires_at, and nothing is written."""
    bench.set_clock("2026-01-01T00:00:00Z")
    challenge = bench.challenge()
    bench.set_clock("2026-01-01T00:05:00Z")
    read = bench.run(lambda repo: repo.get_challenge(challenge.challenge_id))
    assert read.status == "expired"
    assert status(bench, "human_proof_challenges", challenge.challenge_id) == "pending"


def test_a_proof_is_one_of_the_two(bench):
    """A submission becomes a proof or a refusal, each with its count in the commit."""
    challenge = bench.challenge()
    assert bench.refuse(challenge) == ProofRefused("wrong_signer", 2)
    assert isinstance(bench.submit(challenge, bench.signed(challenge)), HumanProof)
    [(left,)] = bench.sql("SELECT attempts_left FROM tally.human_proof_challenges")
    assert left == 2
