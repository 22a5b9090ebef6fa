"""Users and API keys for tests, made through the repositories."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.clock import utc_now
from tallystick.identity import APIKeyRepository, UserRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.db import Database

ACTOR = "system:tests"
TIER = "enterprise"
"""Ten thousand a minute: tests ask often."""


@dataclass(frozen=True)
class Issued:
    """A key as its owner has it."""

    user_id: str
    key_id: str
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        """What a request with it sends."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def principal(self) -> str:
        """Who acts with it."""
        return f"key:{self.key_id}"


def make_user(database: Database, wallet: str | None = None, username: str | None = None) -> str:
    """Make a user and return his id."""
    with database.transaction() as tx:
        return UserRepository(tx).create(wallet, username=username).id


def issue(
    database: Database,
    user_id: str,
    *scopes: str,
    tier: str = TIER,
    rate_limit: int | None = None,
    expires_in: datetime.timedelta | None = None,
) -> Issued:
    """Make a key of a user with these scopes."""
    with database.transaction() as tx:
        key, secret = APIKeyRepository(tx).create(
            user_id,
            name="test",
            scopes=scopes,
            tier=tier,
            rate_limit=rate_limit,
            expires_at=None if expires_in is None else utc_now() + expires_in,
            actor=ACTOR,
        )
    return Issued(user_id, str(key.id), secret)


def issue_many(database: Database, user_id: str, each: Sequence[str]) -> dict[str, Issued]:
    """Make one key for each single scope, by scope; fifty active ones are a user's most."""
    return {scope: issue(database, user_id, scope) for scope in each}
