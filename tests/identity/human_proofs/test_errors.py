"""The errors of human proofs, each raised once by name (identity.md, section 3)."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tallystick.db.errors import DatabaseRuleError
from tallystick.http.problems import problem_of
from tallystick.identity.errors import (
    BlacklistedError,
    ChallengeExpiredError,
    ChallengeSpentError,
    DuplicateError,
    EvidenceDeletionError,
    InvalidValueError,
    NotFoundError,
    ProofRefusedError,
    RateLimitedError,
    StaleVersionError,
    UnknownVerifierError,
)
from tallystick.identity.human_proofs import ProofRefused
from tallystick.identity.verifiers import Submission
from tests.support.wallets import wallet


def not_found(bench):
    """A challenge that nobody issued."""
    bench.run(lambda repo: repo.get_challenge("018f0000-0000-7000-8000-000000000001"))


def no_uuid(bench):
    """An id that is no UUID."""
    bench.run(lambda repo: repo.get_by_id("42"))


def duplicate(bench):
    """The same proof again."""
    bench.pending()
    bench.pending()


def stale(bench):
    """A wallet that changes between what a message names and what is locked."""
    from tallystick.identity.human_proofs import store

    real = store.read_prover

    def read_then_change(tx, user_id):
        prover = real(tx, user_id)
        bench.sql("UPDATE tally.users SET wallet_address = %s WHERE id = 'bob'", wallet(3).address)
        return prover

    store.read_prover = read_then_change
    try:
        bench.challenge("bob")
    finally:
        store.read_prover = real


def invalid(bench):
    """A chain id that is none."""
    bench.run(lambda repo: repo.issue_challenge("alice", "unsafe", 0))


def barred(bench):
    """A blacklisted user."""
    bench.sql("SELECT tally.blacklist_user_v1('alice', 'spam', 'db:test')")
    bench.challenge()


def gone(bench):
    """A deleted user."""
    bench.sql("SELECT tally.delete_user_v1('alice', 'db:test')")
    bench.pending()


def too_many(bench):
    """A sixth open challenge."""
    for _ in range(6):
        bench.challenge()


def expired(bench):
    """An answer after five minutes."""
    bench.set_clock("2026-01-01T00:00:00Z")
    challenge = bench.challenge()
    bench.set_clock("2026-01-01T00:05:00Z")
    bench.refuse(challenge)


def expired_pending(bench):
    """A proof that is decided too late."""
    bench.set_clock("2026-01-01T00:00:00Z")
    proof = bench.pending()
    bench.set_clock("2026-01-02T00:00:00Z")
    bench.run(lambda repo: repo.mark_verified(proof.id, score=Decimal(1), assurance=1))


def spent(bench):
    """A fourth attempt."""
    challenge = bench.challenge()
    for _ in range(4):
        bench.refuse(challenge)


def spent_as_read(bench):
    """An answer to a challenge that was answered otherwise when it was read."""
    proof = bench.prove()
    challenge = bench.run(lambda repo: repo.get_challenge(proof.challenge_id))
    bench.submit(challenge, Submission(b"another"))


def unknown_verifier(bench):
    """A verifier that is installed and not named."""
    bench.challenge(verifier="behaviour")


def evidence(bench):
    """The deletion of what was verified."""
    proof = bench.prove()
    bench.run(lambda repo: repo.delete(proof.id))


CASES = [
    (not_found, NotFoundError, "TSI01", 404),
    (no_uuid, NotFoundError, "TSI01", 404),
    (duplicate, DuplicateError, "TSI02", 409),
    (stale, StaleVersionError, "TSI03", 409),
    (invalid, InvalidValueError, "TSI04", 422),
    (barred, BlacklistedError, "TSI06", 403),
    (gone, BlacklistedError, "TSI06", 403),
    (too_many, RateLimitedError, "TSI11", 429),
    (expired, ChallengeExpiredError, "TSI13", 409),
    (expired_pending, ChallengeExpiredError, "TSI13", 409),
    (spent, ChallengeSpentError, "TSI14", 409),
    (spent_as_read, ChallengeSpentError, "TSI14", 409),
    (unknown_verifier, UnknownVerifierError, "TSI15", 422),
    (evidence, EvidenceDeletionError, "TSI16", 409),
]


@pytest.mark.parametrize(("step", "error", "sqlstate", "http_status"), CASES)
def test_each_error_has_its_name_state_and_problem(bench, step, error, sqlstate, http_status):
    """identity 6: what is refused leaves by name, with its SQLSTATE and its problem document."""
    with pytest.raises(DatabaseRuleError) as raised:
        step(bench)
    assert type(raised.value) is error
    assert error.sqlstate == sqlstate
    problem = problem_of(raised.value)
    assert int(problem.status) == http_status
    assert problem.members["type"] == f"/problems/identity/{error.code()}"


def test_a_refusal_is_a_value_with_a_problem(bench):
    """identity 6: a refused submission is a value; its problem names the code and what is left."""
    refused = bench.refuse(bench.challenge())
    assert refused == ProofRefused("wrong_signer", 2)
    error = refused.error()
    assert isinstance(error, ProofRefusedError)
    assert (error.refusal_code, error.attempts_left) == ("wrong_signer", 2)
    problem = problem_of(error)
    assert (int(problem.status), problem.members["code"]) == (422, "proof_refused")
    assert problem.members["detail"] == "wrong_signer: 2 attempts are left"


@pytest.mark.parametrize(
    ("step", "field"),
    [
        (lambda repo, proof: repo.reject(proof.id, "Not A Code"), "refusal_code_is_plain"),
        (
            lambda repo, proof: repo.revoke(proof.id, reason="", actor="db:test"),
            "revoke_reason_is_short",
        ),
        (
            lambda repo, proof: repo.revoke(proof.id, reason="x" * 501, actor="db:test"),
            "revoke_reason_is_short",
        ),
        (
            lambda repo, proof: repo.revoke(proof.id, reason="x", actor="alice"),
            "principal_names_its_kind",
        ),
        (
            lambda repo, proof: repo.update(proof.id, {"a": "x" * 65536}),
            "proof_data_is_a_small_object",
        ),
        (
            lambda repo, proof: repo.mark_verified(proof.id, score=Decimal("1.001"), assurance=1),
            "score_is_0_to_1",
        ),
        (
            lambda repo, proof: repo.mark_verified(
                proof.id, score=Decimal(1), assurance=1, nullifier=b"short"
            ),
            "hash_is_sha256",
        ),
    ],
)
def test_a_claim_that_is_broken_is_named(bench, step, field):
    """identity 6: CHECKs of the tables are InvalidValueError with the claim's name."""
    proof = bench.pending()
    if "revoke" in field or "principal" in field:
        proof = bench.run(lambda repo: repo.mark_verified(proof.id, score=Decimal(1), assurance=1))
    with pytest.raises(InvalidValueError) as raised:
        bench.run(lambda repo: step(repo, proof))
    assert raised.value.field == field
