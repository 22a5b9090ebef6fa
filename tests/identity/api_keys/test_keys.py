"""API keys: what each method promises (identity.md, section 4.2)."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.identity import (
    APIKeyRepository,
    DayUsage,
    UserRepository,
    admit,
    get_tier,
    list_tiers,
)
from tallystick.identity.errors import (
    BlacklistedError,
    DuplicateError,
    EvidenceDeletionError,
    IdentityError,
    InvalidValueError,
    KeyExpiredError,
    KeyRevokedError,
    NotFoundError,
    ScopeError,
    StaleVersionError,
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


def test_create_shows_the_text_once(database: Database) -> None:
    """A new key's text leads to it; the database holds a hash, and printing shows a prefix."""
    user = make_user(database)
    made = make_key(database, user, scopes=["proof:read", "log:read", "log:read"], name="ci")
    key, text = made
    assert ("log:read", "proof:read") == key.scopes
    assert (user.id, "ci", "free", 100, SYSTEM) == (
        key.user_id,
        key.name,
        key.tier,
        key.rate_limit,
        key.changed_by,
    )
    assert text.startswith(key.prefix + "_")
    assert text not in repr(made)
    assert fetch(database, "SELECT key_hash FROM tally.api_keys") == [(parse_key(text).key_hash,)]
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        assert key == keys.validate(text) == keys.get_by_id(str(key.id)) == keys.get_by_id(key.id)
        assert key == keys.get_by_hash(parse_key(text).key_hash)


def test_what_a_key_cannot_be(database: Database) -> None:
    """A key of a value outside its range, an unknown scope or tier, or a past life is not made."""
    user = make_user(database)
    set_clock(database, NOON)
    wrong: list[tuple[dict[str, Any], type[IdentityError]]] = [
        ({"scopes": ["no:such"]}, InvalidValueError),
        ({"name": ""}, InvalidValueError),
        ({"name": "x" * 256}, InvalidValueError),
        ({"rate_limit": 0}, InvalidValueError),
        ({"rate_limit": 2**31}, InvalidValueError),
        ({"rate_limit": 10**30}, InvalidValueError),
        ({"tier": "anonymous"}, InvalidValueError),
        ({"tier": "nosuch"}, NotFoundError),
        ({"client_type": "martian"}, InvalidValueError),
        ({"expires_at": NOON - DAY}, InvalidValueError),
        ({"actor": "nobody"}, InvalidValueError),
        ({"actor": "user:somebody", "scopes": ["log:read"]}, ScopeError),
    ]
    for fields, error in wrong:
        with pytest.raises(error):
            make_key(database, user, **fields)
    assert fetch(database, "SELECT count(*) FROM tally.api_keys") == [(0,)]


def test_keys_are_for_live_users(database: Database) -> None:
    """Nobody makes a key for a user who does not exist, is blacklisted or was deleted."""
    barred, deleted = make_user(database, 1), make_user(database, 2)
    with database.transaction() as tx:
        UserRepository(tx).blacklist(barred.id, reason="fraud", actor=SYSTEM)
        UserRepository(tx).delete(deleted.id, actor=SYSTEM)
    for user in (barred, deleted):
        with pytest.raises(BlacklistedError):
            make_key(database, user)
    with pytest.raises(NotFoundError), database.transaction() as tx:
        APIKeyRepository(tx).create("nobody", name="key", actor=SYSTEM)


def test_a_user_has_at_most_50_active_keys(database: Database) -> None:
    """The fifty-first active key is refused; a revoked one makes room."""
    user = make_user(database)
    first, _ = make_key(database, user)
    for _ in range(49):
        make_key(database, user)
    with pytest.raises(InvalidValueError):
        make_key(database, user)
    with pytest.raises(InvalidValueError), database.transaction() as tx:
        APIKeyRepository(tx).rotate(first.id, actor=SYSTEM)
    with database.transaction() as tx:
        APIKeyRepository(tx).rotate(first.id, actor=SYSTEM, overlap=datetime.timedelta(0))
        assert APIKeyRepository(tx).count() == 50


def test_validate_refuses_in_order(database: Database) -> None:
    """Unknown, revoked, expired, owner barred: the first that holds is what is said."""
    set_clock(database, NOON)
    user = make_user(database)
    key, text = make_key(database, user, expires_at=NOON + HOUR)
    parts = parse_key(text)
    with database.transaction() as tx:
        keys, users = APIKeyRepository(tx), UserRepository(tx)
        with pytest.raises(UnknownKeyError):
            keys.validate(format_key(7, parts.secret))
        with pytest.raises(UnknownKeyError):
            keys.validate(format_key(7, bytes(32)))
        users.blacklist(user.id, reason="fraud", actor=SYSTEM)
        with pytest.raises(BlacklistedError):
            keys.validate(text)
    set_clock(database, NOON + HOUR)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        with pytest.raises(KeyExpiredError):
            keys.validate(text)
        with pytest.raises(NotFoundError):
            keys.get_by_hash(parts.key_hash)
        assert keys.revoke(key.id, reason="lost", actor=SYSTEM)
        with pytest.raises(KeyRevokedError):
            keys.validate(text)


def test_what_is_not_there(database: Database) -> None:
    """Every method that takes an id says NotFound of one that is none, or no UUID at all."""
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        for key_id in (uuid.uuid4(), str(uuid.uuid4()), "7", "", "x" * 500):
            calls = (
                lambda k=key_id: keys.get_by_id(k),
                lambda k=key_id: keys.update(k, expected_version=1, actor=SYSTEM, name="x"),
                lambda k=key_id: keys.rotate(k, actor=SYSTEM),
                lambda k=key_id: keys.revoke(k, reason="r", actor=SYSTEM),
                lambda k=key_id: keys.delete(k),
                lambda k=key_id: keys.usage(k),
                lambda k=key_id: keys.update_last_used(k),
                lambda k=key_id: keys.update_request_count(k, 1),
                lambda k=key_id: keys.reset_daily_count(k, actor=SYSTEM),
            )
            for call in calls:
                with pytest.raises(NotFoundError), tx.savepoint():
                    call()
        with pytest.raises(NotFoundError), tx.savepoint():
            keys.revoke_all("nobody", reason="r", actor=SYSTEM)
        with pytest.raises(NotFoundError), tx.savepoint():
            keys.set_tier_limits("nosuch", rate_limit=1, daily_quota=None, actor=SYSTEM)
        with pytest.raises(NotFoundError):
            get_tier(tx, "nosuch")


def test_update_changes_the_named_fields(database: Database) -> None:
    """An update changes what it names, None among it, and says who did it."""
    set_clock(database, NOON)
    key, _ = make_key(database, make_user(database), scopes=["log:read"], expires_at=NOON + DAY)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        named = keys.update(key.id, expected_version=1, actor="db:op", name="new", rate_limit=7)
        assert ("new", 7, "free", ("log:read",), NOON + DAY, "db:op", 2) == (
            named.name,
            named.rate_limit,
            named.tier,
            named.scopes,
            named.expires_at,
            named.changed_by,
            named.version,
        )
        wide = keys.update(
            key.id,
            expected_version=2,
            actor=SYSTEM,
            scopes=["log:audit", "log:admin"],
            tier="paid",
            expires_at=None,
        )
        assert (("log:admin", "log:audit"), "paid", None) == (
            wide.scopes,
            wide.tier,
            wide.expires_at,
        )
        with pytest.raises(StaleVersionError) as raised, tx.savepoint():
            keys.update(key.id, expected_version=2, actor=SYSTEM, name="late")
        assert (2, 3) == (raised.value.expected, raised.value.actual)
        keys.revoke(key.id, reason="lost", actor=SYSTEM)
        with pytest.raises(KeyRevokedError), tx.savepoint():
            keys.update(key.id, expected_version=3, actor=SYSTEM, name="late")


def test_rotation(database: Database) -> None:
    """A key has one successor with its settings; the old one lives on for the overlap at most."""
    set_clock(database, NOON)
    user = make_user(database)
    old, old_text = make_key(
        database, user, scopes=["log:read"], name="ci", rate_limit=7, expires_at=NOON + 9 * DAY
    )
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        new, new_text = keys.rotate(old.id, actor=SYSTEM)
        assert (old.id, "ci", 7, ("log:read",), old.expires_at) == (
            new.rotated_from,
            new.name,
            new.rate_limit,
            new.scopes,
            new.expires_at,
        )
        assert keys.validate(old_text).expires_at == NOON + DAY
        assert keys.validate(new_text) == new
        with pytest.raises(DuplicateError) as raised, tx.savepoint():
            keys.rotate(old.id, actor=SYSTEM)
        assert raised.value.constraint == "key_has_one_successor"
        last, _ = keys.rotate(new.id, actor=SYSTEM, overlap=30 * DAY)
        assert keys.get_by_id(new.id).expires_at == NOON + 9 * DAY
        with pytest.raises(InvalidValueError), tx.savepoint():
            keys.rotate(last.id, actor=SYSTEM, overlap=-HOUR)
    set_clock(database, NOON + DAY)
    with database.transaction() as tx, pytest.raises(KeyExpiredError):
        APIKeyRepository(tx).validate(old_text)


def test_revocation_has_no_way_back(database: Database) -> None:
    """A revocation is one event, stands once, and no role undoes or rewrites it."""
    user = make_user(database)
    key, text = make_key(database, user)
    other, _ = make_key(database, user)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        assert keys.revoke(key.id, reason="lost", actor=SYSTEM)
        assert not keys.revoke(key.id, reason="again", actor="db:other")
        assert keys.get_by_id(key.id).revoke_reason == "lost"
        assert keys.revoke_all(user.id, reason="all", actor=SYSTEM) == 1
        assert keys.get_by_id(other.id).revoke_reason == "all"
        with pytest.raises(KeyRevokedError):
            keys.validate(text)
    topics = fetch(database, "SELECT topic, key FROM tally.outbox_events ORDER BY event_id")
    assert topics == [
        ("identity.key.created", str(key.id)),
        ("identity.key.created", str(other.id)),
        ("identity.key.revoked", str(key.id)),
        ("identity.key.revoked", str(other.id)),
    ]
    for change in (
        "revoked_at = NULL, revoked_by = NULL, revoke_reason = NULL",
        "revoked_by = 'db:x'",
    ):
        with pytest.raises(KeyRevokedError):
            execute(database, f"UPDATE tally.api_keys SET {change}")


def test_only_unused_keys_are_deleted(database: Database) -> None:
    """A key that was used, or has a successor, is evidence; one that never was goes."""
    set_clock(database, NOON)
    user = make_user(database)
    (unused, _), (used, text), (rotated, _), (flushed, flushed_text) = (
        make_key(database, user, expires_at=NOON + HOUR) for _ in range(4)
    )
    admit(database, flushed_text)
    flush(database)
    execute(database, "TRUNCATE tally.rate_limits")
    admit(database, text)
    with database.transaction() as tx:
        APIKeyRepository(tx).rotate(rotated.id, actor=SYSTEM)
    for key in (used, rotated, flushed):
        with pytest.raises(EvidenceDeletionError), database.transaction() as tx:
            APIKeyRepository(tx).delete(key.id)
    late, _ = make_key(database, user, expires_at=NOON + 2 * HOUR)
    set_clock(database, NOON + HOUR + HOUR / 2)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        # The successor expired too, and was never used; so was the first.
        assert keys.delete_expired(NOON + DAY) == 2
        with pytest.raises(NotFoundError):
            keys.get_by_id(unused.id)
        keys.delete(late.id)
        assert keys.count() == 0
        assert keys.delete_expired(NOON + DAY) == 1, "without its successor it is unused as well"


def test_usage_by_day(database: Database) -> None:
    """Usage is by day of UTC, today's quota is the owner's over all keys of the tier."""
    user = make_user(database)
    (key, text), (_, other_text) = make_key(database, user), make_key(database, user)
    for day, count in ((0, 3), (1, 2)):
        set_clock(database, NOON + day * DAY)
        for _ in range(count):
            admit(database, text)
        admit(database, other_text)
        flush(database)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        usage = keys.usage(key.id)
        days = (DayUsage((NOON + DAY).date(), 2), DayUsage(NOON.date(), 3))
        assert (days, 10_000, 3, 9_997) == (usage.days, usage.quota, usage.used, usage.remaining)
        assert keys.usage(key.id, 1).days == days[:1]
        found = keys.get_by_id(key.id)
        assert (2, (NOON + DAY).date(), NOON + DAY) == (
            found.requests_today,
            found.requests_day,
            found.last_used,
        )
        for days_asked in (0, 367):
            with pytest.raises(InvalidValueError):
                keys.usage(key.id, days_asked)
    assert fetch(
        database,
        "SELECT client_name, tier, day, requests FROM tally.api_key_usage_view"
        " WHERE key_id = %(key_id)s ORDER BY day",
        key_id=key.id,
    ) == [("key", "free", NOON.date(), 3), ("key", "free", (NOON + DAY).date(), 2)]


def test_importers_write_counts(database: Database) -> None:
    """An imported count raises today's count and quota, and is never lowered by an older one."""
    set_clock(database, NOON)
    user = make_user(database)
    key, text = make_key(database, user)
    set_limits(database, "free", 100, 11)
    admit(database, text)
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        keys.update_request_count(key.id, 10)
        keys.update_request_count(key.id, 4)
        keys.update_last_used(key.id)
        assert keys.usage(key.id).used == 10
        assert keys.get_by_id(key.id).last_used == NOON
        with pytest.raises(InvalidValueError), tx.savepoint():
            keys.update_request_count(key.id, -1)
    assert admit(database, text).remaining == 0


def test_the_quota_can_be_given_anew(database: Database) -> None:
    """A reset gives key and owner today's quota again, and no later flush takes it back."""
    set_clock(database, NOON)
    key, text = make_key(database, make_user(database))
    set_limits(database, "free", 100, 2)
    for _ in range(2):
        admit(database, text)
    flush(database)
    with database.transaction() as tx:
        APIKeyRepository(tx).reset_daily_count(key.id, actor="db:op")
        assert APIKeyRepository(tx).get_by_id(key.id).changed_by == "db:op"
    flush(database)
    assert admit(database, text).remaining == 1
    flush(database)
    with database.transaction() as tx:
        assert APIKeyRepository(tx).usage(key.id).used == 1


def test_tiers(database: Database) -> None:
    """The tiers are those of the page; a change names who made it and holds at once."""
    with database.transaction() as tx:
        assert [(t.tier, t.rate_limit, t.daily_quota) for t in list_tiers(tx)] == [
            ("anonymous", 10, 1_000),
            ("free", 100, 10_000),
            ("paid", 1_000, 500_000),
            ("enterprise", 10_000, None),
        ]
        changed = APIKeyRepository(tx).set_tier_limits(
            "free", rate_limit=20, daily_quota=None, actor=SYSTEM
        )
        assert changed == get_tier(tx, "free")
        assert (20, None, SYSTEM) == (changed.rate_limit, changed.daily_quota, changed.changed_by)
        with pytest.raises(InvalidValueError), tx.savepoint():
            APIKeyRepository(tx).set_tier_limits(
                "free", rate_limit=0, daily_quota=None, actor=SYSTEM
            )
    _, text = make_key(database, make_user(database))
    assert admit(database, text).limit == 20


def test_lists_by_pages(database: Database) -> None:
    """Keys of a user and a tier come newest first, expiring ones soonest first, page by page."""
    set_clock(database, NOON)
    user, other = make_user(database, 1), make_user(database, 2)
    made = [make_key(database, user, expires_at=NOON + DAY * (9 - n)).key for n in range(5)]
    dead, _ = make_key(database, user)
    paid, _ = make_key(database, other, tier="paid")
    with database.transaction() as tx:
        keys = APIKeyRepository(tx)
        keys.revoke(dead.id, reason="lost", actor=SYSTEM)
        pages = {
            "user": lambda after: keys.list_by_user(user.id, limit=2, after=after),
            "active": lambda after: keys.list_by_user(
                user.id, active_only=True, limit=2, after=after
            ),
            "tier": lambda after: keys.list_by_tier("free", limit=2, after=after),
            "expiring": lambda after: keys.get_expiring(7, limit=2, after=after),
        }
        found = {}
        for name, turn in pages.items():
            after, ids = None, []
            while True:
                page = turn(after)
                ids += [key.id for key in page.items]
                after = page.next
                if after is None:
                    break
            found[name] = ids
        newest = sorted(made, key=lambda key: (key.created_at, key.id), reverse=True)
        everything = sorted([*made, dead], key=lambda key: (key.created_at, key.id), reverse=True)
        assert found["user"] == [key.id for key in everything]
        assert found["active"] == found["tier"] == [key.id for key in newest]
        assert found["expiring"] == [made[4].id, made[3].id, made[2].id]
        assert keys.count() == 6
        assert keys.count_by_tier() == {"free": 5, "paid": 1}
        assert [paid.id] == [key.id for key in keys.list_by_tier("paid").items]
