"""
Human proofs: challenges, submissions, and what a wallet has proved (identity.md, 4.4 and 6).

A submission is checked before anything is written: a node may take seconds to answer, and no
transaction waits for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.errors import Error
from tallystick.http.answers import Body, Page, optional_time
from tallystick.http.asked import After, Caller, Flag, Limit, Read, Served, Text, Write
from tallystick.http.owning import check_owns, known, own_user
from tallystick.http.parameters import MAX_NUMBER, check_limit
from tallystick.identity.errors import NotFoundError
from tallystick.identity.human_proofs import (
    HumanProof,
    HumanProofRepository,
    ProofRefused,
    wallet_standing,
)
from tallystick.identity.verifiers import Challenge, parse_submission
from tallystick.record import ChainId, format_address

SEES_ALL: Final = "identity:read"
ChallengeIdText = FromPath[str]


class ChallengeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By which verifier, and on which chain, the wallet is to prove something."""

    verifier: str
    chain_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)] = 1


class SubmissionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The signature of a challenge's message, and the transactions that a verifier reads."""

    signature: str
    transactions: list[str] = []
    message: str | None = None


class ProofRevocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a proof is taken back."""

    reason: str


class ChallengeBody(Body, frozen=True, kw_only=True):
    """A challenge; *message* is what is signed, byte for byte."""

    id: str
    verifier: str
    chain_id: int
    message: str
    issued_at: str
    expires_at: str
    attempts_left: int
    state: str


class ProofItem(msgspec.Struct, frozen=True):
    """A proof; *is_valid*: whether it counted when it was read."""

    id: str
    user_id: str
    proof_hash: str
    verifier: str
    verifier_version: int
    state: str
    is_valid: bool
    assurance: int | None
    score: float | None
    chain_id: int | None
    challenge_id: str | None
    verifier_address: str | None
    transaction_hash: str | None
    measured: dict[str, Any]
    created_at: str
    verified_at: str | None
    expires_at: str
    rejection_code: str | None
    revoked_at: str | None
    revoked_by: str | None
    revoke_reason: str | None


class ProofBody(Body, frozen=True, kw_only=True):
    """One proof."""

    proof: ProofItem


class WalletStatus(msgspec.Struct, frozen=True):
    """
    Whether a wallet has a valid proof, the assurance of its best one, and until when that counts.
    """

    valid: bool
    assurance: int | None
    expires_at: str | None


@post("/api/v1/human-proofs/challenges", sync_to_thread=True)
def post_challenge(
    services: Served, writing: Write, principal: Caller, data: JSONBody[ChallengeRequest]
) -> Response[ChallengeBody]:
    """Ask for a challenge for the wallet of the key's user; it is open for five minutes."""
    user_id = own_user(principal)

    def issue(tx: Transaction) -> ChallengeBody:
        proofs = HumanProofRepository(tx, services.proof_rules)
        return challenge_body(
            proofs.issue_challenge(user_id, data.verifier, ChainId(data.chain_id))
        )

    return writing.run(issue, status=201)


@get("/api/v1/human-proofs/challenges/{challenge_id:str}", sync_to_thread=True)
def get_challenge(
    services: Served, principal: Caller, challenge_id: ChallengeIdText
) -> ChallengeBody:
    """A challenge of the key's user."""
    return challenge_body(own_challenge(services, principal, challenge_id))


@post(
    "/api/v1/human-proofs/challenges/{challenge_id:str}/submit",
    status_code=200,
    sync_to_thread=True,
)
def post_submission(
    services: Served,
    writing: Write,
    principal: Caller,
    challenge_id: ChallengeIdText,
    data: JSONBody[SubmissionRequest],
) -> Response[ProofBody]:
    """Answer a challenge: 200 with the proof, or 422 and one attempt less."""
    submission = parse_submission(
        signature=data.signature, transactions=data.transactions, message=data.message
    )
    before = writing.replayed()
    if before is not None:
        return before
    challenge = own_challenge(services, principal, challenge_id)
    verdict = HumanProofRepository.check_submission(
        challenge, submission, services.facts, rules=services.proof_rules
    )

    def submit(tx: Transaction) -> ProofBody | Error:
        proofs = HumanProofRepository(tx, services.proof_rules)
        decided = proofs.submit(challenge, submission, verdict)
        # Returned, not raised: the attempt that it cost is to be committed.
        return decided.error() if isinstance(decided, ProofRefused) else proof_body(decided)

    return writing.run(submit)


@get("/api/v1/human-proofs", sync_to_thread=True)
def get_proofs(
    reading: Read,
    principal: Caller,
    user_id: Text = None,
    valid_only: Flag = None,
    limit: Limit = None,
    after: After = None,
) -> Page[ProofItem]:
    """The proofs of a user, or of the key's own, the newest first."""
    owner = own_user(principal) if user_id is None else user_id
    check_owns(principal, owner, SEES_ALL)
    size = check_limit(limit)

    def read(tx: Transaction) -> Page[ProofItem]:
        page = HumanProofRepository(tx).list_by_user(
            owner, valid_only=bool(valid_only), limit=size, after=after
        )
        return Page(items=[proof_item(proof) for proof in page.items], next=page.next)

    return reading.run(read)


@post("/api/v1/human-proofs/{proof_id:str}/revoke", status_code=200, sync_to_thread=True)
def post_revoke(
    writing: Write, principal: Caller, proof_id: FromPath[str], data: JSONBody[ProofRevocation]
) -> Response[ProofBody]:
    """Take a verified proof back; other proofs of its user go on counting."""
    actor = known(principal).name
    return writing.run(
        lambda tx: proof_body(
            HumanProofRepository(tx).revoke(proof_id, reason=data.reason, actor=actor)
        )
    )


@get("/api/v1/human-proofs/status/{wallet:str}", sync_to_thread=True)
def get_wallet_status(services: Served, wallet: FromPath[str]) -> WalletStatus:
    """Whether a wallet has proved something that counts now, and no more than that."""
    # On the primary: others decide by it.
    with services.database.transaction(read_only=True) as tx:
        standing = wallet_standing(tx, wallet, services.proof_rules)
    until = optional_time(standing.expires_at)
    return WalletStatus(standing.valid, standing.assurance, until)


def own_challenge(services: Served, principal: Caller, challenge_id: str) -> Challenge:
    """
    Return a challenge of the caller's user.

    Raises:
        NotFoundError: There is none, or it is another user's.
    """
    user_id = known(principal).user_id
    with services.database.transaction(read_only=True) as tx:
        challenge = HumanProofRepository(tx, services.proof_rules).get_challenge(challenge_id)
    if challenge.user_id != user_id:
        raise NotFoundError("there is no such challenge")
    return challenge


def challenge_body(challenge: Challenge) -> ChallengeBody:
    """Return *challenge* as it is answered."""
    return ChallengeBody(
        id=str(challenge.challenge_id),
        verifier=challenge.verifier,
        chain_id=challenge.chain_id,
        message=challenge.message,
        issued_at=format_time(challenge.issued_at),
        expires_at=format_time(challenge.expires_at),
        attempts_left=challenge.attempts_left,
        state=challenge.status,
    )


def proof_body(proof: HumanProof) -> ProofBody:
    """Return *proof* as an answer."""
    return ProofBody(proof=proof_item(proof))


def proof_item(proof: HumanProof) -> ProofItem:
    """Return *proof* as it is answered."""
    address = proof.verifier_address
    return ProofItem(
        id=str(proof.id),
        user_id=proof.user_id,
        proof_hash=proof.proof_hash.hex(),
        verifier=proof.verifier,
        verifier_version=proof.verifier_version,
        state=proof.status,
        is_valid=proof.is_valid,
        assurance=proof.assurance,
        score=None if proof.score is None else float(proof.score),
        chain_id=proof.chain_id,
        challenge_id=None if proof.challenge_id is None else str(proof.challenge_id),
        verifier_address=None if address is None else format_address(address),
        transaction_hash=proof.tx_hash,
        measured=dict(proof.proof_data),
        created_at=format_time(proof.created_at),
        verified_at=optional_time(proof.verified_at),
        expires_at=format_time(proof.expires_at),
        rejection_code=proof.rejection_code,
        revoked_at=optional_time(proof.revoked_at),
        revoked_by=proof.revoked_by,
        revoke_reason=proof.revoke_reason,
    )


ROUTES: Final = [
    post_challenge,
    get_challenge,
    post_submission,
    get_proofs,
    post_revoke,
    get_wallet_status,
]
