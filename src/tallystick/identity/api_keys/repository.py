"""
API keys: one object over the caller's transaction (identity.md, section 4.2).

Reads marked R there may run on a replica. What decides, `admit` and `validate`, is for the
primary. The text of a key leaves `create` and `rotate` once and is kept nowhere.
"""

from __future__ import annotations

import datetime
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.identity.admission import Admission, admit_anonymous_in, admit_in
from tallystick.identity.api_keys import store
from tallystick.identity.api_keys.key import (
    ApiKey,
    ClientType,
    IssuedKey,
    KeyId,
    KeyUsage,
    PresentedKey,
    Tier,
)
from tallystick.identity.changes import UNCHANGED, Unchanged, named_changes
from tallystick.identity.constraints import names_errors
from tallystick.identity.errors import (
    BlacklistedError,
    InvalidValueError,
    KeyExpiredError,
    KeyRevokedError,
    NotFoundError,
    UnknownKeyError,
)
from tallystick.identity.idempotency import forget_requests
from tallystick.identity.inputs import parse_id
from tallystick.identity.key_text import NUMBER_BITS, SECRET_BYTES, format_key, parse_key
from tallystick.identity.paging import DEFAULT_LIMIT, Page, begin_at, check_limit, page_of
from tallystick.identity.subjects import KEYS, name_of

NEWEST: Final = ("infinity", str(uuid.UUID(int=0)))
"""Before the newest key."""
SOONEST: Final = ("-infinity", str(uuid.UUID(int=0)))
MAX_DAYS: Final = 366
"""Usage and expiry are looked at by the year at most."""
DAY: Final = datetime.timedelta(days=1)

KeyRef = str | uuid.UUID
"""A key's id as callers have it."""


@names_errors
@dataclass(frozen=True, slots=True)
class APIKeyRepository:
    """
    The API keys, in the transaction *tx*.

    Every method that is given an id raises NotFoundError where there is no such key, and any
    may raise InvalidValueError, which names the field, for a value that its column cannot hold.
    """

    tx: Transaction

    def create(
        self,
        user_id: str,
        *,
        name: str,
        actor: str,
        scopes: Sequence[str] = (),
        tier: str = "free",
        rate_limit: int | None = None,
        expires_at: datetime.datetime | None = None,
        client_type: ClientType = "developer",
        description: str | None = None,
        contact_email: str | None = None,
    ) -> IssuedKey:
        """
        Make a key of *user_id* and return it with its text, which cannot be read again.

        Without *rate_limit* it has its tier's.

        Raises:
            NotFoundError: There is no such user or tier.
            BlacklistedError: The user is blacklisted or deleted.
            ScopeError: The actor lacks one of *scopes*, or gives a tier that is not his.
            InvalidValueError: A scope does not exist, the user has 50 active keys, or
                *expires_at* is past.
        """
        text = new_key_text()
        presented = parse_key(text)
        self.tx.changed(KEYS)
        key = store.create_key(
            self.tx,
            {
                "user_id": user_id,
                "key_hash": presented.key_hash,
                "prefix": presented.prefix,
                "name": name,
                "scopes": [*scopes],
                "tier": tier,
                "rate_limit": rate_limit,
                "expires_at": expires_at,
                "client_type": client_type,
                "description": description,
                "contact_email": contact_email,
                "actor": actor,
            },
        )
        return IssuedKey(key, text)

    def validate(self, text: str) -> ApiKey:
        """
        Return the key that *text* is, if it is good now; charges nothing.

        Raises:
            UnknownKeyError: It is none of ours; text that cannot be one is not looked up.
            KeyRevokedError, KeyExpiredError: It is one no more.
            BlacklistedError: Its owner is blacklisted or deleted.
        """
        presented = parse_key(text)
        found = store.find_presented(self.tx, presented.key_hash)
        if found is None or found.key.prefix != presented.prefix:
            raise UnknownKeyError
        check_presented(found)
        return found.key

    def admit(
        self, text: str, *, any_of: Sequence[str] = (), address: str | None = None
    ) -> Admission:
        """
        Admit one request with the key *text*, and charge it; `admission.admit` says how.

        The caller's transaction is to be one for this alone (`Database.statement`).

        Raises:
            As `admission.admit`.
        """
        return admit_in(self.tx, text, any_of=any_of, address=address)

    def admit_anonymous(self, address: str) -> Admission:
        """
        Admit one request from the network address *address*, without a key, and charge it.

        Raises:
            As `admission.admit_anonymous`.
        """
        return admit_anonymous_in(self.tx, address)

    def get_by_hash(self, key_hash: bytes) -> ApiKey:
        """
        Return the active key whose secret has that hash.

        Raises:
            NotFoundError: There is none, or it was revoked or has expired.
        """
        found = store.find_presented(self.tx, key_hash)
        if found is None or found.is_expired or found.key.revoked_at is not None:
            raise NotFoundError("there is no such API key")
        return found.key

    def get_by_id(self, key_id: KeyRef) -> ApiKey:
        """Return a key, active or not."""
        wanted = parse_id(key_id, what="API key")
        found = self.tx.cached(
            KEYS, name_of("id", wanted), ApiKey | None, lambda: store.get_key(self.tx, wanted)
        )
        if found is None:
            raise NotFoundError("there is no such API key")
        return found

    def list_by_user(
        self,
        user_id: str,
        *,
        active_only: bool = False,
        limit: int = DEFAULT_LIMIT,
        after: str | None = None,
    ) -> Page[ApiKey]:
        """
        Return a user's keys, the newest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        begin, size = begin_at(after, first=NEWEST), check_limit(limit) + 1

        def read() -> tuple[ApiKey, ...]:
            return tuple(
                store.list_by_user(
                    self.tx, user_id, active_only=active_only, after=begin, limit=size
                )
            )

        name = name_of("user", user_id, active_only, begin, limit)
        return page_of(self.tx.cached(KEYS, name, tuple[ApiKey, ...], read), limit, age_of)

    def update(
        self,
        key_id: KeyRef,
        *,
        expected_version: int,
        actor: str,
        name: str | Unchanged = UNCHANGED,
        tier: str | Unchanged = UNCHANGED,
        rate_limit: int | Unchanged = UNCHANGED,
        scopes: Sequence[str] | Unchanged = UNCHANGED,
        expires_at: datetime.datetime | Unchanged | None = UNCHANGED,
    ) -> ApiKey:
        """
        Change the named fields and return the key as it is then; *expires_at* None is never.

        Raises:
            StaleVersionError: It has another version than *expected_version*.
            KeyRevokedError: It was revoked.
            ScopeError: It would get a scope or a tier that the actor lacks.
        """
        changes = named_changes(
            name=name,
            tier=tier,
            rate_limit=rate_limit,
            scopes=scopes if isinstance(scopes, Unchanged) else [*scopes],
            expires_at=(
                # As it came: the last day of the calendar, in another zone, is no time of ours.
                expires_at.isoformat() if isinstance(expires_at, datetime.datetime) else expires_at
            ),
        )
        self.tx.changed(KEYS)
        return store.update_key(
            self.tx,
            parse_id(key_id, what="API key"),
            expected_version=expected_version,
            changes=changes,
            actor=actor,
        )

    def rotate(self, key_id: KeyRef, *, actor: str, overlap: datetime.timedelta = DAY) -> IssuedKey:
        """
        Make the successor of a key, with its settings, and return it with its text.

        The old key expires after *overlap*, or when it was to expire if that is sooner.

        Raises:
            KeyRevokedError, KeyExpiredError: The old key is one no more.
            DuplicateError: It has a successor.
            BlacklistedError, ScopeError: As `create`.
        """
        text = new_key_text()
        presented = parse_key(text)
        self.tx.changed(KEYS)
        key = store.rotate_key(
            self.tx,
            parse_id(key_id, what="API key"),
            key_hash=presented.key_hash,
            prefix=presented.prefix,
            overlap=overlap,
            actor=actor,
        )
        return IssuedKey(key, text)

    def revoke(self, key_id: KeyRef, *, reason: str, actor: str) -> bool:
        """Revoke a key, from the commit on and for good; False where it was revoked before."""
        found = parse_id(key_id, what="API key")
        self.tx.changed(KEYS)
        return (
            store.revoke_keys(self.tx, user_id=None, key_id=found, reason=reason, actor=actor) > 0
        )

    def revoke_all(self, user_id: str, *, reason: str, actor: str) -> int:
        """
        Revoke every key of a user; return how many were not revoked before.

        Raises:
            NotFoundError: There is no such user.
        """
        self.tx.changed(KEYS)
        return store.revoke_keys(self.tx, user_id=user_id, key_id=None, reason=reason, actor=actor)

    def delete(self, key_id: KeyRef) -> None:
        """
        Delete a key that was never used.

        Raises:
            EvidenceDeletionError: It was used, or has a successor.
        """
        self.tx.changed(KEYS)
        if not store.delete_key(self.tx, parse_id(key_id, what="API key")):
            raise NotFoundError("there is no such API key")

    def delete_expired(self, before: datetime.datetime) -> int:
        """Delete the keys that expired before a time and were never used; return how many."""
        self.tx.changed(KEYS)
        return store.delete_expired(self.tx, before)

    def update_last_used(self, key_id: KeyRef) -> None:
        """Note that a key was used now; for importers, `flush_usage` does it for requests."""
        self.tx.changed(KEYS)
        if not store.touch_key(self.tx, parse_id(key_id, what="API key")):
            raise NotFoundError("there is no such API key")

    def update_request_count(self, key_id: KeyRef, requests: int) -> None:
        """Raise today's count of a key to *requests*; for importers, `admit` counts requests."""
        store.count_requests(self.tx, parse_id(key_id, what="API key"), requests)

    def reset_daily_count(self, key_id: KeyRef, *, actor: str) -> None:
        """Give a key, and its owner with all keys of its tier, today's quota anew."""
        store.reset_daily_count(self.tx, parse_id(key_id, what="API key"), actor=actor)

    def flush_usage(self) -> int:
        """
        Write down what the buckets counted since the last flush; return how many keys changed.

        It lowers nothing, and does nothing while another flush runs. Requests that came under an
        Idempotency-Key a day ago are forgotten with it.
        """
        forget_requests(self.tx)
        self.tx.changed(KEYS)
        return store.flush_usage(self.tx)

    def usage(self, key_id: KeyRef, days: int = 30) -> KeyUsage:
        """
        Return a key's requests of the last *days* days, and its owner's quota of today.

        Raises:
            InvalidValueError: *days* is not 1 to 366.
        """
        found = parse_id(key_id, what="API key")
        today = store.usage_today(self.tx, found)
        if today is None:
            raise NotFoundError("there is no such API key")
        by_day = store.usage_days(self.tx, found, check_days(days))
        return KeyUsage(KeyId(found), tuple(by_day), today.quota, today.used)

    def set_tier_limits(
        self, tier: str, *, rate_limit: int, daily_quota: int | None, actor: str
    ) -> Tier:
        """
        Set the limits of a tier, from the next request on; a quota of None is none.

        Raises:
            NotFoundError: There is no such tier.
        """
        return store.set_tier_limits(
            self.tx, tier, rate_limit=rate_limit, daily_quota=daily_quota, actor=actor
        )

    def list_by_tier(
        self, tier: str, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[ApiKey]:
        """
        Return a tier's active keys, the newest first.

        Raises:
            InvalidValueError: *limit* or *after* is none.
        """
        begin = begin_at(after, first=NEWEST)
        found = store.list_by_tier(self.tx, tier, after=begin, limit=check_limit(limit) + 1)
        return page_of(found, limit, age_of)

    def get_expiring(
        self, days: int, *, limit: int = DEFAULT_LIMIT, after: str | None = None
    ) -> Page[ApiKey]:
        """
        Return active keys that expire within *days* days, the soonest first.

        Raises:
            InvalidValueError: *days* is not 1 to 366, or *limit* or *after* is none.
        """
        begin = begin_at(after, first=SOONEST)
        found = store.list_expiring(
            self.tx, check_days(days), after=begin, limit=check_limit(limit) + 1
        )
        return page_of(found, limit, expiry_of)

    def count(self) -> int:
        """Return how many keys are active."""
        return sum(self.count_by_tier().values())

    def count_by_tier(self) -> dict[str, int]:
        """Return how many keys of each tier are active; a tier without any is left out."""
        return self.tx.cached(
            KEYS, name_of("count"), dict[str, int], lambda: store.count_by_tier(self.tx)
        )


def check_admitted(tx: Transaction, key_id: KeyRef) -> ApiKey:
    """
    Return a key that was admitted before, if it is good still; charges nothing.

    For an answer that goes on for long: what ends a key ends that too.

    Raises:
        UnknownKeyError: There is no such key any more.
        KeyRevokedError, KeyExpiredError: It is one no more.
        BlacklistedError: Its owner is blacklisted or deleted.
    """
    found = store.find_admitted(tx, parse_id(key_id, what="API key"))
    if found is None:
        raise UnknownKeyError
    check_presented(found)
    return found.key


def list_tiers(tx: Transaction) -> list[Tier]:
    """Return every tier, the narrowest first."""
    return store.list_tiers(tx)


def get_tier(tx: Transaction, name: str) -> Tier:
    """
    Return a tier.

    Raises:
        NotFoundError: There is no such tier.
    """
    found = next((tier for tier in store.list_tiers(tx) if tier.tier == name), None)
    if found is None:
        raise NotFoundError("there is no such tier")
    return found


def new_key_text() -> str:
    """Return the text of a new key: 48 random bits to name it by, and 256 of secret."""
    return format_key(secrets.randbits(NUMBER_BITS), secrets.token_bytes(SECRET_BYTES))


def check_presented(found: PresentedKey) -> None:
    """
    Check that a key is good now, in the order of section 4.3.

    Raises:
        KeyRevokedError, KeyExpiredError, BlacklistedError: It is not.
    """
    if found.key.revoked_at is not None:
        raise KeyRevokedError
    if found.is_expired:
        raise KeyExpiredError
    if found.is_owner_barred:
        raise BlacklistedError


def check_days(days: int) -> int:
    """
    Return *days*.

    Raises:
        InvalidValueError: They are not 1 to 366.
    """
    if not 1 <= days <= MAX_DAYS:
        raise InvalidValueError(f"days are 1 to {MAX_DAYS}", evidence={"field": "days"})
    return days


def age_of(key: ApiKey) -> tuple[str, str]:
    """Return a key's place in lists by age."""
    return format_time(key.created_at), str(key.id)


def expiry_of(key: ApiKey) -> tuple[str, str]:
    """Return a key's place in the list of those that expire."""
    assert key.expires_at is not None, "it is in the list of those that expire"
    return format_time(key.expires_at), str(key.id)
