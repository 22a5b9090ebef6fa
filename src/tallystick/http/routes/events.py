"""
Events: as a list, or as a stream that resumes where it broke off (log.md, section 6.2).

Everybody with a key reads the events of his own user, and those of topics whose read scope
the key has. A stream outlives its request, not its key: each look asks whether the key is good
still, and for what.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Final

import msgspec
from litestar import Response, get
from litestar.concurrency import sync_to_thread
from litestar.di import NamedDependency
from litestar.response import Stream

from tallystick.chain.topics import CHAIN_TOPICS
from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.http.answers import Page
from tallystick.http.asked import After, AnyRequest, Caller, Limit, Served, Text, Texts
from tallystick.http.authorize import Principal
from tallystick.http.owning import known
from tallystick.http.parameters import (
    check_limit,
    format_cursor,
    parse_number,
    parse_number_cursor,
)
from tallystick.http.routes.trees import json_response
from tallystick.http.services import Services
from tallystick.http.streams import Streams
from tallystick.identity import TOPICS as IDENTITY_TOPICS
from tallystick.identity import check_admitted
from tallystick.identity.errors import IdentityError
from tallystick.outbox import (
    Event,
    EventPage,
    Position,
    Reader,
    read_events,
    reader_with,
    register_topics,
)

# Identity and chain know no outbox: where their events can be read they are made known.
register_topics(IDENTITY_TOPICS)
register_topics(CHAIN_TOPICS)

Read = Callable[[Position, int], EventPage]

COMMENT_SECONDS: Final = 15.0
"""Proxies close what is silent for a minute; half of that is usual for the impatient ones."""
STREAM_PAGE: Final = 100
EVENT_STREAM: Final = "text/event-stream"
LAST_EVENT_ID: Final = "last-event-id"


class EventItem(msgspec.Struct, frozen=True):
    """A numbered event; *payload* is as the slice wrote it."""

    position: int
    event_id: int
    topic: str
    key: str
    user_id: str | None
    payload: msgspec.Raw
    created_at: str


@get("/api/v1/events", sync_to_thread=True)
def get_events(
    request: AnyRequest,
    services: Served,
    principal: Caller,
    streams: NamedDependency[Streams],
    topic: Texts = None,
    key: Text = None,
    user_id: Text = None,
    limit: Limit = None,
    after: After = None,
) -> Response[bytes] | Stream:
    """
    A stream of events (SSE; `id` is the position, `Last-Event-ID` resumes behind it), or with
    `Accept: application/json` a list, the oldest first.
    """
    asking = known(principal)

    def read(behind: Position, number: int) -> EventPage:
        with services.database.transaction(read_only=True) as tx:
            return read_events(
                tx,
                topics=topic,
                key=key,
                user_id=user_id,
                after=behind,
                limit=number,
                reader=reader_of(tx, asking),
            )

    if "application/json" in request.headers.get("accept", ""):
        behind = Position(0 if after is None else parse_number_cursor(after))
        page = read(behind, check_limit(limit))
        items = [event_item(event) for event in page.events]
        return json_response(Page(items=items, next=format_cursor(page.through)))
    streams.check(asking)
    last = request.headers.get(LAST_EVENT_ID)
    start = None if last is None else Position(parse_number(last, name="Last-Event-ID"))
    # The first look is taken before the answer begins, so that a refusal is a problem.
    first = read(services.notifier.newest if start is None else start, STREAM_PAGE)
    return Stream(
        streams.counted(asking, stream_events(services, read, first)),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def stream_events(services: Services, read: Read, page: EventPage) -> AsyncGenerator[bytes]:
    """
    Yield what *page* has and what comes behind it, and a comment where nothing comes, until the
    server ends, or the key: its next request is told why.
    """
    yield b": open\n\n"
    while True:
        for event in page.events:
            yield format_event(event)
        if not await services.notifier.wait_for_events(
            page.through, timeout_seconds=COMMENT_SECONDS
        ):
            if services.notifier.is_stopped:
                return
            yield b": nothing new\n\n"
        try:
            page = await sync_to_thread(read, page.through, STREAM_PAGE)
        except IdentityError:
            return


def reader_of(tx: Transaction, asking: Principal) -> Reader:
    """
    Return what *asking* may read as of now.

    Raises:
        UnknownKeyError, KeyRevokedError, KeyExpiredError, BlacklistedError: His key is good no
            more.
    """
    if asking.key_id is None:
        return reader_with(asking.scopes, user_id=asking.user_id)
    key = check_admitted(tx, asking.key_id)
    return reader_with(key.scopes, user_id=key.user_id)


def event_item(event: Event) -> EventItem:
    """Return *event* as it is answered."""
    return EventItem(
        position=event.position,
        event_id=event.event_id,
        topic=event.topic,
        key=event.key,
        user_id=event.user_id,
        payload=msgspec.Raw(event.payload_json.encode()),
        created_at=format_time(event.created_at),
    )


def format_event(event: Event) -> bytes:
    """Return *event* as SSE frames it: JSON has no newline, so one data line carries it."""
    data = msgspec.json.encode(event_item(event)).replace(b"\n", b" ")
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.position, event.topic.encode(), data)
