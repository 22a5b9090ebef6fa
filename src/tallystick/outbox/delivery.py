"""
Delivery: a sink gets its events in position order, at least once (log.md, section 2.9).

A run reads a block behind the cursor, hands over event by event, and records in one
transaction how far it came and, where the sink refused, why and when to try again. Between
handing over and recording a process may die: the events since the last record come again,
and a receiver tells them by their event_id. Nothing is ever given up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.outbox import store
from tallystick.outbox.events import Event
from tallystick.outbox.sinks import Sink
from tallystick.pauses import pause_point

BLOCK_EVENTS: Final = 100
"""Events read at once; at most so many come twice after a kill."""
BLOCK_SECONDS: Final = 1.0
"""A cursor is recorded at least this often while its sink is slow."""
WINDOW_POSITIONS: Final = 10_000
"""Positions looked through at once for a sink that wants few topics."""
MAX_ERROR_CHARACTERS: Final = 500


class MakeSink(Protocol):
    """How a run gets its sink, made anew where its configuration changed."""

    def __call__(self, cursor: store.Cursor) -> Sink:
        """Return the sink of *cursor*."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A sink's cursor, the events behind it, and the position they reach to."""

    cursor: store.Cursor
    events: tuple[Event, ...]
    through: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a block was delivered, and what stopped it; None where nothing did."""

    position: int
    error: str | None


def deliver_block(
    database: Database, sink: str, make_sink: MakeSink, stop: threading.Event
) -> bool:
    """
    Deliver the next events of *sink*, at most 100; return whether more may wait.

    Raises:
        DatabaseUnavailableError: What was delivered could not be recorded; it comes again.
    """
    block = read_block(database, sink)
    if block is None:
        return False
    outcome = hand_over(block, make_sink, stop)
    # A kill here leaves events delivered and not recorded: they are delivered again.
    pause_point("outbox-delivered")
    if (outcome.position, outcome.error) == (block.cursor.position, None):
        return False
    with database.transaction() as tx:
        recorded = store.record_result(
            tx, sink, before=block.cursor.position, after=outcome.position, error=outcome.error
        )
    return recorded and outcome.error is None


def read_block(database: Database, sink: str) -> Block | None:
    """Return what *sink* gets next; None where it is paused, not due or gone."""
    with database.transaction() as tx:
        cursor = store.read_cursor(tx, sink)
        if cursor is None or cursor.status == "paused" or not cursor.is_due:
            return None
        # Every position up to the newest is visible by now, so nothing appears behind it later.
        through = min(store.newest_position(tx), cursor.position + WINDOW_POSITIONS)
        events = store.read_events(
            tx, Event, cursor.selection, after=cursor.position, through=through, limit=BLOCK_EVENTS
        )
    if len(events) == BLOCK_EVENTS:
        through = events[-1].position
    return Block(cursor, tuple(events), through)


def hand_over(
    block: Block,
    make_sink: MakeSink,
    stop: threading.Event,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Give the block's events to its sink, in order, until one fails or time is up."""
    position = block.cursor.position
    began = monotonic()
    try:
        # Made only where there is something to deliver: a broken sink stands at an event.
        sink = make_sink(block.cursor) if block.events else None
        for event in block.events:
            if stop.is_set() or monotonic() - began > BLOCK_SECONDS:
                return Outcome(position, None)
            assert sink is not None
            sink.deliver(event)
            position = event.position
    except Exception as raised:  # noqa: BLE001 (a sink is an edge: what it raises is its failure)
        return Outcome(position, describe(raised))
    return Outcome(block.through, None)


def describe(raised: Exception) -> str:
    """Return what `last_error` says of *raised*: words of our own, for others the type alone."""
    if isinstance(raised, Error):
        return f"{raised.code()}: {raised.message}"[:MAX_ERROR_CHARACTERS]
    return type(raised).__name__
