"""
Errors of the explorer.

    Error
    ├── SignInNeededError      a page is not open, and nobody who may see it asked
    └── PageRequestError       a parameter of a page does not parse
"""

from __future__ import annotations

from tallystick.errors import Error, Kind


class SignInNeededError(Error):
    """This page is not public; sign in with the operator's key as password."""

    kind = Kind.FORBIDDEN


class PageRequestError(Error):
    """A parameter of the page's address does not parse."""

    kind = Kind.INVALID
