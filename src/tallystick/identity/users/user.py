"""Users and the history of their risk, as they were read (identity.md, section 2)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NewType

from tallystick.record import Address

UserId = NewType("UserId", str)
"""Identity of a user; a UUID in text unless an earlier system gave another."""
RiskChange = Literal["set", "adjust", "blacklist", "unblacklist"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user; people are shown `record.format_address` of his wallet."""

    id: UserId
    wallet_address: Address | None = field(repr=False)
    username: str | None = field(repr=False)
    created_at: datetime.datetime
    last_activity: datetime.datetime | None
    risk_score: Decimal
    is_blacklisted: bool
    tags: tuple[str, ...] = field(repr=False)
    blacklisted_at: datetime.datetime | None
    blacklisted_by: str | None
    blacklist_reason: str | None
    deleted_at: datetime.datetime | None
    deleted_by: str | None
    version: int


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user is created with; *wallet* in any case."""

    wallet: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RiskEntry:
    """One row of a user's risk history."""

    id: int
    user_id: UserId
    kind: RiskChange
    old_score: Decimal
    new_score: Decimal
    reason_code: str
    reason: str
    actor: str
    source_kind: str | None
    source_id: str | None
    at: datetime.datetime
