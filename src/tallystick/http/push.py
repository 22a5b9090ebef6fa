"""
The push door over HTTP: `POST /logs/{log}/add` (log.md, section 6.2).

Bare ASGI, because entries come by the thousand a second: the request is checked on the event
loop, handed to the door's thread, and answered when its group is sealed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from litestar.types import Receive, Scope, Send

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.http.authorize import Authorizer
from tallystick.http.errors import BodyTooSlowError, MethodNotAllowedError
from tallystick.http.problems import problem_of
from tallystick.http.scopes import PUSH_NEEDS
from tallystick.http.static import PREFIX, TEXT, Answer, Headers, problem_headers, respond
from tallystick.publish import Publisher
from tallystick.seal.door import MAX_ENTRY_BYTES, Door, Push, check_entry
from tallystick.seal.door import Answer as Sealed
from tallystick.seal.errors import EntryTooLargeError, InvalidEntryError, InvalidRequestError
from tallystick.tlog import LeafIndex

[(PUSH_METHOD, PUSH_ROUTE)] = PUSH_NEEDS
NEED: Final = PUSH_NEEDS[PUSH_METHOD, PUSH_ROUTE]
SUFFIX: Final = "/add"
MAX_LENGTH_DIGITS: Final = 18
NO_STORE: Final[Headers] = [(b"content-type", TEXT), (b"cache-control", b"no-store")]
CLOSE: Final = (b"connection", b"close")
UNREAD: Final = (EntryTooLargeError, BodyTooSlowError)
"""Refused with the body still coming: the connection ends, and its client is told so."""
SWITCHES: Final = {"": False, "0": False, "false": False, "1": True, "true": True}


def parse_push(path: str) -> str | None:
    """Return the name of the log that *path* pushes into; None where it is another route's."""
    if not path.endswith(SUFFIX) or not path.startswith(PREFIX):
        return None
    log_name = path[len(PREFIX) : -len(SUFFIX)]
    return log_name if log_name and "/" not in log_name else None


class PushDoor:
    """Answers the pushes into all logs."""

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        authorizer: Authorizer,
        *,
        max_backlog: int,
    ) -> None:
        self._publisher = publisher
        self._authorizer = authorizer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._door = Door(database, self._deliver, max_backlog=max_backlog)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the door; answers are given in *loop*."""
        self._loop = loop
        self._door.start()

    async def stop(self) -> None:
        """Take no more entries, and return when those that were taken have their answers."""
        await asyncio.to_thread(self._door.stop)

    async def __call__(self, log_name: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(log_name, scope, receive)
        except Error as error:
            problem = problem_of(error)
            told = problem_headers(problem)
            if isinstance(error, UNREAD):
                told.append(CLOSE)
            answer = Answer(problem.status, told, problem.body())
        await respond(send, answer, with_body=scope["method"] != "HEAD")  # type: ignore[typeddict-item]

    async def _answer(self, log_name: str, scope: Scope, receive: Receive) -> Answer:
        if scope["method"] != PUSH_METHOD:  # type: ignore[typeddict-item]
            raise MethodNotAllowedError
        headers = dict(scope["headers"])
        await self._authorizer.admit(scope, NEED)
        if b"idempotency-key" in headers:
            raise InvalidRequestError(
                "the push door takes no Idempotency-Key: with deduplicate=1 the same bytes give"
                " their earlier index"
            )
        head = self._publisher.published_head(log_name)
        deduplicate = parse_query(scope["query_string"])
        assert self._loop is not None, "requests come after the start"
        caller: asyncio.Future[LeafIndex] = self._loop.create_future()
        # The door lets go of the entry once it is queued; nothing here keeps it.
        entry = await read_entry(receive, headers.get(b"content-length"))
        push = Push(head.log_id, entry, deduplicate, caller)
        del entry
        self._door.push(push)
        index = await caller
        return Answer(HTTPStatus.OK, NO_STORE, b"%d" % index)

    def _deliver(self, answers: Sequence[Sealed]) -> None:
        """Take answers from the door's thread into the event loop, all of them at once."""
        assert self._loop is not None
        # The loop may have ended under a door that did not come to its end in time.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle, answers)


def settle(answers: Sequence[Sealed]) -> None:
    """Give each caller his answer, but those who have gone."""
    for push, outcome in answers:
        if push.caller.done():
            continue
        if isinstance(outcome, Error):
            push.caller.set_exception(outcome)
        else:
            push.caller.set_result(outcome)


def parse_query(query: bytes) -> bool:
    """
    Return whether the query asks for deduplication.

    Raises:
        InvalidRequestError: It is neither 0 nor 1.
    """
    if not query:
        return False
    asked = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)).get("deduplicate", "")
    if asked not in SWITCHES:
        raise InvalidRequestError("deduplicate is 0 or 1")
    return SWITCHES[asked]


async def read_entry(receive: Receive, content_length: bytes | None) -> bytes:
    """
    Return the body, an entry, of which no more is read than an entry may have.

    Raises:
        EntryTooLargeError: It is longer.
        InvalidEntryError: It is no entry, or the client has gone before its end.
    """
    # The server has checked the header's form; a length of many digits is no int for long.
    if content_length is not None and (
        len(content_length) > MAX_LENGTH_DIGITS or int(content_length) > MAX_ENTRY_BYTES
    ):
        raise EntryTooLargeError
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidEntryError("the request broke off")
        data += message.get("body", b"")
        if len(data) > MAX_ENTRY_BYTES:
            raise EntryTooLargeError
        if not message.get("more_body", False):
            break
    entry = bytes(data)
    check_entry(entry)
    return entry
