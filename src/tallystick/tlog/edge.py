"""
The right edge of a tree: all that is needed to append to it and to know its root.

The edge of *n* leaves is the compact range: one hash for each bit of *n* that is set, the
root of a complete subtree of so many leaves. Appending needs no tile and no earlier leaf,
so the sequencer keeps an edge and writes tiles (log.md, sections 4.1 and 5.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.tlog.errors import MalformedTileError
from tallystick.tlog.tile import (
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    HashReader,
    Tile,
    read_rows,
    tile_at,
)
from tallystick.tlog.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_TREE_SIZE,
    Hash,
    TreeSize,
    fold_right,
    hash_at,
    hash_children,
    hash_pairs,
    tree_root,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Edge:
    """The complete subtrees of a tree of *size* leaves, the largest first: at most 63."""

    size: TreeSize
    hashes: tuple[Hash, ...]

    def __post_init__(self) -> None:
        assert 0 <= self.size <= MAX_TREE_SIZE
        assert len(self.hashes) == self.size.bit_count()
        assert all(len(node) == HASH_BYTES for node in self.hashes)


EMPTY_EDGE = Edge(TreeSize(0), ())
"""The edge of the tree without leaves."""


@dataclass(frozen=True, slots=True)
class TileWrite:
    """
    Hashes that a tile gains: *appended* stands at *offset* of the row of (level, index).

    *offset* counts hashes, those that the row has before: 0 makes a new row.
    """

    level: int
    index: int
    offset: int
    appended: bytes

    @property
    def width(self) -> int:
        """How many hashes the row has afterwards."""
        return self.offset + len(self.appended) // HASH_BYTES

    @property
    def tile(self) -> Tile:
        """The tile as it stands afterwards."""
        return Tile(self.level, self.index, self.width)


def extend_edge(edge: Edge, leaf_hashes: bytes | Iterable[bytes]) -> tuple[Edge, list[TileWrite]]:
    """
    Append leaves: the new edge, and what each tile gains, level by level.

    *leaf_hashes* is a row (one block of 32-byte hashes) or the hashes one by one. It costs
    one hash computation per leaf and no read; the writes touch at most n/255 + 16 tiles.
    """
    row = leaf_hashes if isinstance(leaf_hashes, bytes) else b"".join(leaf_hashes)
    count, odd_bytes = divmod(len(row), HASH_BYTES)
    assert not odd_bytes
    old, new = edge.size, TreeSize(edge.size + count)
    assert new <= MAX_TREE_SIZE

    waiting = list(edge.hashes)
    hashes: list[Hash] = []
    writes: list[TileWrite] = []
    height = 0
    # Each turn holds in `row` the complete nodes of this height that the new leaves made.
    while row:
        if height % TILE_HEIGHT == 0:
            writes += _tile_writes(height // TILE_HEIGHT, old >> height, row)
        if old >> height & 1:
            # The node that waited for a right sibling at this height; the smallest is last.
            row = waiting.pop() + row
        paired = len(row) - len(row) % (2 * HASH_BYTES)
        if paired < len(row):
            hashes.append(Hash(row[paired:]))
        row = hash_pairs(row[:paired])
        height += 1
    # What waits higher up saw no new sibling, and stays.
    return Edge(new, (*waiting, *reversed(hashes))), writes


def edge_root(edge: Edge) -> Hash:
    """The root of the tree whose edge this is."""
    return fold_right(edge.hashes) if edge.hashes else EMPTY_ROOT


def join_edges(left: Edge, right: Edge) -> Edge:
    """
    The edge of the tree of *left*'s leaves followed by *right*'s.

    *right*'s subtrees must stand aligned behind *left*: its size is a multiple of a power of
    two that is at least *right*'s size. So trees are hashed in pieces, anywhere, in any order.
    """
    hashes, size = list(left.hashes), int(left.size)
    heights = [bit for bit in range(right.size.bit_length()) if right.size >> bit & 1]
    for height, subtree in zip(reversed(heights), right.hashes, strict=True):
        assert size % (1 << height) == 0
        node, at = subtree, height
        while size >> at & 1:
            # What waited on the left for a sibling of this height has found it.
            node, at = hash_children(hashes.pop(), node), at + 1
        hashes.append(node)
        size += 1 << height
    return Edge(TreeSize(size), tuple(hashes))


def edge_from_tiles(reader: HashReader, size: TreeSize) -> Edge:
    """
    The edge of the tree of *size* leaves, from its partial tiles: at most 8, read in one call.

    Raises:
        MalformedTileError: *reader* answers with other tiles, or *size* is no tree size.
    """
    if not 0 <= size <= MAX_TREE_SIZE:
        raise MalformedTileError(f"{size} is not the size of a tree")
    tiles = [
        tile_at(level, size >> TILE_HEIGHT * (level + 1), size=size)
        for level in range(MAX_LEVEL, -1, -1)
        if size >> TILE_HEIGHT * level & (TILE_WIDTH - 1)
    ]
    rows = read_rows(reader, tiles)
    return Edge(
        size, tuple(node for tile in tiles for node in _row_edge(rows[tile.level, tile.index]))
    )


def _tile_writes(level: int, position: int, row: bytes) -> Iterator[TileWrite]:
    index, offset = divmod(position, TILE_WIDTH)
    start = 0
    while start < len(row):
        end = start + (TILE_WIDTH - offset) * HASH_BYTES
        yield TileWrite(level, index, offset, row[start:end])
        index, offset, start = index + 1, 0, end


def _row_edge(row: bytes) -> Iterator[Hash]:
    """The complete subtrees over a partial tile's *row*, the largest first."""
    start, width = 0, len(row) // HASH_BYTES
    for height in range(TILE_HEIGHT - 1, -1, -1):
        if width >> height & 1:
            end = start + (1 << height)
            yield tree_root(hash_at(row, position) for position in range(start, end))
            start = end
