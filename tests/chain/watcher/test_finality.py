"""What is final: depth, the node's tag, and a quorum of nodes (chain.md, section 3.3)."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tallystick.chain.node import Node
from tallystick.chain.watcher import Watcher
from tests.chain.watcher.support import CHAIN_ID, meddling
from tests.support.evm import running_anvil


def finalized(world):
    """The newest final block."""
    return world.value("SELECT finalized_block FROM tally.networks WHERE chain_id = %s", CHAIN_ID)


@pytest.mark.parametrize("confirmations", [5, 2])
def test_depth_is_obeyed(world, confirmations):
    """chain 13: In mode depth a block is final with its last confirmation, and not before."""
    world.set_network(confirmations=confirmations)
    world.catch_up()
    sent = world.send()
    seen = []
    for _ in range(confirmations):
        world.catch_up()
        seen.append(world.state_of(sent))
        world.anvil.mine(1)
    assert seen == ["mined"] * (confirmations - 1) + ["finalized"]
    world.check_laws()


def test_two_depths_in_one_run(world, database_url):
    """chain 13: Two networks with depth 5 and depth 2, followed side by side, are each obeyed."""
    other_id = 31339
    world.set_network(confirmations=5)
    world.run(
        "SELECT tally.network_add_v1(%s, 'other', 'ETH', true, false, 2, 'depth', 1, 1, 48, 1, 1)",
        other_id,
    )
    with running_anvil(chain_id=other_id) as other, Node(other_id, [other.url]) as node:
        other.mine(10)
        watcher = Watcher(world.database, node, node.chain_id)
        for _ in range(4):
            world.catch_up()
            while watcher.look():
                pass
            world.anvil.mine(1)
            other.mine(1)
        depths = world.rows(
            "SELECT chain_id, scanned_block - finalized_block + 1 FROM tally.networks"
            " WHERE scanned_block IS NOT NULL ORDER BY chain_id"
        )
    assert depths == [(CHAIN_ID, 5), (other_id, 2)]
    world.check_laws()


def test_tag_waits_for_the_tag(world, recorder):
    """chain 13: In mode tag a block that is deep enough is confirmed, and final with the tag."""
    world.set_network(confirmations=2, mode="tag")
    world.catch_up()
    sent = world.send()
    world.anvil.mine(4)
    world.catch_up()
    assert world.state_of(sent) == "confirmed"
    assert world.effects() == [("included", f"tx {sent}")]
    world.anvil.mine(4)
    world.catch_up()
    assert world.state_of(sent) == "finalized"
    tag = int(world.anvil.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
    assert finalized(world) == tag
    world.check_laws()


def test_confirmed_blocks_can_be_taken_back_until_the_tag(world, recorder):
    """Depth alone makes nothing final in mode tag: what is confirmed may still go back."""
    world.set_network(confirmations=2, mode="tag")
    world.catch_up()
    sent = world.send()
    world.anvil.mine(3)
    world.catch_up()
    assert world.state_of(sent) == "confirmed"
    world.anvil.reorganise(4)
    world.catch_up()
    assert world.state_of(sent) == "broadcast"
    world.check_laws()


@contextmanager
def quorum_of_two(world, first, second):
    """A watcher that wants two endpoints to agree."""
    world.set_network(confirmations=2, mode="tag", quorum=2)
    with Node(CHAIN_ID, [first, second]) as node:
        yield Watcher(world.database, node, node.chain_id)


def lie(method, _params, result):
    """A finalized tag, and blocks, with other hashes than the chain's."""
    if method == "eth_getBlockByNumber" and result:
        return {**result, "hash": "0x" + "ab" * 32}
    return result


def test_a_lying_endpoint_delays_finality(world):
    """chain 13: With finality_quorum 2 nothing is final while one of two endpoints lies."""
    world.catch_up()
    before = finalized(world)
    with (
        meddling(world.anvil.url) as liar,
        quorum_of_two(world, world.anvil.url, liar.url) as watcher,
    ):
        liar.change = lie
        world.anvil.mine(20)
        for _ in range(5):
            watcher.look()
        assert finalized(world) == before
        liar.change = lambda _method, _params, result: result
        while watcher.look():
            pass
    assert finalized(world) == world.anvil.head - 8
    world.check_laws()


def test_a_slow_endpoint_bounds_finality(world):
    """With finality_quorum 2 the lower of two tags counts, if both have its block."""
    world.catch_up()
    world.anvil.mine(20)
    lower = world.anvil.head - 12

    def older_tag(method, params, result):
        if method == "eth_getBlockByNumber" and params[0] == "finalized":
            return world.anvil.rpc("eth_getBlockByNumber", hex(lower), False)
        return result

    with (
        meddling(world.anvil.url) as slow,
        quorum_of_two(world, world.anvil.url, slow.url) as watcher,
    ):
        slow.change = older_tag
        while watcher.look():
            pass
    assert finalized(world) == lower


def test_one_endpoint_is_no_quorum_of_two(world):
    """A quorum that the configuration cannot reach makes nothing final."""
    world.catch_up()
    before = finalized(world)
    world.set_network(confirmations=2, mode="tag", quorum=2)
    world.anvil.mine(20)
    world.catch_up()
    assert (finalized(world), world.scanned()) == (before, world.anvil.head)
