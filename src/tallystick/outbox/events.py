"""
Events: facts for others, written in the transaction of the fact, read by position.

Follows log.md, sections 2.9 and 4.9. An event becomes readable when the numbering worker
gave it a position: positions are gapless and in the order of becoming visible, so that a
cursor over them misses no late commit.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType

from tallystick.clock import format_time
from tallystick.db import Transaction
from tallystick.outbox import store
from tallystick.outbox.errors import InvalidEventError
from tallystick.outbox.topics import Reader, check_topics
from tallystick.record.canonical import canonical
from tallystick.record.errors import MalformedMessageError, UncanonicalValueError
from tallystick.record.messages import OutboxEvent, format_outbox_event

EventId = NewType("EventId", int)
"""Identity and idempotency key of an event; no order."""
Position = NewType("Position", int)
"""Place of an event in the order of becoming visible, from 1; 0 is before the first."""

MAX_KEY_BYTES: Final = 1000
"""With a topic of 100 bytes the message of a NOTIFY stays below PostgreSQL's 8,000 bytes."""
MAX_PAYLOAD_BYTES: Final = 65_536
"""An event tells what happened and where to read the rest; receivers limit bodies too."""
MAX_EXACT_NUMBER: Final = 2**53 - 1
MAX_EVENTS: Final = 1000
"""The largest page of every list (common.md, "Lists and HTTP")."""


@dataclass(frozen=True, slots=True)
class Event:
    """
    A numbered event.

    *payload_json* is the object as the database spells it: a number that Python cannot hold
    must fail the delivery of this event and not the reading of its neighbours.
    """

    event_id: EventId
    position: Position
    topic: str
    key: str
    user_id: str | None
    payload_json: str
    created_at: datetime.datetime

    @property
    def payload(self) -> dict[str, Any]:
        """
        The event's facts.

        Raises:
            InvalidEventError: It holds a number that is too long to be read.
        """
        try:
            payload = json.loads(self.payload_json)
        except (ValueError, RecursionError) as cause:
            raise InvalidEventError(
                f"the payload of event {self.event_id} is unreadable"
            ) from cause
        assert isinstance(payload, dict), "the table keeps payloads objects"
        return payload

    def body(self) -> bytes:
        """
        The RFC 8785 bytes that sinks deliver.

        Raises:
            InvalidEventError: The payload has no canonical form.
        """
        message = OutboxEvent(
            event_id=self.event_id,
            position=self.position,
            topic=self.topic,
            key=self.key,
            payload=self.payload,
            created_at=format_time(self.created_at),
        )
        try:
            return format_outbox_event(message)
        except MalformedMessageError as cause:
            raise InvalidEventError(f"event {self.event_id} has no canonical form") from cause


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in the order of their positions; everything up to *through* has been looked at."""

    events: tuple[Event, ...]
    through: Position


def emit(
    tx: Transaction,
    topic: str,
    *,
    key: str,
    payload: Mapping[str, Any],
    user_id: str | None = None,
) -> EventId:
    """
    Write an event in the caller's transaction and return its identity.

    Raises:
        UnknownTopicError: No slice registered *topic*.
        InvalidEventError: *key* is empty, over 1,000 bytes or no text that PostgreSQL holds,
            or *payload* has no canonical JSON form, a number beyond 2**53 - 1, or
            over 65,536 bytes.
    """
    check_topics([topic])
    written = check_event(key=key, payload=payload)
    return EventId(store.insert_event(tx, topic=topic, key=key, user_id=user_id, payload=written))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is to be written; its parts are those of `emit`."""

    topic: str
    key: str
    payload: Mapping[str, Any]
    user_id: str | None = None


def emit_many(tx: Transaction, events: Sequence[NewEvent]) -> None:
    """
    Write *events* in the caller's transaction, in their order and by one statement.

    Raises:
        UnknownTopicError, InvalidEventError: As `emit`; then none is written.
    """
    check_topics({event.topic for event in events})
    payloads = [check_event(key=event.key, payload=event.payload) for event in events]
    if events:
        store.insert_events(
            tx,
            topics=[event.topic for event in events],
            keys=[event.key for event in events],
            user_ids=[event.user_id for event in events],
            payloads=payloads,
        )


def check_event(*, key: str, payload: Mapping[str, Any]) -> str:
    """
    Return the canonical JSON of *payload*, if *key* and *payload* can be an event's.

    Raises:
        InvalidEventError: As `emit`.
    """
    try:
        written = canonical({"key": key, "payload": dict(payload)})
    except UncanonicalValueError as cause:
        raise InvalidEventError("the event has no canonical JSON form") from cause
    # RFC 8785 writes NUL as this and nothing else as this, unless a backslash stands before it.
    if "\x00" in key or b"\\u0000" in written.replace(b"\\\\", b""):
        raise InvalidEventError("PostgreSQL holds no text with a zero byte")
    if not 1 <= len(key.encode()) <= MAX_KEY_BYTES:
        raise InvalidEventError(f"a key has 1 to {MAX_KEY_BYTES} bytes")
    if len(written) > MAX_PAYLOAD_BYTES:
        raise InvalidEventError(f"an event has at most {MAX_PAYLOAD_BYTES} bytes")
    json.loads(written, parse_int=_check_number, parse_float=_check_number)
    return canonical(dict(payload)).decode()


def _check_number(number: str) -> None:
    # PostgreSQL spells 1e22 as an integer of 23 digits, which RFC 8785 would refuse to write.
    if abs(float(number)) > MAX_EXACT_NUMBER:
        raise InvalidEventError("a number beyond 2**53 - 1 is written as text")


def read_events(
    tx: Transaction,
    *,
    topics: Collection[str] | None = None,
    key: str | None = None,
    user_id: str | None = None,
    after: Position = Position(0),
    limit: int = 100,
    reader: Reader | None = None,
) -> EventPage:
    """
    Return at most *limit* events behind position *after*, filtered by what is not None.

    *reader* narrows further to what somebody may read; None is for callers inside. Go on
    reading at the page's `through`, also where the page is empty: nothing is missed.

    Raises:
        UnknownTopicError: One of *topics* is not registered.
    """
    assert 1 <= limit <= MAX_EVENTS
    check_topics(topics or ())
    newest = Position(store.newest_position(tx))
    selection = store.Selection(
        topics=None if topics is None else sorted(topics),
        key=key,
        user_id=user_id,
        readable=None if reader is None else sorted(reader.topics),
        reader_id=None if reader is None else reader.user_id,
    )
    rows = store.read_events(tx, Event, selection, after=after, through=newest, limit=limit)
    through = rows[-1].position if len(rows) == limit else max(after, newest)
    return EventPage(tuple(rows), Position(through))


def newest_position(tx: Transaction) -> Position:
    """Return the position that was given last, 0 before the first."""
    return Position(store.newest_position(tx))
