"""
What a client of the HTTP API is told.

    Error
    └── ClientError
        ├── ServerUnreachableError       no connection, or no answer in time
        ├── MalformedAnswerError         the answer is not what the API promises
        └── RequestRefusedError          a problem document; carries its code and status
            ├── InvalidRequestProblem        400, 413, 422
            ├── ForbiddenProblem             401, 403
            ├── NotFoundProblem              404
            ├── GoneProblem                  410
            └── UnavailableProblem           429, 5xx

Anything else that the server refuses, as 409, is a `RequestRefusedError` itself.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class ClientError(Error):
    """The server was not asked, or its answer cannot be used."""


class ServerUnreachableError(ClientError):
    """The server does not answer."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class MalformedAnswerError(ClientError):
    """The server's answer is not of the form that the API promises."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class RequestRefusedError(ClientError):
    """The server refused the request."""

    def __init__(self, message: str | None = None, *, problem: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.problem = problem
        """The code of the problem, such as `log_not_found`."""
        self.status = status
        """The HTTP status."""


class InvalidRequestProblem(RequestRefusedError):  # noqa: N818 (named as RFC 9457 names it)
    """The server cannot make sense of the request."""

    kind: ClassVar[Kind] = Kind.INVALID


class ForbiddenProblem(RequestRefusedError):  # noqa: N818 (as above)
    """The key may not do this, or there is none."""

    kind: ClassVar[Kind] = Kind.FORBIDDEN


class NotFoundProblem(RequestRefusedError):  # noqa: N818 (as above)
    """The server has no such thing."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class GoneProblem(RequestRefusedError):  # noqa: N818 (as above)
    """The server had it once, and it was removed on purpose."""

    kind: ClassVar[Kind] = Kind.GONE


class UnavailableProblem(RequestRefusedError):  # noqa: N818 (as above)
    """The server cannot answer now; try again later."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE
