"""Numbering: positions are gapless, given once, in the order of becoming visible."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.outbox import add_sink, emit, list_sinks
from tallystick.outbox.numbering import numbering_session
from tests.outbox.support import (
    TOPIC,
    emit_many,
    emit_one,
    events_of,
    number_all,
    wait_until,
    worker_process,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.db import Database
    from tallystick.outbox import EventId

WRITERS = 8
COMMITS = 40
KILLS = 4


def add_file_sink(database: Database, path: Path) -> None:
    """Add a sink of all events that writes *path*."""
    with database.transaction() as tx:
        add_sink(tx, "lines", "file", config={"path": str(path)}, after=0)


def lines_of(path: Path) -> list[dict[str, object]]:
    """The events in the file, in the order of its lines."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def assert_gapless(database: Database, expected: set[EventId]) -> None:
    """Every expected event has one position, and the positions are 1 to their number."""
    events = events_of(database)
    assert list(range(1, len(expected) + 1)) == [event.position for event in events]
    assert expected == {event.event_id for event in events}


def test_a_late_commit_gets_a_later_position(database):
    """log 31: An event that commits after a later event was numbered is numbered behind it."""
    with database.transaction() as late:
        first = emit(late, TOPIC, key="late", payload={})
        second = emit_one(database, key="early")
        assert first < second
        assert number_all(database) == 1
    assert number_all(database) == 1
    assert [(second, 1), (first, 2)] == [(e.event_id, e.position) for e in events_of(database)]


def test_one_look_numbers_in_the_order_of_event_ids(database):
    """Events that one look sees get positions in the order of their identities."""
    with database.transaction() as outer:
        emit(outer, TOPIC, key="a", payload={})
        emit_many(database, 3)
    assert number_all(database) == 4
    assert [event.event_id for event in events_of(database)] == [1, 2, 3, 4]


def test_only_one_session_numbers(database):
    """While one session holds the lock another is told so, and gets it after that one's end."""
    with numbering_session(database) as first, numbering_session(database) as second:
        assert first is not None
        assert second is None
    with numbering_session(database) as third:
        assert third is not None


def test_numbering_goes_on_behind_a_cursor_where_events_were_removed(database, database_url):
    """A position that a cursor passed is never given again, even if its event is gone."""
    emit_many(database, 3)
    number_all(database)
    with database.transaction() as tx:
        add_sink(tx, "stream", "sse", config={})
    with psycopg.connect(database_url) as connection:
        connection.execute("DELETE FROM tally.outbox_events")
    emit_one(database)
    number_all(database)
    assert [event.position for event in events_of(database)] == [4]


def write_with_late_commits(
    database_url: str, seed: int, committed: list[EventId], failures: list[BaseException]
) -> None:
    """Write events in transactions that overlap, end in any order, and sometimes roll back."""
    from tallystick.db import Transaction

    drawn = random.Random(seed)
    try:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(psycopg.connect(database_url)) for _ in range(2)]
            pending: list[list[EventId]] = [[], []]
            for _ in range(COMMITS):
                at = drawn.randrange(2)
                tx = Transaction(connections[at])
                for number in range(drawn.randint(1, 3)):
                    event = emit(tx, TOPIC, key=f"w{seed}", payload={"number": number})
                    pending[at].append(event)
                time.sleep(drawn.uniform(0, 0.03))
                end = drawn.randrange(2)
                if drawn.random() < 0.15:
                    connections[end].rollback()
                else:
                    connections[end].commit()
                    committed.extend(pending[end])
                pending[end] = []
            for connection, events in zip(connections, pending, strict=True):
                connection.commit()
                committed.extend(events)
    except BaseException as raised:
        failures.append(raised)
        raise


def test_no_event_is_missed_and_no_position_given_twice(database, database_url, tmp_path):
    """log 31: 8 writers with late commits, workers killed: each event is placed once and comes."""
    path = tmp_path / "events.jsonl"
    add_file_sink(database, path)
    committed: list[EventId] = []
    failures: list[BaseException] = []
    writers = [
        threading.Thread(
            target=write_with_late_commits, args=(database_url, seed, committed, failures)
        )
        for seed in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    drawn = random.Random(31)
    kills = 0
    while kills < KILLS or any(writer.is_alive() for writer in writers):
        committed += emit_many(database, 5)
        before = len(lines_of_whole(path))
        with worker_process(database_url):
            wait_until(lambda: len(lines_of_whole(path)) > before)  # noqa: B023 (called here)
            # Killed in the middle of its work, wherever that is.
            time.sleep(drawn.uniform(0, 0.2))
        kills += 1
    for writer in writers:
        writer.join()
    assert failures == []
    with worker_process(database_url):
        wait_until(lambda: is_delivered(database, len(committed)))
    assert_gapless(database, set(committed))
    firsts = list(dict.fromkeys(line["position"] for line in lines_of(path)))
    assert list(range(1, len(committed) + 1)) == firsts
    assert {int(line["event_id"]) for line in lines_of(path)} == set(committed)


def lines_of_whole(path: Path) -> list[bytes]:
    """The lines of the file, parsed or not: the last may be half written."""
    return path.read_bytes().splitlines() if path.exists() else []


def is_delivered(database: Database, position: int) -> bool:
    """Whether the one sink's cursor is at *position*."""
    with database.transaction() as tx:
        return list_sinks(tx)[0].position == position


@pytest.mark.parametrize("point", ["outbox-number", "outbox-numbered"])
def test_a_worker_killed_at_its_pause_points_leaves_no_gap(database, database_url, tmp_path, point):
    """log 31: A worker killed before or after its statement leaves all of its positions or none."""
    expected = set(emit_many(database, 5))
    with worker_process(database_url, pause_at=point, flag=tmp_path / "flag"):
        wait_until((tmp_path / "flag").exists)
        expected |= set(emit_many(database, 5))
    with worker_process(database_url):
        wait_until(lambda: len(events_of(database)) == len(expected))
    assert_gapless(database, expected)


def test_a_worker_killed_within_its_statement_leaves_no_gap(database, database_url):
    """log 31: A worker killed while its statement waits for a row leaves no gap and no double."""
    expected = set(emit_many(database, 5))
    with psycopg.connect(database_url) as blocker:
        blocker.execute("SELECT FROM tally.outbox_events WHERE event_id = 3 FOR UPDATE")
        with worker_process(database_url):
            wait_until(lambda: is_waiting(database_url))
        expected |= set(emit_many(database, 3))
    with worker_process(database_url):
        wait_until(lambda: len(events_of(database)) == len(expected))
    assert_gapless(database, expected)


def is_waiting(database_url: str) -> bool:
    """Whether some session of this database waits for a lock."""
    with psycopg.connect(database_url) as connection:
        return (
            connection.execute(
                "SELECT FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ).rowcount
            > 0
        )
