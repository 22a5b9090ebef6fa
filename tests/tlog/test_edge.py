"""The right edge: appending, roots, and the tiles that appending writes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_EDGE,
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    Edge,
    MalformedTileError,
    Tile,
    edge_from_tiles,
    edge_root,
    extend_edge,
    join_edges,
    tiles_of,
)
from tests.tlog.naive import NaiveTree


class Rows:
    """Tile rows as a table keeps them: appended to, never changed."""

    def __init__(self):
        self.rows = {}

    def write(self, writes):
        """Apply *writes*, each behind exactly the hashes that it says are there."""
        for write in writes:
            place = (write.level, write.index)
            row = self.rows.get(place, b"")
            assert write.offset * 32 == len(row)
            self.rows[place] = row + write.appended
            assert write.tile == Tile(*place, len(self.rows[place]) // 32)

    def read_tiles(self, tiles):
        """The prefix of each row."""
        return [self.rows[tile.level, tile.index][: 32 * tile.width] for tile in tiles]


@pytest.fixture(scope="module")
def tree():
    """A tree that reaches a third level of tiles."""
    return NaiveTree([b"%d" % number for number in range(66_000)])


def leaf_row(tree, start, end):
    """The leaf hashes `[start, end)` as one block."""
    return b"".join(tree.leaf(index) for index in range(start, end))


def test_batches_of_any_size_build_the_same_tree(tree):
    """However leaves are batched, edge, root and tiles equal those of the tree as defined."""
    picks = random.Random(1)
    edge, rows = EMPTY_EDGE, Rows()
    while edge.size < 66_000:
        most = picks.choice([1, 2, 7, 255, 256, 257, 5_000, 20_000])
        end = min(66_000, edge.size + picks.randint(1, most))
        edge, writes = extend_edge(edge, leaf_row(tree, edge.size, end))
        rows.write(writes)
        assert end == edge.size
        assert tree.root(end) == edge_root(edge)
        assert edge == edge_from_tiles(rows, end)
    expected = list(tiles_of(66_000))
    assert sorted(rows.rows) == sorted((tile.level, tile.index) for tile in expected)
    assert tree.read_tiles(expected) == rows.read_tiles(expected)


def test_every_edge_to_600(tree):
    """One leaf at a time to 600: each edge has the naive root and is what its tiles say."""
    edge, rows = EMPTY_EDGE, Rows()
    for size in range(1, 601):
        edge, writes = extend_edge(edge, [tree.leaf(size - 1)])
        rows.write(writes)
        assert tree.root(size) == edge_root(edge)
        assert edge == edge_from_tiles(rows, size)


@given(cuts=st.lists(st.integers(0, 1000), max_size=6))
@settings(max_examples=50, deadline=None)
def test_one_batch_equals_many(tree, cuts):
    """A batch cut anywhere, even into empty ones, gives the same edge and rows."""
    whole, once = Rows(), extend_edge(EMPTY_EDGE, leaf_row(tree, 0, 1000))
    whole.write(once[1])
    edge, parts = EMPTY_EDGE, Rows()
    for end in [*sorted(cuts), 1000]:
        edge, writes = extend_edge(edge, leaf_row(tree, edge.size, end))
        parts.write(writes)
    assert once[0] == edge
    assert whole.rows == parts.rows


def test_an_empty_batch_changes_nothing():
    """No leaves: the same edge, and nothing to write."""
    assert extend_edge(EMPTY_EDGE, b"") == (EMPTY_EDGE, [])
    assert edge_root(EMPTY_EDGE) == EMPTY_ROOT
    assert edge_from_tiles(Rows(), 0) == EMPTY_EDGE


def test_an_edge_of_the_wrong_shape_is_a_bug():
    """An edge has exactly one hash of 32 bytes for each bit of its size."""
    for size, hashes in ((3, (EMPTY_ROOT,)), (1, (b"short",)), (-1, ())):
        with pytest.raises(AssertionError):
            Edge(size, hashes)


@pytest.mark.parametrize("size", [-1, MAX_TREE_SIZE + 1])
def test_an_edge_of_no_tree_is_malformed(size):
    """A size that no tree has is refused before anything is read."""
    with pytest.raises(MalformedTileError):
        edge_from_tiles(Rows(), size)


def test_a_large_tree_has_its_edge_in_one_read():
    """The edge of 2**63 - 1 leaves comes from eight tiles, in one call."""
    calls = []

    class Counter:
        def read_tiles(self, tiles):
            calls.append([(tile.level, tile.width) for tile in tiles])
            return [bytes(32 * tile.width) for tile in tiles]

    edge = edge_from_tiles(Counter(), MAX_TREE_SIZE)
    assert [[(7, 127), *((level, 255) for level in range(6, -1, -1))]] == calls
    assert len(edge.hashes) == 63


@given(st.integers(0, 6).flatmap(lambda height: st.tuples(st.just(height), st.integers(0, 5))))
@settings(max_examples=60, deadline=None)
def test_edges_of_pieces_join(shape):
    """Trees that were hashed in aligned pieces join to the edge of the whole, whatever is last."""
    height, blocks = shape
    whole = [bytes([number % 251]) * 32 for number in range(blocks << height)]
    joined = EMPTY_EDGE
    for first in range(0, len(whole), 1 << height):
        piece, _ = extend_edge(EMPTY_EDGE, whole[first : first + (1 << height)])
        joined = join_edges(joined, piece)
    for rest in range(min(1 << height, 9)):
        tail = [bytes([number]) * 32 for number in range(rest)]
        last, _ = extend_edge(EMPTY_EDGE, tail)
        assert join_edges(joined, last) == extend_edge(EMPTY_EDGE, [*whole, *tail])[0]
