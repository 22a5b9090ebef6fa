"""Followers that raise, and calls that nothing must be in the way of (chain.md, 4.1.4 and 7)."""

from __future__ import annotations

import pytest

from tallystick import metrics
from tallystick.chain.watcher import FollowerFailed
from tallystick.db import Database
from tests.chain.watcher.support import anchor_call


def counted(name):
    """How often followers of *name* raised."""
    return metrics.CHAIN_FOLLOWER_ERRORS.labels(name)._value.get()


def test_a_follower_that_raises_is_called_again(world, recorder):
    """
    chain 9: When a follower raises on its third call nothing of that block is recorded; then all
    of it is, each call's effect once.
    """
    address = world.deploy_anchor()
    world.register_anchor(address)
    world.catch_up()
    before = world.scanned()
    world.anvil.automine(on=False)
    sent = [world.send(to=address, data=anchor_call(40 + n), value=0) for n in range(3)]
    world.anvil.mine(1)
    world.anvil.automine(on=True)
    errors = counted("anchor_publish")
    recorder.calls.clear()
    recorder.fails_at = 3
    with pytest.raises(FollowerFailed):
        world.catch_up()
    assert counted("anchor_publish") == errors + 1
    assert (world.scanned(), world.effects(), world.events()) == (before, [], [])
    assert {world.state_of(each) for each in sent} == {"broadcast"}
    world.catch_up()
    block = world.scanned()
    assert block == before + 1
    assert world.effects() == [
        *(("included", f"tx {each}") for each in sent),
        *(("event", f"event {block}/{n}") for n in range(3)),
    ]
    world.check_laws()


def test_blocks_before_the_one_at_fault_are_recorded(world, recorder):
    """A follower that never takes a block holds up that block, and none before it."""
    world.catch_up()
    world.anvil.mine(20)
    sent = world.send()
    at_fault = world.anvil.head
    world.anvil.mine(5)

    def refuse(_tx, _transaction):
        raise ValueError

    recorder.on_included = refuse
    for _ in range(40):
        try:
            if not world.watcher.look():
                break
        except FollowerFailed:
            if world.scanned() == at_fault - 1:
                break
    assert (world.scanned(), world.state_of(sent)) == (at_fault - 1, "broadcast")
    del recorder.on_included
    world.catch_up()
    assert world.state_of(sent) == "finalized"
    world.check_laws()


def test_no_node_is_asked_inside_a_transaction(world, recorder, monkeypatch):
    """Law 9: while a transaction is open no question goes to a node, forward and back."""
    address = world.deploy_anchor()
    world.register_anchor(address)
    world.set_network(confirmations=8, mode="tag")
    open_now = []
    entered, asked = Database.transaction, world.node._ask

    def transaction(database, **options):
        class Noted:
            def __enter__(self):
                self.inner = entered(database, **options)
                opened = self.inner.__enter__()
                open_now.append(self)
                return opened

            def __exit__(self, *raised):
                open_now.pop()
                return self.inner.__exit__(*raised)

        return Noted()

    calls = []

    def ask(endpoint, requests):
        calls.append((len(open_now), [method for method, _ in requests]))
        return asked(endpoint, requests)

    monkeypatch.setattr(Database, "transaction", transaction)
    monkeypatch.setattr(world.node, "_ask", ask)
    world.catch_up()
    world.send(to=address, data=anchor_call(60), value=0)
    world.send(to=address, data=anchor_call(60), value=0)
    world.catch_up()
    world.anvil.reorganise(2)
    world.catch_up()
    world.anvil.mine(12)
    world.catch_up()
    methods = {method for _, each in calls for method in each}
    assert {"eth_getLogs", "eth_getTransactionReceipt", "eth_call"} <= methods
    assert {depth for depth, _ in calls} == {0}
    assert recorder.calls
