"""Tiles and entry bundles: what is served, what is remembered, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.publish import Publisher
from tallystick.publish.errors import DamagedTreeError, PrunedError, TileNotFoundError
from tallystick.publish.tiles import (
    ENTRY_OVERHEAD_BYTES,
    TileCache,
    edge_tiles,
    is_in_tree,
    path_tiles,
    proof_tiles,
)
from tallystick.seal.logs import LogId
from tallystick.tlog import (
    LeafIndex,
    Tile,
    TreeSize,
    edge_from_tiles,
    parse_entry_bundle,
    prove_inclusion,
    tiles_of,
)
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.log_builder import LogBuilder

LOG = LogId(1)


def leaves(count: int) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(count)]


def test_every_tile_is_served_at_every_width(builder: LogBuilder, publisher: Publisher) -> None:
    """Each tile of each size up to the head is the naive tree's, partial ones too, for ever."""
    naive = NaiveTree(leaves(700))
    builder.create("tiled", batch_size=150)
    builder.append("tiled", leaves(700))
    builder.seal("tiled")
    publisher.refresh()
    head = publisher.published_head("tiled")
    for size in (1, 150, 256, 257, 511, 512, 700):
        for tile in tiles_of(TreeSize(size)):
            assert publisher.read_tile(head, tile) == naive.tile(tile.level, tile.index, tile.width)


@pytest.mark.parametrize(
    "tile",
    [Tile(0, 2, 189), Tile(0, 3, 1), Tile(1, 0, 3), Tile(1, 1, 1), Tile(2, 0, 1), Tile(0, 2)],
)
def test_nothing_beyond_the_head_is_served(
    builder: LogBuilder, publisher: Publisher, tile: Tile
) -> None:
    """A tile or bundle that the published tree has not all of is not found, never empty."""
    builder.filled("short", leaves(700))
    publisher.refresh()
    head = publisher.published_head("short")
    with pytest.raises(TileNotFoundError):
        publisher.read_tile(head, tile)
    with pytest.raises(TileNotFoundError):
        publisher.cached_tile(head, tile)
    if tile.level == 0:
        with pytest.raises(TileNotFoundError):
            publisher.read_bundle(head, tile)


def test_bundles_hold_the_leaves(builder: LogBuilder, publisher: Publisher) -> None:
    """An entry bundle holds the bytes of its leaves in their order."""
    builder.filled("bundled", leaves(300))
    publisher.refresh()
    head = publisher.published_head("bundled")
    assert parse_entry_bundle(publisher.read_bundle(head, Tile(0, 0))) == leaves(256)
    assert parse_entry_bundle(publisher.read_bundle(head, Tile(0, 1, 40))) == leaves(296)[256:]


def test_pruned_entries_are_gone_and_proofs_stay(builder: LogBuilder, publisher: Publisher) -> None:
    """log 26: Below the minimum index entries are gone by name, and every proof is still made."""
    naive = NaiveTree(leaves(600))
    log = builder.filled("old", leaves(600))
    publisher.refresh()
    stale = publisher.published_head("old")
    builder.execute(
        f"UPDATE tally.verification_logs SET minimum_index = 300 WHERE log_id = {log.log_id};"
        f"DELETE FROM tally.merkle_log WHERE log_id = {log.log_id} AND leaf_index < 300"
    )
    with pytest.raises(PrunedError):
        publisher.read_bundle(stale, Tile(0, 0))
    publisher.refresh()
    head = publisher.published_head("old")
    for tile in (Tile(0, 0), Tile(0, 1)):
        with pytest.raises(PrunedError):
            publisher.read_bundle(head, tile)
    with pytest.raises(PrunedError):
        publisher.entry(head, 299)
    assert publisher.entry(head, 300).leaf == b"leaf 300"
    assert publisher.prove_index(head, LeafIndex(5)).hashes == naive.inclusion(5, 600)


def test_a_missing_tile_is_damage(builder: LogBuilder) -> None:
    """A tile that the published tree needs and the database lacks is named as damage."""
    log = builder.filled("torn", leaves(600))
    builder.execute(
        "SET session_replication_role = replica;"
        "ALTER TABLE tally.log_tiles DISABLE TRIGGER ALL;"
        f"DELETE FROM tally.log_tiles WHERE log_id = {log.log_id} AND tile_index = 1"
    )
    publisher = Publisher(builder.database)
    publisher.refresh()
    with pytest.raises(DamagedTreeError):
        publisher.prove_index(publisher.published_head("torn"), LeafIndex(300))


def test_the_cache_keeps_to_its_bytes() -> None:
    """The least recently used rows go first, and the memory never exceeds its bound."""
    row = bytes(320)
    cache = TileCache(3 * (len(row) + ENTRY_OVERHEAD_BYTES))
    for index in range(3):
        cache.put({(LOG, 0, index): row})
    assert cache.get((LOG, 0, 0), width=10) == row
    cache.put({(LOG, 0, 3): row})
    assert [cache.get((LOG, 0, index), width=10) is None for index in range(4)] == [
        False,
        True,
        False,
        False,
    ]
    assert cache.bytes_used == 3 * (len(row) + ENTRY_OVERHEAD_BYTES)


def test_a_longer_row_answers_for_shorter_ones() -> None:
    """A cached row answers for every width up to its own, and only a longer one replaces it."""
    cache = TileCache(10_000)
    cache.put({(LOG, 0, 0): b"a" * 64})
    assert cache.get((LOG, 0, 0), width=1) == b"a" * 32
    assert cache.get((LOG, 0, 0), width=3) is None
    cache.put({(LOG, 0, 0): b"a" * 96})
    cache.put({(LOG, 0, 0): b"a" * 32})
    assert cache.get((LOG, 0, 0), width=3) == b"a" * 96


class Exactly:
    """Zeroes for the tiles that were promised to be enough; any other is a failure."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        self.widths = {(tile.level, tile.index): tile.width for tile in tiles}

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return zeroes of the widths asked for."""
        assert all(tile.width <= self.widths[tile.level, tile.index] for tile in tiles)
        return [bytes(32 * tile.width) for tile in tiles]


@given(
    st.integers(1, 2**40).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))
)
@settings(max_examples=200)
def test_the_tiles_of_a_proof_are_enough(place: tuple[int, int]) -> None:
    """Path and right edge hold every hash of a proof and of the root: at most 2 log256 tiles."""
    index, size = LeafIndex(place[0]), TreeSize(place[1])
    tiles = proof_tiles(index, size)
    reader = Exactly(tiles)
    prove_inclusion(reader, index=index, size=size)
    edge_from_tiles(reader, size)
    levels = 1
    while 256**levels < size:
        levels += 1
    assert len(tiles) <= 2 * (levels + 1)
    assert all(is_in_tree(tile, size) for tile in tiles)
    assert set(tiles) == {*path_tiles(index, size), *edge_tiles(size)}
