"""The thread of one network: it wakes, waits, takes over and goes on (chain.md, section 4.4.6)."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from tallystick.chain.followers import ALL_TYPES, register_follower
from tallystick.chain.watcher import run_watcher, worker
from tallystick.chain.watcher.decision import back_off_seconds, poll_seconds
from tallystick.runtime.chain_events import OutboxFollower
from tests.chain.watcher.support import CHAIN_ID

PATIENCE_SECONDS = 60


@contextlib.contextmanager
def running(world, count=1):
    """Run so many watchers of the network in threads."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=run_watcher, args=(world.database, world.node, CHAIN_ID, stop))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(condition):
    """Wait until *condition* holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_notification_wakes_it(world, recorder, monkeypatch):
    """A watcher that would wait for an hour looks at once when it is told of its network."""
    monkeypatch.setattr(worker, "poll_seconds", lambda _: 3_600.0)
    with running(world):
        until(lambda: world.value("SELECT count(*) FROM tally.chain_blocks") > 0)
        until(lambda: world.scanned() == world.anvil.head)
        sent = world.send()
        world.run("SELECT tally.wake_chain(%s)", CHAIN_ID)
        until(lambda: world.state_of(sent) == "mined")
        world.anvil.mine(1)
        world.run("SELECT tally.wake_chain(%s)", CHAIN_ID)
        until(lambda: world.state_of(sent) == "finalized")


def test_it_polls(world, recorder):
    """Without being told of anything it finds each block by itself."""
    with running(world):
        sent = world.send()
        world.anvil.mine(1)
        until(lambda: world.state_of(sent) == "finalized")


def test_two_watchers_share_nothing(world, recorder):
    """Law 6: of two watchers of a network one waits, and each follower is called once."""
    with running(world, count=2):
        sent = [world.send() for _ in range(5)]
        world.anvil.mine(1)
        until(lambda: {world.state_of(each) for each in sent} == {"finalized"})
    assert sorted(world.effects()) == sorted(
        (call, f"tx {each}") for call in ("included", "finalized") for each in sent
    )


def test_it_goes_on_after_a_follower_raised(world, recorder, monkeypatch):
    """A follower that raises is called again after a pause, until it takes the block."""
    monkeypatch.setattr(worker, "back_off_seconds", lambda _: 0.01)
    world.catch_up()
    recorder.fails_at = len(recorder.calls) + 1
    with running(world):
        sent = world.send()
        world.anvil.mine(1)
        until(lambda: world.state_of(sent) == "finalized")
    assert world.effects() == [("included", f"tx {sent}"), ("finalized", f"tx {sent}")]


def test_the_outbox_is_told(world):
    """Every step of a transaction is an event of the outbox, in the transaction of its record."""
    register_follower(ALL_TYPES, OutboxFollower())
    world.set_network(confirmations=4)
    world.catch_up()
    sent = world.send()
    world.catch_up()
    world.anvil.reorganise(1)
    world.catch_up()
    world.send_again(sent)
    world.anvil.mine(4)
    world.catch_up()
    rows = world.rows(
        "SELECT topic, key, payload ->> 'transaction_id', payload ? 'user_id'"
        " FROM tally.outbox_events WHERE topic LIKE 'chain.%%' ORDER BY event_id"
    )
    steps = ("included", "rolled_back", "included", "finalized")
    assert rows == [
        (f"chain.transaction.{step}", f"{CHAIN_ID}:{sent}", str(sent), False) for step in steps
    ]


@pytest.mark.parametrize(
    ("block_seconds", "expected"), [(0.25, 0.5), (1, 0.5), (2, 1), (12, 6), (100, 12)]
)
def test_it_polls_twice_in_each_block(block_seconds, expected):
    """The pause is half a block's time, at most 12 s and at least 0.5 s."""
    assert poll_seconds(block_seconds) == expected


def test_pauses_grow_after_failures():
    """After failures it waits for 1 s, doubling to 60 s."""
    assert [back_off_seconds(n) for n in (1, 2, 3, 6, 7, 100)] == [1, 2, 4, 32, 60, 60]
