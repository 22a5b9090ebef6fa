"""
Who may see which page (log.md, sections 2.1 and 6): what a log's visibility opens, and no more.

Browsers can send a password and no bearer token, so the operator's key is accepted as the
password of HTTP's Basic scheme too, for pages alone: they only ever read, so a forged link
to one gains nothing. Whether a key is good is decided by whoever composes the server.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from tallystick.publish import PublishedHead
from tallystick.web.errors import SignInNeededError

CHALLENGE = 'Basic realm="Tallystick", charset="UTF-8"'
MAX_HEADER_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever asks for a page."""

    is_operator: bool

    def may_see(self, head: PublishedHead) -> bool:
        """Return whether the log and its checkpoints are open to the visitor."""
        return self.is_operator or head.visibility != "private"

    def may_read(self, head: PublishedHead) -> bool:
        """Return whether the log's entries are open to the visitor."""
        return self.is_operator or head.visibility == "public"

    def check_sees(self, head: PublishedHead) -> None:
        """
        Check that the log is open to the visitor.

        Raises:
            SignInNeededError: It is not.
        """
        if not self.may_see(head):
            raise SignInNeededError

    def check_reads(self, head: PublishedHead) -> None:
        """
        Check that the log's entries are open to the visitor.

        Raises:
            SignInNeededError: They are not.
        """
        if not self.may_read(head):
            raise SignInNeededError

    def check_audits(self) -> None:
        """
        Check that what audits found is open to the visitor: it tells of private rows too.

        Raises:
            SignInNeededError: It is not.
        """
        if not self.is_operator:
            raise SignInNeededError


def key_in(authorization: str | None) -> str | None:
    """Return the key in an Authorization header, as bearer token or password; else None."""
    if authorization is None or len(authorization) > MAX_HEADER_CHARACTERS:
        return None
    scheme, _, value = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                decoded = base64.b64decode(value.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
            return decoded.partition(":")[2]
        case _:
            return None
