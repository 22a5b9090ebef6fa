"""The SQL of human proofs; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.identity.human_proofs.proof import (
    HumanProof,
    HumanProofId,
    VerificationScore,
    WalletStanding,
)
from tallystick.identity.verifiers import Challenge, ChallengeId, ChallengeTerms
from tallystick.record import Address, ChainId, TransactionHash


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    read_prover: Query
    issue_challenge: Query
    read_challenge: Query
    verify_challenge: Query
    refuse_challenge: Query
    create_proof: Query
    proof_by_id: Query
    proof_by_hash: Query
    list_proofs: Query
    update_proof: Query
    mark_verified: Query
    reject_proof: Query
    revoke_proof: Query
    delete_proof: Query
    delete_expired: Query
    has_valid: Query
    wallet_standing: Query
    count_proofs: Query
    count_verified: Query
    latest_verified_at: Query
    verification_score: Query


SQL: Final = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Prover:
    """A user's wallet, and the second in which it was read."""

    address: Address | None
    now: datetime.datetime


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an accepted verdict; one of *proof_id* and *refusal* is None."""

    proof_id: HumanProofId | None
    refusal: str | None
    attempts_left: int


@dataclass(frozen=True, slots=True)
class VerifiedCounts:
    """How many proofs count now, and how many were ever verified."""

    valid: int
    ever: int


def read_prover(tx: Transaction, user_id: str) -> Prover | None:
    """Return the user's wallet; None where there is no such user."""
    return tx.row(Prover, SQL.read_prover, {"user_id": user_id})


def issue_challenge(
    tx: Transaction, terms: ChallengeTerms, *, user_id: str, verifier: str, message: str
) -> None:
    """Store a challenge; the database refuses who may not have one."""
    values = {
        "challenge_id": terms.challenge_id,
        "user_id": user_id,
        "address": terms.address,
        "verifier": verifier,
        "chain_id": terms.chain_id,
        "nonce": terms.nonce,
        "message": message,
        "issued_at": terms.issued_at,
        "expires_at": terms.expires_at,
    }
    tx.value(SQL.issue_challenge, values)


def read_challenge(tx: Transaction, challenge_id: ChallengeId) -> Challenge | None:
    """Return a challenge, or None."""
    return tx.row(Challenge, SQL.read_challenge, {"challenge_id": challenge_id})


def verify_challenge(
    tx: Transaction,
    challenge_id: ChallengeId,
    *,
    verifier: str,
    verifier_version: int,
    assurance: int,
    validity: datetime.timedelta,
    score: Decimal | None,
    wallet: Address | None,
    nullifier: bytes | None,
    wallet_nullifier: bytes | None,
    signed_by_key: bool,
    verifier_address: Address | None,
    tx_hash: TransactionHash | None,
    proof_hash: bytes,
    proof_data: Mapping[str, Any],
) -> Decided:
    """Make the proof of an accepted submission, or count it as refused where it cannot be one."""
    values = {
        "challenge_id": challenge_id,
        "verifier": verifier,
        "verifier_version": verifier_version,
        "assurance": assurance,
        "validity": validity,
        "score": score,
        "wallet": wallet,
        "nullifier": nullifier,
        "wallet_nullifier": wallet_nullifier,
        "signed_by_key": signed_by_key,
        "verifier_address": verifier_address,
        "tx_hash": tx_hash,
        "proof_hash": proof_hash,
        "proof_data": Jsonb(dict(proof_data)),
    }
    decided = tx.row(Decided, SQL.verify_challenge, values)
    assert decided is not None
    return decided


def refuse_challenge(tx: Transaction, challenge_id: ChallengeId, *, proof_hash: bytes) -> int:
    """Count a refused attempt and return how many are left."""
    values = {"challenge_id": challenge_id, "proof_hash": proof_hash}
    return int(tx.value(SQL.refuse_challenge, values))


def create_proof(
    tx: Transaction,
    *,
    user_id: str,
    proof_hash: bytes,
    proof_data: Mapping[str, Any],
    verifier: str,
    verifier_version: int,
    chain_id: ChainId | None,
    validity: datetime.timedelta,
) -> HumanProofId:
    """Store a pending proof and return its id."""
    values = {
        "user_id": user_id,
        "proof_hash": proof_hash,
        "proof_data": Jsonb(dict(proof_data)),
        "verifier": verifier,
        "verifier_version": verifier_version,
        "chain_id": chain_id,
        "validity": validity,
    }
    return HumanProofId(tx.value(SQL.create_proof, values))


def proof_by_id(tx: Transaction, proof_id: HumanProofId) -> HumanProof | None:
    """Return a proof, or None."""
    return tx.row(HumanProof, SQL.proof_by_id, {"proof_id": proof_id})


def proof_by_hash(tx: Transaction, proof_hash: bytes) -> HumanProof | None:
    """Return a proof, or None."""
    return tx.row(HumanProof, SQL.proof_by_hash, {"proof_hash": proof_hash})


def list_proofs(
    tx: Transaction,
    user_id: str,
    *,
    valid_only: bool,
    limit: int,
    after: tuple[str, ...],
) -> list[HumanProof]:
    """Return a user's proofs, newest first; *after* is the time and id of the last one seen."""
    after_at, after_id = after
    values = {
        "user_id": user_id,
        "valid_only": valid_only,
        "limit": limit,
        "after_at": after_at,
        "after_id": after_id,
    }
    return tx.rows(HumanProof, SQL.list_proofs, values)


def update_proof(tx: Transaction, proof_id: HumanProofId, proof_data: Mapping[str, Any]) -> None:
    """Replace what was measured of a pending proof."""
    values = {"proof_id": proof_id, "proof_data": Jsonb(dict(proof_data))}
    tx.value(SQL.update_proof, values)


def mark_verified(
    tx: Transaction,
    proof_id: HumanProofId,
    *,
    score: Decimal,
    assurance: int,
    nullifier: bytes | None,
    verifier_address: Address | None,
    tx_hash: TransactionHash | None,
) -> None:
    """Decide that a pending proof is true."""
    values = {
        "proof_id": proof_id,
        "score": score,
        "assurance": assurance,
        "nullifier": nullifier,
        "verifier_address": verifier_address,
        "tx_hash": tx_hash,
    }
    tx.value(SQL.mark_verified, values)


def reject_proof(tx: Transaction, proof_id: HumanProofId, code: str) -> None:
    """Decide that a pending proof is none."""
    tx.value(SQL.reject_proof, {"proof_id": proof_id, "code": code})


def revoke_proof(tx: Transaction, proof_id: HumanProofId, *, reason: str, actor: str) -> None:
    """Take back a verified proof."""
    tx.value(SQL.revoke_proof, {"proof_id": proof_id, "reason": reason, "actor": actor})


def delete_proof(tx: Transaction, proof_id: HumanProofId) -> None:
    """Delete a pending proof."""
    tx.value(SQL.delete_proof, {"proof_id": proof_id})


def delete_expired(tx: Transaction, *, before: datetime.datetime, limit: int) -> int:
    """Delete expired challenges and pending proofs and return how many."""
    return int(tx.value(SQL.delete_expired, {"before": before, "most": limit}))


def has_valid(
    tx: Transaction, user_id: str, *, min_assurance: int, verifiers: Iterable[str]
) -> bool:
    """Whether a proof of the user by one of *verifiers* counts now."""
    values = {"user_id": user_id, "min_assurance": min_assurance, "verifiers": list(verifiers)}
    return bool(tx.value(SQL.has_valid, values))


def wallet_standing(
    tx: Transaction, wallet: Address, *, verifiers: Iterable[str]
) -> WalletStanding:
    """Return how a wallet stands by what *verifiers* found, also where it is nobody's."""
    values = {"wallet": wallet, "verifiers": list(verifiers)}
    found = tx.row(WalletStanding, SQL.wallet_standing, values)
    return found or WalletStanding(valid=False)


def count_proofs(tx: Transaction, user_id: str) -> int:
    """How many proofs the user has submitted."""
    return int(tx.value(SQL.count_proofs, {"user_id": user_id}))


def count_verified(tx: Transaction, user_id: str) -> VerifiedCounts:
    """How many of the user's proofs count now, and how many were ever verified."""
    found = tx.row(VerifiedCounts, SQL.count_verified, {"user_id": user_id})
    assert found is not None
    return found


def latest_verified_at(tx: Transaction, user_id: str) -> datetime.datetime | None:
    """When the user's newest verified proof was verified; None where there is none."""
    found: datetime.datetime | None = tx.value(SQL.latest_verified_at, {"user_id": user_id})
    return found


def verification_score(tx: Transaction, user_id: str) -> VerificationScore:
    """How many of the user's proofs count now, and how many were submitted."""
    found = tx.row(VerificationScore, SQL.verification_score, {"user_id": user_id})
    assert found is not None
    return found
