"""
Our trees, notes and witnesses under programs that others wrote, in Go, from the same C2SP pages.

They are not part of this repository: `TALLY_PEER_PROGRAMS` names a folder that holds them, and
what is not there is skipped. What each one checks is told in docs/peers.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.publish.export import export_log, open_destination
from tallystick.publish.witness import create_witness_key, watch_log
from tallystick.publish.witnesses import add_witness, ask_witnesses, log_policy
from tallystick.record import cosignature_verifier
from tallystick.seal.logs import list_keys
from tallystick.seal.sources import add_source
from tallystick.tlog import (
    AddCheckpoint,
    TreeSize,
    check_cosignatures,
    format_add_checkpoint,
    parse_note,
)
from tallystick.verify import LeafNotIncludedError, check_leaf
from tests.http.conftest import TOKEN
from tests.peers.programs import needs, run_peer, running_litewitness
from tests.support.sealed import SealedLog

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.http.conftest import Running

MANY = 70_000
"""More than one tile of tiles: 256 x 256 leaves fill one tile of level 1."""
LONGEST_ENTRY = 65_535
TLOG_PROOF = b"c2sp.org/tlog-proof@v1\n"
"""The line that spicy, which is older than the format, leaves out."""
FEW = 600
"""Two full tiles of leaf hashes, a partial one, and a partial one above them."""


def vkey_of(server: Running, name: str) -> str:
    """The verifier key of a log."""
    with server.builder.database.transaction(read_only=True) as tx:
        [key] = list_keys(tx, name)
    return str(key.vkey)


def fsck(
    server: Running, name: str, place: Path, url: str, **more: str
) -> subprocess.CompletedProcess[str]:
    """Let Tessera's fsck check the tree at *url* against the key of the log."""
    key_file = place / "log.vkey"
    key_file.write_text(vkey_of(server, name))
    arguments = {"storage_url": url, "public_key": key_file, "ui": "false", "N": 4, **more}
    return run_peer("fsck", *(f"--{flag}={value}" for flag, value in arguments.items()))


def export(server: Running, name: str, directory: Path) -> Path:
    """Export a log into *directory*."""
    export_log(server.builder.database, name, open_destination(directory.as_uri()))
    return directory


def fill_by_rows(server: Running, name: str, rows: int) -> None:
    """Make a log whose leaves are the rows of a table, but for a shortest and a longest entry."""
    builder = server.builder
    builder.create(name, visibility="public")
    builder.execute("CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric, note text)")
    with builder.database.transaction() as tx:
        add_source(tx, name, "payment")
    builder.append(name, [b"x", bytes(LONGEST_ENTRY)])
    with psycopg.connect(builder.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO payment SELECT n, n / 100.0, 'café' FROM generate_series(1, %s) AS n",
            (rows - 2,),
        )
    assert rows == server.seal(name)


@needs("fsck")
@pytest.mark.slow
def test_fsck_passes_on_a_log_of_ours(server: Running, tmp_path: Path) -> None:
    """log 2: Tessera's fsck passes on 70,000 entries of ours, over HTTP and as exported files."""
    fill_by_rows(server, "payments", MANY)
    directory = export(server, "payments", tmp_path / "export")
    for url in (f"{server.url}/logs/payments/", f"{directory.as_uri()}/"):
        checked = fsck(server, "payments", tmp_path, url)
        assert (0, url) == (checked.returncode, url), checked.stderr


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@needs("fsck")
@pytest.mark.parametrize(
    ("path", "change"),
    [
        pytest.param("tile/entries/001", flip, id="an entry"),
        pytest.param("tile/entries/002.p/88", flip, id="an entry of the last bundle"),
        pytest.param("tile/0/000", flip, id="a leaf hash"),
        pytest.param("tile/1/000.p/2", flip, id="a node"),
        pytest.param("checkpoint", flip, id="the checkpoint"),
        pytest.param("tile/0/001", Path.unlink, id="a missing tile"),
        pytest.param("tile/entries/000", Path.unlink, id="a missing bundle"),
    ],
)
def test_fsck_refuses_what_was_changed(
    server: Running, tmp_path: Path, path: str, change: Callable[[Path], None]
) -> None:
    """An export that fsck accepts is refused once one bit or one object of it is gone."""
    server.builder.filled("payments", [b"leaf %d" % number for number in range(FEW)])
    directory = export(server, "payments", tmp_path / "export")
    url = f"{directory.as_uri()}/"
    assert 0 == fsck(server, "payments", tmp_path, url).returncode
    change(directory / path)
    assert 0 != fsck(server, "payments", tmp_path, url).returncode


@needs("fsck")
@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, FEW])
def test_fsck_passes_at_every_shape_of_the_right_edge(
    server: Running, tmp_path: Path, size: int
) -> None:
    """Where the last tile is one hash, full or just begun, fsck reads it under the right name."""
    server.builder.filled("edges", [b"%d" % number for number in range(size)], visibility="hashes")
    directory = export(server, "edges", tmp_path / "export")
    checked = fsck(server, "edges", tmp_path, f"{directory.as_uri()}/")
    assert 0 == checked.returncode, checked.stderr


@needs("fsck")
def test_fsck_reads_a_private_log_with_a_key(server: Running, tmp_path: Path) -> None:
    """A private log passes fsck where it brings an API key, and shows it nothing without."""
    server.builder.filled("payments", [b"%d" % number for number in range(FEW)])
    server.services.publisher.refresh()
    url = f"{server.url}/logs/payments/"
    checked = fsck(server, "payments", tmp_path, url, bearer_token=TOKEN)
    assert 0 == checked.returncode, checked.stderr
    assert 0 != fsck(server, "payments", tmp_path, url).returncode


@needs("litewitness", "witnessctl")
def test_litewitness_cosigns_our_log(server: Running, tmp_path: Path) -> None:
    """A log that wants one witness publishes what litewitness cosigned, and its proofs verify."""
    builder = server.builder
    log = builder.create("payments", visibility="public", witness_quorum=1)
    vkey = vkey_of(server, "payments")
    with running_litewitness(
        tmp_path, name="peer.example/witness", origin=log.origin, vkeys=[vkey]
    ) as witness:
        with builder.database.transaction() as tx:
            add_witness(tx, "payments", vkey=witness.vkey, url=witness.url, allow_private_http=True)
        for size in (1, 2, 300):
            builder.append("payments", [b"leaf %d" % size] * (size - builder.seal("payments")))
            assert size == builder.seal("payments")
            answers = ask_witnesses(builder.database, "payments")
            assert ["Cosigned"] == [type(answer).__name__ for answer in answers]
    server.services.publisher.refresh()
    proof = server.anonymous.get(
        "/logs/payments/proof?index=1", headers={"Accept": "text/plain"}
    ).content
    with builder.database.transaction(read_only=True) as tx:
        policy = log_policy(tx, "payments")
    verified = check_leaf(proof, leaf=b"leaf 2", policy=policy)
    assert ["peer.example/witness"] == [one.name for one in verified.cosignatures]


@needs("litewitness", "witnessctl")
def test_litewitness_is_met_where_it_stands(server: Running, tmp_path: Path) -> None:
    """A litewitness that knows another size than we thought answers 409, and cosigns then."""
    builder = server.builder
    log = builder.filled("payments", [b"a", b"b", b"c"], visibility="public")
    server.services.publisher.refresh()
    note = server.anonymous.get("/logs/payments/checkpoint").content
    with running_litewitness(
        tmp_path,
        name="peer.example/witness",
        origin=log.origin,
        vkeys=[vkey_of(server, "payments")],
    ) as witness:
        first = AddCheckpoint(TreeSize(0), (), parse_note(note))
        told = httpx.post(f"{witness.url}/add-checkpoint", content=format_add_checkpoint(first))
        assert 200 == told.status_code, told.text
        with builder.database.transaction() as tx:
            add_witness(tx, "payments", vkey=witness.vkey, url=witness.url, allow_private_http=True)
        builder.append("payments", [b"d", b"e"])
        builder.seal("payments")
        answers = ask_witnesses(builder.database, "payments")
        assert ["Cosigned"] == [type(answer).__name__ for answer in answers]


@needs("spicy")
def test_spicy_verifies_our_proof(server: Running, tmp_path: Path) -> None:
    """Without its first line a tlog-proof is torchwood's older format, and spicy verifies it."""
    leaves = [b"leaf %d" % number for number in range(FEW)]
    server.builder.filled("payments", leaves, visibility="public")
    server.services.publisher.refresh()
    vkey = vkey_of(server, "payments")
    for index in (0, 255, 256, FEW - 1):
        proof = server.anonymous.get(
            f"/logs/payments/proof?index={index}", headers={"Accept": "text/plain"}
        ).content
        asset = tmp_path / f"{index}"
        asset.with_suffix(".spicy").write_bytes(proof.removeprefix(TLOG_PROOF))
        asset.write_bytes(leaves[index])
        checked = run_peer("spicy", "-verify", vkey, asset)
        assert 0 == checked.returncode, checked.stderr
        asset.write_bytes(leaves[index] + b"!")
        assert 0 != run_peer("spicy", "-verify", vkey, asset).returncode


@dataclass
class SpicyLog:
    """A log that spicy keeps in a directory: what it signs, proves and holds."""

    place: Path
    vkey: str
    leaves: list[bytes] = field(default_factory=list)

    @classmethod
    def begin(cls, place: Path, origin: str) -> SpicyLog:
        """Let spicy make an empty log with a key of its own."""
        (place / "assets").mkdir(parents=True)
        arguments = ("-init", origin, "-key", place / "key", "-assets", place / "assets")
        made = run_peer("spicy", *arguments)
        found = re.search(r"Public key: (\S+)", made.stderr)
        assert found is not None, made.stderr
        return cls(place, found[1])

    def append(self, *leaves: bytes) -> list[bytes]:
        """Append entries; return their proofs, with the line that makes each a tlog-proof."""
        files = []
        for number, leaf in enumerate(leaves, len(self.leaves)):
            files.append(self.place / f"file-{number}")
            files[-1].write_bytes(leaf)
        places = ("-key", self.place / "key", "-assets", self.place / "assets")
        run_peer("spicy", *places, *files).check_returncode()
        self.leaves += leaves
        return [TLOG_PROOF + Path(f"{file}.spicy").read_bytes() for file in files]

    def add_checkpoint(self, old_size: int) -> bytes:
        """The request by which a witness that knows *old_size* is asked for the newest head."""
        note = parse_note((self.place / "assets/latest").read_bytes())
        growth = SealedLog(self.leaves).growth(old_size) if old_size else []
        return format_add_checkpoint(AddCheckpoint(TreeSize(old_size), tuple(growth), note))


@needs("spicy")
def test_we_verify_what_spicy_proves(tmp_path: Path) -> None:
    """The proofs of a log that spicy keeps verify here, and those of changed files do not."""
    log = SpicyLog.begin(tmp_path / "spicy", "peer.example/log")
    leaves = [b"file %d" % number for number in range(11)]
    proofs = log.append(*leaves[:4]) + log.append(*leaves[4:])
    policy = f"log {log.vkey}\nquorum none\n".encode()
    for index, (leaf, proof) in enumerate(zip(leaves, proofs, strict=True)):
        verified = check_leaf(proof, leaf=leaf, policy=policy)
        assert index == verified.index
        with pytest.raises(LeafNotIncludedError):
            check_leaf(proof, leaf=leaf + b"!", policy=policy)


@needs("spicy")
def test_our_witness_cosigns_the_log_of_spicy(server: Running, tmp_path: Path) -> None:
    """Our witness follows a log that spicy signs, and its cosignature verifies under our key."""
    log = SpicyLog.begin(tmp_path / "spicy", "peer.example/log")
    with server.builder.database.transaction() as tx:
        key = create_witness_key(tx, server.builder.keys, "tally.example/witness")
        watch_log(tx, [log.vkey], contact="peer")
    url = f"{server.url}/api/v1/witness/add-checkpoint"
    known = 0
    for more in (1, 2, 7):
        log.append(*(b"file %d" % number for number in range(known, known + more)))
        asked = log.add_checkpoint(known)
        answer = httpx.post(url, content=asked)
        assert 200 == answer.status_code, answer.text
        note = parse_note((log.place / "assets/latest").read_bytes() + answer.content)
        [cosignature] = check_cosignatures(note, [cosignature_verifier(key.vkey)])
        assert "tally.example/witness" == cosignature.name
        known += more
    stale = httpx.post(url, content=log.add_checkpoint(1))
    assert (409, "text/x.tlog.size", "10\n") == (
        stale.status_code,
        stale.headers["Content-Type"],
        stale.text,
    )
