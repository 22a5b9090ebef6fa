"""What must not happen (identity.md, section 7), with real connections for each race."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from decimal import Decimal

import pytest

from tallystick.config import Settings
from tallystick.errors import Error
from tallystick.identity.errors import (
    ChallengeExpiredError,
    ChallengeSpentError,
    DuplicateError,
    NotFoundError,
    UnknownVerifierError,
)
from tallystick.identity.human_proofs import (
    NOTHING_ACCEPTED,
    HumanProof,
    HumanProofRepository,
    HumanProofRules,
    ProofRefused,
)
from tallystick.identity.verifiers import Submission, load_verifiers
from tests.identity.human_proofs.support import CHAIN
from tests.identity.people import at_once
from tests.support.verifiers import NoContract, UnsafeAcceptAllVerifier
from tests.support.wallets import high_s_twin, wallet

THREADS = 20


def test_who_names_no_verifier_accepts_nobody(bench):
    """identity 9: law 5: without the setting no challenge is issued, checked, counted or made."""
    assert Settings().identity_verifiers == ()
    assert dict(load_verifiers(Settings().identity_verifiers)) == {}
    challenge, pending = bench.challenge(), bench.pending()
    submission = bench.signed(challenge)
    verdict = HumanProofRepository.check_submission(challenge, submission, None, rules=bench.rules)
    bench.rules = NOTHING_ACCEPTED
    for step in (
        lambda repo: repo.issue_challenge("alice", "unsafe", CHAIN),
        lambda repo: repo.submit(challenge, submission, verdict),
        lambda repo: repo.mark_verified(pending.id, score=Decimal(1), assurance=1),
    ):
        with pytest.raises(UnknownVerifierError):
            bench.run(step)
    with pytest.raises(UnknownVerifierError):
        bench.submit(challenge, submission)
    assert bench.run(lambda repo: repo.count_verified_by_user("alice", ever=True)) == 0


def test_each_forgery_has_its_own_refusal(bench):
    """identity 9: law 6: what is no proof is refused, and no two of them give the same code."""
    facts = NoContract()
    bench.set_clock("2026-01-01T00:00:00Z")
    codes = {}

    def refusal(name, challenge, submission):
        left = bench.run(lambda repo: repo.get_challenge(challenge.challenge_id))
        try:
            found = bench.submit(left, submission, facts)
        except Error as error:
            codes[name] = error.code()
        else:
            assert isinstance(found, ProofRefused), name
            codes[name] = found.code

    challenge = bench.challenge(verifier="signature")
    true = bench.signed(challenge)
    refusal("another wallet's signature", challenge, bench.signed(challenge, by="bob"))
    changed = challenge.message.replace("moves no funds", "moves no fundz")
    text = Submission(bench.wallets["alice"].sign(changed), message=changed)
    refusal("one changed byte", challenge, text)
    expired = bench.challenge(verifier="signature")
    accepted = bench.challenge(verifier="signature")
    assert isinstance(bench.submit(accepted, bench.signed(accepted)), HumanProof)
    refusal("replay", accepted, bench.signed(accepted))
    refusal("spent", accepted, bench.signed(challenge))
    high = bench.challenge(verifier="signature")
    refusal("high-s twin", high, Submission(high_s_twin(bench.signed(high).signature)))
    bench.sql("UPDATE tally.users SET wallet_address = NULL WHERE id = 'alice'")
    bench.add_user("mallory", bench.wallets["alice"].address)
    bench.wallets["mallory"] = bench.wallets["alice"]
    theirs = bench.challenge("mallory", verifier="signature")
    refusal("nullifier of another user", theirs, bench.signed(theirs))
    with pytest.raises(NotFoundError) as raised:
        bench.run(lambda repo: repo.get_challenge("018f0000-0000-7000-8000-000000000001"))
    codes["unknown challenge"] = raised.value.code()
    bench.set_clock("2026-01-01T00:05:00Z")
    refusal("expired", expired, bench.signed(expired, by="bob"))
    assert codes == {
        "another wallet's signature": "wrong_signer",
        "one changed byte": "wrong_message",
        "replay": "duplicate",
        "spent": "challenge_spent",
        "high-s twin": "high_s",
        "nullifier of another user": "nullifier_taken",
        "unknown challenge": "not_found",
        "expired": "challenge_expired",
    }
    assert isinstance(true, Submission)


def test_every_changed_byte_of_a_signature_is_refused(bench):
    """identity 9: law 6: a signature with any one byte changed proves nothing."""
    challenge = bench.challenge(verifier="signature")
    good = bench.signed(challenge).signature
    for index in range(len(good)):
        wrong = bytearray(good)
        wrong[index] ^= 1
        verdict = HumanProofRepository.check_submission(
            challenge, Submission(bytes(wrong)), NoContract(), rules=bench.rules
        )
        assert verdict.code in {"wrong_signer", "high_s"}, index


def test_the_signature_of_another_challenge_proves_nothing(bench):
    """identity 9: law 6: a signature serves the challenge that it was made for and no other."""
    one, other = (bench.challenge(verifier="signature") for _ in range(2))
    assert bench.submit(one, bench.signed(other), NoContract()) == ProofRefused("wrong_signer", 2)
    told = dataclasses.replace(bench.signed(other), message=other.message)
    assert bench.submit(one, told, NoContract()) == ProofRefused("wrong_message", 1)


@pytest.mark.parametrize("other", [wallet(5).address, None])
def test_a_wallet_that_was_changed_proves_nothing(bench, other):
    """identity 9: law 6: a challenge for the wallet of before is no proof for the one of now."""
    challenge = bench.challenge(verifier="signature")
    submission = bench.signed(challenge)
    verdict = HumanProofRepository.check_submission(
        challenge, submission, NoContract(), rules=bench.rules
    )
    bench.sql("UPDATE tally.users SET wallet_address = %s WHERE id = 'alice'", other)
    refused = bench.run(lambda repo: repo.submit(challenge, submission, verdict))
    assert refused == ProofRefused("wrong_message", 2)
    again = bench.run(lambda repo: repo.get_challenge(challenge.challenge_id))
    assert bench.submit(again, submission, NoContract()) == ProofRefused("wrong_message", 1)
    assert bench.sql("SELECT count(*) FROM tally.human_nullifiers") == [(0,)]


def test_no_refused_attempt_is_forgotten(bench):
    """identity 9: law 7: of twenty concurrent wrong submissions three count; the rest are late."""
    challenge = bench.challenge()
    found = at_once(THREADS, lambda _: bench.refuse(challenge))
    refused = sorted(one.attempts_left for one in found if isinstance(one, ProofRefused))
    assert refused == [0, 1, 2]
    spent = [one for one in found if isinstance(one, ChallengeSpentError)]
    assert len(spent) == THREADS - 3
    read = bench.run(lambda repo: repo.get_challenge(challenge.challenge_id))
    assert (read.status, read.attempts_left) == ("failed", 0)
    with pytest.raises(ChallengeSpentError):
        bench.submit(challenge, bench.signed(challenge))


def test_a_refusal_that_is_rolled_back_is_the_only_one_forgotten(bench):
    """identity 9: law 7: the count is in the caller's commit, together with all else in it."""
    challenge = bench.challenge()
    assert bench.refuse(challenge).attempts_left == 2
    assert bench.refuse(challenge).attempts_left == 1
    [(left,)] = bench.sql("SELECT attempts_left FROM tally.human_proof_challenges")
    assert left == 1


def test_one_challenge_lowers_a_risk_once(bench):
    """identity 9: law 8: of twenty concurrent right submissions one lowers the risk."""
    bench.sql("SELECT tally.set_risk_v1('alice', 50, 'manual', 'to be lowered', 'db:test')")
    challenge = bench.challenge()
    submissions = [
        dataclasses.replace(bench.signed(challenge), transactions=(f"0x{number % 2:064x}",))
        for number in range(THREADS)
    ]
    found = at_once(THREADS, lambda number: bench.submit(challenge, submissions[number]))
    kinds = Counter(type(one) for one in found)
    assert kinds == {
        HumanProof: 1,
        DuplicateError: THREADS // 2 - 1,
        ChallengeSpentError: THREADS // 2,
    }
    assert bench.sql("SELECT risk_score FROM tally.users WHERE id = 'alice'") == [(Decimal(40),)]
    history = bench.sql(
        "SELECT old_score, new_score, reason_code, source_kind, source_id, actor"
        " FROM tally.user_risk_history WHERE kind = 'adjust'"
    )
    source = ("human_proof_challenge", str(challenge.challenge_id), "user:alice")
    assert history == [(Decimal(50), Decimal(40), "human_proof", *source)]


def test_a_wallet_proves_for_one_user_alone(bench):
    """identity 9: law 6: of many users with one wallet in turn, the first keeps its nullifier."""
    shared = wallet(77)
    users = [f"user-{number}" for number in range(8)]
    for user in users:
        bench.add_user(user, None)
        bench.wallets[user] = shared
    nullifier = bytes([7]) * 32
    proofs = {user: bench.pending(user) for user in users}
    found = at_once(
        len(users),
        lambda number: bench.run(
            lambda repo: repo.mark_verified(
                proofs[users[number]].id, score=Decimal(1), assurance=1, nullifier=nullifier
            )
        ),
    )
    assert Counter(type(one) for one in found) == {HumanProof: 1, DuplicateError: len(users) - 1}
    [winner] = [one.user_id for one in found if isinstance(one, HumanProof)]
    assert bench.sql("SELECT user_id FROM tally.human_nullifiers") == [(winner,)]


def test_an_expired_challenge_is_refused_in_the_database_too(bench):
    """identity 9: law 6: a challenge that expires between check and submit is refused."""
    bench.set_clock("2026-01-01T00:00:00Z")
    challenge = bench.challenge()
    submission = bench.signed(challenge)
    verdict = HumanProofRepository.check_submission(challenge, submission, None, rules=bench.rules)
    bench.set_clock("2026-01-01T00:05:00Z")
    with pytest.raises(ChallengeExpiredError):
        bench.run(lambda repo: repo.submit(challenge, submission, verdict))
    bench.set_clock("2026-01-01T00:04:59.999999Z")
    assert isinstance(
        bench.run(lambda repo: repo.submit(challenge, submission, verdict)), HumanProof
    )


def test_a_list_walked_during_inserts_repeats_and_skips_nothing(bench):
    """identity 9: law 14: a walk by cursor shows what was there at its start, each once."""
    there = [bench.pending(number=number).id for number in range(30)]
    stop = threading.Event()

    def insert():
        for number in range(1000, 2000):
            if stop.is_set():
                return
            bench.pending(number=number)

    writer = threading.Thread(target=insert)
    writer.start()
    seen, after = [], None
    while True:
        page = bench.run(lambda repo, a=after: repo.list_by_user("alice", limit=4, after=a))
        seen += [proof.id for proof in page.items]
        after = page.next
        if after is None:
            break
    stop.set()
    writer.join(30)
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


def test_a_verifier_of_another_version_decides_nothing(bench):
    """A verdict of a version that is no longer installed does not count."""
    challenge = bench.challenge()
    submission = bench.signed(challenge)
    verdict = HumanProofRepository.check_submission(challenge, submission, None, rules=bench.rules)
    newer = HumanProofRules({"unsafe": UnsafeAcceptAllVerifier(version=2)}, bench.rules.base_url)
    bench.rules = newer
    with pytest.raises(Error) as raised:
        bench.run(lambda repo: repo.submit(challenge, submission, verdict))
    assert raised.value.code() == "invalid_value"
