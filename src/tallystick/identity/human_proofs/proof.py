"""Proofs as they are kept, and what becomes of a submission (identity.md, sections 2 and 4.4)."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, NewType

from tallystick.identity.errors import ProofRefusedError
from tallystick.identity.verifiers import ChallengeId
from tallystick.record import Address, ChainId, TransactionHash

HumanProofId = NewType("HumanProofId", uuid.UUID)
HumanProofStatus = Literal["pending", "verified", "rejected", "revoked"]


@dataclass(frozen=True, slots=True)
class HumanProof:
    """A proof as it was read; `verified` says nothing of its time or its user, `is_valid` does."""

    id: HumanProofId
    user_id: str
    proof_hash: bytes
    proof_data: Mapping[str, Any] = field(repr=False)
    verified: bool
    created_at: datetime.datetime
    verified_at: datetime.datetime | None
    verifier_address: Address | None
    tx_hash: TransactionHash | None
    expires_at: datetime.datetime
    challenge_id: ChallengeId | None
    verifier: str
    verifier_version: int
    assurance: int | None
    score: Decimal | None
    nullifier: bytes | None = field(repr=False)
    status: HumanProofStatus
    rejection_code: str | None
    revoked_at: datetime.datetime | None
    revoked_by: str | None
    revoke_reason: str | None
    chain_id: ChainId | None
    is_valid: bool
    """Whether it counted when it was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProof:
    """
    A proof that its verifier decides later; *submission_sha256* stands for what was handed in.
    """

    user_id: str
    verifier: str
    submission_sha256: bytes
    proof_data: Mapping[str, Any] = field(default_factory=dict)
    chain_id: ChainId | None = None


@dataclass(frozen=True, slots=True)
class ProofRefused:
    """A submission was refused because of *code*, and the count of attempts is in the commit."""

    code: str
    attempts_left: int

    def error(self) -> ProofRefusedError:
        """The error that says so; to be raised once the commit has the count, never before."""
        message = f"{self.code}: {self.attempts_left} attempts are left"
        evidence = {"code": self.code, "attempts_left": self.attempts_left}
        return ProofRefusedError(message, evidence=evidence)


@dataclass(frozen=True, slots=True)
class WalletStanding:
    """Whether a wallet has a valid proof, the assurance of its best one, and until when it is."""

    valid: bool
    assurance: int | None = None
    expires_at: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class VerificationScore:
    """How many proofs of a user count now, and how many were ever submitted."""

    valid: int
    submitted: int

    @property
    def ratio(self) -> Decimal | None:
        """The first over the second, in thousandths; None where nothing was submitted."""
        if not self.submitted:
            return None
        return (Decimal(1000 * self.valid // self.submitted)).scaleb(-3)
