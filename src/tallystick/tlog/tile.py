"""
Tiles: rows of up to 256 hashes, in which a log stores and serves its tree.

Follows C2SP tlog-tiles. The hashes of a tile at level L are the roots of complete subtrees
of 256**L leaves; everything between two levels is computed from them. Entry bundles carry
the leaves' bytes, cut like the tiles of level 0.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from tallystick.tlog.encoding import parse_decimal
from tallystick.tlog.errors import MalformedBundleError, MalformedTileError
from tallystick.tlog.tree import HASH_BYTES, MAX_TREE_SIZE, TreeSize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_LEVEL: Final = 7
"""Levels 0 to 7 carry every tree below 2**63 leaves; the C2SP paths allow 63."""
MAX_ENTRY_BYTES: Final = 2**16 - 1
"""The length before an entry is an uint16."""

_MAX_PATH_CHARACTERS: Final = 64
"""The longest path, `tile/entries/x036/…/967.p/255`, has 49."""
_UINT16: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """The tile at *index* of *level*, as long as *width* hashes; 256 is a full one."""

    level: int
    index: int
    width: int = TILE_WIDTH


class HashReader(Protocol):
    """Where the hashes of a tree come from: a table, a directory, a web server."""

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """The rows of *tiles*, in their order, each `32 * width` bytes long."""
        ...


def tile_at(level: int, index: int, *, size: TreeSize) -> Tile:
    """The tile at *index* of *level*, as wide as the tree of *size* leaves has it."""
    at_level = size >> TILE_HEIGHT * level
    return Tile(level, index, min(TILE_WIDTH, at_level - index * TILE_WIDTH))


def read_rows(reader: HashReader, tiles: Sequence[Tile]) -> dict[tuple[int, int], bytes]:
    """
    The rows of *tiles* by level and index, read in one call.

    Raises:
        MalformedTileError: *reader* answered with another number of tiles or other widths.
    """
    rows = reader.read_tiles(tiles) if tiles else []
    if len(rows) != len(tiles):
        raise MalformedTileError(f"asked for {len(tiles)} tiles, got {len(rows)}")
    for tile, row in zip(tiles, rows, strict=True):
        if len(row) != tile.width * HASH_BYTES:
            raise MalformedTileError(
                f"tile {format_tile_path(tile)} has {len(row)} bytes, not {tile.width * HASH_BYTES}"
            )
    return {(tile.level, tile.index): row for tile, row in zip(tiles, rows, strict=True)}


def tiles_of(size: TreeSize) -> Iterator[Tile]:
    """Every tile of the tree of *size* leaves, the partial ones included, level by level."""
    return new_tiles(TreeSize(0), size)


def new_tiles(old: TreeSize, new: TreeSize) -> Iterator[Tile]:
    """
    The tiles that a tree of *new* leaves has and the one of *old* leaves has not.

    A tile that grew is one of them. They come level by level, each level from left to right.
    """
    for level in range(MAX_LEVEL + 1):
        have, want = old >> TILE_HEIGHT * level, new >> TILE_HEIGHT * level
        # Above a level where nothing was added nothing was added either.
        if have >= want:
            return
        for index in range(have // TILE_WIDTH, -(-want // TILE_WIDTH)):
            yield tile_at(level, index, size=new)


def format_tile_path(tile: Tile) -> str:
    """The path of *tile* below the log's prefix: `tile/0/x001/x234/067.p/8`."""
    return f"tile/{tile.level}/{_format_index(tile.index)}{_format_width(tile.width)}"


def parse_tile_path(path: str) -> Tile:
    """
    The tile at *path*.

    Raises:
        MalformedTileError: *path* is not one that `format_tile_path` writes for a tile of a
            tree below 2**63 leaves.
    """
    stem, width = _parse_width(path)
    match stem.split("/"):
        case ["tile", level_text, *groups]:
            level = parse_decimal(
                level_text, at_most=MAX_LEVEL, what="the level", error=MalformedTileError
            )
            return _parse_index(groups, level=level, width=width)
        case _:
            raise MalformedTileError("the path is not tile/level/index")


def format_entries_path(tile: Tile) -> str:
    """The path of the entry bundle beside *tile*, which is of level 0: `tile/entries/000`."""
    assert tile.level == 0
    return f"tile/entries/{_format_index(tile.index)}{_format_width(tile.width)}"


def parse_entries_path(path: str) -> Tile:
    """
    The tile of level 0 whose entries are at *path*.

    Raises:
        MalformedTileError: *path* is not one that `format_entries_path` writes.
    """
    stem, width = _parse_width(path)
    match stem.split("/"):
        case ["tile", "entries", *groups]:
            return _parse_index(groups, level=0, width=width)
        case _:
            raise MalformedTileError("the path is not tile/entries/index")


def format_entry_bundle(entries: Sequence[bytes]) -> bytes:
    """
    The bundle of *entries*: each behind its length as a big-endian uint16.

    Raises:
        MalformedBundleError: No entry or more than 256, or one over 65,535 bytes.
    """
    _check_entry_count(len(entries))
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise MalformedBundleError(f"an entry has {len(entry)} bytes, over {MAX_ENTRY_BYTES}")
        parts += (_UINT16.pack(len(entry)), entry)
    return b"".join(parts)


def parse_entry_bundle(data: bytes) -> list[bytes]:
    """
    The 1 to 256 entries of a bundle.

    Raises:
        MalformedBundleError: *data* ends within an entry, or has no or too many entries.
    """
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        start = position + _UINT16.size
        if start > len(data):
            raise MalformedBundleError("the bundle ends within a length")
        position = start + _UINT16.unpack_from(data, position)[0]
        if position > len(data):
            raise MalformedBundleError("the bundle ends within an entry")
        entries.append(data[start:position])
        if len(entries) > TILE_WIDTH:
            break
    _check_entry_count(len(entries))
    return entries


def _check_entry_count(count: int) -> None:
    if not 0 < count <= TILE_WIDTH:
        raise MalformedBundleError(f"a bundle has 1 to {TILE_WIDTH} entries")


def _format_index(index: int) -> str:
    path = f"{index % 1000:03}"
    while index := index // 1000:
        path = f"x{index % 1000:03}/{path}"
    return path


def _format_width(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"


def _parse_width(path: str) -> tuple[str, int]:
    if len(path) > _MAX_PATH_CHARACTERS:
        raise MalformedTileError(f"the path has more than {_MAX_PATH_CHARACTERS} characters")
    stem, partial, width_text = path.partition(".p/")
    if not partial:
        return stem, TILE_WIDTH
    width = parse_decimal(
        width_text, at_most=TILE_WIDTH - 1, what="the width", error=MalformedTileError
    )
    if width == 0:
        raise MalformedTileError("an empty tile has no path")
    return stem, width


def _parse_index(groups: Sequence[str], *, level: int, width: int) -> Tile:
    digits = "".join(group.removeprefix("x") for group in groups)
    index = parse_decimal(
        digits.lstrip("0") or "0",
        at_most=MAX_TREE_SIZE >> TILE_HEIGHT * (level + 1),
        what="the index",
        error=MalformedTileError,
    )
    # Writing it again refuses whatever else was let through: groups of other lengths, a
    # missing or superfluous x, leading zero groups.
    if _format_index(index) != "/".join(groups):
        raise MalformedTileError("the index is not written in groups of three digits")
    return Tile(level, index, width)
