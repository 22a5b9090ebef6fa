"""Writing exports: what lies there, in which order, what goes on after a kill, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tallystick.publish.errors import (
    DamagedTreeError,
    ExportAddressError,
    ExportConflictError,
    ExportUnavailableError,
    PrunedError,
)
from tallystick.publish.export import check_export, export_log, follow_log, open_destination
from tallystick.publish.export.manifest import parse_manifest
from tallystick.publish.export.objects import DirectoryObjects
from tallystick.tlog import (
    TreeSize,
    format_entries_path,
    format_tile_path,
    parse_checkpoint,
    parse_entry_bundle,
    parse_note,
    tiles_of,
)
from tests.publish.export.places import Objects, policy_of
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    from tests.support.log_builder import LogBuilder

PATIENCE_SECONDS = 60


def leaves(count: int, start: int = 0) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(start, start + count)]


def expected_paths(size: int) -> set[str]:
    """Every object of an export of *size* leaves, by C2SP tlog-tiles."""
    tiles = list(tiles_of(TreeSize(size)))
    bundles = {format_entries_path(tile) for tile in tiles if tile.level == 0}
    return {"checkpoint", "log.json", *bundles, *map(format_tile_path, tiles)}


def exported_size(objects: Objects) -> int:
    """The size of the checkpoint that lies there."""
    return parse_checkpoint(parse_note(objects.read("checkpoint")).text).size


def test_an_export_is_the_tree_in_files(builder: LogBuilder, address: str) -> None:
    """log 26: An export, in a directory or an S3 store, is checkpoint, tiles and bundles."""
    log = builder.filled("payments", leaves(700))
    report = export_log(builder.database, "payments", open_destination(address))
    objects = Objects(address).all()
    assert expected_paths(700) == set(objects)
    checkpoint = parse_checkpoint(parse_note(objects["checkpoint"]).text)
    naive = NaiveTree(leaves(700))
    assert (naive.root(700), 700) == (checkpoint.root, checkpoint.size)
    for tile in tiles_of(TreeSize(700)):
        row = naive.tile(tile.level, tile.index, tile.width)
        assert row == objects[format_tile_path(tile)]
    assert leaves(188, 512) == parse_entry_bundle(objects["tile/entries/002.p/188"])
    assert (7, 0) == (report.objects_written, report.objects_found)
    checked = check_export(address, policy_of(builder, log))
    assert (700, 700, 0) == (checked.size, checked.entries, checked.minimum_index)


def test_the_manifest_describes_the_log(builder: LogBuilder, tmp_path: Path) -> None:
    """log.json has origin, keys with their periods, mode, minimum index and predecessor."""
    first = builder.filled("first", leaves(3), mode="digest")
    builder.filled("second", leaves(3), predecessor_log_id=first.log_id)
    export_log(builder.database, "second", DirectoryObjects(tmp_path))
    manifest = parse_manifest((tmp_path / "log.json").read_bytes())
    assert ("second", "log.example/second", "full") == (
        manifest.log,
        manifest.origin,
        manifest.mode,
    )
    [key] = manifest.keys
    assert ("log.example/second", 0, None) == (
        key.vkey.partition("+")[0],
        key.from_size,
        key.to_size,
    )
    assert manifest.predecessor is not None
    assert "log.example/first" == manifest.predecessor.origin


def test_a_second_round_writes_only_what_is_new(builder: LogBuilder, address: str) -> None:
    """What was exported is never written again; partials go once the full object is there."""
    log = builder.filled("payments", leaves(700))
    destination = open_destination(address)
    export_log(builder.database, "payments", destination)
    before = Objects(address).all()
    builder.append("payments", leaves(1300, 700))
    builder.seal("payments")
    report = export_log(builder.database, "payments", destination)
    after = Objects(address).all()
    # The partial tile of level 1 is still partial: its old width stays for who asks for it.
    assert expected_paths(2000) | {"tile/1/000.p/2"} == set(after)
    kept = set(before) & set(after) - {"checkpoint", "log.json"}
    assert {path: before[path] for path in kept} == {path: after[path] for path in kept}
    assert (700, 2000, 0) == (report.size_before, report.size, report.objects_found)
    assert 2000 == check_export(address, policy_of(builder, log)).size
    again = export_log(builder.database, "payments", destination)
    assert (0, 0) == (again.objects_written, again.objects_found)


@pytest.mark.parametrize(
    "point", ["export.chunk_read", "export.tree_written", "export.manifest_written"]
)
def test_a_killed_export_goes_on(
    builder: LogBuilder, address: str, tmp_path: Path, point: str
) -> None:
    """Killed at any step, an export has no checkpoint that it does not bear out, and goes on."""
    log = builder.filled("payments", leaves(700))
    destination = open_destination(address)
    export_log(builder.database, "payments", destination)
    builder.append("payments", leaves(5000, 700))
    builder.seal("payments")
    kill_export_at(point, builder.url, address, tmp_path)
    assert 700 == check_export(address, policy_of(builder, log)).size
    export_log(builder.database, "payments", destination)
    assert 5700 == check_export(address, policy_of(builder, log)).size
    assert not [path for path in Objects(address).paths() if path.startswith(".writing/")]


def kill_export_at(point: str, url: str, address: str, tmp_path: Path) -> None:
    """Run `tally export` as a process of its own, and kill it at a pause point."""
    reached = tmp_path / "reached"
    environment = {
        **os.environ,
        "TALLY_PAUSE_AT": point,
        "TALLY_PAUSE_FILE": str(reached),
        "TALLY_DATABASE_URL": url,
    }
    command = [sys.executable, "-m", "tallystick", "export", "payments", address]
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        wait_for(lambda: reached.exists() or process.poll() is not None)
        assert reached.exists(), "the export ended before it came to the pause point"
    finally:
        process.kill()
        process.wait()


def wait_for(condition: object) -> None:
    """Wait until *condition* holds."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


class Recording(DirectoryObjects):
    """A directory that remembers in which order objects became visible."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.order: list[str] = []

    def create_object(self, path: str, data: bytes) -> bool:
        """Note the path, then write."""
        self.order.append(path)
        return super().create_object(path, data)

    def replace_object(self, path: str, data: bytes) -> None:
        """Note the path, then write."""
        self.order.append(path)
        super().replace_object(path, data)


def test_the_checkpoint_comes_last(builder: LogBuilder, tmp_path: Path) -> None:
    """The manifest comes behind all tiles and bundles, and the checkpoint behind the manifest."""
    builder.filled("payments", leaves(700))
    recording = Recording(tmp_path)
    export_log(builder.database, "payments", recording)
    assert ["log.json", "checkpoint"] == recording.order[-2:]
    assert expected_paths(700) == set(recording.order)


def test_only_the_published_head_is_exported(builder: LogBuilder, tmp_path: Path) -> None:
    """Entries below the quorum stay at home; with it they go out under their cosignatures."""
    log = builder.filled("payments", leaves(300), witness_quorum=1)
    place = tmp_path / "export"
    objects = Objects(place.as_uri())
    export_log(builder.database, "payments", DirectoryObjects(place))
    assert (["checkpoint", "log.json"], 0) == (objects.paths(), exported_size(objects))
    builder.cosign("payments", 300, witness="witness.example/w1")
    export_log(builder.database, "payments", DirectoryObjects(place))
    assert 2 == len(parse_note(objects.read("checkpoint")).signatures)
    builder.cosign("payments", 300, witness="witness.example/w2")
    report = export_log(builder.database, "payments", DirectoryObjects(place))
    assert 0 == report.objects_written
    assert 3 == len(parse_note(objects.read("checkpoint")).signatures)
    assert 300 == check_export(str(place), policy_of(builder, log)).entries


def test_an_object_that_is_in_the_way_is_named(builder: LogBuilder, address: str) -> None:
    """What lies at a path already must be the same bytes; it is never overwritten."""
    builder.filled("payments", leaves(700))
    Objects(address).write("tile/0/001", b"something else")
    with pytest.raises(ExportConflictError) as caught:
        export_log(builder.database, "payments", open_destination(address))
    assert "tile/0/001" == caught.value.path
    assert b"something else" == Objects(address).read("tile/0/001")
    assert "checkpoint" not in Objects(address).paths()


def test_another_logs_export_is_left_alone(builder: LogBuilder, tmp_path: Path) -> None:
    """A destination that holds another log, another tree or a later head is refused."""
    builder.filled("payments", leaves(700))
    builder.filled("orders", leaves(300))
    export_log(builder.database, "payments", DirectoryObjects(tmp_path))
    exported = Objects(tmp_path.as_uri()).all()
    with pytest.raises(ExportConflictError, match="is an export of"):
        export_log(builder.database, "orders", DirectoryObjects(tmp_path))
    text = exported["checkpoint"]
    for size, words in ((b"900", "knows 900 leaves"), (b"699", "another tree of 699 leaves")):
        (tmp_path / "checkpoint").write_bytes(text.replace(b"\n700\n", b"\n%s\n" % size))
        with pytest.raises(ExportConflictError, match=words):
            export_log(builder.database, "payments", DirectoryObjects(tmp_path))
    (tmp_path / "checkpoint").write_bytes(b"hello\n")
    with pytest.raises(ExportConflictError, match="none"):
        export_log(builder.database, "payments", DirectoryObjects(tmp_path))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE tally.merkle_log SET leaf = 'forged' WHERE leaf_index = 300", "what its tile"),
        ("DELETE FROM tally.merkle_log WHERE leaf_index = 300", "lacks entries"),
        ("DELETE FROM tally.log_tiles WHERE level = 0 AND tile_index = 1", "lacks tile/0/001"),
    ],
)
def test_a_damaged_log_is_not_exported(
    builder: LogBuilder, tmp_path: Path, statement: str, words: str
) -> None:
    """What is not the tree's is not written, because it would never be written anew."""
    builder.filled("payments", leaves(700))
    builder.execute(
        "ALTER TABLE tally.merkle_log DISABLE TRIGGER ALL;"
        f"ALTER TABLE tally.log_tiles DISABLE TRIGGER ALL; {statement}"
    )
    with pytest.raises(DamagedTreeError, match=words):
        export_log(builder.database, "payments", DirectoryObjects(tmp_path))
    assert "tile/entries/001" not in Objects(tmp_path.as_uri()).paths()


def test_a_follower_keeps_the_export_current(builder: LogBuilder, tmp_path: Path) -> None:
    """With --follow each new head is exported soon after it was published."""
    log = builder.filled("payments", leaves(300))
    stop = threading.Event()
    sizes: list[int] = []
    follower = threading.Thread(
        target=follow_log,
        args=(builder.database, "payments", DirectoryObjects(tmp_path)),
        kwargs={
            "stop": stop,
            "every_seconds": 0.01,
            "on_round": lambda report: sizes.append(report.size),
        },
    )
    follower.start()
    try:
        for size in (300, 600, 900):
            wait_for(lambda size=size: sizes and sizes[-1] == size)
            builder.append("payments", leaves(300, size))
            builder.seal("payments")
        wait_for(lambda: sizes[-1] == 1200)
    finally:
        stop.set()
        follower.join()
    assert [300, 600, 900, 1200] == sizes
    assert 1200 == check_export(str(tmp_path), policy_of(builder, log)).entries


def test_a_gap_of_pruned_entries_is_refused(builder: LogBuilder, tmp_path: Path) -> None:
    """An export that ends below the minimum index cannot go on; a new one begins there."""
    log = builder.filled("payments", leaves(300))
    export_log(builder.database, "payments", DirectoryObjects(tmp_path / "old"))
    builder.append("payments", leaves(700, 300))
    builder.seal("payments")
    builder.execute(
        f"UPDATE tally.verification_logs SET minimum_index = 512 WHERE log_id = {log.log_id};"
        f"DELETE FROM tally.merkle_log WHERE log_id = {log.log_id} AND leaf_index < 512"
    )
    with pytest.raises(PrunedError, match="begin a new export"):
        export_log(builder.database, "payments", DirectoryObjects(tmp_path / "old"))
    export_log(builder.database, "payments", DirectoryObjects(tmp_path / "new"))
    checked = check_export(str(tmp_path / "new"), policy_of(builder, log))
    assert (1000, 512, 488) == (checked.size, checked.minimum_index, checked.entries)


def test_places_are_named_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory may be written in three ways; what is no place, or does not answer, says so."""
    spaced = tmp_path / "my export"
    for spelling in (str(spaced), spaced.as_uri(), f"file:{spaced}"):
        assert spaced.as_uri() == open_destination(spelling).url
    for nowhere in ("ftp://host/x", "s3:///x", "https://log.example/x", "", "file://host/x"):
        with pytest.raises(ExportAddressError):
            open_destination(nowhere)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportUnavailableError):
        open_destination(str(tmp_path / "file")).create_object("checkpoint", b"x")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(ExportUnavailableError, match=r"tallystick\[s3\]"):
        open_destination("s3://bucket/prefix")
