"""RFC 6962 as it is written, recursion by recursion: slow, and plainly right."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.tlog import Tile


class NaiveTree:
    """A tree over *entries* that can be asked about each of its prefixes."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)
        self.root_of_range = cache(self._root_of_range)
        self.path_in_range = cache(self._path_in_range)
        self.tile = cache(self._tile)
        self.reads = 0
        self.tiles_read = 0

    def root(self, size: int) -> bytes:
        """MTH(D[0:size])."""
        return self.root_of_range(0, size)

    def leaf(self, index: int) -> bytes:
        """MTH of one leaf."""
        return self.root_of_range(index, index + 1)

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """PATH(index, D[0:size])."""
        return self.path_in_range(index, 0, size)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """PROOF(old, D[0:new])."""
        return self.subproof(old, 0, new, is_known=True)

    def subproof(self, old: int, start: int, end: int, *, is_known: bool) -> tuple[bytes, ...]:
        """SUBPROOF(old, D[start:end], is_known)."""
        if old == end - start:
            return () if is_known else (self.root_of_range(start, end),)
        split = largest_power_below(end - start)
        middle = start + split
        if old <= split:
            below = self.subproof(old, start, middle, is_known=is_known)
            return (*below, self.root_of_range(middle, end))
        below = self.subproof(old - split, middle, end, is_known=False)
        return (*below, self.root_of_range(start, middle))

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Serve tiles by their definition in tlog-tiles, and count."""
        self.reads += 1
        self.tiles_read += len(tiles)
        return [self.tile(tile.level, tile.index, tile.width) for tile in tiles]

    def _tile(self, level: int, index: int, width: int) -> bytes:
        """The first *width* hashes of tile *index* of *level*."""
        span = 256**level
        first = index * 256
        return b"".join(
            self.root_of_range(position * span, (position + 1) * span)
            for position in range(first, first + width)
        )

    def _root_of_range(self, start: int, end: int) -> bytes:
        assert end <= len(self.entries)
        if start == end:
            return hashlib.sha256(b"").digest()
        if end - start == 1:
            return hashlib.sha256(b"\x00" + self.entries[start]).digest()
        middle = start + largest_power_below(end - start)
        left, right = self.root_of_range(start, middle), self.root_of_range(middle, end)
        return hashlib.sha256(b"\x01" + left + right).digest()

    def _path_in_range(self, index: int, start: int, end: int) -> tuple[bytes, ...]:
        if end - start == 1:
            return ()
        split = largest_power_below(end - start)
        middle = start + split
        if index < split:
            return (*self.path_in_range(index, start, middle), self.root_of_range(middle, end))
        below = self.path_in_range(index - split, middle, end)
        return (*below, self.root_of_range(start, middle))


def largest_power_below(count: int) -> int:
    """The largest power of two that is less than *count*."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power
