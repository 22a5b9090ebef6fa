"""The SQL of idempotency keys (identity.md, section 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.identity.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    claim: Query
    keep: Query
    answer: Query
    erase_user: Query
    sweep: Query


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A stored answer."""

    status: int
    body: dict[str, Any]


SQL: Final = load_queries(Queries, __package__)


def claim(tx: Transaction, *, principal: str, key: str, digest: bytes) -> AnswerRow | None:
    """
    Return the answer that the key has; None where this transaction has the key now.

    Raises:
        IdempotencyConflictError: The key has another request's digest.
        DatabaseUnavailableError: Another transaction holds the key for too long.
    """
    parameters = {"principal": principal, "key": key, "digest": digest}
    try:
        return tx.row(AnswerRow, SQL.claim, parameters)
    except psycopg.errors.LockNotAvailable as raised:
        raise DatabaseUnavailableError("the same request is still being answered") from raised


def keep(
    tx: Transaction, *, principal: str, key: str, status: int, body: Mapping[str, Any]
) -> None:
    """
    Keep the answer under the key.

    Raises:
        InvalidValueError: It has over 64 KiB.
    """
    values = {"principal": principal, "key": key, "status": status, "body": Jsonb(dict(body))}
    try:
        tx.execute(SQL.keep, values)
    except psycopg.errors.CheckViolation as raised:
        raise InvalidValueError(
            "the answer is too long to be kept: send the request without an Idempotency-Key",
            evidence={"field": "Idempotency-Key"},
        ) from raised


def answer(tx: Transaction, *, principal: str, key: str, digest: bytes) -> AnswerRow | None:
    """
    Return the answer that the key has, and take nothing.

    Raises:
        IdempotencyConflictError: The key has another request's digest.
    """
    parameters = {"principal": principal, "key": key, "digest": digest}
    return tx.row(AnswerRow, SQL.answer, parameters)


def erase_user(tx: Transaction, user_id: str) -> int:
    """Empty the answers that are about a user and return their number."""
    return int(tx.value(SQL.erase_user, {"user_id": user_id}))


def sweep(tx: Transaction) -> int:
    """Delete old keys and return their number."""
    return int(tx.value(SQL.sweep))
