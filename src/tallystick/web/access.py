"""
Who may see which page (log.md, sections 2.1 and 6; identity.md, section 6).

A page's key comes as to the API beside it, or in the cookie that `/login` sets, because a
browser sends nothing else by itself. Whose key it is, and whether it is good, is decided by the
server that the pages are part of, their `Host`; here stands what each page needs of it, and
that is the scope of the same thing in the API.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tallystick.errors import Error
from tallystick.publish import PublishedHead
from tallystick.web.errors import AccessDeniedError, SignInNeededError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever asks for a page: the scopes of his key, and the user whose key it is."""

    scopes: frozenset[str] = frozenset()
    user_id: str | None = None
    is_signed_in: bool = False

    def may_see(self, head: PublishedHead) -> bool:
        """Return whether the log and its checkpoints are open to the visitor."""
        return head.visibility != "private" or self.sees_private_logs

    def may_read(self, head: PublishedHead) -> bool:
        """Return whether the log's entries are open to the visitor."""
        return head.visibility == "public" or "entries:read" in self.scopes

    @property
    def sees_private_logs(self) -> bool:
        """Whether private logs are shown."""
        return "log:read" in self.scopes

    @property
    def may_audit(self) -> bool:
        """Whether what audits found is shown: it tells of private rows too."""
        return "log:audit" in self.scopes

    @property
    def is_admin(self) -> bool:
        """Whether contacts are shown, which are people."""
        return "log:admin" in self.scopes

    @property
    def reads_chain(self) -> bool:
        """Whether what we send on chains is shown."""
        return not self.scopes.isdisjoint({"chain:read", "chain:admin"})

    @property
    def manages_chain(self) -> bool:
        """Whether it is shown whom a transaction is for."""
        return "chain:admin" in self.scopes

    def check_reads_chain(self) -> None:
        """
        Check that what we send on chains is open to the visitor.

        Raises:
            SignInNeededError, AccessDeniedError: It is not.
        """
        self._check(is_open=self.reads_chain)

    def check_sees(self, head: PublishedHead) -> None:
        """
        Check that the log is open to the visitor.

        Raises:
            SignInNeededError, AccessDeniedError: It is not.
        """
        self._check(is_open=self.may_see(head))

    def check_reads(self, head: PublishedHead) -> None:
        """
        Check that the log's entries are open to the visitor.

        Raises:
            SignInNeededError, AccessDeniedError: They are not.
        """
        self._check(is_open=self.may_read(head))

    def check_audits(self) -> None:
        """
        Check that what audits found is open to the visitor.

        Raises:
            SignInNeededError, AccessDeniedError: It is not.
        """
        self._check(is_open=self.may_audit)

    def check_own(self, user_id: str, *scopes: str) -> None:
        """
        Check that the visitor is the user, or has one of *scopes*, which open all users.

        Raises:
            SignInNeededError, AccessDeniedError: He is not and has not.
        """
        is_own = self.user_id is not None and self.user_id == user_id
        self._check(is_open=is_own or not self.scopes.isdisjoint(scopes))

    def choose_user(self, user_id: str | None, *scopes: str) -> str | None:
        """
        Return the user whose rows are asked for: *user_id*, else the visitor himself.

        None: nobody was named, and the visitor is no user but may see all of them.

        Raises:
            SignInNeededError, AccessDeniedError: He may not see them.
        """
        if user_id is not None:
            self.check_own(user_id, *scopes)
            return user_id
        self._check(is_open=self.user_id is not None or not self.scopes.isdisjoint(scopes))
        return self.user_id

    def _check(self, *, is_open: bool) -> None:
        if not is_open:
            raise AccessDeniedError if self.is_signed_in else SignInNeededError


class Host(Protocol):
    """The server that the pages are part of, and what they must agree on with it."""

    cookie: str
    """The cookie in which it looks for a key."""

    async def visit(self, scope: Any) -> Visitor:
        """
        Return who makes the request of an ASGI *scope*; a stranger is a visitor too.

        Raises:
            Error: There is a key, and it is not good, or had enough requests.
        """
        ...

    def check_origin(self, scope: Any) -> None:
        """
        Check that a form was sent from a page of this server.

        Raises:
            Error: It was not, or nothing says so.
        """
        ...

    def status_of(self, error: Error) -> int:
        """Return the HTTP status of *error*."""
        ...

    def headers_of(self, error: Error) -> Mapping[str, str]:
        """Return the headers that an answer of *error* has beside those of every page."""
        ...


def cookie_of(name: str, key: str, *, scheme: str, host: str) -> str:
    """
    Return the Set-Cookie header that keeps *key* in a browser; an empty key is forgotten.

    It is sent to this server alone, to pages that this server's pages lead to, never to scripts,
    and beyond this machine never in clear.
    """
    parts = [f"{name}={key}", "Path=/", "HttpOnly", "SameSite=Strict"]
    if scheme == "https" or host_name(host) not in LOOPBACK:
        parts.append("Secure")
    if not key:
        parts.append("Max-Age=0")
    return "; ".join(parts)


def host_name(host: str) -> str:
    """Return a Host header's name without its port, and nothing where it is none."""
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
