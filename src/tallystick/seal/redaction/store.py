"""The SQL of redaction; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs.log import LogId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    redact: Query
    versions_of_key: Query
    leaves_of_user: Query
    redacted_indexes: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Erased:
    """What the database erased, and what it found beside it."""

    redacted: list[int]
    redacted_before: list[int]
    quarantined: int
    standing: int
    elsewhere: list[str]
    is_in_log: bool


@dataclass(frozen=True, slots=True)
class Versions:
    """The leaves of one key that hide something, and how many of its queue rows would."""

    indexes: list[int]
    waiting: int


def redact(
    tx: Transaction,
    log_id: LogId,
    indexes: Sequence[int],
    *,
    actor: str,
    reason: str,
    legal_basis: str,
    whole_keys: bool,
) -> Erased:
    """Erase what the leaves at *indexes* hide."""
    erased = tx.row(
        Erased,
        SQL.redact,
        {
            "log_id": log_id,
            "indexes": list(indexes),
            "actor": actor,
            "reason": reason,
            "legal_basis": legal_basis,
            "whole_keys": whole_keys,
        },
    )
    assert erased is not None, "the function returns one row or refuses"
    return erased


def versions_of_key(tx: Transaction, log_id: LogId, *, table: str, key_text: str) -> Versions:
    """Return the leaves of a key that have, or had, a record beside them, and what waits."""
    found = tx.row(
        Versions,
        SQL.versions_of_key,
        {"log_id": log_id, "source_table": table, "source_key": key_text},
    )
    assert found is not None, "a query without a table has one row"
    return found


@dataclass(frozen=True, slots=True)
class LeavesOfUser:
    """The leaves of one log that hide something of a user, and how many queue rows would."""

    log_name: str
    indexes: list[int]
    waiting: int


def leaves_of_user(tx: Transaction, user_id: str) -> list[LeavesOfUser]:
    """Return what each log has of a user's own rows."""
    return tx.rows(LeavesOfUser, SQL.leaves_of_user, {"user_id": user_id})


def redacted_indexes(
    tx: Transaction, places: Sequence[tuple[str, int]]
) -> frozenset[tuple[str, int]]:
    """Return those of *places*, log name and index, whose leaves were redacted."""
    found = tx.rows(
        lambda log_name, index: (str(log_name), int(index)),
        SQL.redacted_indexes,
        {"log_names": [name for name, _ in places], "indexes": [index for _, index in places]},
    )
    return frozenset(found)
