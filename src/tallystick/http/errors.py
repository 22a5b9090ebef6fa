"""
Errors of the HTTP room: what is wrong with a request before any slice is asked, and with jobs.

    Error
    ├── UnauthenticatedError     no key where one is needed, or one that is not known
    ├── ScopeMissingError        the key does not open this
    ├── RouteNotFoundError
    ├── MethodNotAllowedError
    ├── BodyTooLargeError
    ├── BodyTooSlowError
    ├── JobNotFoundError
    ├── JobsBusyError            as many jobs run as this server takes
    └── JobStoppedError          the server ended before the job
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


class BodyTooSlowError(Error):
    """The body of the request was not whole in 10 s."""

    kind = Kind.INVALID


class JobNotFoundError(Error):
    """This server knows no such job of this log; what an audit found stands in its findings."""

    kind = Kind.NOT_FOUND


class JobsBusyError(Error):
    """This server runs as many jobs as it takes; try again when one has ended."""

    kind = Kind.UNAVAILABLE


class JobStoppedError(Error):
    """The server stopped before the job had ended; ask for it again."""

    kind = Kind.UNAVAILABLE
