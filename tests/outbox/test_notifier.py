"""The notifier: stream handlers learn of new events at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from tallystick.outbox import EventNotifier
from tests.outbox.support import emit_one, number_all, wait_until


@pytest.fixture
def notifier(database):
    """A notifier that listens."""
    running = EventNotifier(database)
    running.start()
    yield running
    running.stop()


def test_the_notifier_begins_at_the_newest_position(database):
    """Who waits behind nothing is told at once where there are events already."""
    emit_one(database)
    number_all(database)
    notifier = EventNotifier(database)
    notifier.start()
    assert notifier.wait(0, timeout_seconds=5)
    assert not notifier.wait(1, timeout_seconds=0.05)
    notifier.stop()
    assert notifier.newest == 1


def test_many_coroutines_are_woken_by_one_event(database, notifier):
    """Every coroutine that waits behind the newest position goes on when there is a newer one."""

    async def wait_and_write():
        waiting = [
            asyncio.create_task(notifier.wait_for_events(0, timeout_seconds=10)) for _ in range(20)
        ]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(emit_one, database)
        await asyncio.to_thread(number_all, database)
        return await asyncio.gather(*waiting)

    began = time.monotonic()
    assert asyncio.run(wait_and_write()) == [True] * 20
    assert time.monotonic() - began < 5


def test_a_coroutine_that_waits_in_vain_is_told_so(notifier):
    """After its time a waiting coroutine gets False, and nothing of it is left."""
    assert asyncio.run(notifier.wait_for_events(0, timeout_seconds=0.05)) is False
    assert not notifier._waiting


def test_a_missed_notification_is_made_up_for(database, notifier):
    """Events that were numbered without a notification are seen within about a second."""
    emit_one(database)
    with database.session() as connection:
        connection.execute("UPDATE tally.outbox_events SET position = 1")
    wait_until(lambda: notifier.newest == 1, seconds=5)


def test_stopping_wakes_whoever_waits(database):
    """When the server ends a waiting coroutine goes on at once, with False."""
    notifier = EventNotifier(database)
    notifier.start()

    async def wait():
        task = asyncio.create_task(notifier.wait_for_events(0, timeout_seconds=30))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(notifier.stop)
        return await task

    assert asyncio.run(asyncio.wait_for(wait(), 10)) is False
