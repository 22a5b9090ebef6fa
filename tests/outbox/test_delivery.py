"""Delivery: position order, at least once, never given up."""

from __future__ import annotations

import json
import threading

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.outbox import add_sink, list_sinks, pause_sink, skip_event, store
from tallystick.outbox.delivery import Block, Outcome, deliver_block, describe, hand_over
from tallystick.outbox.errors import ReceiverError
from tallystick.outbox.sinks import SinkSettings, make_sink
from tallystick.outbox.worker import KeptSink
from tests.outbox.support import (
    OTHER_TOPIC,
    TOPIC,
    emit_many,
    emit_one,
    events_of,
    number_all,
    wait_until,
    worker_process,
)

NEVER = threading.Event()


class ListSink:
    """A sink that keeps positions, and refuses those that it is told to."""

    def __init__(self, refused=()):
        self.taken = []
        self.refused = set(refused)

    def __call__(self, _cursor):
        """Itself, for every run."""
        return self

    def deliver(self, event):
        """Keep the position, or refuse."""
        if event.position in self.refused:
            raise ReceiverError("the receiver answered 500", status=500)
        self.taken.append(event.position)

    def close(self):
        """Nothing."""


def add(database, **fields):
    """Add the sink `s` from the first position."""
    with database.transaction() as tx:
        add_sink(tx, "s", "sse", config={}, after=0, **fields)


def position(database):
    """Where the sink `s` stands."""
    with database.transaction() as tx:
        return list_sinks(tx)[0].position


def retry_now(database_url):
    """Let the time of every sink's next try come."""
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE tally.outbox_cursors SET next_try_at = tally.clock()")


def test_events_come_in_order_and_the_cursor_follows(database):
    """Blocks follow each other until nothing waits, and the cursor ends at the newest."""
    emit_many(database, 250)
    number_all(database)
    add(database)
    sink = ListSink()
    rounds = [deliver_block(database, "s", sink, NEVER) for _ in range(4)]
    assert rounds == [True, True, True, False]
    assert list(range(1, 251)) == sink.taken
    assert position(database) == 250


def test_only_wanted_topics_are_delivered_and_the_others_passed(database):
    """A sink gets its topics alone, and its cursor passes over the rest."""
    for number in range(6):
        emit_one(database, topic=OTHER_TOPIC if number % 3 else TOPIC)
    number_all(database)
    add(database, topics=[TOPIC])
    sink = ListSink()
    deliver_block(database, "s", sink, NEVER)
    assert (sink.taken, position(database)) == ([1, 4], 6)


def test_a_refused_event_is_tried_again_and_nothing_overtakes_it(database, database_url):
    """A sink stands at the event that it refused, until it takes it."""
    emit_many(database, 5)
    number_all(database)
    add(database)
    sink = ListSink(refused=[3])
    assert not deliver_block(database, "s", sink, NEVER)
    assert not deliver_block(database, "s", sink, NEVER), "it is not due yet"
    retry_now(database_url)
    deliver_block(database, "s", sink, NEVER)
    assert (sink.taken, position(database)) == ([1, 2], 2)
    with database.transaction() as tx:
        [state] = list_sinks(tx)
    assert (
        state.status,
        state.attempts,
        state.last_error,
    ) == ("failing", 2, "receiver: the receiver answered 500")
    sink.refused.clear()
    retry_now(database_url)
    deliver_block(database, "s", sink, NEVER)
    assert (sink.taken, position(database)) == ([1, 2, 3, 4, 5], 5)


def test_what_was_not_recorded_comes_again(database):
    """A delivery whose record is lost is repeated from the same event."""
    emit_many(database, 3)
    number_all(database)
    add(database)
    sink = ListSink()

    class Killed(BaseException):
        pass

    def die(cursor):
        sink.taken.append("began")
        raise Killed

    with pytest.raises(Killed):
        deliver_block(database, "s", die, NEVER)
    deliver_block(database, "s", sink, NEVER)
    assert sink.taken == ["began", 1, 2, 3]


def test_a_kill_between_delivery_and_record_repeats_the_block(database, database_url, tmp_path):
    """log 31: A worker killed after delivering and before recording delivers again, in order."""
    path = tmp_path / "lines"
    with database.transaction() as tx:
        add_sink(tx, "lines", "file", config={"path": str(path)}, after=0)
    emit_many(database, 3)
    with worker_process(database_url, pause_at="outbox-delivered", flag=tmp_path / "flag"):
        wait_until((tmp_path / "flag").exists)
    assert position(database) == 0
    with worker_process(database_url):
        wait_until(lambda: position(database) == 3)
    lines = [json.loads(line)["position"] for line in path.read_bytes().splitlines()]
    assert lines == [1, 2, 3, 1, 2, 3]


def test_a_paused_sink_gets_nothing(database):
    """Nothing is delivered to a paused sink, and to one that does not exist."""
    emit_many(database, 3)
    number_all(database)
    add(database)
    with database.transaction() as tx:
        pause_sink(tx, "s")
    sink = ListSink()
    assert not deliver_block(database, "s", sink, NEVER)
    assert not deliver_block(database, "none", sink, NEVER)
    assert sink.taken == []


def test_a_cursor_that_an_operator_moved_meanwhile_stays(database):
    """A skip during a delivery stands: the delivery's result is not recorded over it."""
    first, *_ = emit_many(database, 3)
    number_all(database)
    add(database)

    class SkippedMeanwhile(ListSink):
        def deliver(self, event):
            super().deliver(event)
            if event.position == 1:
                with database.transaction() as tx:
                    skip_event(tx, "s", first, actor="user:a", reason="r")

    sink = SkippedMeanwhile(refused=[2])
    assert not deliver_block(database, "s", sink, NEVER)
    assert position(database) == 1
    with database.transaction() as tx:
        assert list_sinks(tx)[0].attempts == 0


def test_a_sink_that_cannot_be_made_fails_at_its_event(database):
    """A kind that is not installed, or a host no longer listed, makes the sink failing."""
    emit_many(database, 1)
    number_all(database)
    with database.transaction() as tx:
        store.add_sink(tx, sink="s", kind="firestore", config={}, topics=[], position=0)
    deliver_block(database, "s", KeptSink(database, SinkSettings()), NEVER)
    with database.transaction() as tx:
        [state] = list_sinks(tx)
    assert (state.status, state.position) == ("failing", 0)
    assert state.last_error.startswith("sink_not_installed: ")


def test_what_others_raise_is_told_by_its_type_alone():
    """The words of a foreign error are not stored: they may hold what was sent."""
    assert describe(ValueError("secret")) == "ValueError"
    assert len(describe(ReceiverError("x" * 1000))) == 500


@settings(max_examples=100, deadline=None)
@given(
    gaps=st.lists(st.integers(1, 3), max_size=8),
    refused=st.sets(st.integers(1, 24)),
    seconds=st.floats(0, 0.5),
)
def test_an_outcome_is_the_longest_run_of_taken_events(gaps, refused, seconds):
    """A block ends at its first refusal or when its second is over; nothing behind is taken."""
    positions = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    through = (positions[-1] if positions else 0) + 1
    sink, now = ListSink(refused), iter(range(100))
    cursor = store.Cursor("s", "sse", {}, (), 0, "active", is_due=True)
    events = tuple(make_event(position) for position in positions)
    outcome = hand_over(
        Block(cursor, events, through), sink, NEVER, monotonic=lambda: next(now) * seconds
    )

    taken, expected = 0, Outcome(through, None)
    for count, place in enumerate(positions):
        if (count + 1) * seconds > 1:
            expected = Outcome(taken, None)
            break
        if place in refused:
            expected = Outcome(taken, "receiver: the receiver answered 500")
            break
        taken = place
    assert expected == outcome


def make_event(place):
    """An event that has a position and nothing else of interest."""
    from tallystick.outbox import Event

    return Event(place, place, TOPIC, "k", None, "{}", None)


def test_the_notify_sink_names_the_event(database, database_url):
    """Listeners of tally_events get position, topic and key, and not the payload."""
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN tally_events")
        emit_one(database, key='k"é' + "\x01" * 900)
        number_all(database)
        sink = make_sink("notify", {}, database=database, settings=SinkSettings())
        [event] = events_of(database)
        sink.deliver(event)
        [heard] = listener.notifies(timeout=5, stop_after=1)
    assert {"position": 1, "topic": TOPIC, "key": event.key} == json.loads(heard.payload)
