"""Published heads: how they are learnt, what they wait for, what reading them costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.publish import Publisher, listener
from tallystick.publish.errors import CheckpointNotFoundError
from tallystick.seal.errors import LogNotFoundError
from tallystick.tlog import EMPTY_ROOT, parse_checkpoint, parse_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.log_builder import LogBuilder


def leaves(count: int) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(count)]


def becomes(expected: object, look: Callable[[], object], *, within_seconds: float) -> None:
    """Wait until *look* gives what is expected, and fail where it does not in time."""
    deadline = time.monotonic() + within_seconds
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.005)
    assert expected == look()


def test_a_new_log_has_published_the_empty_tree(builder: LogBuilder, publisher: Publisher) -> None:
    """A log's first published head is its signed checkpoint of size 0."""
    builder.create("fresh")
    with pytest.raises(LogNotFoundError):
        publisher.published_head("fresh")
    publisher.refresh()
    head = publisher.published_head("fresh")
    assert (head.size, head.root) == (0, EMPTY_ROOT)
    assert parse_checkpoint(parse_note(head.checkpoint).text).size == 0


def test_only_what_changed_is_read(builder: LogBuilder, publisher: Publisher) -> None:
    """A look returns the heads that changed since the last one, and no others."""
    builder.filled("one", leaves(3))
    builder.filled("two", leaves(3))
    assert {head.log_name for head in publisher.refresh()} == {"one", "two"}
    assert publisher.refresh() == []
    builder.append("two", leaves(1))
    builder.seal("two")
    assert [(head.log_name, head.size) for head in publisher.refresh()] == [("two", 4)]
    builder.execute(
        "UPDATE tally.verification_logs SET visibility = 'public' WHERE log_name = 'one'"
    )
    assert [(head.log_name, head.visibility) for head in publisher.refresh()] == [("one", "public")]


def test_a_notification_brings_the_head_at_once(
    builder: LogBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sealed batch is published by its notification: here no look of a clock comes in time."""
    monkeypatch.setattr(listener, "LOOK_SECONDS", 6.0)
    builder.create("quick")
    publisher = Publisher(builder.database)
    publisher.start()
    try:
        # What is sealed before the session listens is found when it begins to.
        time.sleep(0.3)
        for size in range(1, 6):
            builder.append("quick", leaves(1))
            builder.seal("quick")
            becomes(size, lambda: publisher.published_head("quick").size, within_seconds=5)
    finally:
        publisher.stop()


def test_a_lost_notification_costs_a_second(builder: LogBuilder) -> None:
    """Without a notification the look of each second finds the head."""
    builder.create("quiet")
    publisher = Publisher(builder.database)
    publisher.start()
    try:
        builder.append("quiet", leaves(1))
        builder.sequencer._seal(
            builder.logs["quiet"].log_id, builder.sequencer.state(builder.logs["quiet"].log_id)
        )
        becomes(1, lambda: publisher.published_head("quiet").size, within_seconds=3)
    finally:
        publisher.stop()


def test_listening_survives_a_lost_connection(builder: LogBuilder) -> None:
    """When the listening session is killed, heads go on coming."""
    builder.create("cut")
    publisher = Publisher(builder.database)
    publisher.start()
    try:
        time.sleep(0.3)
        builder.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'tallystick-session' AND pid <> pg_backend_pid()"
        )
        builder.append("cut", leaves(2))
        builder.seal("cut")
        becomes(2, lambda: publisher.published_head("cut").size, within_seconds=4)
    finally:
        publisher.stop()


def test_a_head_waits_for_its_quorum(builder: LogBuilder, publisher: Publisher) -> None:
    """With a quorum, a checkpoint is published once so many distinct witnesses cosigned it."""
    builder.filled("watched", leaves(3), witness_quorum=2)
    publisher.refresh()
    assert publisher.published_head("watched").size == 0
    builder.cosign("watched", 3, witness="w.example/a")
    builder.cosign("watched", 3, witness="w.example/a", at=1767323048)
    publisher.refresh()
    assert publisher.published_head("watched").size == 0
    builder.cosign("watched", 3, witness="w.example/b")
    publisher.refresh()
    head = publisher.published_head("watched")
    assert (head.size, head.witnesses) == (3, 2)
    note = parse_note(head.checkpoint)
    assert [signature.name for signature in note.signatures] == [
        "log.example/watched",
        "w.example/a",
        "w.example/b",
    ]


def test_patience_ends_the_wait(builder: LogBuilder, publisher: Publisher) -> None:
    """A log with patience publishes below its quorum once that time has passed."""
    builder.filled("patient", leaves(3), witness_quorum=1, witness_patience_seconds=0)
    publisher.refresh()
    assert publisher.published_head("patient").size == 3


def test_a_shown_head_is_never_taken_back(builder: LogBuilder, publisher: Publisher) -> None:
    """A quorum that is raised later does not unpublish what monitors have seen."""
    builder.filled("grown", leaves(3))
    publisher.refresh()
    builder.execute(
        "UPDATE tally.verification_logs SET witness_quorum = 1 WHERE log_name = 'grown' RETURNING 1"
    )
    publisher.refresh()
    head = publisher.published_head("grown")
    assert (head.size, head.witness_quorum) == (3, 1)


def test_checkpoints_of_the_past_are_found(builder: LogBuilder, publisher: Publisher) -> None:
    """Signed sizes have their checkpoint; an unsigned one has the smallest behind it."""
    builder.create("steps", batch_size=4)
    builder.append("steps", leaves(10))
    builder.seal("steps")
    publisher.refresh()
    head = publisher.published_head("steps")
    assert [one.size for one in publisher.checkpoints(head, limit=10)] == [10, 8, 4, 0]
    assert [one.size for one in publisher.checkpoints(head, at_most=7, limit=1)] == [4]
    assert publisher.checkpoint_at(head, 8).size == 8
    assert publisher.checkpoint_from(head, 5).size == 8
    with pytest.raises(CheckpointNotFoundError):
        publisher.checkpoint_at(head, 5)


def test_start_up_is_two_statements(builder: LogBuilder) -> None:
    """log 24: Start-up reads heads and right edges of all logs by two statements."""
    for number in range(5):
        builder.filled(f"log_{number}", leaves(300))
    publisher = Publisher(builder.database)
    opened: list[str] = []
    read = builder.database.read

    def counted(function: Callable[..., object]) -> object:
        opened.append("statement")
        return read(function)

    builder.database.read = counted
    assert len(publisher.refresh()) == 5
    assert len(opened) == 2
    # The right edge is in memory: the root of any tree that ends in it costs nothing more.
    assert publisher.root_at(publisher.published_head("log_3"), 300 - 44) is not None


def test_reading_never_waits_for_sealing(builder: LogBuilder, publisher: Publisher) -> None:
    """Law 17: With every lock that sealing takes held by another session, reads go on."""
    builder.filled("busy", leaves(600))
    publisher.refresh()
    head = publisher.published_head("busy")
    log_id = head.log_id
    with psycopg.connect(builder.url) as sealing:
        sealing.execute("SELECT pg_advisory_xact_lock(1952541817, %s)", (log_id,))
        sealing.execute("LOCK TABLE tally.capture IN ACCESS EXCLUSIVE MODE")
        sealing.execute("LOCK TABLE tally.merkle_log, tally.log_tiles IN ROW EXCLUSIVE MODE")
        sealing.execute("SELECT FROM tally.log_tiles WHERE log_id = %s FOR UPDATE", (log_id,))
        sealing.execute("SELECT FROM tally.checkpoints WHERE log_id = %s FOR UPDATE", (log_id,))
        began = time.monotonic()
        cold = Publisher(builder.database)
        cold.refresh()
        cold.prove_index(head, 5, 500)
        cold.entries(head, first=0, limit=10)
        cold.find_root(head, head.root)
        cold.find_leaf(head, head.root)
        cold.checkpoints(head, limit=3)
        assert time.monotonic() - began < 2
