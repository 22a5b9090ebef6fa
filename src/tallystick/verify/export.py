"""
The offline verdict on an export: every entry and every tile is the signed tree's.

Follows log.md, sections 4.3 and 4.8, and C2SP tlog-tiles. The tree is rebuilt from the entries
in blocks of 65,536 leaves. Each is a pure task, an aligned subtree with the tiles of the levels
0 and 1 above it, so blocks are checked anywhere and in any order; they are joined in order, and
the tiles of the higher levels are compared where the blocks meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tallystick.tlog.edge import EMPTY_EDGE, Edge, edge_root, extend_edge, join_edges
from tallystick.tlog.errors import MalformedBundleError
from tallystick.tlog.tile import (
    TILE_WIDTH,
    Tile,
    format_entries_path,
    format_entry_bundle,
    format_tile_path,
    parse_entry_bundle,
)
from tallystick.tlog.tree import HASH_BYTES, LeafIndex, TreeSize, hash_leaf
from tallystick.verify.errors import ExportObjectError, MissingObjectError
from tallystick.verify.head import VerifiedHead, check_head
from tallystick.verify.trust import TrustedPolicy, read_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tallystick.tlog.edge import TileWrite
    from tallystick.tlog.policy import Policy

CHECKPOINT_PATH: Final = "checkpoint"
FIRST_LEAF: Final = LeafIndex(0)
BLOCK_LEAVES: Final = TILE_WIDTH * TILE_WIDTH
"""65,536: the leaves under one hash of tile level 2."""
MAX_LEAVES: Final = 1 << 36
"""69 billion, a million blocks; nobody is made to plan more by a checkpoint that says more."""


class ExportReader(Protocol):
    """Where the objects of an export come from: a directory, an object store, a web server."""

    def read_object(self, path: str) -> bytes | None:
        """The bytes of the object at *path*, relative to the log's prefix; None without one."""
        ...


@dataclass(frozen=True, slots=True)
class ExportBlock:
    """The *width* leaves from *first* on; bundles below *minimum_index* may be missing."""

    first: LeafIndex
    width: int
    minimum_index: LeafIndex = FIRST_LEAF

    def tiles(self) -> Iterator[Tile]:
        """The tiles of level 0 over the block, from the left."""
        for start in range(self.first, self.first + self.width, TILE_WIDTH):
            yield Tile(0, start // TILE_WIDTH, min(TILE_WIDTH, self.first + self.width - start))

    def paths(self) -> Iterator[str]:
        """What a check of the block reads, in its order, if nothing is missing."""
        for tile in self.tiles():
            yield format_entries_path(tile)
            yield format_tile_path(tile)
        if roots := self.width // TILE_WIDTH:
            yield format_tile_path(Tile(1, self.first // BLOCK_LEAVES, roots))


@dataclass(frozen=True, slots=True)
class CheckedBlock:
    """What a block contributes: the edge of its leaves, and the first paths that disagree."""

    edge: Edge
    entries: int
    bad_bundle: str | None
    bad_tile: str | None


@dataclass(frozen=True, slots=True)
class VerifiedExport:
    """A *head*, all of whose tiles and whose *entries* entries, from the index told, are there."""

    head: VerifiedHead
    minimum_index: LeafIndex
    entries: int


def check_export_tree(
    reader: ExportReader,
    policy: bytes | Policy | TrustedPolicy,
    *,
    minimum_index: LeafIndex = FIRST_LEAF,
    check_blocks: Callable[[Sequence[ExportBlock]], Iterable[CheckedBlock]] | None = None,
) -> VerifiedExport:
    """
    Check that the objects of *reader* are the tree of its checkpoint, which *policy* trusts.

    Bundles with entries below *minimum_index* may be missing, because those were pruned; the
    tiles above them never are. What the log's other documents say is not looked at.
    *check_blocks* is who calls `check_export_block` for each block, in their order; by default
    that happens here, one by one.

    Raises:
        UnusablePolicyError: The policy cannot judge.
        ProofFormatError, UntrustedLogError, LogSignatureError, CosignatureError,
        QuorumMissingError: The checkpoint is not a trusted one (steps 1 to 3).
        MissingObjectError: An object is not there; the error has its path.
        ExportObjectError: An object is malformed or not the signed tree's; the error has its
            path. If all entries make up the signed root, it is the first false tile. If not,
            it is the first bundle that disagrees with its tile, else the first tile that
            disagrees with those below it, else the checkpoint.
    """
    head = check_head(_read(reader, CHECKPOINT_PATH), read_trust(policy))
    if head.checkpoint.size > MAX_LEAVES:
        words = f"{CHECKPOINT_PATH} is of over {MAX_LEAVES} leaves"
        raise ExportObjectError(words, path=CHECKPOINT_PATH)
    blocks = export_blocks(head.checkpoint.size, minimum_index)
    if check_blocks is None:
        checked: Iterable[CheckedBlock] = (check_export_block(reader, block) for block in blocks)
    else:
        checked = check_blocks(blocks)
    joined = _Joined(reader)
    for block in checked:
        joined.add(block)
    joined.finish()
    if edge_root(joined.edge) != head.checkpoint.root:
        path = joined.bad_bundle or joined.bad_tile or CHECKPOINT_PATH
        raise ExportObjectError(f"{path} does not lead to the signed root", path=path)
    if joined.bad_tile:
        raise ExportObjectError(f"{joined.bad_tile} is not the tree's", path=joined.bad_tile)
    return VerifiedExport(head, minimum_index, joined.entries)


def export_blocks(size: TreeSize, minimum_index: LeafIndex = FIRST_LEAF) -> list[ExportBlock]:
    """The blocks of the tree of *size* leaves, from the left."""
    return [
        ExportBlock(LeafIndex(first), min(BLOCK_LEAVES, size - first), minimum_index)
        for first in range(0, size, BLOCK_LEAVES)
    ]


def check_export_block(reader: ExportReader, block: ExportBlock) -> CheckedBlock:
    """
    Re-hash the entries of one block and compare its tiles of the levels 0 and 1.

    Raises:
        MissingObjectError, ExportObjectError: An object is missing or malformed.
    """
    rows: list[bytes] = []
    entries = 0
    bad_bundle: str | None = None
    bad_tile: str | None = None
    for tile in block.tiles():
        found = _leaf_hashes(reader, tile, block.minimum_index)
        stored = _read_tile(reader, tile)
        row = stored if found is None else found
        entries += 0 if found is None else tile.width
        if len(row) != tile.width * HASH_BYTES:
            path = format_tile_path(tile)
            raise ExportObjectError(f"{path} is not {tile.width} hashes", path=path)
        if row != stored:
            # Which of the two is at fault only the signed root can tell, when all is joined.
            bad_tile = bad_tile or format_tile_path(tile)
            bad_bundle = bad_bundle or format_entries_path(tile)
        rows.append(row)
    edge, writes = extend_edge(EMPTY_EDGE, b"".join(rows))
    for write in writes:
        if write.level == 1:
            tile = Tile(1, block.first // BLOCK_LEAVES, write.width)
            if _read_tile(reader, tile) != write.appended:
                bad_tile = bad_tile or format_tile_path(tile)
    return CheckedBlock(edge, entries, bad_bundle, bad_tile)


class _Joined:
    """The tree as far as its blocks were joined, and the first paths that disagree."""

    def __init__(self, reader: ExportReader) -> None:
        self.edge: Edge = EMPTY_EDGE
        self.entries = 0
        self.bad_bundle: str | None = None
        self.bad_tile: str | None = None
        self._reader = reader
        self._blocks: Edge = EMPTY_EDGE
        self._open: dict[tuple[int, int], bytes] = {}

    def add(self, block: CheckedBlock) -> None:
        """Take the next block."""
        self.edge = join_edges(self.edge, block.edge)
        self.entries += block.entries
        self.bad_bundle = self.bad_bundle or block.bad_bundle
        self.bad_tile = self.bad_tile or block.bad_tile
        if block.edge.size == BLOCK_LEAVES:
            self._blocks, writes = extend_edge(self._blocks, bytes(block.edge.hashes[0]))
            self._take(writes)

    def finish(self) -> None:
        """Compare the partial tiles of the right edge."""
        for place in sorted(self._open):
            self._compare(*place)

    def _take(self, writes: Sequence[TileWrite]) -> None:
        for write in writes:
            # A block is two levels high, so what is a leaf to `_blocks` is a hash of level 2.
            place = write.level + 2, write.index
            self._open[place] = self._open.get(place, b"") + write.appended
            if len(self._open[place]) == TILE_WIDTH * HASH_BYTES:
                self._compare(*place)

    def _compare(self, level: int, index: int) -> None:
        row = self._open.pop((level, index))
        tile = Tile(level, index, len(row) // HASH_BYTES)
        if _read_tile(self._reader, tile) != row:
            self.bad_tile = self.bad_tile or format_tile_path(tile)


def _leaf_hashes(reader: ExportReader, tile: Tile, minimum_index: LeafIndex) -> bytes | None:
    """The hashes of the entries beside *tile*; None where they were pruned."""
    path = format_entries_path(tile)
    data = _read_bundle(reader, tile)
    if data is None:
        if tile.index * TILE_WIDTH >= minimum_index:
            raise MissingObjectError(f"{path} is not there", path=path)
        return None
    try:
        entries = parse_entry_bundle(data)
    except MalformedBundleError as cause:
        raise ExportObjectError(f"{path}: {cause.message}", path=path) from cause
    if len(entries) != tile.width:
        raise ExportObjectError(f"{path} has {len(entries)} entries, not {tile.width}", path=path)
    return b"".join(map(hash_leaf, entries))


def _read_bundle(reader: ExportReader, tile: Tile) -> bytes | None:
    """The bundle beside *tile*, or as much of the full one as *tile* is wide."""
    data = reader.read_object(format_entries_path(tile))
    if data is not None or tile.width == TILE_WIDTH:
        return data
    # A partial object may be gone once the full one is there (C2SP tlog-tiles).
    full = reader.read_object(format_entries_path(Tile(0, tile.index)))
    if full is None:
        return None
    try:
        return format_entry_bundle(parse_entry_bundle(full)[: tile.width])
    except MalformedBundleError:
        return full


def _read_tile(reader: ExportReader, tile: Tile) -> bytes:
    """The hashes of *tile*, or as much of the full tile as it is wide."""
    path = format_tile_path(tile)
    data = reader.read_object(path)
    if data is None and tile.width < TILE_WIDTH:
        full = reader.read_object(format_tile_path(Tile(tile.level, tile.index)))
        data = None if full is None else full[: tile.width * HASH_BYTES]
    if data is None:
        raise MissingObjectError(f"{path} is not there", path=path)
    return data


def _read(reader: ExportReader, path: str) -> bytes:
    data = reader.read_object(path)
    if data is None:
        raise MissingObjectError(f"{path} is not there", path=path)
    return data
