"""
Operations on sinks: add, list, pause, resume, skip (log.md, section 4.9).

Each runs in the caller's transaction. The lock on a sink's row is what skipping and the
worker's results wait for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from tallystick.db import Transaction
from tallystick.outbox import store
from tallystick.outbox.errors import (
    InvalidSinkError,
    NotNextEventError,
    SinkExistsError,
    SinkNotFoundError,
)
from tallystick.outbox.events import Event, EventId, Position, emit
from tallystick.outbox.sinks import check_config
from tallystick.outbox.store import SinkState
from tallystick.outbox.topics import check_topics, register_topics

SKIPPED: Final = "outbox.skipped"
SINK_FORM: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")

register_topics({SKIPPED: "log:admin"})


def add_sink(
    tx: Transaction,
    sink: str,
    kind: str,
    *,
    config: Mapping[str, Any],
    topics: Collection[str] = (),
    after: Position | None = None,
    webhook_hosts: tuple[str, ...] = (),
) -> None:
    """
    Add *sink*, which gets the events of *topics* (none named: all) behind position *after*.

    Without *after* it gets what is numbered from now on. To add the same sink again changes
    nothing.

    Raises:
        InvalidSinkError: The name, the kind or the configuration is not of its form.
        UnknownTopicError: One of *topics* is not registered.
        TargetRefusedError: A webhook's URL is not https or not in *webhook_hosts*.
        SinkNotInstalledError: The kind needs an extra.
        SinkExistsError: There is one of the name with other fields.
    """
    if not SINK_FORM.fullmatch(sink):
        raise InvalidSinkError("a sink's name has up to 63 characters a-z, 0-9, _ and -")
    check_config(kind, config, webhook_hosts=webhook_hosts)
    check_topics(topics)
    wanted = tuple(sorted(set(topics)))
    if store.add_sink(tx, sink=sink, kind=kind, config=config, topics=wanted, position=after):
        return
    known = _locked(tx, sink)
    if (known.kind, known.config, known.topics) != (kind, dict(config), wanted):
        raise SinkExistsError(f"there is a sink {sink} with other fields")


def pause_sink(tx: Transaction, sink: str) -> None:
    """
    Stop deliveries to *sink*; its events wait. One that is under way may still arrive.

    Raises:
        SinkNotFoundError: There is none.
    """
    if not store.pause_sink(tx, sink, pause=True):
        raise SinkNotFoundError(f"there is no sink {sink[:63]}")


def resume_sink(tx: Transaction, sink: str) -> None:
    """
    Let *sink* go on where it stopped, at once.

    Raises:
        SinkNotFoundError: There is none.
    """
    if not store.pause_sink(tx, sink, pause=False):
        raise SinkNotFoundError(f"there is no sink {sink[:63]}")


def skip_event(
    tx: Transaction, sink: str, event_id: EventId, *, actor: str, reason: str
) -> EventId:
    """
    Pass over the event that *sink* would get next, and return the event that says so.

    A cursor is one position, so only the next event can be skipped: that is the one at which
    a failing sink stands. To name it guards against skipping another by mistake.

    Raises:
        SinkNotFoundError: There is no such sink.
        NotNextEventError: *event_id* is not what it gets next.
    """
    event = _next_event(tx, _locked(tx, sink))
    if event is None or event.event_id != event_id:
        expected = None if event is None else event.event_id
        raise NotNextEventError(
            f"event {event_id} is not next for {sink}", expected=expected, actual=event_id
        )
    store.skip_to(tx, sink, position=event.position)
    payload = {
        "sink": sink,
        "event_id": event.event_id,
        "position": event.position,
        "topic": event.topic,
        "actor": actor,
        "reason": reason,
    }
    return emit(tx, SKIPPED, key=sink, payload=payload)


def list_sinks(tx: Transaction) -> list[SinkState]:
    """Return every sink, by name, with its lag."""
    return store.list_sinks(tx)


def _locked(tx: Transaction, sink: str) -> store.Cursor:
    cursor = store.lock_cursor(tx, sink)
    if cursor is None:
        raise SinkNotFoundError(f"there is no sink {sink[:63]}")
    return cursor


def _next_event(tx: Transaction, cursor: store.Cursor) -> Event | None:
    newest = store.newest_position(tx)
    found = store.read_events(
        tx, Event, cursor.selection, after=cursor.position, through=newest, limit=1
    )
    return found[0] if found else None
