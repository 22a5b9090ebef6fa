"""
One HTTP request: bounded in time and length, never redirected, problems as errors.

The standard library is enough: a client stands beside the verifier and should bring nothing
that somebody who checks evidence would have to trust besides.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from tallystick.client.errors import (
    ForbiddenProblem,
    GoneProblem,
    InvalidRequestProblem,
    MalformedAnswerError,
    NotFoundProblem,
    RequestRefusedError,
    ServerUnreachableError,
    UnavailableProblem,
)
from tallystick.client.hurried import HURRIED

TIMEOUT_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""A page of 1,000 of the largest entries, in base64, with room."""
MAX_PROBLEM_BYTES: Final = 65536
PROBLEMS: Final[Mapping[int, type[RequestRefusedError]]] = {
    400: InvalidRequestProblem,
    401: ForbiddenProblem,
    403: ForbiddenProblem,
    404: NotFoundProblem,
    410: GoneProblem,
    413: InvalidRequestProblem,
    422: InvalidRequestProblem,
    429: UnavailableProblem,
}
SERVER_ERRORS: Final = 500


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: the answer is then refused by its status."""


class Transport:
    """
    The server at *url*, asked with *key*.

    *hurried*: an answer as a whole is bounded by the timeout, and not only each read of it.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        timeout_seconds: float,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        hurried: bool = False,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query:
            raise InvalidRequestProblem(f"{url!r} is no http or https URL of a server")
        self._base = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._timeout_seconds = timeout_seconds
        self._max_answer_bytes = max_answer_bytes
        self._opener = urllib.request.build_opener(NoRedirects(), *(HURRIED if hurried else ()))

    def get(
        self, path: str, parameters: Mapping[str, object] | None = None, *, accept: str
    ) -> bytes:
        """Return the body that *path* answers with; parameters that are None are left out."""
        given = {k: v for k, v in (parameters or {}).items() if v is not None}
        query = f"?{urlencode(given, doseq=True)}" if given else ""
        return self._ask("GET", path + query, None, {"Accept": accept})

    def get_json(self, path: str, parameters: Mapping[str, object] | None = None) -> dict[str, Any]:
        """
        Return the JSON object that *path* answers with.

        Raises:
            MalformedAnswerError: It is none.
        """
        body = self.get(path, parameters, accept="application/json")
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise MalformedAnswerError(f"{path} answers no JSON") from error
        if not isinstance(answer, dict):
            raise MalformedAnswerError(f"{path} answers no JSON object")
        return answer

    def post(self, path: str, body: bytes) -> bytes:
        """Return what *path* answers to *body*."""
        return self._ask("POST", path, body, {"Content-Type": "application/octet-stream"})

    def _ask(
        self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]
    ) -> bytes:
        request = urllib.request.Request(  # noqa: S310 (the scheme was checked)
            self._base + target, data=body, headers={**self._headers, **headers}, method=method
        )
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                data: bytes = answer.read(self._max_answer_bytes + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise ServerUnreachableError(f"{self._base} does not answer: {reason}") from error
        if len(data) > self._max_answer_bytes:
            raise MalformedAnswerError(f"{target} answers over {self._max_answer_bytes} bytes")
        return data


def refusal(error: urllib.error.HTTPError) -> RequestRefusedError:
    """Return the error that the problem document of *error* stands for."""
    kind = UnavailableProblem if error.code >= SERVER_ERRORS else RequestRefusedError
    chosen = PROBLEMS.get(error.code, kind)
    try:
        document = json.loads(error.read(MAX_PROBLEM_BYTES))
        problem = str(document.get("code", ""))
        words = str(document.get("detail") or document.get("title") or problem)
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        problem, words = "", f"the server answers with status {error.code}"
    return chosen(words or None, problem=problem, status=error.code)
