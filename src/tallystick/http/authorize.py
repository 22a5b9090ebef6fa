"""
Who asks, and whether he may: keys, principals, and the decision of each request.

Keys of users are the identity slice's; this one key is the operator's, a file beside the
data, made at the first start. It is never stored or compared in clear: the process keeps its
SHA-256. Without such a file nothing but open routes answers. Follows log.md, section 6.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tallystick.http.errors import ScopeMissingError, UnauthenticatedError
from tallystick.http.scopes import LOG_SCOPES, Need
from tallystick.publish import PublishedHead
from tallystick.record import KeyPermissionsError

BEARER: Final = "Bearer "
FILE_MODE: Final = 0o600
MAX_FILE_BYTES: Final = 200
OPERATOR_KEY_FILE: Final = "operator.key"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks; *user_id* where it is a user's key."""

    name: str
    scopes: frozenset[str]
    user_id: str | None = None


class Authorizer(Protocol):
    """Tells who a request's `Authorization` header speaks for."""

    def authenticate(self, authorization: str | None) -> Principal | None:
        """
        Return the principal, or None for a request without a key.

        Raises:
            UnauthenticatedError: There is a key, and it is not a valid one.
        """
        ...

    def is_operator(self, token: str) -> bool:
        """Return whether *token* is a key that opens every log."""
        ...


@dataclass(frozen=True, slots=True)
class OperatorAuthorizer:
    """Knows one key, the operator's, by its SHA-256; with None it knows no key at all."""

    key_sha256: bytes | None

    def authenticate(self, authorization: str | None) -> Principal | None:
        """
        Return the operator, or None for a request without a key.

        Raises:
            UnauthenticatedError: There is a key, and it is not the operator's.
        """
        if authorization is None:
            return None
        token = authorization.removeprefix(BEARER)
        if token == authorization or not self.is_operator(token):
            raise UnauthenticatedError
        return Principal("key:operator", frozenset(LOG_SCOPES))

    def is_operator(self, token: str) -> bool:
        """Return whether *token* is the operator's key."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        # Digests are compared, in constant time: how far a guess is right must not show.
        return self.key_sha256 is not None and hmac.compare_digest(digest, self.key_sha256)


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


def load_authorizer(path: Path) -> OperatorAuthorizer:
    """
    Return the authorizer that knows the operator's key in *path*, or none if there is no file.

    Raises:
        KeyPermissionsError: The file is not its owner's alone.
    """
    try:
        token = read_operator_key(path)
    except FileNotFoundError:
        return OperatorAuthorizer(None)
    return OperatorAuthorizer(hashlib.sha256(token.encode()).digest() if token else None)


def check_need(need: Need, principal: Principal | None, head: PublishedHead | None) -> None:
    """
    Check that *principal* may call a route of this need; *head* is the log that it is about.

    Raises:
        UnauthenticatedError: A key is needed and there is none.
        ScopeMissingError: The key does not open this.
    """
    if need.public or (head is not None and is_open(need, head)):
        return
    if principal is None:
        raise UnauthenticatedError
    if need.own or need.scope in principal.scopes:
        return
    raise ScopeMissingError(f"this needs the scope {need.scope}")


def is_open(need: Need, head: PublishedHead) -> bool:
    """Return whether the log's visibility opens the route to everybody."""
    match need.opened:
        case "hashes":
            return head.visibility in {"hashes", "public"}
        case "entries":
            return head.visibility == "public"
        case None:
            return False


def may_see(need: Need, principal: Principal | None, head: PublishedHead) -> bool:
    """Return whether *principal* may call a route of this need about the log *head*."""
    try:
        check_need(need, principal, head)
    except (UnauthenticatedError, ScopeMissingError):
        return False
    return True
