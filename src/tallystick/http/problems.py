"""
Errors as RFC 9457 problem documents: the one translation (common.md, "Errors and states").

The status comes from the error's kind; `code` is the class's name, as in the CLI and in
Python; `error_type` repeats it under the earlier log service's name. A document holds the
error's own words and nothing of what was asked or stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

from tallystick.chain.errors import FinalityViolationError
from tallystick.errors import Error, Kind
from tallystick.http.errors import BodyTooSlowError, MethodNotAllowedError
from tallystick.identity.errors import RefusedForNowError

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1

STATUS_OF_KIND: Final = {
    Kind.MALFORMED: HTTPStatus.BAD_REQUEST,
    Kind.FALSE: HTTPStatus.BAD_REQUEST,
    Kind.INVALID: HTTPStatus.BAD_REQUEST,
    Kind.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Kind.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.GONE: HTTPStatus.GONE,
    Kind.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Kind.UNPROCESSABLE: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.NOT_ESTABLISHED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Kind.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Kind.DAMAGED: HTTPStatus.SERVICE_UNAVAILABLE,
}
STATUS_OF_ERROR: Final[dict[type[Error], HTTPStatus]] = {
    MethodNotAllowedError: HTTPStatus.METHOD_NOT_ALLOWED,
    BodyTooSlowError: HTTPStatus.REQUEST_TIMEOUT,
    # Not 503, at which clients try again: no later request brings a final block back.
    FinalityViolationError: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Where HTTP tells apart what means the same elsewhere."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document: status, headers and members."""

    status: HTTPStatus
    headers: dict[str, str]
    members: dict[str, Any]

    def body(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self.members)


def status_of(error: type[Error]) -> HTTPStatus:
    """Return the HTTP status of an error."""
    return STATUS_OF_ERROR.get(error) or STATUS_OF_KIND[error.kind]


def problem_of(error: Error) -> Problem:
    """Return the document of an error."""
    kind = type(error)
    status = status_of(kind)
    headers = {"Cache-Control": "no-store"}
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.kind is Kind.UNAVAILABLE:
        headers["Retry-After"] = str(RETRY_SECONDS)
    if isinstance(error, RefusedForNowError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Problem(
        status,
        headers,
        {
            "type": error.problem_type(),
            "title": title_of(kind),
            "status": int(status),
            "detail": error.message,
            "code": error.code(),
            "error_type": error.code(),
        },
    )


def internal_problem() -> Problem:
    """Return the document of a bug: that there is one, and nothing about it."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(
        status,
        {"Cache-Control": "no-store"},
        {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": "The server has a defect; its log names it under the request id.",
            "code": "internal",
            "error_type": "internal",
        },
    )


def title_of(error: type[Error]) -> str:
    """Return what an error of this class says when nothing more is known."""
    return " ".join((error.__doc__ or error.__name__).split())
