"""Inclusion and consistency proofs."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    ConsistencyError,
    InclusionError,
    MalformedProofError,
    MalformedTileError,
    check_consistency,
    check_inclusion,
    check_subtree_consistency,
    check_subtree_inclusion,
    prove_consistency,
    prove_inclusion,
)
from tests.tlog.naive import NaiveTree, largest_power_below

LARGE = 70_000


@pytest.fixture(scope="module")
def tree():
    """A tree of 601 leaves."""
    return NaiveTree([b"leaf %d" % number for number in range(601)])


@pytest.fixture(scope="module")
def large_tree():
    """A tree of three levels of tiles."""
    return NaiveTree([b"%d" % number for number in range(LARGE)])


def flip_bit(data, bit):
    """*data* with one bit turned over."""
    number = int.from_bytes(data) ^ 1 << bit % (8 * len(data))
    return number.to_bytes(len(data))


@pytest.mark.parametrize("remainder", range(4))
def test_every_inclusion_proof_to_600(tree, remainder):
    """log 23: every (index, size) to 600 gives the naive tree's proof, and it checks."""
    # In four parts, so that several processes can share the 180,300 proofs.
    for size in range(1 + remainder, 601, 4):
        root = tree.root(size)
        for index in range(size):
            proof = prove_inclusion(tree, index=index, size=size)
            assert tree.inclusion(index, size) == tuple(proof)
            check_inclusion(proof, leaf=tree.leaf(index), index=index, size=size, root=root)


def test_every_consistency_proof_to_300(tree):
    """log 23: every (old, new) to 300 gives the naive tree's proof, and it checks."""
    for new_size in range(301):
        for old_size in range(new_size + 1):
            proof = prove_consistency(tree, old_size=old_size, new_size=new_size)
            expected = tree.consistency(old_size, new_size) if old_size else ()
            assert expected == tuple(proof)
            check_consistency(
                proof,
                old_size=old_size,
                new_size=new_size,
                old_root=tree.root(old_size),
                new_root=tree.root(new_size),
            )


def test_proofs_across_three_levels_of_tiles(large_tree):
    """Proofs of 70,000 leaves equal the naive tree's, from few tiles that are read at once."""
    picks = random.Random(6962)
    for _ in range(150):
        size = picks.choice([LARGE, 65_535, 65_536, 65_537, picks.randrange(2, LARGE)])
        index = picks.choice([0, size - 1, picks.randrange(size)])
        old_size = picks.randrange(1, size)
        large_tree.reads = large_tree.tiles_read = 0
        assert large_tree.inclusion(index, size) == tuple(
            prove_inclusion(large_tree, index=index, size=size)
        )
        assert large_tree.reads <= 1
        assert large_tree.tiles_read <= 2 * levels(size)
        large_tree.reads = large_tree.tiles_read = 0
        assert large_tree.consistency(old_size, size) == tuple(
            prove_consistency(large_tree, old_size=old_size, new_size=size)
        )
        assert large_tree.reads <= 1
        assert large_tree.tiles_read <= 2 * levels(size)


def levels(size):
    """ceil(log256 size)."""
    count = 0
    while 256**count < size:
        count += 1
    return count


def test_tiles_of_a_proof_are_as_wide_as_the_tree_has_them(tree):
    """A proof asks for tiles of the proven size only, never for hashes beyond it."""
    asked = []

    class Recorder:
        def read_tiles(self, tiles):
            asked.extend(tiles)
            return tree.read_tiles(tiles)

    prove_inclusion(Recorder(), index=3, size=300)
    assert [(tile.level, tile.index, tile.width) for tile in asked] == [(0, 0, 256), (0, 1, 44)]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_inclusion_proof_is_refused(tree, data):
    """A proof with any bit turned, or for any other index or leaf, is false."""
    size = data.draw(st.integers(2, 600))
    index = data.draw(st.integers(0, size - 1))
    proof = list(tree.inclusion(index, size))
    number = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = [*proof[:number], flip_bit(proof[number], bit), *proof[number + 1 :]]
    claim = {"leaf": tree.leaf(index), "index": index, "size": size, "root": tree.root(size)}
    check_inclusion(proof, **claim)
    with pytest.raises(InclusionError) as caught:
        check_inclusion(changed, **claim)
    assert claim["root"] == caught.value.expected
    assert claim["root"] != caught.value.actual
    for other in (
        {"leaf": flip_bit(claim["leaf"], bit)},
        {"root": flip_bit(claim["root"], bit)},
        {"index": (index + 1) % size},
    ):
        with pytest.raises((InclusionError, MalformedProofError)):
            check_inclusion(proof, **(claim | other))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_changed_consistency_proof_is_refused(tree, data):
    """A proof with any bit turned, in it or in a root, is false."""
    new_size = data.draw(st.integers(2, 600))
    old_size = data.draw(st.integers(1, new_size - 1))
    proof = list(tree.consistency(old_size, new_size))
    number = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    changed = [*proof[:number], flip_bit(proof[number], bit), *proof[number + 1 :]]
    claim = {
        "old_size": old_size,
        "new_size": new_size,
        "old_root": tree.root(old_size),
        "new_root": tree.root(new_size),
    }
    check_consistency(proof, **claim)
    with pytest.raises(ConsistencyError):
        check_consistency(changed, **claim)
    for name in ("old_root", "new_root"):
        with pytest.raises(ConsistencyError) as caught:
            check_consistency(proof, **(claim | {name: flip_bit(claim[name], bit)}))
        assert caught.value.expected != caught.value.actual


def test_proof_lengths_are_checked_before_hashing(tree, monkeypatch):
    """A proof that is too long, too short, or has a short hash is malformed and not hashed."""
    proof = list(tree.inclusion(5, 13))
    claim = {"leaf": tree.leaf(5), "index": 5, "size": 13, "root": tree.root(13)}
    monkeypatch.setattr("tallystick.tlog.proof.hash_children", None)
    for wrong in ([], proof[:-1], [*proof, proof[0]], [*proof[:-1], proof[-1][:31]]):
        with pytest.raises(MalformedProofError):
            check_inclusion(wrong, **claim)
    with pytest.raises(MalformedProofError):
        check_inclusion(proof, **(claim | {"leaf": b"short"}))
    growth = {"old_size": 5, "new_size": 13, "old_root": tree.root(5), "new_root": tree.root(13)}
    steps = list(tree.consistency(5, 13))
    for wrong in ([], steps[:-1], [*steps, steps[0]], [*steps[:-1], steps[-1] + b"\x00"]):
        with pytest.raises(MalformedProofError):
            check_consistency(wrong, **growth)


@pytest.mark.parametrize(
    ("index", "size"), [(-1, 3), (3, 3), (4, 3), (0, 0), (0, MAX_TREE_SIZE + 1)]
)
def test_a_leaf_outside_the_tree_has_no_proof(tree, index, size):
    """An index outside the tree, or a size beyond 2**63 - 1, is malformed for both sides."""
    with pytest.raises(MalformedProofError):
        prove_inclusion(tree, index=index, size=size)
    with pytest.raises(MalformedProofError):
        check_inclusion([], leaf=EMPTY_ROOT, index=index, size=size, root=EMPTY_ROOT)


@pytest.mark.parametrize(("old_size", "new_size"), [(-1, 3), (4, 3), (0, MAX_TREE_SIZE + 1)])
def test_a_tree_that_shrank_has_no_proof(tree, old_size, new_size):
    """An old size beyond the new one is malformed for both sides."""
    sizes = {"old_size": old_size, "new_size": new_size}
    with pytest.raises(MalformedProofError):
        prove_consistency(tree, **sizes)
    with pytest.raises(MalformedProofError):
        check_consistency([], old_root=EMPTY_ROOT, new_root=EMPTY_ROOT, **sizes)


def test_the_empty_tree_is_extended_by_any(tree):
    """From size 0 the proof is empty and the old root the empty one; nothing else passes."""
    root = tree.root(7)
    claim = {"old_size": 0, "new_size": 7, "old_root": EMPTY_ROOT, "new_root": root}
    check_consistency([], **claim)
    with pytest.raises(MalformedProofError):
        check_consistency([root], **claim)
    with pytest.raises(ConsistencyError):
        check_consistency([], **(claim | {"old_root": root}))
    with pytest.raises(ConsistencyError):
        check_consistency([], old_size=0, new_size=0, old_root=EMPTY_ROOT, new_root=root)


def test_one_size_has_one_root(tree):
    """Between equal sizes the proof is empty and the roots are equal."""
    claim = {"old_size": 7, "new_size": 7, "old_root": tree.root(7), "new_root": tree.root(7)}
    check_consistency([], **claim)
    with pytest.raises(MalformedProofError):
        check_consistency([tree.root(3)], **claim)
    with pytest.raises(ConsistencyError) as caught:
        check_consistency([], **(claim | {"new_root": tree.root(6)}))
    assert (tree.root(6), tree.root(7)) == (caught.value.expected, caught.value.actual)


@pytest.mark.parametrize("answer", [[], [b""], [b"x" * 31], [b"x" * 32, b"y" * 32]])
def test_a_reader_that_answers_wrongly_is_named(answer):
    """Tiles of another number or width than asked for are malformed tiles."""

    class Liar:
        def read_tiles(self, tiles):
            assert tiles
            return answer

    with pytest.raises(MalformedTileError):
        prove_inclusion(Liar(), index=0, size=5)


@given(
    items=st.lists(st.binary(min_size=30, max_size=33), max_size=70),
    numbers=st.tuples(*[st.integers(-2, 2**64)] * 3),
    small=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_hostile_proofs_end_in_named_errors(items, numbers, small):
    """Whatever is claimed of whatever hashes, the checks raise their own errors alone."""
    first, second, third = (number % 9 for number in numbers) if small else numbers
    checks = [
        lambda: check_inclusion(items, leaf=EMPTY_ROOT, index=first, size=second, root=EMPTY_ROOT),
        lambda: check_consistency(
            items, old_size=first, new_size=second, old_root=EMPTY_ROOT, new_root=b""
        ),
        lambda: check_subtree_inclusion(
            items, leaf=b"", index=first, start=second, end=third, root=EMPTY_ROOT
        ),
        lambda: check_subtree_consistency(
            items, start=first, end=second, size=third, subtree_root=EMPTY_ROOT, root=EMPTY_ROOT
        ),
    ]
    for check in checks:
        with suppress(MalformedProofError, InclusionError, ConsistencyError):
            check()


def subtrees(limit):
    """Every valid non-empty subtree `[start, end)` up to *limit* leaves."""
    for end in range(1, limit + 1):
        for start in range(end):
            width = end - start
            if start % (1 if width == 1 else 2 * largest_power_below(width)) == 0:
                yield start, end


def subtree_proof(tree, start, end, low, high, *, is_known):
    """SUBTREE_SUBPROOF of the draft, over D[low:high]."""
    if (start, end) == (low, high):
        return () if is_known else (tree.root_of_range(low, high),)
    middle = low + largest_power_below(high - low)
    if end <= middle:
        below = subtree_proof(tree, start, end, low, middle, is_known=is_known)
        return (*below, tree.root_of_range(middle, high))
    if start >= middle:
        below = subtree_proof(tree, start, end, middle, high, is_known=is_known)
        return (*below, tree.root_of_range(low, middle))
    below = subtree_proof(tree, middle, end, middle, high, is_known=False)
    return (*below, tree.root_of_range(low, middle))


def test_subtree_proofs_check(tree):
    """Proofs of every subtree of trees to 20 leaves check, and with a bit turned do not."""
    for size in range(1, 21):
        for start, end in subtrees(size):
            proof = subtree_proof(tree, start, end, 0, size, is_known=True)
            claim = {
                "start": start,
                "end": end,
                "size": size,
                "subtree_root": tree.root_of_range(start, end),
                "root": tree.root(size),
            }
            check_subtree_consistency(proof, **claim)
            for number, item in enumerate(proof):
                changed = [*proof[:number], flip_bit(item, number), *proof[number + 1 :]]
                with pytest.raises(ConsistencyError):
                    check_subtree_consistency(changed, **claim)


def test_inclusion_in_a_subtree(tree):
    """A leaf is proven in each subtree that holds it, and in none that does not."""
    for start, end in subtrees(20):
        root = tree.root_of_range(start, end)
        for index in range(start, end):
            proof = tree.path_in_range(index - start, start, end)
            check_subtree_inclusion(
                proof, leaf=tree.leaf(index), index=index, start=start, end=end, root=root
            )
        with pytest.raises(MalformedProofError):
            check_subtree_inclusion(
                [], leaf=tree.leaf(0), index=end, start=start, end=end, root=root
            )
