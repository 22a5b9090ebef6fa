"""
One effect for one Idempotency-Key (identity.md, section 2; laws 9 and 13 of section 7).

The key's row is the first thing that a write's transaction inserts and its answer the last, so
the two commit or vanish together: a crash, a refusal, a lost answer all leave either the effect
with its answer, or neither. Who sends the same again waits for the first, and gets its answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tallystick.db import Transaction
from tallystick.identity.errors import InvalidValueError
from tallystick.identity.idempotency import store
from tallystick.record.api_request import ApiRequest, api_request_digest

MAX_KEY_CHARACTERS: Final = 255
"""A UUID has 36; whoever hashes has 64; the rest is room."""
KEY: Final = re.compile(r"[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A request under a key: whose, which, and the digest of what was asked."""

    principal: str
    key: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered the first time: HTTP status, and the body with its secrets null."""

    status: int
    body: dict[str, Any]


def request_digest(*, method: str, path: str, body: bytes) -> bytes:
    """Return the 32 bytes that tell two requests apart; *path* includes the query, if any."""
    return api_request_digest(ApiRequest(method=method, path=path, body=body))


def claim_request(tx: Transaction, claim: Claim) -> StoredAnswer | None:
    """
    Take the key of *claim* for this transaction, or return the answer that it already has.

    To be called before the write. Waits for another transaction that holds the key.

    Raises:
        InvalidValueError: The key is not 1 to 255 visible ASCII characters.
        IdempotencyConflictError: The key came before, with another request.
        DatabaseUnavailableError: The first request goes on for over 10 s.
    """
    check_key(claim.key)
    found = store.claim(tx, principal=claim.principal, key=claim.key, digest=claim.digest)
    return None if found is None else StoredAnswer(found.status, found.body)


def stored_answer(tx: Transaction, claim: Claim) -> StoredAnswer | None:
    """
    Return the answer that the key of *claim* has, None where it came first; takes nothing.

    For a route that does something ahead of its write, a look at a node, that a repetition spares.

    Raises:
        InvalidValueError, IdempotencyConflictError: As `claim_request`.
    """
    check_key(claim.key)
    found = store.answer(tx, principal=claim.principal, key=claim.key, digest=claim.digest)
    return None if found is None else StoredAnswer(found.status, found.body)


def check_key(key: str) -> None:
    """
    Check that *key* is one.

    Raises:
        InvalidValueError: It is not 1 to 255 visible ASCII characters.
    """
    if not KEY.fullmatch(key):
        raise InvalidValueError(
            f"Idempotency-Key is 1 to {MAX_KEY_CHARACTERS} visible ASCII characters",
            evidence={"field": "Idempotency-Key"},
        )


def keep_answer(
    tx: Transaction,
    claim: Claim,
    *,
    status: int,
    body: Mapping[str, Any],
    secrets: Sequence[str] = (),
) -> None:
    """
    Keep the answer of the write that took the key of *claim*; the members *secrets* as null.

    Raises:
        InvalidValueError: The answer has over 64 KiB; the write is undone, and can be sent without
            a key.
    """
    shown = {name: None if name in secrets else value for name, value in body.items()}
    store.keep(tx, principal=claim.principal, key=claim.key, status=status, body=shown)


def erase_answers(tx: Transaction, user_id: str) -> int:
    """
    Empty the answers that name a user, or were given to his keys, and return their number.

    Their requests still have one effect: sent again, each is answered by an empty object.
    """
    return store.erase_user(tx, user_id)


def forget_requests(tx: Transaction) -> int:
    """Delete keys older than 24 hours, 10,000 at most, and return how many there were."""
    return store.sweep(tx)
