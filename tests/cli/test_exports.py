"""`tally export`, `tally check-export` and `tally prune` on a real database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Tally
from tests.support.log_builder import LogBuilder

PATIENCE_SECONDS = 60


@pytest.fixture
def builder(database_url: str, tmp_path: Path) -> Iterator[LogBuilder]:
    """A log of 600 leaves, to be retained until yesterday."""
    made = LogBuilder(database_url, tmp_path / "keys")
    made.filled("payments", [b"leaf %d" % number for number in range(600)])
    made.execute("UPDATE tally.verification_logs SET retain_until = now() - interval '1 day'")
    yield made
    made.close()


def policy_file(builder: LogBuilder, tmp_path: Path) -> str:
    """A policy that trusts the log."""
    [(vkey,)] = builder.execute("SELECT vkey FROM tally.log_keys")
    path = tmp_path / "policy"
    path.write_text(f"log {vkey}\nquorum none\n")
    return str(path)


def test_a_log_is_exported_checked_and_pruned(
    tally: Tally, builder: LogBuilder, tmp_path: Path
) -> None:
    """log 26: Three commands take a log's old entries out of the database, safely."""
    export, policy = str(tmp_path / "export"), policy_file(builder, tmp_path)
    said = tally("export", "payments", export)
    assert (0, True) == (said.code, said.out.startswith("payments: 0 -> 600 leaves at file://"))
    assert 600 == tally("export", "payments", export, "--json").json["size"]
    early = tally("prune", "payments", "--to", "512", "--export", export, "--reason", "old")
    assert (4, True) == (early.code, early.err.startswith("tally: prune_refused: log payments"))
    checked = tally("check-export", export, "--trust", policy, "--record", "payments", "--json")
    assert (0, 600) == (checked.code, checked.json["entries"])
    pruned = tally("prune", "payments", "--to", "512", "--export", export, "--reason", "old")
    assert (0, "512 leaves deleted") == (
        pruned.code,
        pruned.out.partition("; ")[2].partition(",")[0],
    )
    assert 512 == tally("log", "show", "payments", "--json").json["minimum_index"]


def test_a_check_needs_no_database(tally: Tally, builder: LogBuilder, tmp_path: Path) -> None:
    """Whoever has an export and a policy checks it offline; exit codes say how it ended."""
    export, policy = tmp_path / "export", policy_file(builder, tmp_path)
    tally("export", "payments", str(export))
    nowhere = str(tmp_path / "nowhere")

    def check() -> tuple[int, str]:
        ran = tally.bare("check-export", str(export), "--trust", policy, "--data", nowhere)
        return ran.code, ran.err

    assert (0, "") == check()
    bundle = (export / "tile/entries/000").read_bytes()
    (export / "tile/entries/000").write_bytes(bundle[:-1] + b"x")
    assert (
        1,
        "tally: export_object: tile/entries/000 does not lead to the signed root\n",
    ) == check()
    (export / "tile/entries/000").unlink()
    assert (6, "tally: missing_object: tile/entries/000 is not there\n") == check()


def test_an_export_follows_until_it_is_told_to_stop(builder: LogBuilder, tmp_path: Path) -> None:
    """`tally export --follow` writes each new head, and ends by SIGTERM with exit code 0."""
    command = [sys.executable, "-m", "tallystick", "export", "payments", str(tmp_path / "export")]
    process = subprocess.Popen(
        [*command, "--follow", "--every", "0.1"],
        env={**os.environ, "TALLY_DATABASE_URL": builder.url},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("payments: 0 -> 600 leaves")
        builder.append("payments", [b"one more"])
        builder.seal("payments")
        assert process.stdout.readline().startswith("payments: 600 -> 601 leaves")
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
