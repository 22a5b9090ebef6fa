"""The SQL of users; every function runs in the caller's transaction (identity.md, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.identity.users.user import RiskEntry, User
from tallystick.record import Address


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    create_users: Query
    get_user: Query
    get_user_by_wallet: Query
    update_user: Query
    set_risk: Query
    adjust_risk: Query
    touch_users: Query
    blacklist: Query
    unblacklist: Query
    delete_user: Query
    erase_user: Query
    list_by_risk: Query
    list_blacklisted: Query
    list_by_tag: Query
    list_risk_history: Query
    count_users: Query


SQL: Final = load_queries(Queries, __package__)
COLUMNS: Final = tuple(column.name for column in fields(User))


def user_of(*columns: Any) -> User:
    """Return the user in a row."""
    values = dict(zip(COLUMNS, columns, strict=True))
    values["tags"] = tuple(values["tags"])
    return User(**values)


def create_users(tx: Transaction, users: Sequence[Mapping[str, Any]]) -> list[User]:
    """Make users and return them in the same order."""
    return tx.rows(user_of, SQL.create_users, {"users": Jsonb(list(users))})


def get_user(tx: Transaction, user_id: str) -> User | None:
    """Return a user, deleted or not."""
    return tx.row(user_of, SQL.get_user, {"user_id": user_id})


def get_user_by_wallet(tx: Transaction, wallet: Address) -> User | None:
    """Return the user who has a wallet, deleted or not."""
    return tx.row(user_of, SQL.get_user_by_wallet, {"wallet": wallet})


def update_user(
    tx: Transaction, user_id: str, *, expected_version: int, changes: Mapping[str, Any]
) -> User | None:
    """Change a live user of that version; None where there is none."""
    parameters = {
        "user_id": user_id,
        "expected_version": expected_version,
        "changes": Jsonb(dict(changes)),
    }
    return tx.row(user_of, SQL.update_user, parameters)


def set_risk(tx: Transaction, user_id: str, score: Decimal, **said: str) -> RiskEntry:
    """Set a risk score; *said* is reason_code, reason and actor."""
    entry = tx.row(RiskEntry, SQL.set_risk, {"user_id": user_id, "score": score, **said})
    assert entry is not None, "the function returns its row or refuses"
    return entry


def adjust_risk(tx: Transaction, user_id: str, delta: Decimal, **said: str) -> RiskEntry:
    """Add to a risk score; *said* is source_kind, source_id, reason_code, reason and actor."""
    entry = tx.row(RiskEntry, SQL.adjust_risk, {"user_id": user_id, "delta": delta, **said})
    assert entry is not None, "the function returns its row or refuses"
    return entry


def touch_users(tx: Transaction, user_ids: Sequence[str]) -> int:
    """Write the time of users' last activity where it is a minute old; return how many were."""
    return tx.execute(SQL.touch_users, {"user_ids": list(user_ids)})


def blacklist(tx: Transaction, user_id: str, *, reason: str, actor: str) -> bool:
    """Blacklist a user; False where that reason stood already."""
    parameters = {"user_id": user_id, "reason": reason, "actor": actor}
    return bool(tx.value(SQL.blacklist, parameters))


def unblacklist(tx: Transaction, user_id: str, *, reason: str, actor: str) -> bool:
    """Take a user off the blacklist; False where he was not on it."""
    parameters = {"user_id": user_id, "reason": reason, "actor": actor}
    return bool(tx.value(SQL.unblacklist, parameters))


def delete_user(tx: Transaction, user_id: str, *, actor: str) -> bool:
    """Delete a user; False where he was deleted already."""
    return bool(tx.value(SQL.delete_user, {"user_id": user_id, "actor": actor}))


def erase_user(tx: Transaction, user_id: str, *, actor: str) -> bool:
    """Erase a deleted user; False where nothing of him is left to erase."""
    return bool(tx.value(SQL.erase_user, {"user_id": user_id, "actor": actor}))


def list_by_risk(
    tx: Transaction, threshold: Decimal, *, after_score: str, after_id: str, limit: int
) -> list[User]:
    """Return live users of at least a score, highest first."""
    parameters = {
        "threshold": threshold,
        "after_score": after_score,
        "after_id": after_id,
        "limit": limit,
    }
    return tx.rows(user_of, SQL.list_by_risk, parameters)


def list_blacklisted(tx: Transaction, *, after_at: str, after_id: str, limit: int) -> list[User]:
    """Return live users who are blacklisted, newest first."""
    parameters = {"after_at": after_at, "after_id": after_id, "limit": limit}
    return tx.rows(user_of, SQL.list_blacklisted, parameters)


def list_by_tag(
    tx: Transaction, tag: str, *, after_at: str, after_id: str, limit: int
) -> list[User]:
    """Return live users with a tag, newest first."""
    parameters = {"tag": tag, "after_at": after_at, "after_id": after_id, "limit": limit}
    return tx.rows(user_of, SQL.list_by_tag, parameters)


def list_risk_history(
    tx: Transaction, user_id: str, *, after_id: str, limit: int
) -> list[RiskEntry]:
    """Return a user's risk history, newest first."""
    parameters = {"user_id": user_id, "after_id": after_id, "limit": limit}
    return tx.rows(RiskEntry, SQL.list_risk_history, parameters)


def count_users(tx: Transaction) -> int:
    """Return how many users are not deleted."""
    return int(tx.value(SQL.count_users))
