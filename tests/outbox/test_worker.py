"""The worker: it numbers, delivers and deletes until it is told to stop."""

from __future__ import annotations

import contextlib
import threading
import time

import psycopg
import pytest

from tallystick.outbox import (
    OutboxSettings,
    SinkSettings,
    add_sink,
    list_sinks,
    run_outbox,
)
from tallystick.outbox.worker import delete_old_events
from tallystick.record.keys import ed25519_verifier, make_signer
from tallystick.record.messages import check_outbox_event
from tests.outbox.support import (
    emit_many,
    emit_one,
    events_of,
    number_all,
    trusting_context,
    wait_until,
)

SIGNER = make_signer(name="outbox.example", secret=bytes(range(0x40, 0x60)))


@contextlib.contextmanager
def running_worker(database, settings=None):
    """Run the worker in a thread, and stop it."""
    stop = threading.Event()
    worker = threading.Thread(
        target=run_outbox, args=(database, stop, settings or OutboxSettings())
    )
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def positions(database):
    """Where each sink stands, by name."""
    with database.transaction() as tx:
        return [sink.position for sink in list_sinks(tx)]


def test_webhooks_arrive_in_order_through_failures(database, receiver):
    """log 31: Through refusals and redirects a webhook gets every event, in order, signed."""
    with database.transaction() as tx:
        add_sink(
            tx,
            "hook",
            "webhook",
            config={"url": receiver.url},
            webhook_hosts=(receiver.host,),
            after=0,
        )
    ids = emit_many(database, 6)
    receiver.answers += [(204, {}), (500, {}), (302, {"Location": receiver.url})]
    sinks = SinkSettings(
        webhook_hosts=(receiver.host,),
        signer=SIGNER,
        tls=trusting_context(),
        unsafe_accept_private_addresses=True,
    )
    with running_worker(database, OutboxSettings(sinks=sinks)):
        wait_until(lambda: positions(database) == [6])
    assert [ids[0], ids[1], ids[1], *ids[1:]] == [post.event_id for post in receiver.posts]
    verifiers = [ed25519_verifier(SIGNER.verifier_key)]
    for post in receiver.posts:
        check_outbox_event(post.body, post.headers["Tally-Signature"], verifiers)


def test_a_sink_that_fails_holds_nobody_up(database, tmp_path):
    """Beside a sink that refuses everything another gets its events."""
    with database.transaction() as tx:
        add_sink(tx, "bad", "file", config={"path": str(tmp_path)}, after=0)
        add_sink(tx, "good", "file", config={"path": str(tmp_path / "lines")}, after=0)
    emit_many(database, 3)
    with running_worker(database):
        wait_until(lambda: positions(database) == [0, 3])


def test_a_second_worker_waits_and_takes_over(database):
    """Of two workers one works; when it stops the other goes on."""
    with running_worker(database):
        emit_one(database)
        wait_until(lambda: len(events_of(database)) == 1)
        second = contextlib.ExitStack()
        second.enter_context(running_worker(database))
    with second:
        emit_one(database)
        wait_until(lambda: len(events_of(database)) == 2)


def test_the_worker_survives_the_loss_of_its_sessions(database, database_url):
    """When the server ends its sessions the worker comes back, and numbers on."""
    with running_worker(database):
        emit_one(database)
        wait_until(lambda: len(events_of(database)) == 1)
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        emit_one(database)
        wait_until(lambda: len(events_of(database)) == 2)


def test_the_worker_stops_when_it_is_told(database):
    """A worker with nothing to do ends within a second."""
    stop = threading.Event()
    worker = threading.Thread(target=run_outbox, args=(database, stop, OutboxSettings()))
    worker.start()
    time.sleep(0.3)
    stop.set()
    worker.join(1.5)
    assert not worker.is_alive()


def age(database_url, days, *, up_to):
    """Let the events up to a position be *days* old."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "UPDATE tally.outbox_events SET created_at = tally.clock() - make_interval(days => %s)"
            " WHERE position <= %s",
            [days, up_to],
        )


@pytest.mark.parametrize(
    ("cursor", "old", "kept"),
    [
        (None, 3, [4, 5]),
        (5, 3, [4, 5]),
        (2, 3, [3, 4, 5]),
        (0, 5, [1, 2, 3, 4, 5]),
        (5, 5, [5]),
        (5, 0, [1, 2, 3, 4, 5]),
    ],
)
def test_events_are_deleted_when_they_are_old_and_everybody_got_them(
    database, database_url, cursor, old, kept
):
    """An event goes when it is old and behind every cursor; the newest always stays."""
    emit_many(database, 5)
    number_all(database)
    if cursor is not None:
        with database.transaction() as tx:
            add_sink(tx, "far", "sse", config={}, after=5)
            add_sink(tx, "near", "sse", config={}, after=cursor)
    age(database_url, 8, up_to=old)
    deleted = delete_old_events(database, retention_days=7)
    assert kept == [event.position for event in events_of(database)]
    assert deleted == 5 - len(kept)
    emit_one(database)
    number_all(database)
    assert events_of(database)[-1].position == 6


def test_unnumbered_events_are_never_deleted(database, database_url):
    """An event without a position stays, however old it is."""
    emit_one(database)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE tally.outbox_events SET created_at = '2020-01-01T00:00:00Z'")
    assert delete_old_events(database, retention_days=1) == 0
    assert number_all(database) == 1


def test_deletion_works_in_blocks(database, database_url):
    """One call deletes at most 10,000 events, and the next goes on."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO tally.outbox_events (topic, key, payload, created_at)"
            " SELECT 'test.happened', 'k', '{}', '2020-01-01T00:00:00Z'"
            " FROM generate_series(1, 10500)"
        )
    assert [number_all(database) for _ in range(3)] == [10_000, 500, 0]
    assert [delete_old_events(database, retention_days=1) for _ in range(3)] == [10_000, 499, 0]
