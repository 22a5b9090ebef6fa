"""
Tiles in memory: an LRU by bytes over the stored rows, read on a miss by primary key.

A row only ever grows at its end, so a cached row answers for every width up to its own and
never goes stale. Follows log.md, section 6.2, "Reads".
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.db import Database
from tallystick.publish import store
from tallystick.publish.errors import DamagedTreeError
from tallystick.seal.logs import LogId
from tallystick.tlog import (
    HASH_BYTES,
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    LeafIndex,
    Tile,
    TileRow,
    TreeSize,
    format_tile_path,
)

ENTRY_OVERHEAD_BYTES: Final = 300
"""What an entry costs beside its row: key, object headers, the slot of the dictionary."""

NODES_BYTES: Final = 62 * HASH_BYTES + 600
"""What a full tile takes once a proof needed the nodes above its hashes."""

TileKey = tuple[LogId, int, int]
"""A log, a level, an index."""


class TileCache:
    """Rows of tiles by log, level and index, the least recently used dropped first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[TileKey, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: TileKey, *, width: int) -> bytes | None:
        """Return the first *width* hashes of a row; None where it is not here or is shorter."""
        with self._lock:
            row = self._rows.get(key)
            if row is None or len(row) < width * HASH_BYTES:
                return None
            self._rows.move_to_end(key)
        return row if len(row) == width * HASH_BYTES else row[: width * HASH_BYTES]

    def put(self, rows: Mapping[TileKey, bytes]) -> None:
        """Keep *rows*, each unless a longer one of its tile is here."""
        with self._lock:
            for key, row in rows.items():
                known = self._rows.get(key)
                if known is not None and len(known) >= len(row):
                    continue
                self._rows[key] = TileRow(row) if is_full(row) else row
                self._rows.move_to_end(key)
                self._bytes += cost_of(row)
                if known is not None:
                    self._bytes -= cost_of(known)
            while self._bytes > self._max_bytes:
                _, dropped = self._rows.popitem(last=False)
                self._bytes -= cost_of(dropped)

    @property
    def bytes_used(self) -> int:
        """How much memory the rows take."""
        return self._bytes


def is_full(row: bytes) -> bool:
    """Return whether a tile will not grow any more."""
    return len(row) == TILE_WIDTH * HASH_BYTES


def cost_of(row: bytes) -> int:
    """Return how much memory a row may take, with its nodes."""
    return len(row) + ENTRY_OVERHEAD_BYTES + (NODES_BYTES if is_full(row) else 0)


@dataclass(frozen=True, slots=True)
class TileRows:
    """Rows that were fetched for one answer (a `tlog.HashReader`)."""

    rows: Mapping[tuple[int, int], bytes]

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the row of each tile, cut to its width; one that is as wide keeps its nodes."""
        rows = [(self.rows[tile.level, tile.index], tile.width * HASH_BYTES) for tile in tiles]
        return [row if len(row) == length else row[:length] for row, length in rows]


class TileStore:
    """The tiles of all logs: from memory, else from the database in one statement."""

    def __init__(self, database: Database, cache: TileCache) -> None:
        self._database = database
        self._cache = cache

    def cached(self, log_id: LogId, tile: Tile) -> bytes | None:
        """Return the row of *tile* from memory; None where it must be fetched."""
        return self._cache.get((log_id, tile.level, tile.index), width=tile.width)

    def in_memory(self, log_id: LogId, tiles: Sequence[Tile]) -> TileRows | None:
        """Return the rows of *tiles* from memory; None where one must be fetched."""
        rows: dict[tuple[int, int], bytes] = {}
        for tile in tiles:
            row = self.cached(log_id, tile)
            if row is None:
                return None
            rows[tile.level, tile.index] = row
        return TileRows(rows)

    def fetch(self, log_id: LogId, tiles: Sequence[Tile]) -> TileRows:
        """
        Return the rows of *tiles*, those that are not in memory by one statement.

        Raises:
            DamagedTreeError: One is not stored, or is shorter than the published tree has it.
        """
        rows: dict[tuple[int, int], bytes] = {}
        missing: list[tuple[LogId, Tile]] = []
        for tile in tiles:
            row = self.cached(log_id, tile)
            if row is None:
                missing.append((log_id, tile))
            else:
                rows[tile.level, tile.index] = row
        if missing:
            found = self.warm(missing)
            rows.update(
                {
                    (tile.level, tile.index): row_of(found, key=log_id, tile=tile)
                    for _, tile in missing
                }
            )
        return TileRows(rows)

    def warm(self, wanted: Sequence[tuple[LogId, Tile]]) -> dict[TileKey, bytes]:
        """Read *wanted*, of any logs, by one statement, keep the rows and return them."""
        found = self._database.read(lambda tx: store.read_tiles(tx, wanted))
        self._cache.put(found)
        return found


def row_of(found: Mapping[TileKey, bytes], *, key: LogId, tile: Tile) -> bytes:
    """
    Return the row of *tile*.

    Raises:
        DamagedTreeError: It is missing or too short.
    """
    row = found.get((key, tile.level, tile.index), b"")
    if len(row) < tile.width * HASH_BYTES:
        raise DamagedTreeError(f"the database lacks {format_tile_path(tile)} of log {key}")
    return row


def edge_tiles(size: TreeSize) -> Iterator[Tile]:
    """The partial tiles on the right border of the tree of *size* leaves, at most 8."""
    for level in range(MAX_LEVEL + 1):
        index, width = divmod(size >> TILE_HEIGHT * level, TILE_WIDTH)
        if width:
            yield Tile(level, index, width)


def path_tiles(index: LeafIndex, size: TreeSize) -> Iterator[Tile]:
    """The tiles that the path of the leaf at *index* runs through, at most 8, from below."""
    for level in range(MAX_LEVEL + 1):
        at_level = size >> TILE_HEIGHT * level
        place = index >> TILE_HEIGHT * (level + 1)
        width = min(TILE_WIDTH, at_level - place * TILE_WIDTH)
        if width > 0:
            yield Tile(level, place, width)


def proof_tiles(index: LeafIndex, size: TreeSize) -> list[Tile]:
    """
    All tiles that a proof of the leaf at *index* needs, and the root: at most
    2 * ceil(log256 size). Every complete sibling lies in a tile of the path, because it has
    its parent there; what stands beyond the last complete one lies on the right border.
    """
    return list(dict.fromkeys([*path_tiles(index, size), *edge_tiles(size)]))


def growth_tiles(old_size: TreeSize, new_size: TreeSize) -> list[Tile]:
    """All tiles that a proof of growth needs, and both roots; each once, at its widest."""
    wanted = [*edge_tiles(old_size), *edge_tiles(new_size)]
    if old_size:
        wanted = [*proof_tiles(LeafIndex(old_size - 1), new_size), *wanted]
    # A tile may be asked for at two widths; the wider one answers for both.
    widest: dict[tuple[int, int], Tile] = {}
    for tile in wanted:
        known = widest.get((tile.level, tile.index))
        if known is None or known.width < tile.width:
            widest[tile.level, tile.index] = tile
    return list(widest.values())


def is_in_tree(tile: Tile, size: TreeSize) -> bool:
    """Whether the tree of *size* leaves has every hash of *tile*."""
    return tile.index * TILE_WIDTH + tile.width <= size >> TILE_HEIGHT * tile.level
