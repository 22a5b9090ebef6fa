"""
Who asks, and whether he may: the decision of each request (identity.md, section 4.3).

Two kinds of keys are known. The operator's is a file beside the data, made at the first start:
the process keeps its SHA-256, it has every scope and no limit. All others are API keys, which
the database admits by one call before the handler starts: nothing that decides is remembered
here. Who has no key reads what is open, and pays where the route is metered.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.http.credentials import IpNetwork, address_of, read_key
from tallystick.http.errors import UnauthenticatedError
from tallystick.http.scopes import Need
from tallystick.identity.admission import Admission, admit, admit_anonymous
from tallystick.identity.errors import RefusedForNowError
from tallystick.identity.scopes import SCOPES
from tallystick.publish import PublishedHead
from tallystick.record import KeyPermissionsError

FILE_MODE: Final = 0o600
MAX_FILE_BYTES: Final = 200
OPERATOR_KEY_FILE: Final = "operator.key"
ADMITTING: Final = 4
"""Threads that ask for admission, apart from those of handlers: who waits for a lock in one of
those must not keep others from being admitted. Each call takes about a millisecond."""
LIMITS: Final = "tallystick.limits"
"""Where a request's scope keeps what its answer says of limits."""
ADMITTED: Final = "tallystick.admitted"
"""Where it keeps what was decided: who asks, or the error. Nobody pays twice for a request that
the framework answers after all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What `RateLimit-*` say: requests a minute, how many are left, and seconds until all are."""

    limit: int
    remaining: int
    reset_seconds: int


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; *user_id* and *key_id* where it is a user's key."""

    name: str
    scopes: frozenset[str]
    user_id: str | None = None
    key_id: str | None = None

    def has_one_of(self, *scopes: str) -> bool:
        """Return whether the key has one of *scopes*."""
        return not self.scopes.isdisjoint(scopes)


OPERATOR: Final = Principal("key:operator", frozenset(map(str, SCOPES)))


class Authorizer:
    """
    Decides each request over *database*, the primary; *operator_sha256* is of the operator's
    key, None where there is none. `X-Forwarded-For` counts only from *trusted_proxies*.
    """

    def __init__(
        self,
        database: Database,
        operator_sha256: bytes | None,
        *,
        trusted_proxies: Sequence[IpNetwork] = (),
    ) -> None:
        self._database = database
        self._operator_sha256 = operator_sha256
        self._trusted = tuple(trusted_proxies)
        self._threads = ThreadPoolExecutor(ADMITTING, thread_name_prefix="admission")

    async def admit(
        self, scope: Any, need: Need, head: PublishedHead | None = None
    ) -> Principal | None:
        """
        Let the request of *scope* through to a route of this need, about the log *head* if it
        is about one; return who asks, None where nobody said. Charges who is to be charged,
        and keeps in *scope* what the answer says of limits.

        Raises:
            UnauthenticatedError: A key is needed and there is none, or none that is understood.
            ForeignOriginError: By cookie, something would be changed from another site.
            UnknownKeyError, KeyRevokedError, KeyExpiredError: The key is not valid.
            BlacklistedError: The key's owner is shut out.
            ScopeError: The key lacks a scope that this needs.
            RateLimitedError, QuotaExceededError: The key, its owner or the address had enough.
        """
        if ADMITTED not in scope:
            try:
                scope[ADMITTED] = await self._admit(scope, need, head)
            except Error as error:
                scope[ADMITTED] = error
        admitted: Principal | Error | None = scope[ADMITTED]
        if isinstance(admitted, Error):
            raise admitted
        return admitted

    async def _admit(self, scope: Any, need: Need, head: PublishedHead | None) -> Principal | None:
        is_open = may_call(need, None, head)
        sent = read_key(scope)
        if sent is None:
            if not is_open:
                raise UnauthenticatedError
            if need.metered:
                address = address_of(scope, self._trusted)
                await self._ask(scope, lambda: admit_anonymous(self._database, address))
            return None
        if self.is_operator(sent.text):
            return OPERATOR
        # An own key is any valid one: what more its scopes open, the handler decides.
        any_of = () if is_open or need.own else need.scopes
        address = address_of(scope, self._trusted)
        admission = await self._ask(
            scope, lambda: admit(self._database, sent.text, any_of=any_of, address=address)
        )
        return Principal(
            admission.principal,
            admission.scopes,
            admission.user_id,
            None if admission.key_id is None else str(admission.key_id),
        )

    def is_operator(self, token: str) -> bool:
        """Return whether *token* is the operator's key."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        # Digests are compared, in constant time: how far a guess is right must not show.
        known = self._operator_sha256
        return known is not None and hmac.compare_digest(digest, known)

    async def _ask(self, scope: Any, question: Callable[[], Admission]) -> Admission:
        loop = asyncio.get_running_loop()
        try:
            admission = await loop.run_in_executor(self._threads, question)
        except RefusedForNowError as refused:
            scope[LIMITS] = limits_of_refusal(refused)
            raise
        reset_seconds = math.ceil(admission.reset_seconds)
        scope[LIMITS] = Limits(admission.limit, admission.remaining, reset_seconds)
        return admission

    def close(self) -> None:
        """Admit nobody any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def limits_of_refusal(refused: RefusedForNowError) -> Limits | None:
    """Return the limits that refused a request; None where the error does not say."""
    limit, reset = refused.evidence.get("limit"), refused.evidence.get("reset_seconds")
    if not isinstance(limit, int) or not isinstance(reset, int | float):
        return None
    return Limits(limit, 0, math.ceil(reset))


def read_operator_key(path: Path) -> str:
    """
    Return the key in the file *path*.

    Raises:
        FileNotFoundError: There is none.
        KeyPermissionsError: It is not a regular file of this user with mode 0600.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as cause:
        raise KeyPermissionsError(f"{path}: {cause.strerror}", path=str(path)) from cause
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or mode != FILE_MODE:
            raise KeyPermissionsError(
                f"{path} must be a file of its owner alone, mode 0600", path=str(path)
            )
        return file.read(MAX_FILE_BYTES).decode("ascii", "replace").strip()


def load_operator_sha256(path: Path) -> bytes | None:
    """
    Return the SHA-256 of the operator's key in *path*, None if there is no file or no key.

    Raises:
        KeyPermissionsError: The file is not its owner's alone.
    """
    try:
        token = read_operator_key(path)
    except FileNotFoundError:
        return None
    return hashlib.sha256(token.encode()).digest() if token else None


def may_call(need: Need, principal: Principal | None, head: PublishedHead | None) -> bool:
    """
    Return whether *principal*, None for a stranger, may call a route of this need about the
    log *head*, None where it is about no log. A scope implies no other.
    """
    if need.public or (head is not None and need.opens_to(head.visibility)):
        return True
    return principal is not None and (need.own or principal.has_one_of(*need.scopes))
