"""API keys, tiers and usage, as they were read (identity.md, section 2)."""

from __future__ import annotations

import datetime
import uuid
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NewType

from tallystick.identity.users import UserId

KeyId = NewType("KeyId", uuid.UUID)
ClientType = Literal["auditor", "service", "institution", "developer", "internal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its secret, which nobody can read."""

    id: KeyId
    prefix: str
    user_id: UserId
    name: str = field(repr=False)
    tier: str
    rate_limit: int
    requests_today: int
    """Requests on *requests_day*, as of the last flush."""
    requests_day: datetime.date | None
    last_used: datetime.datetime | None
    created_at: datetime.datetime
    expires_at: datetime.datetime | None
    scopes: tuple[str, ...]
    revoked_at: datetime.datetime | None
    revoked_by: str | None
    revoke_reason: str | None
    rotated_from: KeyId | None
    client_type: ClientType
    description: str | None = field(repr=False)
    contact_email: str | None = field(repr=False)
    changed_by: str
    version: int

    @property
    def principal(self) -> str:
        """Who acts with it."""
        return f"key:{self.id}"


class IssuedKey(NamedTuple):
    """A new key and its secret text, which is shown this once."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        """Name the key alone: what is printed is kept."""
        return f"IssuedKey({self.key!r})"


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A key as it was found by its hash, with what else decides on it."""

    key: ApiKey
    is_expired: bool
    is_owner_barred: bool
    """Whether its owner is blacklisted or deleted."""


@dataclass(frozen=True, slots=True)
class Tier:
    """The limits that all keys of one user and tier share; a quota of None is none."""

    tier: str
    rate_limit: int
    daily_quota: int | None
    changed_by: str | None


@dataclass(frozen=True, slots=True)
class DayUsage:
    """How many requests of a key were admitted on a day of UTC."""

    day: datetime.date
    requests: int


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A key's requests by day, and what its owner used of today's quota, as of the last flush."""

    key_id: KeyId
    days: tuple[DayUsage, ...]
    quota: int | None
    used: int

    @property
    def remaining(self) -> int | None:
        """What is left of today's quota; None where there is none."""
        return None if self.quota is None else max(0, self.quota - self.used)
