"""
The pure part of an audit: one aligned block of 65,536 leaves, checked from its bytes alone.

A block is the subtree under one hash of tile level 2, so blocks are checked anywhere and in any
order, and their results are folded in order: each block tells its root, and for each checkpoint
that lies inside it the edge within the block. Follows log.md, section 4.7, steps 1, 2 and 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tallystick.record.tags import RECORD_TAG
from tallystick.tlog import (
    EMPTY_EDGE,
    HASH_BYTES,
    TILE_WIDTH,
    Edge,
    Hash,
    TreeSize,
    edge_root,
    extend_edge,
)

BLOCK_LEAVES: Final = TILE_WIDTH * TILE_WIDTH
"""65,536: the leaves under one hash of tile level 2."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; digests and names, never a value."""

    kind: str
    source_table: str | None = None
    source_key: str | None = None
    leaf_index: int | None = None
    expected_digest: bytes | None = None
    actual_digest: bytes | None = None
    columns: tuple[str, ...] | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """What the database holds for the leaves `first` to `first + len(lengths) - 1`."""

    first: int
    indexes: Sequence[int]
    leaf_lengths: Sequence[int]
    leaves: bytes
    leaf_hashes: bytes
    log_names: Sequence[str]
    source_tables: Sequence[str | None]
    source_keys: Sequence[str]
    level0: bytes
    level1: bytes


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """What one block contributes: its edge, the edges at checkpoints inside, its findings."""

    first: int
    edge: Edge
    edges_at: tuple[tuple[int, Edge], ...]
    findings: tuple[Finding, ...]


class RecordHead(msgspec.Struct):
    """The members of a record that repeat columns of its row."""

    log: str
    table: str | None
    key: msgspec.Raw


_decode_head = msgspec.json.Decoder(RecordHead).decode


def check_block(block: StoredBlock, *, width: int, sizes: Sequence[int]) -> CheckedBlock:
    """
    Re-hash the *width* leaves of a block and rebuild its tiles; *sizes* are checkpoints inside.

    Sizes are absolute, ascending, in `(first, first + width]`. Findings never carry a value.
    """
    findings = list(check_gapless(block, width))
    hashes = list(hash_leaves(block))
    findings += check_hashes(block, hashes)
    findings += check_heads(block)
    # Where leaves are missing, what stands in their places cannot be rebuilt from them.
    complete = len(hashes) == width
    row = b"".join(hashes) if complete else block.level0[: width * HASH_BYTES]
    edges: list[tuple[int, Edge]] = []
    edge, at = EMPTY_EDGE, block.first
    for size in sizes:
        edge, _ = extend_edge(edge, row[(at - block.first) * 32 : (size - block.first) * 32])
        edges.append((size, edge))
        at = size
    edge, _ = extend_edge(edge, row[(at - block.first) * 32 :])
    findings += check_tiles(block, row)
    return CheckedBlock(block.first, edge, tuple(edges), tuple(findings))


def check_gapless(block: StoredBlock, width: int) -> Iterator[Finding]:
    """Yield `leaf_missing` for each index of the block that has no leaf."""
    if len(block.indexes) == width:
        return
    present = set(block.indexes)
    for index in range(block.first, block.first + width):
        if index not in present:
            yield Finding("leaf_missing", leaf_index=index)


def hash_leaves(block: StoredBlock) -> Iterator[bytes]:
    """Yield the RFC 6962 hash of each stored leaf, from its bytes."""
    sha256, leaves, start = hashlib.sha256, block.leaves, 0
    for length in block.leaf_lengths:
        yield sha256(b"\x00" + leaves[start : start + length]).digest()
        start += length


def check_hashes(block: StoredBlock, hashes: Sequence[bytes]) -> Iterator[Finding]:
    """Yield `leaf_changed` where the leaf bytes do not have the stored hash, or the tile's."""
    stored = block.leaf_hashes
    if b"".join(hashes) == stored == block.level0[: len(stored)]:
        return
    for position, actual in enumerate(hashes):
        place = (block.indexes[position] - block.first) * HASH_BYTES
        in_tile = block.level0[place : place + HASH_BYTES]
        in_row = stored[position * HASH_BYTES : (position + 1) * HASH_BYTES]
        # The tile is what the root commits to; where it is gone the row's own hash stands.
        expected = in_tile or in_row
        if actual != in_row or actual != expected:
            yield Finding(
                "leaf_changed",
                source_table=block.source_tables[position],
                source_key=block.source_keys[position],
                leaf_index=block.indexes[position],
                expected_digest=expected,
                actual_digest=actual if actual != expected else in_row,
            )


def check_heads(block: StoredBlock) -> Iterator[Finding]:
    """Yield `leaf_changed` where log, table or key inside a record disagree with the columns."""
    tag, start = RECORD_TAG, 0
    for position, length in enumerate(block.leaf_lengths):
        leaf = block.leaves[start : start + length]
        start += length
        if not leaf.startswith(tag):
            continue
        try:
            head = _decode_head(leaf[len(tag) :])
        except msgspec.DecodeError:
            head = None
        if head is None or not agrees(block, position, head):
            yield Finding(
                "leaf_changed",
                source_table=block.source_tables[position],
                source_key=block.source_keys[position],
                leaf_index=block.indexes[position],
                detail="the record disagrees with its columns",
            )


def agrees(block: StoredBlock, position: int, head: RecordHead) -> bool:
    """Return whether the record's log, table and key are those of its row's columns."""
    table = block.source_tables[position]
    return (
        head.log == block.log_names[position]
        # The column names tables of the schema public without it, the record never does.
        and (table is None or head.table in (table, f"public.{table}"))
        and bytes(head.key).decode() == block.source_keys[position]
    )


def check_tiles(block: StoredBlock, row: bytes) -> Iterator[Finding]:
    """Yield `tile_changed` where the stored tiles of the levels 0 and 1 are not *row*'s."""
    tile_bytes = TILE_WIDTH * HASH_BYTES
    for number, start in enumerate(range(0, len(row), tile_bytes)):
        expected, actual = row[start : start + tile_bytes], block.level0[start : start + tile_bytes]
        if expected != actual:
            yield tile_finding(0, block.first // TILE_WIDTH + number, expected, actual)
    roots = b"".join(
        subtree_root(row[start : start + tile_bytes])
        for start in range(0, len(row) - tile_bytes + 1, tile_bytes)
    )
    if roots != block.level1[: len(roots)] or len(block.level1) != len(roots):
        yield tile_finding(1, block.first // BLOCK_LEAVES, roots, block.level1)


def subtree_root(row: bytes) -> Hash:
    """Return the root of the complete subtree over the hashes of *row*."""
    edge, _ = extend_edge(EMPTY_EDGE, row)
    return edge_root(edge)


def tile_finding(level: int, index: int, expected: bytes, actual: bytes) -> Finding:
    """Return the finding that a stored tile is not what its leaves make."""
    return Finding(
        "tile_changed",
        expected_digest=hashlib.sha256(expected).digest(),
        actual_digest=hashlib.sha256(actual).digest(),
        detail=f"tile {level}/{index}",
    )


def join_edges(left: Edge, right: Edge) -> Edge:
    """Return the edge of the tree of *left*'s leaves followed by *right*'s.

    *left*'s size is a multiple of a block, so that *right*'s subtrees stand aligned in it.
    """
    assert left.size % BLOCK_LEAVES == 0
    assert right.size <= BLOCK_LEAVES
    if right.size < BLOCK_LEAVES:
        return Edge(TreeSize(left.size + right.size), left.hashes + right.hashes)
    # A full block is one hash of its height; it may complete larger subtrees on its left.
    edge, _ = extend_edge(
        Edge(TreeSize(left.size // BLOCK_LEAVES), left.hashes), bytes(right.hashes[0])
    )
    return Edge(TreeSize(edge.size * BLOCK_LEAVES), edge.hashes)
