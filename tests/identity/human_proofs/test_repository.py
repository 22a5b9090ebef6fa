"""Human proofs from challenge to expiry: what each method promises (identity.md, section 4.4)."""

from __future__ import annotations

import datetime
import hashlib
import inspect
import re
from decimal import Decimal

import pytest

from tallystick.db.errors import IllegalTransitionError
from tallystick.identity.errors import (
    BlacklistedError,
    DuplicateError,
    EvidenceDeletionError,
    InvalidValueError,
    NotFoundError,
    RateLimitedError,
    UnknownVerifierError,
)
from tallystick.identity.human_proofs import (
    HumanProof,
    HumanProofRepository,
    NewProof,
    ProofRefused,
    WalletStanding,
    wallet_standing,
)
from tallystick.identity.paging import format_cursor
from tallystick.identity.verifiers import Submission
from tallystick.record import canonical, format_address, hash_human_proof, wallet_nullifier
from tests.identity.human_proofs.support import CHAIN
from tests.support.wallets import wallet

METHODS = {
    "issue_challenge",
    "get_challenge",
    "check_submission",
    "submit",
    "create",
    "get_by_id",
    "get_by_hash",
    "list_by_user",
    "get_latest_by_user",
    "update",
    "mark_verified",
    "reject",
    "revoke",
    "delete",
    "delete_expired",
    "has_valid",
    "count_by_user",
    "count_verified_by_user",
    "get_latest_verified_timestamp",
    "verification_score",
}
HOUR = datetime.timedelta(hours=1)


def test_the_repository_has_its_twenty_methods():
    """identity 3: the repository's public methods are those of the table, and no others."""
    found = {
        name
        for name, member in inspect.getmembers(HumanProofRepository)
        if not name.startswith("_") and inspect.isfunction(member)
    }
    assert found == METHODS
    assert len(METHODS) == 20


def test_user_and_proof_workflow(bench):
    """identity 5: of three challenges one is verified, lowers risk once, expires and is renewed."""
    bench.set_clock("2026-01-01T00:00:00Z")
    bench.run(lambda repo: repo.tx.value(SET_RISK, {"user_id": "alice"}))
    first, second, third = (bench.challenge(verifier="signature") for _ in range(3))
    assert isinstance(bench.submit(second, bench.signed(second)), HumanProof)
    assert risk_of(bench) == Decimal("40.00")
    assert {
        challenge.challenge_id: bench.run(
            lambda repo, c=challenge: repo.get_challenge(c.challenge_id)
        ).status
        for challenge in (first, second, third)
    } == {
        first.challenge_id: "pending",
        second.challenge_id: "verified",
        third.challenge_id: "pending",
    }

    bench.set_clock("2026-01-01T12:00:00Z")
    bench.prove()
    page = bench.run(lambda repo: repo.list_by_user("alice", limit=1))
    rest = bench.run(lambda repo: repo.list_by_user("alice", limit=1, after=page.next))
    assert [p.verifier for p in page.items + rest.items] == ["unsafe", "signature"]
    assert rest.next is None
    assert bench.run(lambda repo: repo.has_valid("alice"))

    bench.set_clock("2026-01-02T00:00:00Z")
    [valid] = bench.run(lambda repo: repo.list_by_user("alice", valid_only=True)).items
    assert valid.verifier == "unsafe"
    assert bench.run(lambda repo: repo.count_verified_by_user("alice")) == 1
    bench.set_clock("2026-01-02T12:00:00Z")
    assert not bench.run(lambda repo: repo.has_valid("alice", min_assurance=1))
    renewed = bench.prove()
    assert renewed.is_valid
    assert bench.run(lambda repo: repo.count_verified_by_user("alice", ever=True)) == 3


SET_RISK = (
    b"SELECT tally.set_risk_v1(%(user_id)s, 50, 'manual', 'to have something to lower', 'db:test')"
)


def risk_of(bench, user_id="alice"):
    """The user's risk."""
    [(score,)] = bench.sql("SELECT risk_score FROM tally.users WHERE id = %s", user_id)
    return score


def test_a_challenge_says_what_is_signed(bench):
    """A challenge lives five minutes to the second, and its message names all that matters."""
    bench.set_clock("2026-01-01T00:00:00.987654Z")
    challenge = bench.challenge(verifier="signature")
    assert challenge.expires_at - challenge.issued_at == datetime.timedelta(minutes=5)
    assert challenge.issued_at.microsecond == 0
    assert len(challenge.nonce) == 32
    lines = challenge.message.splitlines()
    assert lines[0] == "tally.example wants you to sign in with your Ethereum account:"
    assert lines[1].lower() == bench.wallets["alice"].address
    assert f"Request ID: {challenge.challenge_id}" in lines
    path = f"/api/v1/human-proofs/challenges/{challenge.challenge_id}"
    assert f"URI: https://tally.example{path}" in lines
    assert (challenge.status, challenge.attempts_left) == ("pending", 3)


def test_five_challenges_may_be_open(bench):
    """A sixth open challenge is refused until the first of them expires or is answered."""
    bench.set_clock("2026-01-01T00:00:00Z")
    first = bench.challenge()
    bench.set_clock("2026-01-01T00:01:00Z")
    for _ in range(4):
        bench.challenge()
    with pytest.raises(RateLimitedError) as raised:
        bench.challenge()
    assert raised.value.retry_after == 240
    bench.challenge("bob")
    bench.submit(first, bench.signed(first))
    bench.challenge()
    bench.set_clock("2026-01-01T00:06:00Z")
    assert bench.challenge().status == "pending"


def test_a_verified_proof_keeps_what_was_measured(bench):
    """An accepted submission is a proof with hash, nullifier, score, and facts; None is None."""
    challenge = bench.challenge(verifier="signature")
    submission = bench.signed(challenge)
    proof = bench.submit(challenge, submission)
    address = bench.wallets["alice"].address
    assert proof.proof_data == {"wallet": address, "standard": "eip191"}
    assert proof.nullifier == wallet_nullifier(CHAIN, address)
    signature = "0x" + submission.signature.hex()
    handed_in = canonical({"message": None, "signature": signature, "transactions": []})
    assert proof.proof_hash == hash_human_proof(
        challenge_id=str(challenge.challenge_id),
        submission_sha256=hashlib.sha256(handed_in).digest(),
        user_id="alice",
        verifier="signature",
        verifier_version=1,
    )
    assert (proof.assurance, proof.score, proof.verifier_version) == (1, Decimal("1.000"), 1)
    assert proof.expires_at - proof.verified_at == datetime.timedelta(hours=24)
    assert (proof.verifier_address, proof.tx_hash, proof.rejection_code) == (None, None, None)
    assert (proof.revoked_at, proof.revoked_by, proof.revoke_reason) == (None, None, None)
    assert (proof.verified, proof.is_valid, proof.chain_id) == (True, True, CHAIN)
    assert proof == bench.run(lambda repo: repo.get_by_hash(proof.proof_hash))
    assert proof == bench.run(lambda repo: repo.get_by_id(str(proof.id)))


def test_control_of_a_wallet_is_no_human(bench):
    """A proof of assurance 1 does not count where 2 is asked for, and is asked for by default."""
    bench.prove(verifier="signature")
    assert bench.run(lambda repo: repo.has_valid("alice", min_assurance=1))
    assert not bench.run(lambda repo: repo.has_valid("alice"))
    bench.prove()
    assert bench.run(lambda repo: repo.has_valid("alice"))
    assert not bench.run(lambda repo: repo.has_valid("alice", min_assurance=3))
    assert not bench.run(lambda repo: repo.has_valid("bob", min_assurance=1))


def test_a_wallet_stands_by_what_it_proved_itself(bench):
    """The best valid proof of a wallet counts for it, and not for the wallet that came after it."""
    address, other = bench.wallets["alice"].address, wallet(5).address

    def standing(of):
        return bench.database.run(lambda tx: wallet_standing(tx, of, bench.rules))

    assert standing(address) == standing(other) == WalletStanding(valid=False)
    best = bench.prove()
    bench.prove(verifier="signature")
    assert standing(format_address(address)) == WalletStanding(True, 2, best.expires_at)
    bench.sql("UPDATE tally.users SET wallet_address = %s WHERE id = 'alice'", other)
    assert standing(address) == standing(other) == WalletStanding(valid=False)


@pytest.mark.parametrize("column", ["blacklisted", "deleted"])
def test_a_proof_of_a_barred_user_does_not_count(bench, column):
    """has_valid, lists and view leave out proofs of blacklisted and deleted users."""
    proof = bench.prove()
    statement = {
        "blacklisted": "SELECT tally.blacklist_user_v1('alice', 'spam', 'db:test')",
        "deleted": "SELECT tally.delete_user_v1('alice', 'db:test')",
    }
    bench.sql(statement[column])
    assert not bench.run(lambda repo: repo.has_valid("alice"))
    assert bench.run(lambda repo: repo.get_latest_by_user("alice")) is None
    assert bench.run(lambda repo: repo.count_verified_by_user("alice")) == 0
    assert bench.sql("SELECT 1 FROM tally.v_valid_human_proofs") == []
    assert not bench.run(lambda repo: repo.get_by_id(proof.id)).is_valid


def test_a_pending_proof_is_decided_once(bench):
    """A proof that is decided later can be updated, verified or rejected while it is pending."""
    proof = bench.pending()
    assert (proof.status, proof.verified, proof.score, proof.verified_at) == (
        "pending",
        False,
        None,
        None,
    )
    changed = bench.run(lambda repo: repo.update(proof.id, {"seen": 3}))
    assert changed.proof_data == {"seen": 3}
    verified = bench.run(
        lambda repo: repo.mark_verified(
            proof.id,
            score=Decimal("0.875"),
            assurance=2,
            nullifier=bytes(32),
            verifier_address="0x" + "ab" * 20,
            tx_hash="0x" + "cd" * 32,
        )
    )
    assert (verified.status, verified.score, verified.assurance) == (
        "verified",
        Decimal("0.875"),
        2,
    )
    assert (verified.verifier_address, verified.tx_hash) == ("0x" + "ab" * 20, "0x" + "cd" * 32)
    other = bench.pending(number=1)
    rejected = bench.run(lambda repo: repo.reject(other.id, "too_regular"))
    assert (rejected.status, rejected.rejection_code) == ("rejected", "too_regular")
    with pytest.raises(IllegalTransitionError):
        bench.run(lambda repo: repo.mark_verified(proof.id, score=Decimal(1), assurance=1))
    with pytest.raises(EvidenceDeletionError):
        bench.run(lambda repo: repo.update(proof.id, {}))


def test_no_assurance_beyond_the_verifiers(bench):
    """A pending proof gets no more assurance than its verifier gives."""
    proof = bench.pending()
    with pytest.raises(InvalidValueError) as raised:
        bench.run(lambda repo: repo.mark_verified(proof.id, score=Decimal(1), assurance=3))
    assert raised.value.field == "assurance"


def test_the_same_submission_is_one_pending_proof(bench):
    """A second proof over the same submission is a duplicate, for the same user alone."""
    bench.pending()
    with pytest.raises(DuplicateError) as raised:
        bench.pending()
    assert raised.value.constraint == "human_proofs_proof_hash_key"
    assert bench.pending("bob").status == "pending"


def test_revoking_one_proof_leaves_the_others(bench):
    """A revoked proof counts no more, with reason and actor; an older one goes on counting."""
    older, newer = bench.prove(), bench.prove()
    revoked = bench.run(lambda repo: repo.revoke(newer.id, reason="shared", actor="db:test"))
    assert (revoked.status, revoked.verified, revoked.is_valid) == ("revoked", False, False)
    assert (revoked.revoked_by, revoked.revoke_reason) == ("db:test", "shared")
    assert revoked.revoked_at is not None
    assert bench.run(lambda repo: repo.get_latest_by_user("alice")).id == older.id
    assert bench.run(lambda repo: repo.has_valid("alice"))


def test_counts_and_score(bench):
    """Counts tell valid, ever verified and submitted apart; the ratio is exact, None of none."""
    assert bench.run(lambda repo: repo.verification_score("alice")).ratio is None
    assert bench.run(lambda repo: repo.get_latest_verified_timestamp("alice")) is None
    first, second = bench.prove(), bench.prove()
    bench.pending()
    bench.run(lambda repo: repo.revoke(second.id, reason="shared", actor="db:test"))
    score = bench.run(lambda repo: repo.verification_score("alice"))
    assert (score.valid, score.submitted, score.ratio) == (1, 3, Decimal("0.333"))
    assert bench.run(lambda repo: repo.count_by_user("alice")) == 3
    assert bench.run(lambda repo: repo.count_verified_by_user("alice")) == 1
    assert bench.run(lambda repo: repo.count_verified_by_user("alice", ever=True)) == 2
    latest = bench.run(lambda repo: repo.get_latest_verified_timestamp("alice"))
    assert latest == second.verified_at > first.verified_at


def test_pages_hold_each_proof_once(bench):
    """Cursors walk a user's proofs newest first, also those of one instant."""
    bench.set_clock("2026-01-01T00:00:00Z")
    made = {bench.pending(number=number).id for number in range(7)}
    bench.pending("bob")
    seen, after = [], None
    while True:
        page = bench.run(lambda repo, a=after: repo.list_by_user("alice", limit=3, after=a))
        seen += [proof.id for proof in page.items]
        after = page.next
        if after is None:
            break
    assert len(seen) == 7
    assert set(seen) == made


@pytest.mark.parametrize("limit", [0, 1001, -1])
def test_limits_of_pages(bench, limit):
    """A page has 1 to 1000 items."""
    with pytest.raises(InvalidValueError) as raised:
        bench.run(lambda repo: repo.list_by_user("alice", limit=limit))
    assert raised.value.field == "limit"


@pytest.mark.parametrize("after", ["", "x", "!!", "W10", "WyJhIiwxXQ", "W1tbW1tb"])
def test_foreign_cursors(bench, after):
    """A cursor that is none of this list is refused by name."""
    with pytest.raises(InvalidValueError) as raised:
        bench.run(lambda repo: repo.list_by_user("alice", after=after))
    assert raised.value.field == "after"
    foreign = format_cursor("a", "b")
    with pytest.raises(InvalidValueError):
        bench.run(lambda repo: repo.list_by_user("alice", after=foreign))


def test_only_undecided_proofs_are_deleted(bench):
    """A pending proof can be deleted; any other is evidence."""
    proof = bench.pending()
    bench.run(lambda repo: repo.delete(proof.id))
    with pytest.raises(NotFoundError):
        bench.run(lambda repo: repo.delete(proof.id))


def test_the_sweep_takes_what_expired_and_no_more(bench):
    """The sweep deletes expired challenges and pending proofs, bounded, and nothing verified."""
    bench.set_clock("2026-01-01T00:00:00Z")
    proof = bench.prove()
    for _ in range(3):
        bench.challenge()
    bench.pending()
    late = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    assert bench.run(lambda repo: repo.delete_expired(late)) == 0
    bench.set_clock("2026-01-03T00:00:00Z")
    open_now = bench.challenge()
    assert bench.run(lambda repo: repo.delete_expired(late, 2)) == 2
    assert bench.run(lambda repo: repo.delete_expired(late, 2)) == 2
    assert bench.run(lambda repo: repo.delete_expired(late)) == 0
    assert bench.run(lambda repo: repo.get_by_id(proof.id)).status == "verified"
    assert bench.run(lambda repo: repo.get_challenge(proof.challenge_id)).status == "verified"
    assert bench.run(lambda repo: repo.get_challenge(open_now.challenge_id)).status == "pending"
    with pytest.raises(InvalidValueError):
        bench.run(lambda repo: repo.delete_expired(late, 0))


def test_a_user_without_a_wallet_proves_nothing(bench):
    """A challenge needs a wallet, and a user."""
    bench.add_user("carol", None)
    with pytest.raises(InvalidValueError) as raised:
        bench.challenge("carol")
    assert raised.value.field == "wallet_address"
    with pytest.raises(NotFoundError):
        bench.challenge("nobody")
    with pytest.raises(UnknownVerifierError):
        bench.challenge(verifier="behaviour")


def test_events_tell_of_proofs_and_not_of_wallets(bench):
    """Verified and revoked proofs are events in the same commit, without wallet or nullifier."""
    proof = bench.prove()
    bench.run(lambda repo: repo.revoke(proof.id, reason="shared", actor="db:test"))
    events = bench.sql(
        "SELECT topic, key, user_id, payload FROM tally.outbox_events"
        " WHERE topic LIKE 'identity.proof.%' ORDER BY event_id"
    )
    assert [(topic, key, user) for topic, key, user, _ in events] == [
        ("identity.proof.verified", str(proof.id), "alice"),
        ("identity.proof.revoked", str(proof.id), "alice"),
    ]
    text = str(events)
    assert bench.wallets["alice"].address not in text
    assert proof.nullifier.hex() not in text


def test_erasing_a_user_leaves_no_wallet_behind(bench):
    """Erasure empties what was measured and signed; proof, hash and nullifier stay."""
    proof = bench.prove()
    bench.challenge()
    bench.sql("SELECT tally.delete_user_v1('alice', 'db:test')")
    assert bench.sql("SELECT tally.erase_user_v1('alice', 'db:test')") == [(True,)]
    assert bench.sql("SELECT tally.erase_user_v1('alice', 'db:test')") == [(False,)]
    kept = bench.run(lambda repo: repo.get_by_id(proof.id))
    assert (kept.proof_data, kept.proof_hash) == ({}, proof.proof_hash)
    dump = str(
        bench.sql("SELECT c::text FROM tally.human_proof_challenges AS c")
        + bench.sql("SELECT p::text FROM tally.human_proofs AS p")
        + bench.sql("SELECT u::text FROM tally.users AS u WHERE id = 'alice'")
    )
    assert re.search(bench.wallets["alice"].address[2:], dump, re.IGNORECASE) is None
    assert bench.sql("SELECT count(*) FROM tally.human_nullifiers") == [(1,)]


def test_what_was_erased_is_not_measured_again(bench):
    """A verifier that decides later writes nothing about a user who is gone meanwhile."""
    pending = bench.pending()
    bench.sql("SELECT tally.delete_user_v1('alice', 'db:test')")
    bench.sql("SELECT tally.erase_user_v1('alice', 'db:test')")
    for step in (
        lambda repo: repo.update(pending.id, {"wallet": bench.wallets["alice"].address}),
        lambda repo: repo.mark_verified(pending.id, score=Decimal(1), assurance=2),
    ):
        with pytest.raises(BlacklistedError):
            bench.run(step)
    assert bench.run(lambda repo: repo.get_by_id(pending.id)).proof_data == {}


def test_a_proof_needs_its_verifiers_name(bench):
    """A pending proof of a verifier that is not named cannot be made."""
    new = NewProof(user_id="alice", verifier="behaviour", submission_sha256=bytes(32))
    with pytest.raises(UnknownVerifierError):
        bench.run(lambda repo: repo.create(new))


def test_facts_are_read_outside_of_transactions(bench):
    """While a node is asked, no session of the pool is in a transaction."""

    class Watcher:
        """Looks at the database's sessions when it is asked."""

        seen: list[tuple[str, str]] = []  # noqa: RUF012 (one test's own)

        def is_valid_signature(self, *_: object):
            """Note who is in a transaction."""
            self.seen += bench.sql(
                "SELECT application_name, state FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            return False

    challenge = bench.challenge(verifier="signature")
    watcher = Watcher()
    refused = bench.submit(challenge, bench.signed(challenge, by="bob"), watcher)
    assert refused == ProofRefused("wrong_signer", 2)
    assert watcher.seen
    assert {state for _, state in watcher.seen} == {"idle"}


def test_a_submission_of_another_challenge_is_not_taken(bench):
    """A verdict belongs to one challenge and one submission."""
    one, other = bench.challenge(), bench.challenge()
    submission = bench.signed(one)
    verdict = HumanProofRepository.check_submission(one, submission, None, rules=bench.rules)
    for challenge, given in ((other, submission), (one, Submission(b"other"))):
        with pytest.raises(InvalidValueError) as raised:
            bench.run(lambda repo, c=challenge, s=given: repo.submit(c, s, verdict))
        assert raised.value.field == "verdict"
