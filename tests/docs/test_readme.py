"""The README's quick start, run as it stands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tallystick.cli.exits import exit_code
from tallystick.verify import VerificationError, VerifiedLeaf, check_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
START_SECONDS = 60


def quick_start() -> str:
    """Return the commands of the README's verified proof."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(r"## A verified proof.*?```sh\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture
def environment(postgres_bin: Path | None) -> dict[str, str]:
    """The environment of `./dev shell`, with the PostgreSQL that the run was told to test on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    if postgres_bin is not None:
        kept["TALLY_POSTGRES_BIN"] = str(postgres_bin)
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def place(tmp_path: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A directory in which `tally up` runs."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = str(trial.getsockname()[1])
    told = tmp_path / "up.json"
    with told.open("wb") as out, (tmp_path / "up.log").open("wb") as err:
        process = subprocess.Popen(
            ["tally", "up", "--json", "--port", port],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not told.read_bytes().rstrip().endswith(b"}"):
            assert process.poll() is None, (tmp_path / "up.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (tmp_path / "up.log").read_text()[-2000:]
            time.sleep(0.05)
        assert json.loads(told.read_bytes())["url"] == f"http://127.0.0.1:{port}"
        yield tmp_path
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0


@pytest.mark.slow
def test_quick_start_ends_in_a_verified_proof(place: Path, environment: dict[str, str]):
    """log 1: `tally up` on an empty directory and the README's quick start end in `verify` exit 0;
    any byte of the file flipped: exit 1, step named.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", quick_start()],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().splitlines()[-1].startswith("ESTABLISHED")
    files = {name: (place / f"p.{name}").read_bytes() for name in ("tlog-proof", "leaf", "policy")}
    assert verdict(files).record.row == {"id": "42", "amount": "10.50"}
    # The policy is whose verdict it is: it is no evidence, and needs no guard against forgers.
    for name in ("tlog-proof", "leaf"):
        data = files[name]
        for at in range(len(data)):
            with pytest.raises(VerificationError) as raised:
                verdict({**files, name: flip(data, at)})
            assert (exit_code(raised.value), bool(raised.value.step_name)) == (1, True), (name, at)

    (place / "p.leaf").write_bytes(flip(files["leaf"], 100))
    refused = subprocess.run(
        ["tally", "verify", "p.tlog-proof", "--policy", "p.policy"],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1].startswith("FAIL tree:")


def verdict(files: dict[str, bytes]) -> VerifiedLeaf:
    """Return what `tally verify` establishes of a proof, its leaf and a policy."""
    return check_leaf(files["tlog-proof"], leaf=files["leaf"], policy=files["policy"])


def flip(data: bytes, at: int) -> bytes:
    """Return *data* with one bit of its byte *at* flipped."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
