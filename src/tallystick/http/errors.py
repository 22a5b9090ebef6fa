"""
Errors of the HTTP room: what is wrong with a request before any slice is asked, and with jobs.

    Error
    ├── UnauthenticatedError     no key where one is needed, or one that is not known
    ├── ForeignOriginError       by cookie, from another site
    ├── NoUserError              the route is about the caller's user, and he has none
    ├── NoNodeError              a chain is to be looked at, and no node is configured
    ├── RouteNotFoundError
    ├── MethodNotAllowedError
    ├── BodyTooLargeError
    ├── BodyTooSlowError
    ├── TooManyStreamsError      as many streams are open as one user has
    ├── JobNotFoundError
    ├── JobsBusyError            as many jobs run as this server takes
    └── JobStoppedError          the server ended before the job
"""

from __future__ import annotations

from tallystick.errors import Error, Kind


class UnauthenticatedError(Error):
    """This needs a key: send `Authorization: Bearer tly_...` with one that is valid."""

    kind = Kind.UNAUTHENTICATED


class ForeignOriginError(Error):
    """With the key in a cookie, this changes something from our own pages only."""

    kind = Kind.FORBIDDEN


class NoUserError(Error):
    """This is about the user whose key it is, and the operator's key is of no user."""

    kind = Kind.UNPROCESSABLE


class NoNodeError(Error):
    """This server has no node of this chain; its operator sets one in chain_endpoints."""

    kind = Kind.UNAVAILABLE


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


class TooManyStreamsError(Error):
    """As many streams of events are open as one user may have; close one first."""

    kind = Kind.TOO_MANY


class JobNotFoundError(Error):
    """This server knows no such job of this log; what an audit found stands in its findings."""

    kind = Kind.NOT_FOUND


class JobsBusyError(Error):
    """This server runs as many jobs as it takes; try again when one has ended."""

    kind = Kind.UNAVAILABLE


class JobStoppedError(Error):
    """The server stopped before the job had ended; ask for it again."""

    kind = Kind.UNAVAILABLE
