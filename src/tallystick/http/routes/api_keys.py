"""
API keys, tiers and scopes (identity.md, sections 4.2 and 6).

Whoever has a key manages those of its user. A key gives on what it has and no more: scopes and
tier the database holds it to, and that it lasts no longer is held here.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, delete, get, patch, post, put
from litestar.params import FromPath, JSONBody, QueryParameter

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.http.answers import Body, Page, optional_time
from tallystick.http.asked import After, Caller, Flag, IfMatch, Limit, Read, Text, Write
from tallystick.http.authorize import Principal
from tallystick.http.owning import check_owns, known, own_user, owns
from tallystick.http.parameters import check_limit, parse_if_match
from tallystick.identity import ApiKey, APIKeyRepository, Tier
from tallystick.identity import get_tier as read_tier
from tallystick.identity.errors import NotFoundError, ScopeError
from tallystick.identity.scopes import SCOPES, SLICE_OF_SCOPE
from tallystick.seal.errors import InvalidRequestError

SEES_ALL: Final = "identity:read"
MANAGES: Final = "identity:admin"
OVERLAP_SECONDS: Final = 24 * 60 * 60
MAX_OVERLAP_SECONDS: Final = 365 * 24 * 60 * 60
USAGE_DAYS: Final = 30
MAX_USAGE_DAYS: Final = 366
ClientType = Literal["auditor", "service", "institution", "developer", "internal"]
KeyId = FromPath[str]


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be, of *user_id*, or of the caller's user; without a time it does not expire."""

    name: str
    user_id: str | None = None
    scopes: list[str] = []
    tier: str = "free"
    rate_limit: int | None = None
    expires_at: datetime.datetime | None = None
    client_type: ClientType = "developer"
    description: str | None = None
    contact_email: str | None = None


class KeyChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a key; fields that are left out stay."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    tier: str | msgspec.UnsetType = msgspec.UNSET
    rate_limit: int | msgspec.UnsetType = msgspec.UNSET
    scopes: list[str] | msgspec.UnsetType = msgspec.UNSET
    expires_at: datetime.datetime | msgspec.UnsetType | None = msgspec.UNSET


class Revocation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a key is revoked."""

    reason: str


class Rotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long the old key still counts."""

    overlap_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_OVERLAP_SECONDS)] = OVERLAP_SECONDS


class TierLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests in any 60 seconds, and in a day of UTC; null is no limit of the day."""

    rate_limit: int
    daily_quota: int | None


class KeyItem(msgspec.Struct, frozen=True):
    """A key; of its secret there is only the *prefix*. Counts are as of the last flush."""

    id: str
    prefix: str
    user_id: str
    name: str
    tier: str
    rate_limit: int
    scopes: list[str]
    requests_today: int
    last_used: str | None
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    revoked_by: str | None
    revoke_reason: str | None
    rotated_from: str | None
    client_type: str
    description: str | None
    contact_email: str | None
    version: int


class KeyBody(Body, frozen=True, kw_only=True):
    """One key."""

    key: KeyItem


class NewKeyBody(KeyBody, frozen=True, kw_only=True):
    """A new key with its secret, which is never shown again: null where the answer is replayed."""

    secret: str | None


class DayItem(msgspec.Struct, frozen=True):
    """Requests of one day of UTC."""

    day: str
    requests: int


class UsageBody(Body, frozen=True, kw_only=True):
    """Requests by day, the newest first, and today's: *quota* null is no limit."""

    days: list[DayItem]
    quota: int | None
    used: int
    remaining: int | None


class TierBody(Body, frozen=True, kw_only=True):
    """A tier."""

    tier: str
    rate_limit: int
    daily_quota: int | None


class ScopeItem(msgspec.Struct, frozen=True):
    """A scope, the slice whose routes ask for it, and what it opens."""

    scope: str
    slice: str
    description: str


@get("/api/v1/api-keys", sync_to_thread=True)
def get_keys(
    reading: Read,
    principal: Caller,
    user_id: Text = None,
    tier: Text = None,
    active_only: Flag = None,
    limit: Limit = None,
    after: After = None,
) -> Page[KeyItem]:
    """The keys of a user, or the active ones of a tier, the newest first."""
    if user_id is not None and tier is not None:
        raise InvalidRequestError("a list is of one user or of one tier")
    size = check_limit(limit)
    if tier is None:
        owner = own_user(principal) if user_id is None else user_id
        check_owns(principal, owner, SEES_ALL, MANAGES)
    elif not known(principal).has_one_of(SEES_ALL, MANAGES):
        raise lacking(known(principal), SEES_ALL, MANAGES)

    def read(tx: Transaction) -> Page[KeyItem]:
        keys = APIKeyRepository(tx)
        if tier is not None:
            page = keys.list_by_tier(tier, limit=size, after=after)
        else:
            page = keys.list_by_user(owner, active_only=bool(active_only), limit=size, after=after)
        return Page(items=[key_item(key) for key in page.items], next=page.next)

    return reading.run(read)


@post("/api/v1/api-keys", sync_to_thread=True)
def post_key(writing: Write, principal: Caller, data: JSONBody[NewKey]) -> Response[NewKeyBody]:
    """Make a key, with scopes that the caller's has; the secret is shown this once."""
    owner = own_user(principal) if data.user_id is None else data.user_id
    asking = check_owns(principal, owner, MANAGES)

    def create(tx: Transaction) -> NewKeyBody:
        keys = APIKeyRepository(tx)
        key, secret = keys.create(
            owner,
            name=data.name,
            scopes=data.scopes,
            tier=data.tier,
            rate_limit=data.rate_limit,
            expires_at=last_moment(tx, asking, data.expires_at),
            client_type=data.client_type,
            description=data.description,
            contact_email=data.contact_email,
            actor=asking.name,
        )
        return NewKeyBody(key=key_item(key), secret=secret)

    return writing.run(create, status=201, secrets=("secret",))


@get("/api/v1/api-keys/{key_id:str}", sync_to_thread=True)
def get_key(reading: Read, principal: Caller, key_id: KeyId) -> KeyBody:
    """A key."""
    return reading.run(
        lambda tx: KeyBody(key=key_item(reachable(tx, principal, key_id, SEES_ALL, MANAGES)))
    )


@patch("/api/v1/api-keys/{key_id:str}", sync_to_thread=True)
def patch_key(
    writing: Write,
    principal: Caller,
    key_id: KeyId,
    if_match: IfMatch,
    data: JSONBody[KeyChanges],
) -> Response[KeyBody]:
    """Change a key as it was read: `If-Match` is its version."""
    version = parse_if_match(if_match)
    asking = known(principal)
    changes: dict[str, Any] = {
        name: value
        for name, value in msgspec.structs.asdict(data).items()
        if value is not msgspec.UNSET
    }

    def change(tx: Transaction) -> KeyBody:
        reachable(tx, asking, key_id, MANAGES)
        if "expires_at" in changes:
            changes["expires_at"] = last_moment(tx, asking, changes["expires_at"])
        changed = APIKeyRepository(tx).update(
            key_id, expected_version=version, actor=asking.name, **changes
        )
        return KeyBody(key=key_item(changed))

    return writing.run(change)


@delete("/api/v1/api-keys/{key_id:str}", status_code=200, sync_to_thread=True)
def delete_key(
    writing: Write, principal: Caller, key_id: KeyId, data: JSONBody[Revocation]
) -> Response[KeyBody]:
    """Revoke a key, for ever and at once: its next request is refused."""
    asking = known(principal)

    def revoke(tx: Transaction) -> KeyBody:
        reachable(tx, asking, key_id, MANAGES)
        keys = APIKeyRepository(tx)
        keys.revoke(key_id, reason=data.reason, actor=asking.name)
        return KeyBody(key=key_item(keys.get_by_id(key_id)))

    return writing.run(revoke)


@post("/api/v1/api-keys/{key_id:str}/rotate", sync_to_thread=True)
def post_rotate(
    writing: Write,
    principal: Caller,
    key_id: KeyId,
    data: JSONBody[Rotation | None] = None,
) -> Response[NewKeyBody]:
    """Make the one successor of a key, with its settings; the old one counts for an overlap."""
    asking = known(principal)
    overlap = datetime.timedelta(seconds=(data or Rotation()).overlap_seconds)

    def rotate(tx: Transaction) -> NewKeyBody:
        reachable(tx, asking, key_id, MANAGES)
        key, secret = APIKeyRepository(tx).rotate(key_id, overlap=overlap, actor=asking.name)
        return NewKeyBody(key=key_item(key), secret=secret)

    return writing.run(rotate, status=201, secrets=("secret",))


@get("/api/v1/api-keys/{key_id:str}/usage", sync_to_thread=True)
def get_usage(
    reading: Read,
    principal: Caller,
    key_id: KeyId,
    days: Annotated[int, QueryParameter(ge=1, le=MAX_USAGE_DAYS)] = USAGE_DAYS,
) -> UsageBody:
    """A key's requests by day, and what is left of today's quota."""

    def read(tx: Transaction) -> UsageBody:
        reachable(tx, principal, key_id, MANAGES)
        usage = APIKeyRepository(tx).usage(key_id, days)
        return UsageBody(
            days=[DayItem(day.day.isoformat(), day.requests) for day in usage.days],
            quota=usage.quota,
            used=usage.used,
            remaining=usage.remaining,
        )

    return reading.run(read)


@get("/api/v1/tiers/{tier:str}", sync_to_thread=True)
def get_tier(reading: Read, tier: FromPath[str]) -> TierBody:
    """How much users of a tier may ask for."""
    return reading.run(lambda tx: tier_body(read_tier(tx, tier)))


@put("/api/v1/tiers/{tier:str}", sync_to_thread=True)
def put_tier(
    writing: Write, principal: Caller, tier: FromPath[str], data: JSONBody[TierLimits]
) -> Response[TierBody]:
    """Set the limits of a tier; they hold from the next request on."""
    actor = known(principal).name
    return writing.run(
        lambda tx: tier_body(
            APIKeyRepository(tx).set_tier_limits(
                tier, rate_limit=data.rate_limit, daily_quota=data.daily_quota, actor=actor
            )
        )
    )


@get("/api/v1/scopes", sync_to_thread=False)
def get_scopes() -> Page[ScopeItem]:
    """Every scope that a key may have; one implies no other."""
    items = [ScopeItem(scope, SLICE_OF_SCOPE[scope], said) for scope, said in SCOPES.items()]
    return Page(items=items, next=None)


def reachable(tx: Transaction, principal: Principal | None, key_id: str, *scopes: str) -> ApiKey:
    """
    Return a key that the caller may reach.

    Raises:
        NotFoundError: There is none, or it is another user's and the caller has none of
            *scopes*: which ids there are is nobody else's matter.
    """
    key = APIKeyRepository(tx).get_by_id(key_id)
    if not owns(known(principal), key.user_id, *scopes):
        raise NotFoundError("there is no such API key")
    return key


def last_moment(
    tx: Transaction, asking: Principal, wanted: datetime.datetime | None
) -> datetime.datetime | None:
    """
    Return when a key expires that *asking* makes or changes: as wanted, where he manages keys;
    else no later than his own, so that a key for an hour makes none for ever.
    """
    zoned = wanted if wanted is None or wanted.tzinfo else wanted.replace(tzinfo=datetime.UTC)
    if asking.has_one_of(MANAGES) or asking.key_id is None:
        return zoned
    own = APIKeyRepository(tx).get_by_id(uuid.UUID(asking.key_id)).expires_at
    if zoned is None or own is None:
        return zoned or own
    return min(zoned, own)


def lacking(asking: Principal, *scopes: str) -> ScopeError:
    """Return the error of a caller who has none of *scopes*."""
    return ScopeError(
        f"this needs {' or '.join(scopes)}",
        evidence={"needed": list(scopes), "held": sorted(asking.scopes)},
    )


def key_item(key: ApiKey) -> KeyItem:
    """Return *key* as it is answered."""
    return KeyItem(
        id=str(key.id),
        prefix=key.prefix,
        user_id=key.user_id,
        name=key.name,
        tier=key.tier,
        rate_limit=key.rate_limit,
        scopes=list(key.scopes),
        requests_today=key.requests_today,
        last_used=optional_time(key.last_used),
        created_at=format_time(key.created_at),
        expires_at=optional_time(key.expires_at),
        revoked_at=optional_time(key.revoked_at),
        revoked_by=key.revoked_by,
        revoke_reason=key.revoke_reason,
        rotated_from=None if key.rotated_from is None else str(key.rotated_from),
        client_type=key.client_type,
        description=key.description,
        contact_email=key.contact_email,
        version=key.version,
    )


def tier_body(tier: Tier) -> TierBody:
    """Return *tier* as it is answered."""
    return TierBody(tier=tier.tier, rate_limit=tier.rate_limit, daily_quota=tier.daily_quota)


ROUTES: Final = [
    get_keys,
    post_key,
    get_key,
    patch_key,
    delete_key,
    post_rotate,
    get_usage,
    get_tier,
    put_tier,
    get_scopes,
]
