"""Human proofs: challenges, submissions, verified proofs (identity.md, sections 2 and 4.4)."""

from tallystick.identity.human_proofs.proof import (
    HumanProof,
    HumanProofId,
    NewProof,
    ProofRefused,
    VerificationScore,
    WalletStanding,
)
from tallystick.identity.human_proofs.repository import (
    CHALLENGE_LIFE,
    HUMAN,
    NOTHING_ACCEPTED,
    HumanProofRepository,
    HumanProofRules,
)
from tallystick.identity.human_proofs.standing import wallet_standing

__all__ = [
    "CHALLENGE_LIFE",
    "HUMAN",
    "NOTHING_ACCEPTED",
    "HumanProof",
    "HumanProofId",
    "HumanProofRepository",
    "HumanProofRules",
    "NewProof",
    "ProofRefused",
    "VerificationScore",
    "WalletStanding",
    "wallet_standing",
]
