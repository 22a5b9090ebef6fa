"""
The pages of users, keys and human proofs (identity.md, section 6).

A user sees what is his own; who may read identities, everything but secrets, which nobody can.
What these pages need they read under one snapshot, on the primary: a page that shows whether a
key still opens a door must not be a cache's memory of it.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tallystick.clock import format_time, utc_now
from tallystick.db import Database
from tallystick.identity import (
    ApiKey,
    APIKeyRepository,
    HumanProofRepository,
    RiskEntry,
    UserRepository,
)
from tallystick.identity.human_proofs import HumanProof, HumanProofRules
from tallystick.record import format_address
from tallystick.web.access import Visitor
from tallystick.web.growth import Growth, draw_growth

LINES: Final = 50
"""Lines of a list on one page."""
READS: Final = "identity:read"
MANAGES: Final = "identity:admin"


@dataclass(frozen=True, slots=True)
class RiskLine:
    """One change of a user's risk."""

    at: str
    kind: str
    old_score: Decimal
    new_score: Decimal
    reason_code: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key, by its prefix; *state* is `active`, `expired` or `revoked`."""

    id: str
    prefix: str
    name: str
    tier: str
    scopes: list[str]
    state: str
    created_at: str
    last_used: str | None
    expires_at: str | None
    revoke_reason: str | None


@dataclass(frozen=True, slots=True)
class ProofLine:
    """A human proof; *state* is its status, or `expired`."""

    id: str
    verifier: str
    assurance: int | None
    state: str
    created_at: str
    expires_at: str
    score: Decimal | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class UserPage:
    """A user, how his risk came about, his newest keys and proofs."""

    id: str
    username: str | None
    wallet_address: str | None
    created_at: str
    deleted_at: str | None
    risk_score: Decimal
    is_blacklisted: bool
    blacklist_reason: str | None
    tags: list[str]
    risk: Growth | None
    risk_history: list[RiskLine]
    keys: list[KeyLine]
    proofs: list[ProofLine]


@dataclass(frozen=True, slots=True)
class KeysPage:
    """
    Keys of a user, the newest first; *next* continues them where it is not None.

    Without *user_id*, how many keys of each tier are active, and those that expire soonest.
    """

    user_id: str | None
    keys: list[KeyLine]
    next: str | None
    active_by_tier: dict[str, int]
    expiring_days: int | None


@dataclass(frozen=True, slots=True)
class ProofsPage:
    """Human proofs of a user, the newest first; *next* continues them where it is not None."""

    user_id: str | None
    is_human: bool
    proofs: list[ProofLine]
    next: str | None


EXPIRING_DAYS: Final = 30


def user_page(database: Database, visitor: Visitor, user_id: str) -> UserPage:
    """
    Return the page of a user.

    Raises:
        SignInNeededError, AccessDeniedError: The visitor is neither he nor may read identities.
        NotFoundError: There is no such user.
    """
    visitor.check_own(user_id, READS)
    now = utc_now()
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        user = UserRepository(tx).get_by_id(user_id, include_deleted=True)
        history = UserRepository(tx).risk_history(user_id, limit=LINES).items
        keys = APIKeyRepository(tx).list_by_user(user_id, limit=LINES).items
        proofs = HumanProofRepository(tx).list_by_user(user_id, limit=LINES).items
    wallet = user.wallet_address
    return UserPage(
        id=user.id,
        username=user.username,
        wallet_address=None if wallet is None else format_address(wallet),
        created_at=format_time(user.created_at),
        deleted_at=_optional_time(user.deleted_at),
        risk_score=user.risk_score,
        is_blacklisted=user.is_blacklisted,
        blacklist_reason=user.blacklist_reason,
        tags=list(user.tags),
        risk=draw_risk(user.created_at, history, now),
        risk_history=[risk_line(entry) for entry in history],
        keys=[key_line(key, now) for key in keys],
        proofs=[proof_line(proof, now) for proof in proofs],
    )


def keys_page(
    database: Database, visitor: Visitor, *, user_id: str | None, after: str | None
) -> KeysPage:
    """
    Return the keys of a user: of *user_id*, else of the visitor, else of the house.

    Raises:
        SignInNeededError, AccessDeniedError: The visitor may not see them.
        NotFoundError: There is no such user.
        InvalidValueError: *after* is no cursor.
    """
    of = visitor.choose_user(user_id, READS, MANAGES)
    now = utc_now()
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        keys = APIKeyRepository(tx)
        if of is None:
            expiring = keys.get_expiring(EXPIRING_DAYS, limit=LINES, after=after)
            lines = [key_line(key, now) for key in expiring.items]
            return KeysPage(None, lines, expiring.next, keys.count_by_tier(), EXPIRING_DAYS)
        UserRepository(tx).get_by_id(of, include_deleted=True)
        page = keys.list_by_user(of, limit=LINES, after=after)
    return KeysPage(of, [key_line(key, now) for key in page.items], page.next, {}, None)


def proofs_page(
    database: Database,
    visitor: Visitor,
    rules: HumanProofRules,
    *,
    user_id: str | None,
    after: str | None,
) -> ProofsPage:
    """
    Return the human proofs of a user: of *user_id*, else of the visitor, else of nobody.

    Whether they make him human, the operator's *rules* say.

    Raises:
        SignInNeededError, AccessDeniedError: The visitor may not see them.
        NotFoundError: There is no such user.
        InvalidValueError: *after* is no cursor.
    """
    of = visitor.choose_user(user_id, READS)
    if of is None:
        return ProofsPage(None, is_human=False, proofs=[], next=None)
    now = utc_now()
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        proofs = HumanProofRepository(tx, rules)
        UserRepository(tx).get_by_id(of, include_deleted=True)
        page = proofs.list_by_user(of, limit=LINES, after=after)
        is_human = proofs.has_valid(of)
    lines = [proof_line(proof, now) for proof in page.items]
    return ProofsPage(of, is_human=is_human, proofs=lines, next=page.next)


def draw_risk(
    born: datetime.datetime, history: Sequence[RiskEntry], now: datetime.datetime
) -> Growth | None:
    """Return the score over time, from the oldest of *history*, newest first; None without any."""
    if not history:
        return None
    oldest = history[-1]
    points = [(max(born, oldest.at - (now - oldest.at) / 20), int(oldest.old_score))]
    points += [(entry.at, int(entry.new_score)) for entry in reversed(history)]
    return draw_growth([*points, (now, int(history[0].new_score))], top=100)


def risk_line(entry: RiskEntry) -> RiskLine:
    """Return a change of risk as the page says it."""
    return RiskLine(
        at=format_time(entry.at),
        kind=entry.kind,
        old_score=entry.old_score,
        new_score=entry.new_score,
        reason_code=entry.reason_code,
        reason=entry.reason,
        actor=entry.actor,
    )


def key_line(key: ApiKey, now: datetime.datetime) -> KeyLine:
    """Return a key as the page says it at the time *now*."""
    if key.revoked_at is not None:
        state = "revoked"
    else:
        state = "expired" if key.expires_at is not None and key.expires_at <= now else "active"
    return KeyLine(
        id=str(key.id),
        prefix=key.prefix,
        name=key.name,
        tier=key.tier,
        scopes=list(key.scopes),
        state=state,
        created_at=format_time(key.created_at),
        last_used=_optional_time(key.last_used),
        expires_at=_optional_time(key.expires_at),
        revoke_reason=key.revoke_reason,
    )


def proof_line(proof: HumanProof, now: datetime.datetime) -> ProofLine:
    """Return a proof as the page says it at the time *now*."""
    has_expired = proof.status == "verified" and proof.expires_at <= now
    return ProofLine(
        id=str(proof.id),
        verifier=proof.verifier,
        assurance=proof.assurance,
        state="expired" if has_expired else proof.status,
        created_at=format_time(proof.created_at),
        expires_at=format_time(proof.expires_at),
        score=proof.score,
        reason=proof.rejection_code or proof.revoke_reason,
    )


def _optional_time(at: datetime.datetime | None) -> str | None:
    return None if at is None else format_time(at)
