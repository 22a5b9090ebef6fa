"""
Human proofs: challenges, submissions and what they prove (identity.md, section 4.4).

A submission is decided in two steps, because a node may take seconds to answer: first
`check_submission`, which holds no transaction, finds the verdict; then `submit` makes it count,
in one transaction, if the challenge is still open by then.
"""

from __future__ import annotations

import datetime
import secrets
import urllib.parse
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tallystick import clock
from tallystick.db import Transaction
from tallystick.identity.constraints import names_errors
from tallystick.identity.errors import (
    ChallengeExpiredError,
    ChallengeSpentError,
    DuplicateError,
    InvalidValueError,
    NotFoundError,
)
from tallystick.identity.human_proofs import store
from tallystick.identity.human_proofs.proof import (
    HumanProof,
    HumanProofId,
    NewProof,
    ProofRefused,
    VerificationScore,
)
from tallystick.identity.inputs import parse_id
from tallystick.identity.paging import DEFAULT_LIMIT, Page, begin_at, check_limit, page_of
from tallystick.identity.subjects import USERS, user_subject
from tallystick.identity.verifiers import (
    NO_VERIFIERS,
    ChainFacts,
    Challenge,
    ChallengeId,
    ChallengeTerms,
    Submission,
    Verdict,
    Verifiers,
    get_verifier,
)
from tallystick.record import Address, ChainId, TransactionHash, hash_human_proof

CHALLENGE_LIFE: Final = datetime.timedelta(minutes=5)
"""Section 4.4; the schema holds it too."""
NONCE_BYTES: Final = 32
CHALLENGES_PATH: Final = "/api/v1/human-proofs/challenges/"
HUMAN: Final = 2
"""The assurance from which on a proof speaks of behaviour; control of a wallet is 1."""
MAX_SWEEP: Final = 10_000
MAX_CHAIN_ID: Final = 2**63 - 1
NEWEST: Final = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""Before every proof of a list that begins with the newest."""


@dataclass(frozen=True, slots=True)
class HumanProofRules:
    """What the operator decided: the verifiers that count, and where this server is reached."""

    verifiers: Verifiers = field(default_factory=lambda: NO_VERIFIERS)
    base_url: str = "http://localhost"
    """Scheme, host and port, without a path; wallets show it to their owners."""


NOTHING_ACCEPTED: Final = HumanProofRules()
"""No verifier is named: nobody can prove anything."""


@names_errors
@dataclass(frozen=True, slots=True)
class HumanProofRepository:
    """
    Challenges and proofs in the transaction *tx*, under the operator's rules.

    Every method may raise InvalidValueError, which names the field, for a value that its column
    cannot hold.
    """

    tx: Transaction
    rules: HumanProofRules = NOTHING_ACCEPTED

    def issue_challenge(self, user_id: str, verifier: str, chain_id: ChainId) -> Challenge:
        """
        Return a new challenge for the user's wallet, open for 5 minutes.

        Raises:
            UnknownVerifierError: The operator has not named *verifier*.
            NotFoundError: There is no such user.
            BlacklistedError: The user is blacklisted or deleted.
            InvalidValueError: He has no wallet, or *chain_id* is none.
            RateLimitedError: Five challenges are open; it says when the first expires.
            StaleVersionError: His wallet was changed in this moment.
        """
        named = get_verifier(self.rules.verifiers, verifier)
        if not 0 < chain_id <= MAX_CHAIN_ID:
            raise InvalidValueError("chain_id is positive", evidence={"field": "chain_id"})
        prover = store.read_prover(self.tx, user_id)
        if prover is None:
            raise NotFoundError("there is no such user")
        challenge_id = ChallengeId(uuid.uuid4())
        terms = ChallengeTerms(
            challenge_id=challenge_id,
            # Nobody's: the database refuses a user without a wallet, whatever else is wrong.
            address=prover.address or Address("0x" + "00" * 20),
            chain_id=chain_id,
            nonce=secrets.token_bytes(NONCE_BYTES),
            domain=urllib.parse.urlsplit(self.rules.base_url).netloc,
            uri=f"{self.rules.base_url}{CHALLENGES_PATH}{challenge_id}",
            issued_at=prover.now,
            expires_at=prover.now + CHALLENGE_LIFE,
        )
        message = named.challenge_message(terms)
        store.issue_challenge(self.tx, terms, user_id=user_id, verifier=named.name, message=message)
        return self.get_challenge(challenge_id)

    def get_challenge(self, challenge_id: ChallengeId | str) -> Challenge:
        """
        Return a challenge.

        Raises:
            NotFoundError: There is none of this id, or it is no UUID.
        """
        found = store.read_challenge(self.tx, ChallengeId(parse_id(challenge_id, what="challenge")))
        if found is None:
            raise NotFoundError("there is no such challenge")
        return found

    @staticmethod
    def check_submission(
        challenge: Challenge,
        submission: Submission,
        facts: ChainFacts,
        *,
        rules: HumanProofRules,
    ) -> Verdict:
        """
        Return what the challenge's verifier finds; to be called outside of any transaction.

        Raises:
            UnknownVerifierError: The operator names the verifier no longer.
            DuplicateError: This very submission was accepted before.
            ChallengeSpentError, ChallengeExpiredError: It was so when the challenge was read.
            InvalidValueError: The submission lacks what the verifier needs; no attempt is spent.
            Error: A node did not answer; no attempt is spent.
        """
        verifier = get_verifier(rules.verifiers, challenge.verifier)
        if challenge.status == "expired":
            raise ChallengeExpiredError
        if challenge.status != "pending":
            if challenge.proof_hash == proof_hash_of(challenge, submission, verifier.version):
                raise accepted_before()
            raise ChallengeSpentError
        verdict = verifier.verify(challenge, submission, facts)
        check_verdict(challenge, submission, verdict)
        return verdict

    def submit(
        self, challenge: Challenge, submission: Submission, verdict: Verdict
    ) -> HumanProof | ProofRefused:
        """
        Make *verdict* count: a verified proof, or an attempt less. Both need the commit.

        Raises:
            UnknownVerifierError: The operator has not named the verifier of *verdict*.
            InvalidValueError: *verdict* is about another challenge, submission or version.
            DuplicateError: This very submission was accepted meanwhile.
            ChallengeSpentError: The challenge was decided by another one, or has failed.
            ChallengeExpiredError: It has expired.
            BlacklistedError: The user is blacklisted or deleted.
            NotFoundError: The challenge is gone.
        """
        verifier = get_verifier(self.rules.verifiers, verdict.verifier)
        check_verdict(challenge, submission, verdict)
        if verdict.verifier_version != verifier.version:
            raise InvalidValueError("verdict: of another version", evidence={"field": "verdict"})
        proof_hash = proof_hash_of(challenge, submission, verifier.version)
        if verdict.code is not None:
            left = store.refuse_challenge(self.tx, challenge.challenge_id, proof_hash=proof_hash)
            return ProofRefused(verdict.code, left)
        decided = store.verify_challenge(
            self.tx,
            challenge.challenge_id,
            verifier=verifier.name,
            verifier_version=verifier.version,
            assurance=verifier.assurance,
            validity=verifier.validity,
            score=verdict.score,
            wallet=verdict.wallet,
            nullifier=verdict.nullifier,
            wallet_nullifier=verdict.wallet_nullifier,
            signed_by_key=verdict.signed_by_key,
            verifier_address=verdict.verifier_address,
            tx_hash=verdict.tx_hash,
            proof_hash=proof_hash,
            proof_data=verdict.measured,
        )
        if decided.refusal is not None:
            return ProofRefused(decided.refusal, decided.attempts_left)
        # His risk was lowered.
        self.tx.changed(USERS, user_subject(challenge.user_id))
        assert decided.proof_id is not None, "what is not refused is a proof"
        return self.get_by_id(decided.proof_id)

    def create(self, proof: NewProof) -> HumanProof:
        """
        Return a new pending proof, which its verifier decides within his validity.

        Raises:
            UnknownVerifierError: The operator has not named the verifier.
            DuplicateError: The user has submitted the same before.
            NotFoundError: There is no such user.
            BlacklistedError: The user is blacklisted or deleted.
            InvalidValueError: What was measured has over 64 KiB, or the chain id is none.
        """
        verifier = get_verifier(self.rules.verifiers, proof.verifier)
        proof_hash = hash_human_proof(
            challenge_id=None,
            submission_sha256=proof.submission_sha256,
            user_id=proof.user_id,
            verifier=verifier.name,
            verifier_version=verifier.version,
        )
        proof_id = store.create_proof(
            self.tx,
            user_id=proof.user_id,
            proof_hash=proof_hash,
            proof_data=proof.proof_data,
            verifier=verifier.name,
            verifier_version=verifier.version,
            chain_id=proof.chain_id,
            validity=verifier.validity,
        )
        return self.get_by_id(proof_id)

    def get_by_id(self, proof_id: HumanProofId | str) -> HumanProof:
        """
        Return a proof.

        Raises:
            NotFoundError: There is none of this id, or it is no UUID.
        """
        return known(store.proof_by_id(self.tx, HumanProofId(parse_id(proof_id, what="proof"))))

    def get_by_hash(self, proof_hash: bytes) -> HumanProof:
        """
        Return the proof that *proof_hash*, 32 bytes, names.

        Raises:
            NotFoundError: There is none.
        """
        return known(store.proof_by_hash(self.tx, proof_hash))

    def list_by_user(
        self,
        user_id: str,
        *,
        valid_only: bool = False,
        limit: int = DEFAULT_LIMIT,
        after: str | None = None,
    ) -> Page[HumanProof]:
        """
        Return a page of the user's proofs, newest first; with *valid_only*, those that count now.

        Raises:
            InvalidValueError: *limit* is not 1 to 1000, or *after* no cursor of this list.
        """
        place = begin_at(after, first=NEWEST)
        found = store.list_proofs(
            self.tx, user_id, valid_only=valid_only, limit=check_limit(limit) + 1, after=place
        )
        return page_of(found, limit, place_of)

    def get_latest_by_user(self, user_id: str) -> HumanProof | None:
        """Return the user's newest proof that counts now, or None."""
        found = store.list_proofs(self.tx, user_id, valid_only=True, limit=1, after=NEWEST)
        return found[0] if found else None

    def update(self, proof_id: HumanProofId | str, proof_data: Mapping[str, Any]) -> HumanProof:
        """
        Replace what was measured of a pending proof, and return it.

        Raises:
            NotFoundError: There is no such proof.
            EvidenceDeletionError: It was decided.
            BlacklistedError: The user is blacklisted or deleted.
            InvalidValueError: *proof_data* has over 64 KiB.
        """
        parsed = HumanProofId(parse_id(proof_id, what="proof"))
        store.update_proof(self.tx, parsed, proof_data)
        return self.get_by_id(parsed)

    def mark_verified(
        self,
        proof_id: HumanProofId | str,
        *,
        score: Decimal,
        assurance: int,
        nullifier: bytes | None = None,
        verifier_address: Address | None = None,
        tx_hash: TransactionHash | None = None,
    ) -> HumanProof:
        """
        Decide that a pending proof is true, and return it.

        Raises:
            NotFoundError: There is no such proof.
            UnknownVerifierError: The operator has not named its verifier.
            InvalidValueError: *score* is not 0 to 1, or *assurance* above the verifier's.
            IllegalTransitionError: It was decided; nothing is overwritten.
            ChallengeExpiredError: It has expired undecided.
            DuplicateError: The nullifier is another user's.
            BlacklistedError: The user is blacklisted or deleted.
        """
        proof = self.get_by_id(proof_id)
        verifier = get_verifier(self.rules.verifiers, proof.verifier)
        if not 1 <= assurance <= verifier.assurance:
            message = f"assurance: {verifier.name} gives at most {verifier.assurance}"
            raise InvalidValueError(message, evidence={"field": "assurance"})
        store.mark_verified(
            self.tx,
            proof.id,
            score=score,
            assurance=assurance,
            nullifier=nullifier,
            verifier_address=verifier_address,
            tx_hash=tx_hash,
        )
        return self.get_by_id(proof.id)

    def reject(self, proof_id: HumanProofId | str, code: str) -> HumanProof:
        """
        Decide that a pending proof is none because of *code*, and return it.

        Raises:
            NotFoundError: There is no such proof.
            IllegalTransitionError: It was decided.
            InvalidValueError: *code* is not lower-case letters, digits and underscores.
        """
        parsed = HumanProofId(parse_id(proof_id, what="proof"))
        store.reject_proof(self.tx, parsed, code)
        return self.get_by_id(parsed)

    def revoke(self, proof_id: HumanProofId | str, *, reason: str, actor: str) -> HumanProof:
        """
        Take a verified proof back, and return it; other proofs of its user go on counting.

        Raises:
            NotFoundError: There is no such proof.
            IllegalTransitionError: It is not verified.
            InvalidValueError: *reason* has not 1 to 500 characters, or *actor* is no principal.
        """
        parsed = HumanProofId(parse_id(proof_id, what="proof"))
        store.revoke_proof(self.tx, parsed, reason=reason, actor=actor)
        return self.get_by_id(parsed)

    def delete(self, proof_id: HumanProofId | str) -> None:
        """
        Delete a pending proof.

        Raises:
            NotFoundError: There is no such proof.
            EvidenceDeletionError: It was decided.
        """
        store.delete_proof(self.tx, HumanProofId(parse_id(proof_id, what="proof")))

    def delete_expired(self, before: datetime.datetime, limit: int = MAX_SWEEP) -> int:
        """
        Delete at most *limit* challenges and pending proofs that expired by *before*.

        What is not expired now stays, whatever *before* says, and so does all that was verified.

        Returns:
            How many rows were deleted.

        Raises:
            InvalidValueError: *limit* is not 1 to 10,000.
        """
        if not 1 <= limit <= MAX_SWEEP:
            raise InvalidValueError(f"limit is 1 to {MAX_SWEEP}", evidence={"field": "limit"})
        return store.delete_expired(self.tx, before=before, limit=limit)

    def has_valid(self, user_id: str, *, min_assurance: int = HUMAN) -> bool:
        """
        Whether a proof of the user with at least this assurance counts now; never cached.

        One whose verifier the operator names no longer does not, so that nobody is human under
        rules that name no verifier.
        """
        return store.has_valid(
            self.tx, user_id, min_assurance=min_assurance, verifiers=self.rules.verifiers
        )

    def count_by_user(self, user_id: str) -> int:
        """How many proofs the user has submitted."""
        return store.count_proofs(self.tx, user_id)

    def count_verified_by_user(self, user_id: str, *, ever: bool = False) -> int:
        """How many of the user's proofs count now; with *ever*, how many were once verified."""
        counts = store.count_verified(self.tx, user_id)
        return counts.ever if ever else counts.valid

    def get_latest_verified_timestamp(self, user_id: str) -> datetime.datetime | None:
        """When the user was last found to have proved something; None where he never was."""
        return store.latest_verified_at(self.tx, user_id)

    def verification_score(self, user_id: str) -> VerificationScore:
        """How many of the user's proofs count now, how many he submitted, and their ratio."""
        return store.verification_score(self.tx, user_id)


def known(proof: HumanProof | None) -> HumanProof:
    """
    Return *proof*.

    Raises:
        NotFoundError: It is None.
    """
    if proof is None:
        raise NotFoundError("there is no such proof")
    return proof


def proof_hash_of(challenge: Challenge, submission: Submission, version: int) -> bytes:
    """Return the hash of the proof that *submission* would be, by this version of the verifier."""
    return hash_human_proof(
        challenge_id=str(challenge.challenge_id),
        submission_sha256=submission.sha256(),
        user_id=challenge.user_id,
        verifier=challenge.verifier,
        verifier_version=version,
    )


def check_verdict(challenge: Challenge, submission: Submission, verdict: Verdict) -> None:
    """
    Check that *verdict* is about this submission of this challenge by its verifier.

    Raises:
        InvalidValueError: It is not.
    """
    expected = (challenge.challenge_id, challenge.verifier, submission.sha256())
    if expected != (verdict.challenge_id, verdict.verifier, verdict.submission_sha256):
        message = "verdict: about another challenge or submission"
        raise InvalidValueError(message, evidence={"field": "verdict"})


def accepted_before() -> DuplicateError:
    """Return the error of a submission that is a proof already."""
    return DuplicateError(
        "this submission was accepted before",
        evidence={"constraint": "human_proofs_proof_hash_key"},
    )


def place_of(proof: HumanProof) -> tuple[str, str]:
    """Return where *proof* stands in the list of its user."""
    return clock.format_time(proof.created_at), str(proof.id)
