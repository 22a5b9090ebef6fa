"""
Errors of the HTTP room: what is wrong with a request before any slice is asked.

    Error
    ├── UnauthenticatedError     no key where one is needed, or one that is not known
    ├── ScopeMissingError        the key does not open this
    ├── RouteNotFoundError
    ├── MethodNotAllowedError
    └── BodyTooLargeError
"""

from __future__ import annotations

from tallystick.errors import Error, Kind


class UnauthenticatedError(Error):
    """This needs a key: send `Authorization: Bearer tly_...` with one that is valid."""

    kind = Kind.UNAUTHENTICATED


class ScopeMissingError(Error):
    """The key does not have the scope that this needs."""

    kind = Kind.FORBIDDEN


class RouteNotFoundError(Error):
    """There is nothing at this path."""

    kind = Kind.NOT_FOUND


class MethodNotAllowedError(Error):
    """This path does not answer to this method."""

    kind = Kind.INVALID


class BodyTooLargeError(Error):
    """The body of the request is longer than it may be."""

    kind = Kind.TOO_LARGE
