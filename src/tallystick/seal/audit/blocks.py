"""
The pure part of an audit: one aligned block of 65,536 leaves, checked from its bytes alone.

A block is the subtree under one hash of tile level 2, so blocks are checked anywhere and in any
order, and their results are folded in order: each block tells its root, and for each checkpoint
that lies inside it the edge within the block. Follows log.md, section 4.7, steps 1, 2 and 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tallystick.record.tags import RECORD_TAG
from tallystick.tlog import (
    EMPTY_EDGE,
    HASH_BYTES,
    TILE_WIDTH,
    Edge,
    Hash,
    edge_root,
    extend_edge,
)

BLOCK_LEAVES: Final = TILE_WIDTH * TILE_WIDTH
"""65,536: the leaves under one hash of tile level 2."""
PART_LEAVES: Final = 4096
"""Leaves that are read at once: of the longest, 268 MB; PostgreSQL makes no value over 1 GB."""
OP_LETTERS: Final = {"insert": "I", "update": "U", "delete": "D", "truncate": "T"}
"""The column `op` of a record's operation; all others are control operations."""
CONTROL_LETTER: Final = "C"
VIA_LETTERS: Final = {
    "trigger": "t",
    "poll": "p",
    "backfill": "b",
    "reconcile": "r",
    "wal": "w",
    "control": "c",
}
"""The column `via` of a record's way of capture."""


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
class StoredLeaves:
    """What the database holds for some of a block's leaves, by their indexes."""

    indexes: Sequence[int]
    leaf_lengths: Sequence[int]
    leaves: bytes
    leaf_hashes: bytes
    log_names: Sequence[str]
    source_tables: Sequence[str | None]
    source_keys: Sequence[str]
    ops: Sequence[str]
    vias: Sequence[str]

    def finding(self, position: int, **members: Any) -> Finding:
        """Return the finding that the leaf at *position* is not what was sealed."""
        return Finding(
            "leaf_changed",
            source_table=self.source_tables[position],
            source_key=self.source_keys[position],
            leaf_index=self.indexes[position],
            **members,
        )

    def each_leaf(self) -> Iterator[bytes]:
        """Yield the bytes of each leaf."""
        start = 0
        for length in self.leaf_lengths:
            yield self.leaves[start : start + length]
            start += length


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block's tiles, and its leaves from `first` on, in parts that are read one by one."""

    first: int
    parts: Iterable[StoredLeaves]
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
    op: str
    via: str


_decode_head = msgspec.json.Decoder(RecordHead).decode


def check_block(
    block: StoredBlock, *, width: int, sizes: Sequence[int], minimum_index: int = 0
) -> CheckedBlock:
    """
    Re-hash the *width* leaves of a block and rebuild its tiles; *sizes* are checkpoints inside.

    Sizes are absolute, ascending, in `(first, first + width]`. Leaves below *minimum_index* may
    be missing: the tile stands for them, and the roots above bind it. Findings never carry a
    value.
    """
    findings: list[Finding] = []
    indexes: list[int] = []
    hashes: list[bytes] = []
    for part in block.parts:
        of_part = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in part.each_leaf()]
        findings += check_hashes(block, part, of_part)
        findings += check_heads(part)
        indexes += part.indexes
        hashes += of_part
    pruned = min(max(minimum_index - block.first, 0), width)
    findings += check_gapless(block.first + pruned, width - pruned, indexes)
    # Where leaves are missing, what stands in their places cannot be rebuilt from them.
    complete = len(hashes) == width
    row = b"".join(hashes) if complete else patched_row(block, width, indexes, hashes)
    edges: list[tuple[int, Edge]] = []
    edge, at = EMPTY_EDGE, block.first
    for size in sizes:
        edge, _ = extend_edge(edge, row[(at - block.first) * 32 : (size - block.first) * 32])
        edges.append((size, edge))
        at = size
    edge, _ = extend_edge(edge, row[(at - block.first) * 32 :])
    findings += check_tiles(block, row)
    return CheckedBlock(block.first, edge, tuple(edges), tuple(findings))


def patched_row(
    block: StoredBlock, width: int, indexes: Sequence[int], hashes: Sequence[bytes]
) -> bytes:
    """Return the hashes of the leaves that are there, the tiles' of the others, else zeros."""
    row = bytearray(block.level0[: width * HASH_BYTES].ljust(width * HASH_BYTES, b"\0"))
    for index, found in zip(indexes, hashes, strict=True):
        place = (index - block.first) * HASH_BYTES
        row[place : place + HASH_BYTES] = found
    return bytes(row)


def check_gapless(first: int, width: int, indexes: Sequence[int]) -> Iterator[Finding]:
    """Yield `leaf_missing` for each index of the range that has no leaf."""
    present = {index for index in indexes if index >= first}
    if len(present) == width:
        return
    for index in range(first, first + width):
        if index not in present:
            yield Finding("leaf_missing", leaf_index=index)


def check_hashes(
    block: StoredBlock, part: StoredLeaves, hashes: Sequence[bytes]
) -> Iterator[Finding]:
    """Yield `leaf_changed` where the leaf bytes do not have the stored hash, or the tile's."""
    stored = part.leaf_hashes
    start = (part.indexes[0] - block.first) * HASH_BYTES if part.indexes else 0
    if b"".join(hashes) == stored == block.level0[start : start + len(stored)]:
        return
    for position, actual in enumerate(hashes):
        place = (part.indexes[position] - block.first) * HASH_BYTES
        in_tile = block.level0[place : place + HASH_BYTES]
        in_row = stored[position * HASH_BYTES : (position + 1) * HASH_BYTES]
        # The tile is what the root commits to; where it is gone the row's own hash stands.
        expected = in_tile or in_row
        if actual != in_row or actual != expected:
            yield part.finding(
                position,
                expected_digest=expected,
                actual_digest=actual if actual != expected else in_row,
            )


def check_heads(part: StoredLeaves) -> Iterator[Finding]:
    """Yield `leaf_changed` where a record disagrees with the columns that repeat it."""
    for position, leaf in enumerate(part.each_leaf()):
        if leaf.startswith(RECORD_TAG) and not agrees(
            leaf,
            log=part.log_names[position],
            table=part.source_tables[position],
            key=part.source_keys[position],
            op=part.ops[position],
            via=part.vias[position],
        ):
            yield part.finding(position, detail="the record disagrees with its columns")


def agrees(record: bytes, *, log: str, table: str | None, key: str, op: str, via: str) -> bool:
    """Return whether *record* says what the columns of its row repeat."""
    try:
        head = _decode_head(record[len(RECORD_TAG) :])
    except msgspec.DecodeError:
        return False
    return (
        head.log == log
        # The column names tables of the schema public without it, the record never does.
        and (head.table == table if table is None else head.table in (table, f"public.{table}"))
        and bytes(head.key).decode() == key
        and OP_LETTERS.get(head.op, CONTROL_LETTER) == op
        and VIA_LETTERS.get(head.via) == via
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
