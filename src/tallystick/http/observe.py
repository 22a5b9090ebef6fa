"""
The outermost layer: request ids, access logs, metrics, and requests that nobody may send.

An access line names route, status and duration; never a query, a body, a key or a row
(log.md, sections 6.3 and 7.16).
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, Final

import structlog
from litestar.types import ASGIApp, Message, Receive, Send

from tallystick import metrics
from tallystick.http.authorize import LIMITS, Limits
from tallystick.http.bodies import BoundedBody
from tallystick.http.proofs import PROOF_ROUTE, PlainProofs
from tallystick.http.push import PUSH_ROUTE, PushDoor, parse_push
from tallystick.http.static import StaticTree, parse_static, problem_answer, respond
from tallystick.seal.errors import InvalidRequestError

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{8,64}")
"""What a caller may choose as the id of his request; anything else is replaced by ours."""
REQUEST_ID_HEADER: Final = b"x-request-id"
NO_ROUTE: Final = "-"
TOO_LARGE: Final = 413
NUL: Final = "\x00"
NUL_IN_QUERY: Final = b"%00"

logger = structlog.get_logger("tallystick.http.access")


class ObservedApp:
    """The server's ASGI application: what is answered at once, and the framework behind it."""

    def __init__(
        self, app: ASGIApp, static: StaticTree, proofs: PlainProofs, door: PushDoor
    ) -> None:
        self._app = app
        self._static = static
        self._proofs = proofs
        self._door = door

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request, count it and log it; pass what is no request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request_id = choose_request_id(scope)
        status = 500
        body = BoundedBody(scope, receive)

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status == TOO_LARGE:
                    await body.drain()
                message["headers"] = [
                    *message["headers"],
                    (REQUEST_ID_HEADER, request_id),
                    *limit_headers(scope),
                ]
            await send(message)

        route = NO_ROUTE
        try:
            route = await self._dispatch(scope, body.receive, send_observed, request_id)
        finally:
            observe(scope, route, status, time.perf_counter() - began, request_id)

    async def _dispatch(self, scope: Any, receive: Receive, send: Send, request_id: bytes) -> str:
        """Answer, and return the route that did."""
        if NUL in scope["path"] or NUL_IN_QUERY in scope["query_string"]:
            # PostgreSQL's text has no zero byte: no name and no value can have one.
            error = InvalidRequestError("a request has no zero byte in its path or query")
            await respond(send, problem_answer(error), with_body=scope["method"] != "HEAD")
            return NO_ROUTE
        target = parse_static(scope["path"])
        if target is not None:
            await self._static(target, scope, receive, send)
            return target.route
        log_name = parse_push(scope["path"])
        if log_name is not None:
            await self._door(log_name, scope, receive, send)
            return PUSH_ROUTE
        answer = await self._proofs.answer(scope)
        if answer is not None:
            await respond(send, answer, with_body=True)
            return PROOF_ROUTE
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self._app(scope, receive, send)
        return str(scope.get("path_template") or NO_ROUTE)


def limit_headers(scope: Any) -> list[tuple[bytes, bytes]]:
    """Return what the answer says of limits; nothing where the request was not charged."""
    limits: Limits | None = scope.get(LIMITS)
    if limits is None:
        return []
    return [
        (b"ratelimit-limit", b"%d" % limits.limit),
        (b"ratelimit-remaining", b"%d" % limits.remaining),
        (b"ratelimit-reset", b"%d" % limits.reset_seconds),
    ]


def choose_request_id(scope: Any) -> bytes:
    """Return the caller's request id if it is fit to be logged, else a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID_HEADER and REQUEST_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(8).encode()


def observe(scope: Any, route: str, status: int, seconds: float, request_id: bytes) -> None:
    """Count and log one answered request; reads of the static tree only when debugging."""
    metrics.HTTP_REQUESTS.labels(route, str(status)).inc()
    metrics.HTTP_SECONDS.labels(route).observe(seconds)
    is_static = route.startswith("/logs/{log}/tile") or route.endswith("/checkpoint")
    log = logger.debug if is_static else logger.info
    log(
        f"{scope['method']} {route} {status}",
        duration_ms=round(seconds * 1000, 3),
        request_id=request_id.decode(),
    )
