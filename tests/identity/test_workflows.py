"""The earlier services' workflows, end to end (identity.md, section 10)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from tallystick.identity import APIKeyRepository, UserRepository, admit
from tallystick.identity.errors import (
    KeyExpiredError,
    KeyRevokedError,
    QuotaExceededError,
    RateLimitedError,
    ScopeError,
)
from tests.identity.people import SYSTEM, flush, set_clock, set_limits, wallet

if TYPE_CHECKING:
    from tallystick.db import Database

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)


def test_user_and_api_key_workflow(database: Database) -> None:
    """identity 4: A user, three keys, counted use, limits, a new day, rotation and revocation."""
    set_clock(database, NOON)
    set_limits(database, "free", 20, 5)
    with database.transaction() as tx:
        user = UserRepository(tx).create(wallet(1), username="alice")
        keys = APIKeyRepository(tx)
        made = [
            keys.create(user.id, name=f"key {n}", scopes=["proof:read"], actor=SYSTEM)
            for n in range(3)
        ]
        assert {issued.key for issued in made} == set(keys.list_by_user(user.id).items)
    (first, first_text), (_, second_text), (_, third_text) = made

    # Counted use: the burst of 20 a minute is 2, whichever of the keys asks.
    assert admit(database, first_text, any_of=["proof:read"]).remaining == 1
    assert admit(database, second_text, any_of=["proof:read"]).remaining == 0
    with pytest.raises(RateLimitedError) as limited:
        admit(database, third_text)
    with pytest.raises(ScopeError):
        admit(database, third_text, any_of=["proof:admin", "log:admin"])
    # 60 s by 20 - 2 + 1 pauses, and at the end of the pause, not before, the next is admitted.
    pause = datetime.timedelta(microseconds=3_157_895)
    assert limited.value.retry_after == pytest.approx(pause.total_seconds())
    set_clock(database, NOON + pause - datetime.timedelta(microseconds=1))
    with pytest.raises(RateLimitedError):
        admit(database, third_text)
    set_clock(database, NOON + pause)
    admit(database, third_text)

    # The quota of the day, over all three.
    for n in (1, 2):
        set_clock(database, NOON + n * 60 * SECOND)
        admit(database, first_text)
    set_clock(database, NOON + 180 * SECOND)
    with pytest.raises(QuotaExceededError) as exhausted:
        admit(database, second_text)
    assert exhausted.value.retry_after == (12 * 3600 - 180)
    flush(database)
    with database.transaction() as tx:
        usage = APIKeyRepository(tx).usage(first.id)
        assert (5, 0, 3) == (usage.used, usage.remaining, usage.days[0].requests)

    # The day turns by itself.
    set_clock(database, NOON + DAY)
    assert admit(database, second_text).remaining == 1

    # Rotation: both work for the overlap, then the new one alone.
    with database.transaction() as tx:
        successor, successor_text = APIKeyRepository(tx).rotate(first.id, actor=SYSTEM)
    assert admit(database, successor_text).key_id == successor.id
    set_clock(database, NOON + 2 * DAY)
    with pytest.raises(KeyExpiredError):
        admit(database, first_text)
    admit(database, successor_text)

    # Revocation holds from the commit on.
    with database.transaction() as tx:
        APIKeyRepository(tx).revoke(successor.id, reason="lost", actor=SYSTEM)
    with pytest.raises(KeyRevokedError):
        admit(database, successor_text)
