"""Checking exports: whatever was planted is named, on a directory, an S3 store and the web."""

from __future__ import annotations

import contextlib
import functools
import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from tallystick.publish.errors import ExportConflictError, ExportUnavailableError
from tallystick.publish.export import check_export, export_log, open_destination, record_check
from tallystick.publish.export.manifest import (
    FORMAT,
    ExportKey,
    Manifest,
    format_manifest,
    parse_manifest,
)
from tallystick.publish.export.objects import DirectoryObjects
from tallystick.seal.audit import audit_log
from tallystick.tlog import (
    LeafIndex,
    Tile,
    TlogProof,
    TreeSize,
    format_entry_bundle,
    format_tile_path,
    format_tlog_proof,
    format_verifier_key,
    parse_note,
    prove_inclusion,
    tiles_of,
)
from tallystick.verify import (
    ExportObjectError,
    LogSignatureError,
    MissingObjectError,
    UntrustedLogError,
    VerificationError,
    check_leaf,
)
from tests.publish.export.places import Objects, policy_of
from tests.support.sealed import ORIGIN, SealedLog, log_signer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.log_builder import LogBuilder

LEAVES = [f"entry {number}".encode() for number in range(600)]
LOG = SealedLog(LEAVES)
OTHER = SealedLog(LEAVES, origin="log.example/orders", signers=[log_signer("log.example/orders")])


def manifest_of(log: SealedLog, **members: object) -> bytes:
    """The log.json of a log in memory; *members* overrides what it says."""
    keys = tuple(
        ExportKey(format_verifier_key(signer.verifier_key), 0, None) for signer in log.signers
    )
    said: dict[str, object] = {
        "format": FORMAT,
        "log": log.origin.rpartition("/")[2],
        "origin": log.origin,
        "mode": "full",
        "minimum_index": 0,
        "keys": keys,
        "predecessor": None,
    }
    return format_manifest(Manifest(**(said | members)))  # type: ignore[arg-type]


EXPORT = {**LOG.objects(), "log.json": manifest_of(LOG)}


def flipped(path: str, position: int) -> dict[str, bytes]:
    """The object at *path* with one bit changed."""
    data = bytearray(EXPORT[path])
    data[position] ^= 1
    return {path: bytes(data)}


def resized(size: int) -> bytes:
    """The signed note of 300 leaves, which says *size* instead."""
    return LOG.note_bytes(300).replace(b"\n300\n", b"\n%d\n" % size)


def forged_note() -> bytes:
    """The true checkpoint, signed by nobody's key under the log's name."""
    return SealedLog(LEAVES, signers=[log_signer(secret=b"\x07" * 32)]).note_bytes()


FAULTS: dict[str, tuple[dict[str, bytes | None], type[VerificationError], str]] = {
    "a flipped byte in an entry": (
        flipped("tile/entries/001", 20),
        ExportObjectError,
        "tile/entries/001",
    ),
    "a flipped byte in a tile of level 0": (
        flipped("tile/0/001", 40),
        ExportObjectError,
        "tile/0/001",
    ),
    "a flipped byte in a tile of level 1": (
        flipped("tile/1/000.p/2", 40),
        ExportObjectError,
        "tile/1/000.p/2",
    ),
    "an entry and its tile, both changed": (
        {
            "tile/entries/000": format_entry_bundle([b"forged", *LEAVES[1:256]]),
            "tile/0/000": SealedLog([b"forged", *LEAVES[1:256]]).read_tiles([Tile(0, 0)])[0],
        },
        ExportObjectError,
        "tile/1/000.p/2",
    ),
    "a missing tile": ({"tile/0/000": None}, MissingObjectError, "tile/0/000"),
    "a missing bundle": ({"tile/entries/001": None}, MissingObjectError, "tile/entries/001"),
    "a truncated bundle": (
        {"tile/entries/000": EXPORT["tile/entries/000"][:-3]},
        ExportObjectError,
        "tile/entries/000",
    ),
    "an entry too many": (
        {"tile/entries/002.p/88": format_entry_bundle([*LEAVES[512:], b"more"])},
        ExportObjectError,
        "tile/entries/002.p/88",
    ),
    "two entries in each other's places": (
        {"tile/entries/000": format_entry_bundle([LEAVES[1], LEAVES[0], *LEAVES[2:256]])},
        ExportObjectError,
        "tile/entries/000",
    ),
    "a partial tile of another width": (
        {"tile/0/002.p/88": EXPORT["tile/0/002.p/88"][:-32]},
        ExportObjectError,
        "tile/0/002.p/88",
    ),
    "a forged signature": ({"checkpoint": forged_note()}, LogSignatureError, ""),
    "another log's checkpoint": ({"checkpoint": OTHER.note_bytes()}, UntrustedLogError, ""),
    "an older note with a larger size": ({"checkpoint": resized(600)}, LogSignatureError, ""),
    "a missing checkpoint": ({"checkpoint": None}, MissingObjectError, "checkpoint"),
    "a manifest of another log": (
        {"log.json": manifest_of(OTHER)},
        ExportObjectError,
        "log.json",
    ),
    "a manifest that hides entries": (
        {"log.json": manifest_of(LOG, minimum_index=1024)},
        ExportObjectError,
        "log.json",
    ),
    "a manifest with another key": (
        {"log.json": manifest_of(LOG, keys=())},
        ExportObjectError,
        "log.json",
    ),
    "a manifest that is none": ({"log.json": b'{"format":"x"}'}, ExportObjectError, "log.json"),
    "a missing manifest": ({"log.json": None}, MissingObjectError, "log.json"),
}


def plant(objects: Objects, changes: dict[str, bytes | None]) -> None:
    """Write a whole export, and then the fault."""
    for path, data in {**EXPORT, **changes}.items():
        if data is not None:
            objects.write(path, data)


def test_ten_planted_faults_and_more_are_named(address: str) -> None:
    """log 26: check-export names each of nineteen planted faults, in a directory and in S3."""
    found = {}
    for number, (fault, (changes, _, _)) in enumerate(FAULTS.items()):
        place = f"{address}/{number}"
        plant(Objects(place), changes)
        with pytest.raises(VerificationError) as caught:
            check_export(place, LOG.policy())
        found[fault] = (type(caught.value), getattr(caught.value, "path", ""))
    assert {fault: (error, path) for fault, (_, error, path) in FAULTS.items()} == found


def test_the_export_that_the_faults_are_planted_in_is_whole(address: str) -> None:
    """Without a fault the same export passes."""
    plant(Objects(address), {})
    checked = check_export(address, LOG.policy())
    assert (600, 600, ORIGIN) == (checked.size, checked.entries, checked.origin)


@contextlib.contextmanager
def web_server(directory: Path) -> Iterator[str]:
    """Serve a directory as any static web server does, and yield its URL."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_static_web_server_serves_a_log(tmp_path: Path) -> None:
    """Whatever serves files serves the log: it is checked over HTTP as it is on disk."""
    plant(Objects(tmp_path.as_uri()), {})
    with web_server(tmp_path) as url:
        assert 600 == check_export(f"{url}/", LOG.policy()).entries
        (tmp_path / "tile/0/001").unlink()
        with pytest.raises(MissingObjectError) as caught:
            check_export(url, LOG.policy())
        assert "tile/0/001" == caught.value.path
    with pytest.raises(ExportUnavailableError):
        check_export(url, LOG.policy())


def test_a_partial_object_may_be_gone_once_it_is_full(tmp_path: Path) -> None:
    """A checkpoint that was read before its tiles became full is still borne out by those."""
    younger = SealedLog([b"entry %d" % number for number in range(1024)])
    plant(Objects(tmp_path.as_uri()), {})
    for path in ("tile/0/002.p/88", "tile/entries/002.p/88"):
        (tmp_path / path).unlink()
    full = {path: data for path, data in younger.objects().items() if path.endswith("/002")}
    for path, data in full.items():
        Objects(tmp_path.as_uri()).write(path, data)
    assert 600 == check_export(str(tmp_path), LOG.policy()).entries


class Files:
    """The tiles of an export as a `tlog.HashReader`: all that a client needs to prove."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the bytes of the tiles' files."""
        return [(self._directory / format_tile_path(tile)).read_bytes() for tile in tiles]


def test_proofs_are_made_from_the_files_alone(builder: LogBuilder, tmp_path: Path) -> None:
    """A client with the files and no server makes a proof that the offline verifier accepts."""
    leaves = [b"leaf %d" % number for number in range(700)]
    log = builder.filled("payments", leaves)
    export_log(builder.database, "payments", DirectoryObjects(tmp_path / "export"))
    note = parse_note((tmp_path / "export" / "checkpoint").read_bytes())
    for index in (0, 255, 256, 699):
        hashes = prove_inclusion(
            Files(tmp_path / "export"), index=LeafIndex(index), size=TreeSize(700)
        )
        proof = format_tlog_proof(TlogProof(LeafIndex(index), tuple(hashes), note))
        verified = check_leaf(proof, leaf=leaves[index], policy=policy_of(builder, log))
        assert index == verified.index


def test_seventy_thousand_entries_lie_as_the_specification_counts_them(
    builder: LogBuilder, tmp_path: Path
) -> None:
    """70,000 entries are the tiles of tlog-tiles' own example, checked by two processes."""
    log = builder.filled("payments", [b"leaf %d" % number for number in range(70_000)])
    export_log(builder.database, "payments", DirectoryObjects(tmp_path / "export"))
    paths = set(Objects((tmp_path / "export").as_uri()).paths())
    assert 273 == sum(path.startswith("tile/0/") and ".p/" not in path for path in paths)
    partial = {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1", "tile/entries/273.p/112"}
    assert partial == {path for path in paths if ".p/" in path}
    assert "tile/1/000" in paths
    assert 2 * 274 + 4 + 1 == len(paths)
    policy = policy_of(builder, log)
    assert 70_000 == check_export(str(tmp_path / "export"), policy, processes=2).entries
    for path in ("tile/1/000", "tile/2/000.p/1", "tile/entries/270"):
        whole = (tmp_path / "export" / path).read_bytes()
        (tmp_path / "export" / path).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(ExportObjectError) as caught:
            check_export(str(tmp_path / "export"), policy, processes=2)
        assert path == caught.value.path
        (tmp_path / "export" / path).write_bytes(whole)


def recorded(builder: LogBuilder) -> list[tuple[object, ...]]:
    """What the audits say of exports."""
    return builder.execute(
        "SELECT a.kind, a.verdict, a.tree_size, a.counts #>> '{export,minimum_index}', f.kind,"
        " a.counts #>> '{refused,path}'"
        " FROM tally.audits AS a LEFT JOIN tally.audit_findings AS f ON f.audit_id = a.audit_id"
        " ORDER BY a.audit_id"
    )


def test_the_verdict_is_recorded(builder: LogBuilder, tmp_path: Path) -> None:
    """With a database the verdict is an audit of kind export, clean or with what was found."""
    log = builder.filled("payments", [b"leaf %d" % number for number in range(300)])
    address = str(tmp_path / "export")
    export_log(builder.database, "payments", open_destination(address))
    check: Callable[[], object] = functools.partial(check_export, address, policy_of(builder, log))
    record_check(builder.database, "payments", address, check)
    (tmp_path / "export" / "tile/entries/000").unlink()
    with pytest.raises(MissingObjectError):
        record_check(builder.database, "payments", address, check)
    assert [
        ("export", "clean", 300, "0", None, None),
        ("export", "findings", 300, None, "leaf_missing", "tile/entries/000"),
    ] == recorded(builder)
    assert audit_log(builder.database, "payments").is_clean


def test_a_check_is_recorded_for_its_own_log_alone(builder: LogBuilder, tmp_path: Path) -> None:
    """An export of one log says nothing of another, and is not recorded there."""
    log = builder.filled("payments", [b"a"])
    builder.filled("orders", [b"b"])
    address = str(tmp_path / "export")
    export_log(builder.database, "payments", open_destination(address))
    with pytest.raises(ExportConflictError):
        record_check(
            builder.database,
            "orders",
            address,
            functools.partial(check_export, address, policy_of(builder, log)),
        )
    assert [] == recorded(builder)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, manifest_of(LOG, minimum_index=-1)],
)
def test_a_manifest_of_anybody_ends_in_a_named_error(data: bytes) -> None:
    """Whatever lies at log.json is parsed or refused by name."""
    with pytest.raises(ExportObjectError) as caught:
        parse_manifest(data)
    assert "log.json" == caught.value.path


def test_every_tile_of_the_planted_export_is_the_trees() -> None:
    """The export that faults are planted in has each tile of its tree."""
    assert {format_tile_path(tile) for tile in tiles_of(LOG.size)} < set(EXPORT)
