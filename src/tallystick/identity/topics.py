"""
The events that identity writes, each with the scope that may read them (identity.md, section 2).

Its SQL functions insert them into the outbox. `runtime` makes them known there: identity and
outbox do not know each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TOPICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "identity.user.blacklisted": "identity:read",
        "identity.key.created": "identity:read",
        "identity.key.revoked": "identity:read",
        "identity.proof.verified": "identity:read",
        "identity.proof.revoked": "identity:read",
    }
)
