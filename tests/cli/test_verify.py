"""`tally verify`: the offline verdict, its words and its exit codes (log.md, 4.3 and 6.4)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.cli import run
from tallystick.tlog import Note, format_note
from tests.support.sealed import SealedLog, vector_leaves, witness_signer

FORBIDDEN = ("psycopg", "litestar", "web3", "pydantic", "granian", "structlog", "rich.table")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a proof, its leaf beside it, and a policy that trusts the log."""
    log = SealedLog(vector_leaves(), witnesses=[witness_signer()])
    (tmp_path / "p.tlog-proof").write_bytes(log.proof(1))
    (tmp_path / "p.leaf").write_bytes(log.leaves[1])
    (tmp_path / "policy").write_bytes(log.policy())
    return tmp_path


def verify(files: Path, *options: str) -> int:
    """Run `tally verify` on the files."""
    return run(["verify", str(files / "p.tlog-proof"), "--policy", str(files / "policy"), *options])


def test_established(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A good proof is established: exit code 0, every step named, and what is not shown."""
    assert verify(files) == 0
    out = capsys.readouterr().out
    for step in ("policy", "format", "log", "witnesses", "tree", "record", "disclosure"):
        assert f"ok   {step}:" in out
    assert "update of public.payment ['42']" in out
    assert "Not shown" in out


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON the verdict has the same facts: origin, index, size, steps, record."""
    assert verify(files, "--json") == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["verdict"] == "established"
    assert (
        verdict["origin"],
        verdict["index"],
        verdict["tree_size"],
    ) == ("log.example/payments", 1, 3)
    assert {"table": "public.payment", "op": "update", "key": ["42"]}.items() <= verdict[
        "record"
    ].items()


@pytest.mark.parametrize("name", ["p.tlog-proof", "p.leaf"])
def test_any_byte_flipped_is_refused(
    files: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """log 1: Any byte of the proof or its leaf flipped ends in exit code 1 with the step named."""
    log = SealedLog(vector_leaves())
    (files / "p.tlog-proof").write_bytes(log.proof(1))
    (files / "policy").write_bytes(log.policy())
    good = (files / name).read_bytes()
    for place in range(len(good)):
        (files / name).write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        code = verify(files)
        out = capsys.readouterr().out
        assert (code, out.count("FAIL ")) == (1, 1), f"byte {place} of {name}"


def test_missing_quorum_is_not_established(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the cosignatures that the policy asks for nothing is false: exit code 6."""
    log = SealedLog(vector_leaves())
    (files / "p.tlog-proof").write_bytes(log.proof(1))
    assert verify(files, "--json") == 6
    out, err = capsys.readouterr()
    verdict = json.loads(out)
    assert (verdict["verdict"], verdict["failed"]) == ("not_established", "witnesses")
    assert verdict["steps"] == ["policy", "format", "log"]
    assert err.startswith("tally: quorum_missing: ")


def test_at_bounds_the_cosignatures(files: Path) -> None:
    """With --at a quorum that came later is none; a time without zone is UTC."""
    assert verify(files, "--at", "2026-01-02T04:00:00") == 0
    assert verify(files, "--at", "2026-01-02T03:00:00") == 6


def test_other_logs_key_is_false(files: Path) -> None:
    """A checkpoint that the log's key did not sign is false: exit code 1."""
    log = SealedLog(vector_leaves(), witnesses=[witness_signer()])
    note = log.note()
    unsigned = Note(note.text, note.signatures[1:])
    (files / "p.tlog-proof").write_bytes(log.proof(1, note=unsigned))
    assert format_note(unsigned) in (files / "p.tlog-proof").read_bytes()
    assert verify(files) == 1


def test_usage(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No policy is usage (2), a policy that is none too, a file that is not there is 3."""
    assert run(["verify", str(files / "p.tlog-proof")]) == 2
    assert capsys.readouterr().err.startswith("tally: usage: ")
    (files / "policy").write_bytes(b"nonsense\n")
    assert verify(files) == 2
    assert verify(files, "--leaf", str(files / "nothing")) == 3


def test_loads_no_driver_and_no_server(files: Path) -> None:
    """log 32: `tally verify` loads neither driver, server nor settings."""
    program = (
        "import sys; from tallystick.cli import run;"
        f"code = run(['verify', {str(files / 'p.tlog-proof')!r},"
        f" '--policy', {str(files / 'policy')!r}]);"
        f"bad = [name for name in {FORBIDDEN!r} if name in sys.modules];"
        "sys.exit(str(bad) if bad else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
