"""Watchers that are killed: a block is recorded with all that belongs to it, or not (law 3)."""

from __future__ import annotations

import pytest

from tests.chain.sender.support import ACCOUNT, Desk, until
from tests.support.chain_worker import KEY_VARIABLE


@pytest.fixture
def killed(world, tmp_path, monkeypatch):
    """Runs a watcher in a process until it comes to a point, and kills it there."""
    monkeypatch.setenv(KEY_VARIABLE, ACCOUNT.key)

    def kill_at(point: str) -> None:
        with Desk.process(world, "watcher", pause_at=point, place=tmp_path) as process:
            until((tmp_path / point).exists, what=point)
            process.kill()
            process.wait()

    return kill_at


def test_killed_before_the_commit_nothing_is_recorded(world, killed):
    """A watcher killed after its followers and before its commit leaves nothing behind."""
    world.catch_up()
    before = world.scanned()
    sent = world.send()
    killed("chain.watcher.advanced")
    assert (world.scanned(), world.state_of(sent)) == (before, "broadcast")
    world.anvil.mine(2)
    world.restart()
    world.catch_up()
    assert world.state_of(sent) == "finalized"
    world.check_laws()


def test_killed_while_all_is_taken_back_nothing_is(world, killed):
    """A watcher killed in a reorganisation has taken nothing back; the next takes all."""
    world.set_network(confirmations=6)
    world.catch_up()
    sent = [world.send() for _ in range(3)]
    world.catch_up()
    world.anvil.reorganise(3)
    killed("chain.watcher.taken_back")
    assert {world.state_of(each) for each in sent} == {"mined"}
    world.restart()
    world.catch_up()
    assert {world.state_of(each) for each in sent} == {"broadcast"}
    world.check_laws()
