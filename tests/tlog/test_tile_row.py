"""Rows that keep their nodes: the same bytes, the same proofs."""

from __future__ import annotations

import hashlib

from tallystick.tlog import (
    TILE_WIDTH,
    LeafIndex,
    Tile,
    TileRow,
    TreeSize,
    edge_from_tiles,
    edge_root,
    prove_consistency,
    prove_inclusion,
    tree_root,
)
from tests.tlog.naive import NaiveTree

ROW = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(TILE_WIDTH))


def test_every_subtree_of_a_row() -> None:
    """The root of each complete subtree of a full tile is that of its hashes."""
    row = TileRow(ROW)
    for height in range(9):
        width = 32 << height
        for start in range(0, len(ROW), width):
            expected = tree_root([ROW[start : start + width]])
            assert row.root_of(start, start + width) == expected


def test_a_row_is_its_bytes() -> None:
    """A row with nodes equals, hashes and slices as the bytes that it is."""
    row = TileRow(ROW)
    row.root_of(0, len(ROW))
    assert (row, hash(row), bytes(row), row[32:64]) == (ROW, hash(ROW), ROW, ROW[32:64])


class Rows:
    """A reader whose full rows keep their nodes."""

    def __init__(self, tree: NaiveTree) -> None:
        self._tree = tree
        self._full: dict[tuple[int, int], TileRow] = {}

    def read_tiles(self, tiles: list[Tile]) -> list[bytes]:
        """The rows, those of full tiles always the same objects."""
        rows = []
        for tile in tiles:
            [row] = self._tree.read_tiles([tile])
            if tile.width == TILE_WIDTH:
                row = self._full.setdefault((tile.level, tile.index), TileRow(row))
            rows.append(row)
        return rows


def test_proofs_do_not_depend_on_the_nodes() -> None:
    """log 23: Proofs from rows that keep nodes equal those of a naive tree, at many sizes."""
    tree = NaiveTree([b"leaf %d" % number for number in range(1100)])
    rows = Rows(tree)
    for size in (1, 255, 256, 257, 511, 512, 513, 768, 1023, 1024, 1025, 1100):
        for index in {0, 1, 100, 255, 256, 400, 511, 512, size // 2, size - 1}:
            if index < size:
                proof = prove_inclusion(rows, index=LeafIndex(index), size=TreeSize(size))
                assert tuple(proof) == tree.inclusion(index, size)
        for old in {1, 128, 255, 256, 300, 512, size // 2, size - 1}:
            if 0 < old <= size:
                grown = prove_consistency(rows, old_size=TreeSize(old), new_size=TreeSize(size))
                assert tuple(grown) == tree.consistency(old, size)
        assert edge_root(edge_from_tiles(rows, TreeSize(size))) == tree.root(size)
