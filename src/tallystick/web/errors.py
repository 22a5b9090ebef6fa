"""
Errors of the explorer.

    Error
    ├── SignInNeededError      a page is not open, and nobody who may see it asked
    ├── AccessDeniedError      whoever asked is signed in, and may not see this
    ├── PageRequestError       a parameter of a page does not parse
    └── PageFailedError        a defect of ours
"""

from __future__ import annotations

from tallystick.errors import Error, Kind


class SignInNeededError(Error):
    """This page is not public; sign in with a key."""

    kind = Kind.UNAUTHENTICATED


class AccessDeniedError(Error):
    """The key that you signed in with does not open this page."""

    kind = Kind.FORBIDDEN


class PageRequestError(Error):
    """A parameter of the page's address does not parse."""

    kind = Kind.INVALID


class PageFailedError(Error):
    """The page could not be made: this is a defect, and the server's log tells of it."""

    kind = Kind.DAMAGED
