"""Sinks of the outbox, and what an operator does with them (log.md, sections 4.9 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.http.answers import Body, Page
from tallystick.http.asked import After, Caller, Limit, Served, Write
from tallystick.http.errors import UnauthenticatedError
from tallystick.http.parameters import MAX_NUMBER, check_limit, format_cursor, parse_cursor
from tallystick.http.writing import Writing
from tallystick.outbox import (
    EventId,
    SinkState,
    list_sinks,
    pause_sink,
    resume_sink,
    skip_event,
)

MAX_REASON_CHARACTERS = 1_000


class SkipRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The event to pass over, which is the one that the sink would get next, and why."""

    event_id: Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_CHARACTERS)]


class SinkItem(msgspec.Struct, frozen=True):
    """A sink and how far it is behind; *topics* without any are all."""

    sink: str
    kind: str
    config: dict[str, Any]
    topics: list[str]
    state: str
    position: int
    attempts: int
    next_try_at: str
    last_error: str | None
    lag_events: int
    lag_seconds: float
    next_event_id: int | None
    created_at: str


class SinkBody(Body, frozen=True, kw_only=True):
    """A sink as it is now."""

    sink: SinkItem


@get("/api/v1/sinks", sync_to_thread=True)
def get_sinks(services: Served, limit: Limit = None, after: After = None) -> Page[SinkItem]:
    """Where events go, by name, each with its lag."""
    size = check_limit(limit)
    behind = "" if after is None else str(parse_cursor(after, str)[0])
    with services.database.transaction(read_only=True) as tx:
        # There are tens of sinks, whose names are ASCII: the page is cut here.
        found = sorted(
            (state for state in list_sinks(tx) if state.sink > behind), key=lambda one: one.sink
        )
    shown = found[:size]
    following = format_cursor(shown[-1].sink) if len(found) > size else None
    return Page(items=[sink_item(state) for state in shown], next=following)


@post("/api/v1/sinks/{sink:str}/pause", status_code=200, sync_to_thread=True)
def post_sink_pause(writing: Write, sink: FromPath[str]) -> Response[SinkBody]:
    """Stop deliveries to a sink; its events wait."""
    return change(writing, sink, lambda tx: pause_sink(tx, sink))


@post("/api/v1/sinks/{sink:str}/resume", status_code=200, sync_to_thread=True)
def post_sink_resume(writing: Write, sink: FromPath[str]) -> Response[SinkBody]:
    """Let a sink go on where it stopped, at once."""
    return change(writing, sink, lambda tx: resume_sink(tx, sink))


@post("/api/v1/sinks/{sink:str}/skip", status_code=200, sync_to_thread=True)
def post_sink_skip(
    writing: Write, principal: Caller, sink: FromPath[str], data: JSONBody[SkipRequest]
) -> Response[SinkBody]:
    """Pass over the event that a sink would get next; that it was skipped is an event itself."""
    if principal is None:
        raise UnauthenticatedError
    event_id, actor = EventId(data.event_id), principal.name
    return change(
        writing,
        sink,
        lambda tx: skip_event(tx, sink, event_id, actor=actor, reason=data.reason),
    )


def change(
    writing: Writing, sink: str, operation: Callable[[Transaction], object]
) -> Response[SinkBody]:
    """Run *operation*, which raises where there is no such sink, and answer the sink since."""

    def work(tx: Transaction) -> SinkBody:
        operation(tx)
        state = next(state for state in list_sinks(tx) if state.sink == sink)
        return SinkBody(sink=sink_item(state))

    return writing.run(work)


def sink_item(state: SinkState) -> SinkItem:
    """Return *state* as it is answered."""
    return SinkItem(
        sink=state.sink,
        kind=state.kind,
        config=dict(state.config),
        topics=list(state.topics),
        state=state.status,
        position=state.position,
        attempts=state.attempts,
        next_try_at=format_time(state.next_try_at),
        last_error=state.last_error,
        lag_events=state.lag_events,
        lag_seconds=round(state.lag_seconds, 3),
        next_event_id=state.next_event_id,
        created_at=format_time(state.created_at),
    )


ROUTES = [get_sinks, post_sink_pause, post_sink_resume, post_sink_skip]
