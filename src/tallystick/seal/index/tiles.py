"""
The tree over a map's 65,536 buckets, in tiles: what changes when some buckets do.

Two levels of 256 hashes, as tlog-tiles cuts a tree; a tile whose buckets are all empty is not
stored. Pure. Follows docs/adr/0015.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.record.key_index import BUCKETS, EMPTY_BUCKET
from tallystick.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    Hash,
    LeafIndex,
    Tile,
    TreeSize,
    prove_inclusion,
    tree_root,
)

EMPTY_TILE: Final = EMPTY_BUCKET * TILE_WIDTH
EMPTY_TOP: Final = tree_root([EMPTY_TILE]) * TILE_WIDTH
EMPTY_MAP: Final = tree_root([EMPTY_TOP])
"""The root of a map without keys."""
MAP_SIZE: Final = TreeSize(BUCKETS)

Place = tuple[int, int]
"""Level and index of a tile."""


@dataclass(frozen=True, slots=True)
class MapTiles:
    """Rows of some of a map's tiles by level and index, as far as they are stored."""

    rows: Mapping[Place, bytes] = field(default_factory=dict)

    def row(self, place: Place) -> bytes:
        """Return the 256 hashes of a tile, those of empty buckets where it is not stored."""
        return self.rows.get(place, EMPTY_TOP if place[0] else EMPTY_TILE)

    @property
    def root(self) -> Hash:
        """The root of the map; the tile of level 1 must be among the rows, if it is stored."""
        return tree_root([self.row((1, 0))])

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the rows of *tiles* (a `tlog.HashReader`)."""
        return [self.row((tile.level, tile.index)) for tile in tiles]

    def prove(self, bucket: int) -> tuple[Hash, ...]:
        """Return the 16 hashes on the path of a bucket to the root."""
        return tuple(prove_inclusion(self, index=LeafIndex(bucket), size=MAP_SIZE))


def tiles_of_buckets(buckets: Sequence[int]) -> list[Place]:
    """Return the tiles that change with *buckets*: theirs, and the one above."""
    return [*sorted({(0, bucket // TILE_WIDTH) for bucket in buckets}), (1, 0)]


def change_tiles(stored: MapTiles, buckets: Mapping[int, bytes]) -> MapTiles:
    """
    Return the tiles that *buckets*, hashes by bucket, make of the *stored* ones.

    *stored* has the tiles of `tiles_of_buckets`, as far as there are any.
    """
    changed: dict[Place, bytearray] = {}
    for bucket, hashed in buckets.items():
        index, offset = divmod(bucket, TILE_WIDTH)
        row = changed.setdefault((0, index), bytearray(stored.row((0, index))))
        row[offset * HASH_BYTES : (offset + 1) * HASH_BYTES] = hashed
    top = bytearray(stored.row((1, 0)))
    for (_, index), row in changed.items():
        top[index * HASH_BYTES : (index + 1) * HASH_BYTES] = tree_root([bytes(row)])
    rows = {place: bytes(row) for place, row in changed.items()}
    return MapTiles({**rows, (1, 0): bytes(top)})
