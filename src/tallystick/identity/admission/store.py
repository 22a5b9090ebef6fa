"""The SQL of admission: one statement a request (identity.md, section 4.3)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.db import Query, Transaction, load_queries


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    admit: Query
    admit_anonymous: Query


SQL: Final = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the database decided; *refusal* is the SQLSTATE of an error, None where it admits."""

    refusal: str | None
    user_id: str | None
    key_id: uuid.UUID | None
    scopes: list[str] | None
    rate_limit: int | None
    remaining: int | None
    reset_seconds: float | None
    retry_after: float | None


def admit(
    tx: Transaction,
    *,
    key_hash: bytes,
    prefix: str,
    any_of: Sequence[str],
    anonymous_bucket: str | None,
) -> Verdict:
    """Decide on a request with a key, and charge it."""
    verdict = tx.row(
        Verdict,
        SQL.admit,
        {
            "key_hash": key_hash,
            "prefix": prefix,
            "any_of": [*any_of],
            "anonymous_bucket": anonymous_bucket,
        },
    )
    assert verdict is not None, "the function returns one row"
    return verdict


def admit_anonymous(tx: Transaction, bucket: str) -> Verdict:
    """Decide on a request without a key, and charge its network."""
    verdict = tx.row(Verdict, SQL.admit_anonymous, {"bucket": bucket})
    assert verdict is not None, "the function returns one row"
    return verdict
