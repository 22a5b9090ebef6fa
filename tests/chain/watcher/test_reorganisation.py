"""What a reorganisation takes back, and what stops it (chain.md, sections 3 and 4.4)."""

from __future__ import annotations

import psycopg
import pytest

from tallystick.chain.node import Node
from tallystick.chain.watcher import ChainMoved, FollowerFailed, Watcher
from tests.chain.watcher.support import CHAIN_ID, anchor_call
from tests.support.evm import running_anvil


def status_of(world):
    """The network's status, and why it is halted."""
    return world.rows(
        "SELECT status, halted_reason IS NOT NULL FROM tally.networks WHERE chain_id = %s", CHAIN_ID
    )[0]


@pytest.fixture
def deep_world(world):
    """A network that wants 10 confirmations, with a contract that is followed."""
    world.set_network(confirmations=10)
    address = world.deploy_anchor()
    world.register_anchor(address, block_number=world.anvil.head)
    world.anvil.mine(10)
    world.catch_up()
    world.anchor = address
    return world


SLOW_DEPTHS = (2, 4, 5)
"""Of the six depths these say least that the others do not."""


@pytest.mark.parametrize(
    "depth",
    [
        pytest.param(depth, marks=pytest.mark.slow if depth in SLOW_DEPTHS else ())
        for depth in range(1, 7)
    ],
)
def test_a_reorganisation_is_taken_back_in_one(deep_world, recorder, depth):
    """
    chain 7: A mined transaction goes back to broadcast and its events are orphaned, all
    followers told in one transaction; mined again, it is final.
    """
    world = deep_world
    sent = [
        world.send(to=world.anchor, data=anchor_call(100 * depth + n), value=0)
        for n in range(depth)
    ]
    world.catch_up()
    assert {world.state_of(each) for each in sent} == {"mined"}
    world.anvil.reorganise(depth)
    world.catch_up()
    assert {world.state_of(each) for each in sent} == {"broadcast"}
    assert [state for _, state in world.events()] == ["orphaned"] * depth
    undone = [call for call, _ in world.effects()][2 * depth :]
    assert undone == ["event_orphaned", "rolled_back"] * depth
    transactions = world.value(
        "SELECT count(DISTINCT xmin::text) FROM effects"
        " WHERE call IN ('rolled_back', 'event_orphaned')"
    )
    assert transactions == 1
    world.check_laws()
    for each in sent:
        world.send_again(each)
    world.anvil.mine(10)
    world.catch_up()
    assert {world.state_of(each) for each in sent} == {"finalized"}
    for each in sent:
        told = [call for call, subject in world.effects() if subject == f"tx {each}"]
        assert told == ["included", "rolled_back", "included", "finalized"]
    assert sorted(state for _, state in world.events()) == ["final"] * depth + ["orphaned"] * depth
    world.check_laws()


def test_what_is_taken_back_is_told_newest_first(deep_world, recorder):
    """Followers undo in the opposite order of what they did."""
    world = deep_world
    sent = [world.send(to=world.anchor, data=anchor_call(700 + n), value=0) for n in range(3)]
    world.catch_up()
    world.anvil.reorganise(3)
    world.catch_up()
    undone = [subject for call, subject in world.effects() if call == "rolled_back"]
    assert undone == [f"tx {each}" for each in reversed(sent)]


def test_a_follower_that_raises_keeps_a_reorganisation_waiting(deep_world, recorder):
    """Law 3: no follower is told of a reorganisation of which another is not."""
    world = deep_world
    sent = [world.send(to=world.anchor, data=anchor_call(800 + n), value=0) for n in range(2)]
    world.catch_up()
    before = world.effects()
    world.anvil.reorganise(2)
    recorder.fails_at = len(recorder.calls) + 3
    with pytest.raises(FollowerFailed):
        world.catch_up()
    assert ({world.state_of(each) for each in sent}, world.effects()) == ({"mined"}, before)
    world.try_to_catch_up()
    assert {world.state_of(each) for each in sent} == {"broadcast"}
    assert len(world.effects()) == len(before) + 4
    world.check_laws()


def test_what_nobody_was_told_of_is_not_rolled_back(deep_world, recorder):
    """Law 6: a revert and a cancel were told to nobody, and neither is that they are gone."""
    world = deep_world
    world.send(to=world.anchor, data=anchor_call(900), value=0)
    world.anvil.mine(10)
    world.catch_up()
    known = len(world.effects())
    world.anvil.automine(on=False)
    world.send(to=world.anchor, data=anchor_call(900), value=0)
    cancelled = world.send()
    world.broadcast(world.sign(cancelled, kind="cancel"))
    world.anvil.mine(1)
    world.anvil.automine(on=True)
    world.catch_up()
    world.anvil.reorganise(1)
    world.catch_up()
    assert world.effects()[known:] == []
    assert world.state_of(cancelled) == "broadcast"
    world.check_laws()


def test_below_finality_the_network_halts(world, recorder):
    """chain 8: A reorganisation below finality halts, nothing goes back; resume needs a reason."""
    world.catch_up()
    sent = world.send()
    world.anvil.mine(2)
    world.catch_up()
    before = world.effects()
    world.anvil.reorganise(4)
    world.catch_up()
    assert status_of(world) == ("halted", True)
    assert (world.state_of(sent), world.effects()) == ("finalized", before)
    for reason in (None, ""):
        with pytest.raises(psycopg.Error):
            world.run("SELECT tally.network_resume_v1(%s, %s)", CHAIN_ID, reason)
    world.run("SELECT tally.network_resume_v1(%s, 'a test')", CHAIN_ID)
    assert status_of(world) == ("active", False)
    # What is final never changes: as long as the node contradicts it the network halts again.
    world.catch_up()
    assert status_of(world) == ("halted", True)
    world.check_laws()


def test_a_shorter_chain_below_finality_halts(world):
    """Law 4: a chain that was begun anew, shorter than what is recorded, halts too."""
    world.catch_up()
    world.anvil.mine(20)
    world.catch_up()
    with running_anvil() as other, Node(other.chain_id, [other.url]) as node:
        other.mine(world.scanned() - 5)
        watcher = Watcher(world.database, node, node.chain_id)
        watcher.look()
    assert status_of(world) == ("halted", True)


def test_the_database_refuses_below_finality(world):
    """Law 4: the function itself refuses an ancestor below finality (TSC05)."""
    world.anvil.mine(5)
    world.catch_up()
    with pytest.raises(psycopg.Error) as raised:
        world.run(
            "SELECT tally.chain_reorg_v1(chain_id, scanned_hash, finalized_block,"
            " (SELECT b.block_hash FROM tally.chain_blocks AS b WHERE b.chain_id = n.chain_id"
            "  AND b.block_number = n.finalized_block - 1)) FROM tally.networks AS n"
            " WHERE chain_id = %s",
            CHAIN_ID,
        )
    assert raised.value.sqlstate == "TSC05"


def test_a_wrong_chain_id_halts(world):
    """chain 8: Endpoints that serve another chain halt the network, which follows no more."""
    world.catch_up()
    before = world.scanned()
    with running_anvil(chain_id=31338) as other, Node(CHAIN_ID, [other.url]) as node:
        other.mine(before + 5)
        watcher = Watcher(world.database, node, node.chain_id)
        watcher.look()
    assert status_of(world) == ("halted", True)
    world.anvil.mine(3)
    world.catch_up()
    assert world.scanned() == before


def test_a_paused_network_is_followed(world, recorder):
    """A paused network signs nothing, and what was sent is followed to its end."""
    world.catch_up()
    sent = world.send()
    world.run(
        "SELECT tally.network_set_v1(%s, 'paused', 'test',"
        " NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        CHAIN_ID,
    )
    world.anvil.mine(2)
    world.catch_up()
    assert world.state_of(sent) == "finalized"


def test_a_node_that_is_behind_takes_nothing_back(meddled_world, meddler):
    """An endpoint that does not know the newest blocks yet says nothing against them."""
    world = meddled_world
    world.catch_up()
    sent = world.send()
    world.catch_up()
    behind = world.scanned() - 2

    def answer_of_yesterday(method, params, result):
        if method == "eth_blockNumber":
            return hex(behind)
        if method == "eth_getBlockByNumber" and int(params[0], 16) > behind:
            return None
        return result

    meddler.change = answer_of_yesterday
    world.node.look()
    world.catch_up()
    assert (world.state_of(sent), world.scanned()) == ("mined", behind + 2)


def test_who_lacks_the_final_block_halts_nothing(meddled_world, meddler):
    """Law 4: only another block in a final one's place halts; none, from one behind, does not."""
    world = meddled_world
    world.catch_up()
    world.anvil.mine(3)
    world.catch_up()
    newest = world.scanned()

    def another_and_then_behind(method, params, result):
        if method != "eth_getBlockByNumber" or int(params[0], 16) < newest - 1:
            return result
        is_first = not asked
        asked.append(params[0])
        return {**result, "hash": "0x" + "77" * 32} if is_first else None

    asked: list[str] = []
    meddler.change = another_and_then_behind
    with pytest.raises(ChainMoved):
        world.watcher.look()
    assert len(asked) > 1
    assert (status_of(world), world.scanned()) == (("active", False), newest)
