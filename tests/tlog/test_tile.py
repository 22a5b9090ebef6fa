"""Tiles, their paths, and entry bundles."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tallystick.tlog import (
    MalformedBundleError,
    MalformedTileError,
    Tile,
    format_entries_path,
    format_entry_bundle,
    format_tile_path,
    new_tiles,
    parse_entries_path,
    parse_entry_bundle,
    parse_tile_path,
    tiles_of,
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(7, 0, 127), "tile/7/000.p/127"),
        (Tile(2, 1000), "tile/2/x001/000"),
    ],
)
def test_paths_are_those_of_tlog_tiles(tile, path):
    """A tile's path has groups of three digits, x before all but the last, .p if partial."""
    assert path == format_tile_path(tile)
    assert tile == parse_tile_path(path)


def test_entries_have_the_paths_of_level_0():
    """A bundle's path is the tile's with `entries` in the level's place."""
    assert format_entries_path(Tile(0, 1234, 7)) == "tile/entries/x001/234.p/7"
    assert Tile(0, 1234, 7) == parse_entries_path("tile/entries/x001/234.p/7")


tiles = st.integers(0, 7).flatmap(
    lambda level: st.builds(
        Tile,
        st.just(level),
        st.integers(0, (2**63 - 1) >> 8 * (level + 1)),
        st.integers(1, 256),
    )
)


@given(tiles)
def test_every_path_parses_as_its_tile(tile):
    """Format and parse are a pair, for tiles and for entries."""
    assert tile == parse_tile_path(format_tile_path(tile))
    entries = Tile(0, tile.index, tile.width)
    assert entries == parse_entries_path(format_entries_path(entries))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/1",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001/x001",
        "tile/00/001",
        "tile/8/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p/1.p/1",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/7/001",
        "tile/entries/000",
        "tile/0/" + "x000/" * 1000 + "000",
    ],
)
def test_other_paths_are_malformed(path):
    """Any other spelling, level, width or index ends in MalformedTileError."""
    with pytest.raises(MalformedTileError):
        parse_tile_path(path)
    with pytest.raises(MalformedTileError):
        parse_entries_path(path.replace("entries", "0"))


@given(st.text(alphabet="tile/entries0123x.p-", max_size=40) | st.text())
@example("tile/0/x/000")
def test_a_path_parses_to_one_tile_or_is_malformed(path):
    """What parses is exactly what would be written; everything else is named malformed."""
    for parse, write in (
        (parse_tile_path, format_tile_path),
        (parse_entries_path, format_entries_path),
    ):
        try:
            tile = parse(path)
        except MalformedTileError:
            continue
        assert path == write(tile)


def test_tiles_of_the_specifications_example():
    """70,000 leaves have 273 full and one partial, one full and one partial, one partial."""
    listed = list(tiles_of(70_000))
    assert sum(tile.level == 0 and tile.width == 256 for tile in listed) == 273
    assert [Tile(0, 273, 112), Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)] == listed[273:]
    assert [Tile(0, 0), Tile(1, 0, 1)] == list(tiles_of(256))
    assert list(tiles_of(0)) == []


@given(st.integers(0, 70_000), st.integers(0, 700))
def test_new_tiles_are_those_that_the_old_tree_lacks(old, more):
    """The new tiles are the difference of the two trees' tiles."""
    new = old + more
    assert set(tiles_of(new)) - set(tiles_of(old)) == set(new_tiles(old, new))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_parse_as_their_entries(entries):
    """Format and parse of bundles are a pair."""
    assert entries == parse_entry_bundle(format_entry_bundle(entries))


def test_a_bundle_is_length_prefixed():
    """Each entry stands behind its length as a big-endian uint16."""
    assert format_entry_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"


def test_limits_of_a_bundle():
    """A bundle has 1 to 256 entries of at most 65,535 bytes."""
    longest = bytes(65_535)
    assert [longest] == parse_entry_bundle(format_entry_bundle([longest]))
    for entries in ([], [b""] * 257, [longest + b"\x00"]):
        with pytest.raises(MalformedBundleError):
            format_entry_bundle(entries)
    for data in (b"", b"\x00\x00" * 257, b"\x00", b"\x00\x01", b"\x00\x00\x00"):
        with pytest.raises(MalformedBundleError):
            parse_entry_bundle(data)


@given(st.binary(max_size=600))
def test_bytes_are_one_bundle_or_malformed(data):
    """What parses is exactly what would be written; everything else is named malformed."""
    try:
        entries = parse_entry_bundle(data)
    except MalformedBundleError:
        return
    assert data == format_entry_bundle(entries)
