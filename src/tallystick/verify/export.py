"""
The offline verdict on an export: every entry and every tile is the signed tree's.

Follows log.md, sections 4.3 and 4.8, and C2SP tlog-tiles. The tree is rebuilt from the
entries in one pass, one bundle at a time, so that memory stays at one open tile a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tallystick.tlog.edge import EMPTY_EDGE, edge_root, extend_edge
from tallystick.tlog.errors import MalformedBundleError
from tallystick.tlog.tile import (
    TILE_WIDTH,
    Tile,
    format_entries_path,
    format_tile_path,
    parse_entry_bundle,
)
from tallystick.tlog.tree import HASH_BYTES, LeafIndex, TreeSize, hash_leaf
from tallystick.verify.errors import ExportObjectError, MissingObjectError
from tallystick.verify.head import VerifiedHead, check_head
from tallystick.verify.trust import TrustedPolicy, read_trust

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.tlog.edge import Edge
    from tallystick.tlog.policy import Policy

CHECKPOINT_PATH: Final = "checkpoint"
FIRST_LEAF: Final = LeafIndex(0)


class ExportReader(Protocol):
    """Where the objects of an export come from: a directory, an object store."""

    def read_object(self, path: str) -> bytes | None:
        """The bytes of the object at *path*, relative to the log's prefix; None without one."""
        ...


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
) -> VerifiedExport:
    """
    Check that the objects of *reader* are the tree of its checkpoint, which *policy* trusts.

    Bundles with entries below *minimum_index* may be missing, because those were pruned; the
    tiles above them never are. What the log's other documents say is not looked at.

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
    trust = read_trust(policy)
    head = check_head(_read(reader, CHECKPOINT_PATH), trust)
    size = head.checkpoint.size
    rebuild = _Rebuild(reader, minimum_index)
    for tile in _bottom_tiles(size):
        rebuild.append(tile)
    rebuild.finish()
    if edge_root(rebuild.edge) != head.checkpoint.root:
        path = rebuild.bad_bundle or rebuild.bad_tile or CHECKPOINT_PATH
        raise ExportObjectError(f"{path} does not lead to the signed root", path=path)
    if rebuild.bad_tile:
        raise ExportObjectError(f"{rebuild.bad_tile} is not the tree's", path=rebuild.bad_tile)
    return VerifiedExport(head, minimum_index, rebuild.entries)


class _Rebuild:
    """A tree as far as it has been rebuilt, and the first stored tile that disagrees."""

    def __init__(self, reader: ExportReader, minimum_index: LeafIndex) -> None:
        self.edge: Edge = EMPTY_EDGE
        self.entries = 0
        self.bad_bundle: str | None = None
        self.bad_tile: str | None = None
        self._reader = reader
        self._minimum_index = minimum_index
        self._open: dict[tuple[int, int], bytes] = {}

    def append(self, tile: Tile) -> None:
        """Add the leaves of *tile*, of level 0, from its bundle, or if pruned from the tile."""
        self.edge, writes = extend_edge(self.edge, self._leaf_hashes(tile))
        for write in writes:
            place = write.level, write.index
            self._open[place] = self._open.get(place, b"") + write.appended
            if len(self._open[place]) == TILE_WIDTH * HASH_BYTES:
                self._compare(*place)

    def finish(self) -> None:
        """Compare the partial tiles of the right edge."""
        for place in sorted(self._open):
            self._compare(*place)

    def _leaf_hashes(self, tile: Tile) -> bytes:
        path = format_entries_path(tile)
        data = self._reader.read_object(path)
        if data is None:
            if tile.index * TILE_WIDTH >= self._minimum_index:
                raise MissingObjectError(f"{path} is not there", path=path)
            return self._pruned_hashes(tile)
        try:
            entries = parse_entry_bundle(data)
        except MalformedBundleError as cause:
            raise ExportObjectError(f"{path}: {cause.message}", path=path) from cause
        if len(entries) != tile.width:
            raise ExportObjectError(
                f"{path} has {len(entries)} entries, not {tile.width}", path=path
            )
        self.entries += tile.width
        return b"".join(map(hash_leaf, entries))

    def _pruned_hashes(self, tile: Tile) -> bytes:
        path = format_tile_path(tile)
        row = _read(self._reader, path)
        if len(row) != tile.width * HASH_BYTES:
            raise ExportObjectError(f"{path} is not {tile.width} hashes", path=path)
        return row

    def _compare(self, level: int, index: int) -> None:
        row = self._open.pop((level, index))
        tile = Tile(level, index, len(row) // HASH_BYTES)
        path = format_tile_path(tile)
        if _read(self._reader, path) == row:
            return
        # Which of the two is at fault only the signed root can tell, at the end of the pass.
        self.bad_tile = self.bad_tile or path
        if level == 0:
            self.bad_bundle = self.bad_bundle or format_entries_path(tile)


def _bottom_tiles(size: TreeSize) -> Iterator[Tile]:
    """The tiles of level 0 in a tree of *size* leaves, from the left."""
    full, rest = divmod(size, TILE_WIDTH)
    yield from (Tile(0, index) for index in range(full))
    if rest:
        yield Tile(0, full, rest)


def _read(reader: ExportReader, path: str) -> bytes:
    data = reader.read_object(path)
    if data is None:
        raise MissingObjectError(f"{path} is not there", path=path)
    return data
