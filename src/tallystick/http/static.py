"""
The static tree as C2SP tlog-tiles has it: checkpoint, tiles, entry bundles.

Bare ASGI, because these are what monitors, witnesses and mirrors read all day: what is in
memory is answered on the event loop, a miss goes to the thread pool. Follows log.md, 6.1.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from litestar.types import Receive, Scope, Send

from tallystick.errors import Error
from tallystick.http.authorize import Authorizer
from tallystick.http.errors import MethodNotAllowedError, RouteNotFoundError
from tallystick.http.problems import MEDIA_TYPE, Problem, problem_of
from tallystick.http.scopes import STATIC_NEEDS, Need
from tallystick.publish import PublishedHead, Publisher
from tallystick.publish.errors import TileNotFoundError
from tallystick.tlog import MalformedTileError, Tile, parse_entries_path, parse_tile_path

Headers = list[tuple[bytes, bytes]]

PREFIX: Final = "/logs/"
CHECKPOINT: Final = "checkpoint"
TILE: Final = "tile/"
ENTRIES: Final = "tile/entries/"
CHECKPOINT_ROUTE, TILE_ROUTE, ENTRIES_ROUTE = STATIC_NEEDS

MUTABLE: Final = b"max-age=1"
IMMUTABLE: Final = b"max-age=31536000, immutable"
TEXT: Final = b"text/plain; charset=utf-8"
OCTETS: Final = b"application/octet-stream"
GZIP_LEVEL: Final = 5
"""Leaves of canonical JSON shrink to a third; higher levels win little and cost much."""
CORS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"ETag"),
]
PREFLIGHT: Final[Headers] = [
    *CORS,
    (b"access-control-allow-methods", b"GET, HEAD, OPTIONS"),
    (b"access-control-allow-headers", b"Authorization, X-API-Key, If-None-Match"),
    (b"access-control-max-age", b"86400"),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class StaticTarget:
    """What a path of the static tree asks for."""

    log_name: str
    rest: str
    route: str

    @property
    def need(self) -> Need:
        """What the caller must have."""
        return STATIC_NEEDS[self.route]


def parse_static(path: str) -> StaticTarget | None:
    """Return what *path* asks of a static tree; None where it is another route's."""
    if not path.startswith(PREFIX):
        return None
    log_name, _, rest = path[len(PREFIX) :].partition("/")
    if rest == CHECKPOINT:
        return StaticTarget(log_name, rest, CHECKPOINT_ROUTE)
    if rest.startswith(ENTRIES):
        return StaticTarget(log_name, rest, ENTRIES_ROUTE)
    if rest.startswith(TILE):
        return StaticTarget(log_name, rest, TILE_ROUTE)
    return None


class StaticTree:
    """Answers for the static trees of all logs."""

    def __init__(self, publisher: Publisher, authorizer: Authorizer) -> None:
        self._publisher = publisher
        self._authorizer = authorizer

    async def __call__(
        self, target: StaticTarget, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one request; errors are problem documents that nobody may cache."""
        del receive
        headers = dict(scope["headers"])
        method: str = scope["method"]  # type: ignore[typeddict-item]
        try:
            answer = await self._answer(target, method, headers, scope)
        except Error as error:
            answer = problem_answer(error)
        await respond(send, answer, with_body=method != "HEAD")

    async def _answer(
        self, target: StaticTarget, method: str, headers: Mapping[bytes, bytes], scope: Scope
    ) -> Answer:
        if method == "OPTIONS":
            return Answer(HTTPStatus.NO_CONTENT, PREFLIGHT, b"")
        if method not in {"GET", "HEAD"}:
            raise MethodNotAllowedError
        head = self._publisher.published_head(target.log_name)
        await self._authorizer.admit(scope, target.need, head)
        if target.route == CHECKPOINT_ROUTE:
            return checkpoint_answer(head, headers.get(b"if-none-match", b""))
        if target.route == TILE_ROUTE:
            tile = parse_path(parse_tile_path, target.rest)
            body = self._publisher.cached_tile(head, tile)
            if body is None:
                body = await asyncio.to_thread(self._publisher.read_tile, head, tile)
            return Answer(HTTPStatus.OK, tree_headers(target, head, IMMUTABLE, OCTETS), body)
        tile = parse_path(parse_entries_path, target.rest)
        zipped = b"gzip" in headers.get(b"accept-encoding", b"")
        body = await asyncio.to_thread(self._read_bundle, head, tile, zipped=zipped)
        response = tree_headers(target, head, IMMUTABLE, OCTETS)
        response.append((b"vary", b"Accept-Encoding"))
        if zipped:
            response.append((b"content-encoding", b"gzip"))
        return Answer(HTTPStatus.OK, response, body)

    def _read_bundle(self, head: PublishedHead, tile: Tile, *, zipped: bool) -> bytes:
        bundle = self._publisher.read_bundle(head, tile)
        return gzip.compress(bundle, GZIP_LEVEL, mtime=0) if zipped else bundle


def parse_path(parse: Any, path: str) -> Tile:
    """
    Return the tile that *path* names.

    Raises:
        TileNotFoundError: It is no path of a tile: as absent as a tile beyond the head.
    """
    try:
        tile: Tile = parse(path)
    except MalformedTileError as cause:
        raise TileNotFoundError("this is not the path of a tile") from cause
    return tile


def checkpoint_answer(head: PublishedHead, if_none_match: bytes) -> Answer:
    """Return the published checkpoint, or that it is what the client has."""
    etag = head.etag.encode()
    headers = [
        *CORS,
        (b"content-type", TEXT),
        (b"etag", etag),
        *cache_headers(head.visibility != "private", MUTABLE),
    ]
    if etag in if_none_match or if_none_match.strip() == b"*":
        return Answer(HTTPStatus.NOT_MODIFIED, headers, b"")
    return Answer(HTTPStatus.OK, headers, head.checkpoint)


def tree_headers(
    target: StaticTarget, head: PublishedHead, lifetime: bytes, media_type: bytes
) -> Headers:
    """Return the headers of a part of the tree."""
    is_open = head.visibility == "public" or (
        head.visibility == "hashes" and target.route != ENTRIES_ROUTE
    )
    return [*CORS, (b"content-type", media_type), *cache_headers(is_open, lifetime)]


def cache_headers(is_open: bool, lifetime: bytes) -> Headers:  # noqa: FBT001 -- one fact, one word
    """Return who may keep the answer, and how long."""
    if is_open:
        return [(b"cache-control", b"public, " + lifetime)]
    return [
        (b"cache-control", b"private, " + lifetime),
        (b"vary", b"Authorization, X-API-Key, Cookie"),
    ]


def problem_answer(error: Error) -> Answer:
    """Return the problem document of *error*, open to pages of any origin as the rest is."""
    problem = problem_of(error)
    return Answer(problem.status, [*CORS, *problem_headers(problem)], problem.body())


def problem_headers(problem: Problem) -> Headers:
    """Return the headers of a problem document."""
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]


async def respond(send: Send, answer: Answer, *, with_body: bool) -> None:
    """Send *answer*; the length is of the body that a GET would get."""
    headers = answer.headers
    if answer.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
        headers = [*headers, (b"content-length", str(len(answer.body)).encode())]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
    await send(
        {
            "type": "http.response.body",
            "body": answer.body if with_body else b"",
            "more_body": False,
        }
    )


def route_not_found() -> Answer:
    """Return the answer of a path that nothing stands at."""
    return problem_answer(RouteNotFoundError())
