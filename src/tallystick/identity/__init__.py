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
    get_tier,
    list_tiers,
)
from tallystick.identity.changes import UNCHANGED, Unchanged
from tallystick.identity.human_proofs import HumanProofRepository
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

__all__ = [
    "ANONYMOUS",
    "SCOPES",
    "SLICE_OF_SCOPE",
    "TOPICS",
    "UNCHANGED",
    "APIKeyRepository",
    "Admission",
    "ApiKey",
    "ClientType",
    "DayUsage",
    "HumanProofRepository",
    "IssuedKey",
    "KeyId",
    "KeyUsage",
    "NewUser",
    "Page",
    "RiskChange",
    "RiskEntry",
    "Scope",
    "Tier",
    "Unchanged",
    "User",
    "UserId",
    "UserRepository",
    "admit",
    "admit_anonymous",
    "get_tier",
    "list_tiers",
    "prefix_of",
]
