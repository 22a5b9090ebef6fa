"""
Admission: who calls, may he, and is he within his limits (identity.md, section 4.3).

One statement decides and charges both buckets of a key, in a transaction of its own, so that
its locks are gone before the handler starts. A refusal leaves the database as a value, because
an unknown key is charged to the network it came from, and that must be committed.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.db import Database, Transaction
from tallystick.db.sqlstate import rule_errors
from tallystick.identity.admission import store
from tallystick.identity.constraints import named_errors
from tallystick.identity.errors import IdentityError, InvalidValueError
from tallystick.identity.key_text import parse_key

ANONYMOUS: Final = "anonymous"
"""Who calls without a key; no principal of this name acts on anything."""
IPV6_BITS: Final = 64
"""A household has a /64: its addresses are as many as it likes."""


@dataclass(frozen=True, slots=True)
class Admission:
    """
    A request that was admitted and charged.

    *limit*: requests in a minute, of the stricter bucket. *remaining*: how many more would be
    admitted at once. *reset_seconds*: when the bucket is full again.
    """

    principal: str
    user_id: str | None
    key_id: uuid.UUID | None
    scopes: frozenset[str]
    limit: int
    remaining: int
    reset_seconds: float


def admit(
    database: Database, text: str, *, any_of: Sequence[str] = (), address: str | None = None
) -> Admission:
    """
    Admit one request with the key *text*, which has one of the scopes *any_of* if any are named.

    The request came from the network address *address*, whose bucket an unknown, revoked or
    expired key is charged to.

    Raises:
        UnknownKeyError: It is no key of ours; text that cannot be one is not even looked up.
        KeyRevokedError, KeyExpiredError: It is one no more.
        BlacklistedError: Its owner is blacklisted or deleted.
        ScopeError: It has none of *any_of*.
        RateLimitedError, QuotaExceededError: It, its owner or *address* comes too often; charged
            is nothing.
        DatabaseUnavailableError: Nobody can say.
    """
    return database.statement(lambda tx: admit_in(tx, text, any_of=any_of, address=address))


def admit_anonymous(database: Database, address: str) -> Admission:
    """
    Admit one request from *address* without a key.

    Raises:
        RateLimitedError, QuotaExceededError: Its network comes too often.
        DatabaseUnavailableError: Nobody can say.
    """
    return database.statement(lambda tx: admit_anonymous_in(tx, address))


def admit_in(
    tx: Transaction, text: str, *, any_of: Sequence[str] = (), address: str | None = None
) -> Admission:
    """
    As `admit`, in *tx*: a refusal raises, and takes the charge of *address* with it unless each
    statement of *tx* is a transaction of its own.

    Raises:
        As `admit`.
    """
    presented = parse_key(text)
    with named_errors():
        verdict = store.admit(
            tx,
            key_hash=presented.key_hash,
            prefix=presented.prefix,
            any_of=any_of,
            anonymous_bucket=None if address is None else anonymous_bucket(address),
        )
    if verdict.refusal is not None:
        raise refusal_of(verdict, needed=any_of)
    return Admission(
        principal=f"key:{verdict.key_id}",
        user_id=verdict.user_id,
        key_id=verdict.key_id,
        scopes=frozenset(verdict.scopes or ()),
        limit=verdict.rate_limit or 0,
        remaining=verdict.remaining or 0,
        reset_seconds=verdict.reset_seconds or 0.0,
    )


def admit_anonymous_in(tx: Transaction, address: str) -> Admission:
    """
    As `admit_anonymous`, in *tx*.

    Raises:
        As `admit_anonymous`.
    """
    with named_errors():
        verdict = store.admit_anonymous(tx, anonymous_bucket(address))
    if verdict.refusal is not None:
        raise refusal_of(verdict, needed=())
    return Admission(
        principal=ANONYMOUS,
        user_id=None,
        key_id=None,
        scopes=frozenset(),
        limit=verdict.rate_limit or 0,
        remaining=verdict.remaining or 0,
        reset_seconds=verdict.reset_seconds or 0.0,
    )


def anonymous_bucket(address: str) -> str:
    """
    Return the bucket of whoever calls from *address* without a key: /32, or /64 of IPv6.

    Raises:
        InvalidValueError: It is no IP address.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise InvalidValueError("there is no such IP address") from None
    if isinstance(parsed, ipaddress.IPv6Address):
        # An IPv4 address that came through an IPv6 socket is what it is.
        if parsed.ipv4_mapped is not None:
            return f"ip:{parsed.ipv4_mapped}/32"
        network = int(parsed) >> IPV6_BITS << IPV6_BITS
        return f"ip:{ipaddress.IPv6Address(network)}/{IPV6_BITS}"
    return f"ip:{parsed}/32"


def refusal_of(verdict: store.Verdict, *, needed: Sequence[str]) -> IdentityError:
    """Return the error that a refused verdict is."""
    refused = rule_errors()[verdict.refusal or ""]
    assert issubclass(refused, IdentityError), "the function refuses for reasons of identity"
    return refused(
        evidence={
            "needed": [*needed],
            "held": [*(verdict.scopes or ())],
            "retry_after": verdict.retry_after or 0.0,
            "limit": verdict.rate_limit,
            "remaining": verdict.remaining,
            "reset_seconds": verdict.reset_seconds,
        }
    )
