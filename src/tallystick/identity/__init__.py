"""
Identity: users, API keys, scopes, limits, human proofs (identity.md).

The repositories are thin objects over the caller's transaction, so that any mix of slices goes
into one commit. `admit` is the only way in for a request. This list is what others may use.
"""

from tallystick.identity.admission import ANONYMOUS, Admission, admit, admit_anonymous
from tallystick.identity.api_keys import (
    ApiKey,
    APIKeyRepository,
    ClientType,
    DayUsage,
    IssuedKey,
    KeyId,
    KeyUsage,
    Tier,
    check_admitted,
    get_tier,
    list_tiers,
)
from tallystick.identity.changes import UNCHANGED, Unchanged
from tallystick.identity.human_proofs import (
    HumanProof,
    HumanProofRepository,
    HumanProofRules,
    NewProof,
    ProofRefused,
    VerificationScore,
)
from tallystick.identity.key_text import prefix_of
from tallystick.identity.paging import Page
from tallystick.identity.scopes import SCOPES, SLICE_OF_SCOPE, Scope
from tallystick.identity.topics import TOPICS
from tallystick.identity.users import (
    NewUser,
    RiskChange,
    RiskEntry,
    User,
    UserId,
    UserRepository,
)
from tallystick.identity.verifiers import (
    ChainFacts,
    Challenge,
    HumanProofVerifier,
    Submission,
    load_verifiers,
    parse_submission,
)

__all__ = [
    "ANONYMOUS",
    "SCOPES",
    "SLICE_OF_SCOPE",
    "TOPICS",
    "UNCHANGED",
    "APIKeyRepository",
    "Admission",
    "ApiKey",
    "ChainFacts",
    "Challenge",
    "ClientType",
    "DayUsage",
    "HumanProof",
    "HumanProofRepository",
    "HumanProofRules",
    "HumanProofVerifier",
    "IssuedKey",
    "KeyId",
    "KeyUsage",
    "NewProof",
    "NewUser",
    "Page",
    "ProofRefused",
    "RiskChange",
    "RiskEntry",
    "Scope",
    "Submission",
    "Tier",
    "Unchanged",
    "User",
    "UserId",
    "UserRepository",
    "VerificationScore",
    "admit",
    "admit_anonymous",
    "check_admitted",
    "get_tier",
    "list_tiers",
    "load_verifiers",
    "parse_submission",
    "prefix_of",
]
