"""The programs of others that our trees are shown to; docs/peers.md says what each one checks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.http.conftest import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = os.environ.get("TALLY_PEER_PROGRAMS")
RUN_SECONDS = 300
START_SECONDS = 30
VKEY_LINE = re.compile(r'vkey="?([^\s"]+)')


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test before anything is set up for it, where one of the programs is absent."""
    absent = [name for name in names if not FOLDER or not (Path(FOLDER) / name).is_file()]
    reason = f"TALLY_PEER_PROGRAMS names no folder with {', '.join(absent)}: see docs/peers.md"
    return pytest.mark.skipif(bool(absent), reason=reason)


def peer(name: str) -> Path:
    """Return the program *name* of the folder of peers; the test said that it needs it."""
    assert FOLDER is not None
    return Path(FOLDER) / name


def run_peer(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a peer to its end, whatever its verdict."""
    command = [str(peer(name)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)


@dataclass(frozen=True)
class Litewitness:
    """A running witness of torchwood's: where it is asked, and its key."""

    url: str
    vkey: str


@contextlib.contextmanager
def running_litewitness(
    place: Path, *, name: str, origin: str, vkeys: Sequence[str]
) -> Iterator[Litewitness]:
    """Yield a litewitness that watches the log of *origin*, with a fresh key in an ssh-agent."""
    program = peer("litewitness")
    database = place / "litewitness.db"
    run_peer("witnessctl", "add-log", "-db", database, "-origin", origin).check_returncode()
    for vkey in vkeys:
        known = run_peer("witnessctl", "add-key", "-db", database, "-origin", origin, "-key", vkey)
        known.check_returncode()
    words = place / "litewitness.err"
    port = free_port()
    with running_agent(place) as (socket, fingerprint), words.open("w") as out:
        command = [program, "-name", name, "-db", database, "-ssh-agent", socket]
        command += ["-key", fingerprint, "-listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stderr=out)
        try:
            url = f"http://127.0.0.1:{port}"
            await_answer(url, process)
            found = VKEY_LINE.search(words.read_text())
            assert found is not None, words.read_text()
            yield Litewitness(url, found[1])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(START_SECONDS)


@contextlib.contextmanager
def running_agent(place: Path) -> Iterator[tuple[Path, str]]:
    """Yield the socket of an ssh-agent that holds one fresh key, and the key's fingerprint."""
    tools = {tool: shutil.which(tool) for tool in ("ssh-agent", "ssh-add", "ssh-keygen")}
    if None in tools.values():
        pytest.skip("OpenSSH is not installed: litewitness signs through its agent")
    key, socket = place / "witness_key", place / "agent"
    generate = [tools["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key]
    subprocess.run(generate, check=True)
    shown = subprocess.run(
        [tools["ssh-keygen"], "-l", "-f", key], check=True, capture_output=True, text=True
    )
    agent = subprocess.Popen([tools["ssh-agent"], "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        await_file(socket)
        environment = os.environ | {"SSH_AUTH_SOCK": str(socket)}
        subprocess.run([tools["ssh-add"], "-q", key], check=True, env=environment)
        yield socket, shown.stdout.split()[1]
    finally:
        agent.terminate()
        agent.wait(START_SECONDS)


def await_file(path: Path) -> None:
    """Wait until *path* exists."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.02)


def await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers at *url*, as long as *process* lives."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            httpx.get(url)
            return
        time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")
