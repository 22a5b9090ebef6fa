"""Events: what can be one, and what a reader gets."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.outbox import Event, EventPage, Reader, emit, read_events
from tallystick.outbox.errors import InvalidEventError, UnknownTopicError
from tallystick.outbox.events import MAX_PAYLOAD_BYTES, check_event
from tests.outbox.support import (
    OTHER_TOPIC,
    TOPIC,
    emit_many,
    emit_one,
    events_of,
    number_all,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def is_deliverable(value: Any) -> bool:
    """The naive reference: whether PostgreSQL and JSON carry *value* exactly."""
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return all(is_deliverable(k) and is_deliverable(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(is_deliverable, value))
    return not isinstance(value, int | float) or abs(value) < 2**53


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=4), st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_what_can_be_emitted_is_what_the_reference_allows(key, payload):
    """An event is refused exactly where its key or payload could not be delivered as it is."""
    allowed = key != "" and is_deliverable(key) and is_deliverable(payload)
    if allowed:
        assert json.loads(check_event(key=key, payload=payload)) == payload
    else:
        with pytest.raises(InvalidEventError):
            check_event(key=key, payload=payload)


@pytest.mark.parametrize("number", [1e300, 1e22, -(2.0**53)])
def test_a_number_that_the_database_spells_otherwise_is_refused(number):
    """A number beyond 2**53 - 1 is refused when it is written, not when it is delivered."""
    with pytest.raises(InvalidEventError, match="as text"):
        check_event(key="k", payload={"n": number})


def test_keys_and_payloads_are_bounded():
    """A key has at most 1,000 bytes and an event at most 65,536."""
    with pytest.raises(InvalidEventError, match="1 to 1000 bytes"):
        check_event(key="é" * 501, payload={})
    with pytest.raises(InvalidEventError, match="at most"):
        check_event(key="k", payload={"x": "y" * MAX_PAYLOAD_BYTES})


def test_an_event_comes_back_as_it_was_written(database):
    """Key, user, topic and payload are read as they were emitted, and the body holds no user."""
    payload = {"text": 'café \\u0000 "', "small": 1e-7, "none": None, "list": [1, 2.5, True]}
    with database.transaction() as tx:
        event_id = emit(tx, TOPIC, key="kéy", payload=payload, user_id="u1")
    number_all(database)
    [event] = events_of(database)
    assert (event_id, 1, TOPIC, "kéy", "u1") == (
        event.event_id,
        event.position,
        event.topic,
        event.key,
        event.user_id,
    )
    assert payload == event.payload
    assert {"event_id", "position", "topic", "key", "payload", "created_at"} == set(
        json.loads(event.body())
    )


def test_an_event_is_unreadable_until_it_is_numbered(database):
    """Nobody reads an event before its position is known."""
    emit_one(database)
    assert events_of(database) == []
    number_all(database)
    assert len(events_of(database)) == 1


def test_a_rolled_back_fact_has_no_event(database):
    """An event shares the fate of the transaction that wrote it."""
    with contextlib.suppress(ZeroDivisionError), database.transaction() as tx:
        emit(tx, TOPIC, key="k", payload={})
        raise ZeroDivisionError
    assert number_all(database) == 0


def test_an_unregistered_topic_is_not_emitted(database):
    """What no slice registered cannot be written."""
    with database.transaction() as tx, pytest.raises(UnknownTopicError):
        emit(tx, "no.such", key="k", payload={})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"topics": [TOPIC]}, [1, 2]),
        ({"topics": [TOPIC, OTHER_TOPIC]}, [1, 2, 3, 4]),
        ({"topics": []}, []),
        ({"key": "b"}, [2, 4]),
        ({"user_id": "u1"}, [1, 4]),
        ({"user_id": "u1", "key": "b"}, [4]),
        ({"after": 2}, [3, 4]),
        ({"limit": 3}, [1, 2, 3]),
        ({"reader": Reader(frozenset([TOPIC]))}, [1, 2]),
        ({"reader": Reader(frozenset([TOPIC]), "u1")}, [1, 2, 4]),
        ({"reader": Reader(frozenset(), "u2")}, [3]),
        ({"reader": Reader(frozenset())}, []),
        ({"reader": Reader(frozenset(), "u1"), "user_id": "u2"}, []),
    ],
)
def test_readers_get_what_they_ask_for_and_may_see(database, filters, expected):
    """Each filter narrows, and a reader sees the topics that are open to him and his own."""
    emit_one(database, key="a", user_id="u1")
    emit_one(database, key="b")
    emit_one(database, key="a", topic=OTHER_TOPIC, user_id="u2")
    emit_one(database, key="b", topic=OTHER_TOPIC, user_id="u1")
    number_all(database)
    with database.transaction() as tx:
        page = read_events(tx, **filters)
    assert expected == [event.position for event in page.events]
    assert (3 if filters.get("limit") else 4) == page.through


def test_pages_go_on_where_the_last_one_ended(database):
    """Following `through` reads every event once, in order, and ends at the newest."""
    emit_many(database, 7)
    number_all(database)
    seen, after = [], 0
    with database.transaction() as tx:
        while (page := read_events(tx, after=after, limit=3)).events:
            seen += [event.position for event in page.events]
            after = page.through
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert EventPage((), 7) == page


def test_a_payload_that_python_cannot_hold_fails_its_own_event_alone(database, database_url):
    """A number of 5,000 digits, written by SQL, leaves its neighbours readable."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO tally.outbox_events (topic, key, payload) VALUES"
            " ('test.happened', 'k', '{}'),"
            " ('test.happened', 'k', ('{\"n\": ' || repeat('9', 5000) || '}')::jsonb)"
        )
    number_all(database)
    good, bad = events_of(database)
    assert good.payload == {}
    with pytest.raises(InvalidEventError, match="unreadable"):
        bad.body()


def test_the_body_is_the_vector():
    """The body of the published vector's event is its bytes."""
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    event = Event(7, 5, "log.checkpoint", "payments", None, '{"size": 3}', at)
    assert event.body() == (
        b'{"created_at":"2026-01-02T03:04:05.000006Z","event_id":7,"key":"payments",'
        b'"payload":{"size":3},"position":5,"topic":"log.checkpoint"}'
    )
