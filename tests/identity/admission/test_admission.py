"""Admission: who is refused and in what order, and what it costs (identity.md, section 4.3)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from tallystick.identity import (
    ANONYMOUS,
    APIKeyRepository,
    UserRepository,
    admit,
    admit_anonymous,
)
from tallystick.identity.errors import (
    BlacklistedError,
    InvalidValueError,
    KeyExpiredError,
    KeyRevokedError,
    QuotaExceededError,
    RateLimitedError,
    ScopeError,
    UnknownKeyError,
)
from tallystick.identity.key_text import format_key, parse_key
from tests.identity.people import (
    SYSTEM,
    execute,
    fetch,
    flush,
    make_key,
    make_user,
    set_clock,
    set_limits,
)

if TYPE_CHECKING:
    from tallystick.db import Database

NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)
HERE = "192.0.2.7"
UNKNOWN = format_key(7, b"7" * 32)


def test_refusals_come_in_order(database: Database) -> None:
    """Unknown, revoked, expired, barred, out of scope, too often: the first is what is said."""
    set_clock(database, NOON)
    set_limits(database, "free", 1, None)
    user = make_user(database)
    key, text = make_key(database, user, scopes=["log:read"], expires_at=NOON + HOUR)
    wanted = {"any_of": ["log:admin"]}
    admit(database, text)
    with pytest.raises(RateLimitedError):
        admit(database, text)
    with pytest.raises(ScopeError):
        admit(database, text, **wanted)
    with database.transaction() as tx:
        UserRepository(tx).blacklist(user.id, reason="fraud", actor=SYSTEM)
    with pytest.raises(BlacklistedError):
        admit(database, text, **wanted)
    set_clock(database, NOON + HOUR)
    with pytest.raises(KeyExpiredError):
        admit(database, text, **wanted)
    with database.transaction() as tx:
        APIKeyRepository(tx).revoke(key.id, reason="lost", actor=SYSTEM)
    with pytest.raises(KeyRevokedError):
        admit(database, text, **wanted)
    with pytest.raises(UnknownKeyError):
        admit(database, format_key(8, parse_key(text).secret), **wanted)


def test_a_refusal_costs_nothing(database: Database) -> None:
    """A request out of scope, of a barred owner or over a limit charges no bucket."""
    set_clock(database, NOON)
    user = make_user(database)
    _, text = make_key(database, user, scopes=["log:read"])
    admit(database, text)
    before = fetch(database, "SELECT * FROM tally.rate_limits ORDER BY bucket")
    with pytest.raises(ScopeError):
        admit(database, text, any_of=["log:admin"], address=HERE)
    set_limits(database, "free", 100, 1)
    with pytest.raises(QuotaExceededError):
        admit(database, text, address=HERE)
    set_limits(database, "free", 1, None)
    with pytest.raises(RateLimitedError):
        admit(database, text, address=HERE)
    with database.transaction() as tx:
        UserRepository(tx).blacklist(user.id, reason="fraud", actor=SYSTEM)
    with pytest.raises(BlacklistedError):
        admit(database, text, address=HERE)
    assert before == fetch(database, "SELECT * FROM tally.rate_limits ORDER BY bucket")


def test_whoever_tries_keys_is_limited(database: Database) -> None:
    """Unknown, revoked and expired keys charge the network they came from, until it is empty."""
    set_clock(database, NOON)
    set_limits(database, "anonymous", 30, None)
    user = make_user(database)
    revoked, revoked_text = make_key(database, user)
    expired, expired_text = make_key(database, user)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        keys.revoke(revoked.id, reason="lost", actor=SYSTEM)
        keys.update(expired.id, expected_version=1, expires_at=NOON, actor=SYSTEM)
    # The burst of 30 a minute is 3.
    for text, error in (
        (UNKNOWN, UnknownKeyError),
        (revoked_text, KeyRevokedError),
        (expired_text, KeyExpiredError),
        (UNKNOWN, RateLimitedError),
        (revoked_text, RateLimitedError),
    ):
        with pytest.raises(error):
            admit(database, text, address=HERE)
    with pytest.raises(RateLimitedError) as raised:
        admit_anonymous(database, HERE)
    assert raised.value.retry_after == pytest.approx(60 / 28, abs=1e-5)
    # Another network is its own; and a good key passes from the exhausted one.
    with pytest.raises(UnknownKeyError):
        admit(database, UNKNOWN, address="198.51.100.7")
    admit(database, make_key(database, user).secret, address=HERE)


def test_callers_without_a_key(database: Database) -> None:
    """An anonymous caller has the limits of his tier, by network, and no scopes."""
    set_clock(database, NOON)
    found = admit_anonymous(database, HERE)
    assert (ANONYMOUS, None, None, frozenset(), 10, 0, 6.0) == (
        found.principal,
        found.user_id,
        found.key_id,
        found.scopes,
        found.limit,
        found.remaining,
        found.reset_seconds,
    )
    set_limits(database, "anonymous", 1000, 3)
    for _ in range(2):
        admit_anonymous(database, HERE)
    with pytest.raises(QuotaExceededError) as raised:
        admit_anonymous(database, HERE)
    assert raised.value.retry_after == 12 * 3600
    set_clock(database, NOON + 12 * HOUR)
    admit_anonymous(database, HERE)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_networks(database: Database, one: str, other: str, is_same: bool) -> None:  # noqa: FBT001
    """A network is an IPv4 address or the /64 of an IPv6 address, however it is written."""
    set_clock(database, NOON)
    admit_anonymous(database, one)
    if is_same:
        with pytest.raises(RateLimitedError):
            admit_anonymous(database, other)
    else:
        admit_anonymous(database, other)


@pytest.mark.parametrize("address", ["", "localhost", "1.2.3", "fe80::1%eth0" * 9])
def test_what_is_no_address(shared_database: Database, address: str) -> None:
    """An address that is none is an InvalidValueError."""
    with pytest.raises(InvalidValueError):
        admit_anonymous(shared_database, address)


def test_a_lost_bucket_goes_on_from_the_flush(database: Database) -> None:
    """After a crash the burst is fresh, and the quota knows what was flushed, of all keys."""
    set_clock(database, NOON)
    set_limits(database, "free", 100, 12)
    user = make_user(database)
    (_, first), (_, second) = make_key(database, user), make_key(database, user)
    for text in [first] * 6 + [second] * 4:
        admit(database, text)
    flush(database)
    execute(database, "TRUNCATE tally.rate_limits")
    assert admit(database, first).remaining == 1
    assert admit(database, second).remaining == 0
    with pytest.raises(QuotaExceededError):
        admit(database, second)
    flush(database)
    counts = fetch(database, "SELECT requests FROM tally.api_key_usage ORDER BY 1")
    assert counts == [(5,), (7,)]


def test_idle_buckets_are_deleted(database: Database) -> None:
    """A bucket that nobody asked for a day is deleted by the flush; what it counted stays."""
    set_clock(database, NOON)
    user = make_user(database)
    key, text = make_key(database, user)
    admit(database, text)
    admit_anonymous(database, HERE)
    set_clock(database, NOON + DAY)
    flush(database)
    assert fetch(database, "SELECT count(*) FROM tally.rate_limits") == [(3,)]
    set_clock(database, NOON + DAY + datetime.timedelta(microseconds=1))
    flush(database)
    assert fetch(database, "SELECT count(*) FROM tally.rate_limits") == [(0,)]
    assert fetch(database, "SELECT key_id, requests FROM tally.api_key_usage") == [(key.id, 1)]


def test_a_charge_is_committed_before_the_handler(database: Database) -> None:
    """An admission is a transaction of its own: when it returns, every connection sees it."""
    _, text = make_key(database, make_user(database))
    admit(database, text)
    assert fetch(database, "SELECT bool_and(used = 1) FROM tally.rate_limits") == [(True,)]


def test_nothing_that_decides_is_cached(database: Database) -> None:
    """A changed limit holds from the next request on."""
    set_clock(database, NOON)
    _, text = make_key(database, make_user(database), rate_limit=10_000)
    assert admit(database, text).limit == 100
    set_limits(database, "free", 200, None)
    assert admit(database, text).limit == 200
