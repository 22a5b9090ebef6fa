"""What the watcher decides, without asking anybody (chain.md, sections 3.3 and 4.4)."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from tallystick.chain.node.blocks import BlockId, Header
from tallystick.chain.watcher.decision import (
    Behind,
    Follows,
    Parts,
    are_agreed,
    candidates,
    decide,
    final_block,
    find_ancestor,
    first_block,
    fitting_prefix,
)

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def header(number: int, name: str = "a", parent: str = "a") -> Header:
    """The block *number* of the branch *name*, on the branch *parent*."""
    return Header(number, f"{name}{number}", f"{parent}{number - 1}", NOW, ())


def test_blocks_that_fit_follow():
    """The node's blocks behind the recorded one continue it while each is the other's child."""
    above = [header(6), header(7), header(8, "b", "b"), header(9, "b", "b")]
    assert decide(BlockId(5, "a5"), "a5", above) == Follows((header(6), header(7)))


def test_another_hash_parts():
    """Another hash at the recorded number is another chain; none is a node that is behind."""
    assert decide(BlockId(5, "a5"), "b5", []) == Parts()
    assert decide(BlockId(5, "a5"), None, []) == Behind()


def test_a_gap_ends_what_fits():
    """A block that is missed is never passed over."""
    assert fitting_prefix(BlockId(5, "a5"), [header(7)]) == ()
    assert fitting_prefix(BlockId(5, "a5"), [header(6), header(8)]) == (header(6),)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_ancestor_is_the_highest_shared_block(length, shared):
    """Of two branches the ancestor is the last block that both have."""
    ours = [BlockId(number, f"a{number}") for number in range(length)]
    theirs = {n: f"{'a' if n < shared else 'b'}{n}" for n in range(length + 3)}
    highest = min(length, shared) - 1
    expected = BlockId(highest, f"a{highest}") if highest >= 0 else None
    assert find_ancestor(ours, theirs) == expected


def test_watching_begins_at_the_newest_final_block():
    """The first block is deep enough and, in mode tag, not above what the nodes call final."""
    assert first_block(head=100, confirmations=12, agreed=None) == 89
    assert first_block(head=100, confirmations=12, agreed=64) == 64
    assert first_block(head=100, confirmations=12, agreed=99) == 89
    assert first_block(head=3, confirmations=12, agreed=None) == 0


def test_finality_needs_depth_and_tag():
    """Final is what is deep enough, and in mode tag agreed on; it never goes back."""
    assert final_block(deep=90, finalized=80, mode="depth", agreed=None) == 90
    assert final_block(deep=90, finalized=80, mode="tag", agreed=85) == 85
    assert final_block(deep=90, finalized=80, mode="tag", agreed=95) == 90
    assert final_block(deep=70, finalized=80, mode="depth", agreed=None) == 80
    assert final_block(deep=90, finalized=80, mode="tag", agreed=None) == 80
    assert final_block(deep=-3, finalized=None, mode="depth", agreed=None) is None


def test_a_quorum_bounds_the_tag():
    """With quorum q only what the q highest tags cover can be final, highest first."""
    tags = [BlockId(100, "x"), BlockId(96, "y"), BlockId(50, "z")]
    assert candidates(tags, 1) == [100, 96, 50]
    assert candidates(tags, 2) == [96, 50]
    assert candidates(tags, 3) == [50]
    assert candidates(tags, 4) == []


def test_a_quorum_wants_the_recorded_hash():
    """Nodes agree where so many have the hash that is recorded; no hash is no agreement."""
    assert are_agreed(["a", "b", "a"], "a", 2)
    assert not are_agreed(["a", "b", "b"], "a", 2)
    assert not are_agreed(["a", None], "a", 2)
    assert not are_agreed([None, None], None, 2)
