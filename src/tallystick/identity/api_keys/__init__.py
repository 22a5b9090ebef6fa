"""API keys, tiers and usage (identity.md, section 4.2)."""

from tallystick.identity.api_keys.key import (
    ApiKey,
    ClientType,
    DayUsage,
    IssuedKey,
    KeyId,
    KeyUsage,
    Tier,
)
from tallystick.identity.api_keys.repository import (
    APIKeyRepository,
    check_admitted,
    get_tier,
    list_tiers,
)

__all__ = [
    "APIKeyRepository",
    "ApiKey",
    "ClientType",
    "DayUsage",
    "IssuedKey",
    "KeyId",
    "KeyUsage",
    "Tier",
    "check_admitted",
    "get_tier",
    "list_tiers",
]
