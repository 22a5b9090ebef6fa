"""What must not happen (identity.md, section 7), with real connections for each race."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from tallystick.config import Settings
from tallystick.errors import Error
from tallystick.identity.errors import (
    ChallengeExpiredError,
    ChallengeSpentError,
    DuplicateError,
    InvalidValueError,
    NotFoundError,
    UnknownVerifierError,
)
from tallystick.identity.human_proofs import (
    NOTHING_ACCEPTED,
    HumanProof,
    HumanProofRepository,
    HumanProofRules,
    NewProof,
    ProofRefused,
    wallet_standing,
)
from tallystick.identity.verifiers import Submission, load_verifiers
from tallystick.record import ChainId, wallet_nullifier
from tests.identity.human_proofs.support import BUILT_IN, CHAIN, AnyContract
from tests.identity.people import at_once
from tests.support.verifiers import NoContract, UnsafeAcceptAllVerifier
from tests.support.wallets import high_s_twin, wallet

THREADS = 20
OTHER_CHAIN = ChainId(999)


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


def test_a_verifier_that_is_named_no_more_leaves_no_human(bench):
    """identity 9: law 5: what was proved while a verifier was named counts while it is named."""
    address = bench.wallets["alice"].address

    def stands(rules):
        with bench.database.transaction(read_only=True) as tx:
            proofs = HumanProofRepository(tx, rules)
            return (
                proofs.has_valid("alice"),
                proofs.has_valid("alice", min_assurance=1),
                wallet_standing(tx, address, rules).assurance,
            )

    bench.prove()
    bench.prove(verifier="signature")
    signature = HumanProofRules({"signature": bench.rules.verifiers["signature"]})
    assert stands(bench.rules) == (True, True, 2)
    assert stands(signature) == (False, True, 1)
    assert stands(NOTHING_ACCEPTED) == (False, False, None)
    with bench.database.transaction(read_only=True) as tx:
        assert not HumanProofRepository(tx).has_valid("alice", min_assurance=1)


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


@pytest.mark.parametrize("second", ["signature", "behaviour"])
@pytest.mark.parametrize("first", ["signature", "behaviour"])
def test_a_key_proves_for_one_user_on_every_chain(bench, first, second):
    """identity 9: law 6: a wallet's own key proves for its first user, whatever chain is named."""
    bench.rules = BUILT_IN
    assert isinstance(bench.prove_by_key("alice", first), HumanProof)
    bench.give_wallet("alice", "mallory")
    refused = ProofRefused("nullifier_taken", 2)
    assert bench.prove_by_key("mallory", second, OTHER_CHAIN) == refused
    assert bench.prove_by_key("mallory", second) == refused
    contract = bench.challenge("mallory", "signature", OTHER_CHAIN)
    assert bench.submit(contract, Submission(b"delegated"), AnyContract()) == refused

    # What was refused has claimed nothing: the chain is still the first user's.
    address = bench.wallets["alice"].address
    bench.sql("UPDATE tally.users SET wallet_address = NULL WHERE id = 'mallory'")
    bench.sql("UPDATE tally.users SET wallet_address = %s WHERE id = 'alice'", address)
    assert isinstance(bench.prove_by_key("alice", second, OTHER_CHAIN), HumanProof)
    claimed = bench.sql("SELECT verifier, nullifier, user_id FROM tally.human_nullifiers")
    assert set(claimed) == {
        (first, wallet_nullifier(CHAIN, address), "alice"),
        (second, wallet_nullifier(OTHER_CHAIN, address), "alice"),
        ("wallet", wallet_nullifier(ChainId(0), address), "alice"),
    }


def test_a_contract_is_another_wallet_on_each_chain(bench):
    """identity 9: law 6: a contract's signature claims its wallet on the one chain it stands on."""
    first = bench.challenge("alice", "signature")
    assert isinstance(bench.submit(first, Submission(b"hers"), AnyContract()), HumanProof)
    bench.give_wallet("alice", "carol")
    same = bench.challenge("carol", "signature")
    refused = bench.submit(same, Submission(b"his"), AnyContract())
    assert refused == ProofRefused("nullifier_taken", 2)
    other = bench.challenge("carol", "signature", OTHER_CHAIN)
    assert isinstance(bench.submit(other, Submission(b"his"), AnyContract()), HumanProof)


@pytest.mark.parametrize("commits", [True, False])
def test_a_wallet_that_passes_on_during_a_proof_is_bound_first(bench, commits):
    """identity 9: law 6: who takes a wallet while it is being proved proves if that fails."""
    challenge = bench.challenge("alice", "signature")
    submission = bench.signed(challenge)
    verdict = HumanProofRepository.check_submission(
        challenge, submission, NoContract(), rules=bench.rules
    )

    def take_and_prove():
        bench.give_wallet("alice", "mallory")
        theirs = bench.challenge("mallory", "signature", OTHER_CHAIN)
        return bench.submit(theirs, bench.signed(theirs), NoContract())

    with (
        ThreadPoolExecutor(1) as pool,
        contextlib.suppress(GivenUpError),
        bench.database.transaction() as tx,
    ):
        HumanProofRepository(tx, bench.rules).submit(challenge, submission, verdict)
        taker = pool.submit(take_and_prove)
        until_somebody_waits(bench)
        if not commits:
            raise GivenUpError
    found = taker.result(30)
    if commits:
        assert found == ProofRefused("nullifier_taken", 2)
    else:
        assert isinstance(found, HumanProof)
    owners = bench.sql("SELECT DISTINCT user_id FROM tally.human_nullifiers")
    assert owners == [("alice" if commits else "mallory",)]


class GivenUpError(Exception):
    """A transaction is rolled back."""


def until_somebody_waits(bench):
    """Return once a connection of this database waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 30
    while bench.sql(waiting) == [(0,)]:
        assert time.monotonic() < deadline, "nobody waits"
        time.sleep(0.01)


def test_of_concurrent_claims_of_one_key_one_is_kept_whole(bench):
    """identity 9: law 6: eight users claim a wallet by several verifiers at once; one has both."""
    users = [f"user-{number}" for number in range(8)]
    for user in users:
        bench.add_user(user, None)
    names = ("behaviour", "signature", "zeal")
    claim = "SELECT tally.claim_nullifiers(%s, %s, %s, %s, true)"
    for turn in range(5):
        own, everywhere = bytes([turn, 1]) * 16, bytes([turn, 2]) * 16
        found = at_once(
            len(users),
            lambda number, own=own, everywhere=everywhere: bench.sql(
                claim, users[number], names[number % len(names)], own, everywhere
            ),
        )
        assert Counter(ok for [(ok,)] in found) == {True: 1, False: len(users) - 1}
        winner = found.index([(True,)])
        kept = bench.sql(
            "SELECT verifier, user_id FROM tally.human_nullifiers WHERE nullifier IN (%s, %s)",
            own,
            everywhere,
        )
        name = names[winner % len(names)]
        assert set(kept) == {(name, users[winner]), ("wallet", users[winner])}


def test_no_verifier_is_called_as_the_claims_of_wallets_are(bench):
    """No challenge or proof is of a verifier called `wallet`, which could claim others' keys."""
    bench.rules = HumanProofRules({"wallet": UnsafeAcceptAllVerifier(name="wallet")})
    new = NewProof(user_id="alice", verifier="wallet", submission_sha256=bytes(32))
    for step in (
        lambda repo: repo.issue_challenge("alice", "wallet", CHAIN),
        lambda repo: repo.create(new),
    ):
        with pytest.raises(InvalidValueError) as raised:
            bench.run(step)
        assert raised.value.field == "wallet_is_no_verifier"


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
