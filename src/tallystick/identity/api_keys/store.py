"""The SQL of API keys; every function runs in the caller's transaction (identity.md, 4.2)."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.identity.api_keys.key import ApiKey, DayUsage, PresentedKey, Tier


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    create_key: Query
    find_presented: Query
    find_admitted: Query
    get_key: Query
    list_by_user: Query
    list_by_tier: Query
    list_expiring: Query
    update_key: Query
    rotate_key: Query
    revoke_keys: Query
    delete_key: Query
    delete_expired: Query
    touch_key: Query
    count_requests: Query
    reset_daily_count: Query
    flush_usage: Query
    usage_days: Query
    usage_today: Query
    set_tier_limits: Query
    list_tiers: Query
    count_by_tier: Query


SQL: Final = load_queries(Queries, __package__)
COLUMNS: Final = tuple(column.name for column in fields(ApiKey))


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """What an owner used of today's quota with the keys of one tier."""

    quota: int | None
    used: int


def key_of(*columns: Any) -> ApiKey:
    """Return the key in a row."""
    values = dict(zip(COLUMNS, columns, strict=True))
    values["scopes"] = tuple(values["scopes"])
    return ApiKey(**values)


def presented_of(*columns: Any) -> PresentedKey:
    """Return the key in a row with what else decides on it."""
    *of_key, is_expired, is_owner_barred = columns
    return PresentedKey(key_of(*of_key), is_expired, is_owner_barred)


def create_key(tx: Transaction, parameters: Mapping[str, Any]) -> ApiKey:
    """Make a key; the parameters are those of the query."""
    made = tx.row(key_of, SQL.create_key, parameters)
    assert made is not None, "the function returns its row or refuses"
    return made


def find_presented(tx: Transaction, key_hash: bytes) -> PresentedKey | None:
    """Return the key whose secret has that hash."""
    return tx.row(presented_of, SQL.find_presented, {"key_hash": key_hash})


def find_admitted(tx: Transaction, key_id: uuid.UUID) -> PresentedKey | None:
    """Return the key of that id."""
    return tx.row(presented_of, SQL.find_admitted, {"key_id": key_id})


def get_key(tx: Transaction, key_id: uuid.UUID) -> ApiKey | None:
    """Return a key."""
    return tx.row(key_of, SQL.get_key, {"key_id": key_id})


def list_by_user(
    tx: Transaction, user_id: str, *, active_only: bool, after: tuple[str, ...], limit: int
) -> list[ApiKey]:
    """Return a user's keys, newest first, behind *after*."""
    parameters = {"user_id": user_id, "active_only": active_only, "limit": limit}
    return tx.rows(key_of, SQL.list_by_user, {**parameters, **place(after)})


def list_by_tier(tx: Transaction, tier: str, *, after: tuple[str, ...], limit: int) -> list[ApiKey]:
    """Return a tier's active keys, newest first, behind *after*."""
    return tx.rows(key_of, SQL.list_by_tier, {"tier": tier, "limit": limit, **place(after)})


def list_expiring(
    tx: Transaction, days: int, *, after: tuple[str, ...], limit: int
) -> list[ApiKey]:
    """Return active keys that expire within *days*, soonest first, behind *after*."""
    return tx.rows(key_of, SQL.list_expiring, {"days": days, "limit": limit, **place(after)})


def place(after: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a place in a list of keys."""
    moment, key_id = after
    return {"after_at": moment, "after_id": key_id}


def update_key(
    tx: Transaction,
    key_id: uuid.UUID,
    *,
    expected_version: int,
    changes: Mapping[str, Any],
    actor: str,
) -> ApiKey:
    """Change the named fields of a key."""
    parameters = {
        "key_id": key_id,
        "expected_version": expected_version,
        "changes": Jsonb(dict(changes)),
        "actor": actor,
    }
    changed = tx.row(key_of, SQL.update_key, parameters)
    assert changed is not None, "the function returns its row or refuses"
    return changed


def rotate_key(
    tx: Transaction,
    key_id: uuid.UUID,
    *,
    key_hash: bytes,
    prefix: str,
    overlap: datetime.timedelta,
    actor: str,
) -> ApiKey:
    """Make the successor of a key."""
    parameters = {
        "key_id": key_id,
        "key_hash": key_hash,
        "prefix": prefix,
        "overlap": overlap,
        "actor": actor,
    }
    made = tx.row(key_of, SQL.rotate_key, parameters)
    assert made is not None, "the function returns its row or refuses"
    return made


def revoke_keys(
    tx: Transaction, *, user_id: str | None, key_id: uuid.UUID | None, reason: str, actor: str
) -> int:
    """Revoke a key, or all of a user; return how many were not revoked before."""
    parameters = {"user_id": user_id, "key_id": key_id, "reason": reason, "actor": actor}
    return int(tx.value(SQL.revoke_keys, parameters))


def delete_key(tx: Transaction, key_id: uuid.UUID) -> bool:
    """Delete a key that was never used; False where there is none."""
    return tx.execute(SQL.delete_key, {"key_id": key_id}) > 0


def delete_expired(tx: Transaction, before: datetime.datetime) -> int:
    """Delete keys that expired before a time and were never used; return how many."""
    return tx.execute(SQL.delete_expired, {"before": before})


def touch_key(tx: Transaction, key_id: uuid.UUID) -> bool:
    """Note that a key was used now; False where there is none."""
    return tx.execute(SQL.touch_key, {"key_id": key_id}) > 0


def count_requests(tx: Transaction, key_id: uuid.UUID, requests: int) -> None:
    """Raise today's count of a key."""
    tx.execute(SQL.count_requests, {"key_id": key_id, "requests": requests})


def reset_daily_count(tx: Transaction, key_id: uuid.UUID, *, actor: str) -> None:
    """Give a key and its owner's bucket today's quota anew."""
    tx.execute(SQL.reset_daily_count, {"key_id": key_id, "actor": actor})


def flush_usage(tx: Transaction) -> int:
    """Write down what the buckets counted; return how many keys changed."""
    return int(tx.value(SQL.flush_usage))


def usage_days(tx: Transaction, key_id: uuid.UUID, days: int) -> list[DayUsage]:
    """Return a key's requests by day, newest first."""
    return tx.rows(DayUsage, SQL.usage_days, {"key_id": key_id, "days": days})


def usage_today(tx: Transaction, key_id: uuid.UUID) -> QuotaUse | None:
    """Return today's quota of a key's owner and what is used of it; None where there is no key."""
    return tx.row(QuotaUse, SQL.usage_today, {"key_id": key_id})


def set_tier_limits(
    tx: Transaction, tier: str, *, rate_limit: int, daily_quota: int | None, actor: str
) -> Tier:
    """Set the limits of a tier."""
    parameters = {
        "tier": tier,
        "rate_limit": rate_limit,
        "daily_quota": daily_quota,
        "actor": actor,
    }
    changed = tx.row(Tier, SQL.set_tier_limits, parameters)
    assert changed is not None, "the function returns its row or refuses"
    return changed


def list_tiers(tx: Transaction) -> list[Tier]:
    """Return every tier, the narrowest first."""
    return tx.rows(Tier, SQL.list_tiers)


def count_by_tier(tx: Transaction) -> dict[str, int]:
    """Return how many active keys each tier has that has any."""
    return dict(tx.rows(lambda tier, keys: (tier, keys), SQL.count_by_tier))
