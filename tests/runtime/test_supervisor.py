"""`tally up` as a whole: one process tree, its quick start, its end (log.md, section 6.4)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tallystick.cli import run
from tallystick.client import Client, NotFoundProblem
from tests.runtime.conftest import tally_process, until

START_SECONDS = 90.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@dataclass
class Up:
    """A running `tally up`."""

    process: subprocess.Popen[bytes]
    facts: dict[str, Any]
    output: Path

    @property
    def database_url(self) -> str:
        """How psql reaches its database."""
        return Path(self.facts["database_file"]).read_text().strip()

    @property
    def data(self) -> str:
        """Its data directory."""
        return str(self.facts["data_dir"])

    def client(self) -> Client:
        """The client with the operator's key."""
        return Client(self.facts["url"], Path(self.facts["operator_key"]).read_text().strip())

    def tally(self, *arguments: str) -> str:
        """Run a command from another shell, as an operator would; it must succeed."""
        return tally_from_a_shell(self.data, *arguments)

    def tree(self) -> dict[int, str]:
        """Every process below the supervisor, by pid, with its command line."""
        return descendants(self.process.pid)

    def execute(self, text: str) -> list[tuple[Any, ...]]:
        """Run *text* in the database and return its rows."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description else []


def tally_from_a_shell(data: str, *arguments: str) -> str:
    """Run `tally` as a process on the data directory, and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", *arguments, "--data", data],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def descendants(pid: int) -> dict[int, str]:
    """Every process below *pid*, by pid, with its command line."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ")
                found[child] = words.decode()
                found |= descendants(child)
    return found


def find(tree: dict[int, str], word: str) -> int:
    """The pid of the one direct child whose command line has *word*."""
    [pid] = [pid for pid, words in tree.items() if word in words and "postgres:" not in words]
    return pid


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for does not."""
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


@contextlib.contextmanager
def running(data: Path, port: int, output: Path, *, dev_chain: bool = False) -> Iterator[Up]:
    """Run `tally up` on *data*; whatever is left of it at the end is killed."""
    output.unlink(missing_ok=True)
    arguments = ("up", "--data", str(data), "--port", str(port), "--json")
    # What the dev chain adds is shown in tests/runtime/devchain/test_up.py.
    environment = {"TALLY_DEV_CHAIN": "true" if dev_chain else "false"}
    with tally_process(*arguments, environment=environment, output=output) as process:
        pids: dict[int, str] = {}
        try:
            facts = wait_for_facts(process, output)
            up = Up(process, facts, output)
            pids = up.tree()
            yield up
        finally:
            # What the tests look for, they must not leave behind either.
            for pid in pids | descendants(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def wait_for_facts(process: subprocess.Popen[bytes], output: Path) -> dict[str, Any]:
    """Wait for what `tally up --json` prints once HTTP answers."""

    def facts() -> dict[str, Any] | None:
        text = output.read_text()
        assert process.poll() is None, text
        start = text.find("{\n")
        end = text.find("\n}\n", start)
        return json.loads(text[start : end + 3]) if start >= 0 and end >= 0 else None

    until(facts, seconds=START_SECONDS, what="`tally up` did not come up")
    found = facts()
    assert found is not None
    return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`tally up` on an empty directory."""
    with running(tmp_path / "data", free_port(), tmp_path / "output") as started:
        yield started


@contextlib.contextmanager
def load(url: str, log_url: str) -> Iterator[None]:
    """Writers of rows and readers of a checkpoint, for whom an end of the server is no failure."""
    stop = threading.Event()

    def write(first: int) -> None:
        with contextlib.suppress(psycopg.Error), psycopg.connect(url) as connection:
            for row in range(first, first + 10_000_000):
                if stop.is_set():
                    return
                connection.execute("INSERT INTO payment VALUES (%s, 1)", (row,))
                connection.commit()

    def read() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError), urllib.request.urlopen(log_url, timeout=5) as answer:  # noqa: S310
                answer.read()

    threads = [threading.Thread(target=write, args=(n * 10_000_000,)) for n in (1, 2)]
    threads += [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def make_payments(up: Up) -> None:
    """A table and the log that it feeds."""
    up.execute("CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric)")
    up.tally("log", "create", "payments", "--visibility", "public", "--batch-interval-ms", "50")
    up.tally("source", "add", "payments", "payment")


def all_sealed(up: Up) -> bool:
    """Whether every committed row of the table has its leaf, and no leaf is missing in between."""
    [row] = up.execute(
        "SELECT (SELECT count(*) FROM payment),"
        " (SELECT count(*) FROM tally.merkle_log WHERE source_table = 'payment'),"
        " (SELECT max(leaf_index) + 1 = count(*) FROM tally.merkle_log WHERE log_name = 'payments')"
    )
    rows, leaves, gapless = row
    assert gapless
    return bool(rows == leaves)


def test_quick_start(up: Up, tmp_path: Path) -> None:
    """log 1: From an empty directory to `verify` exit 0; a flipped byte is exit 1."""
    up.execute("CREATE TABLE payment (id integer PRIMARY KEY, amount numeric)")
    up.execute("INSERT INTO payment VALUES (1, 5)")
    up.tally("log", "create", "payments")
    up.tally("source", "add", "payments", "payment")
    up.execute("INSERT INTO payment VALUES (42, 10.50)")
    proof, policy = tmp_path / "p.tlog-proof", tmp_path / "policy"
    out = up.tally(
        "prove", "payments", "--key", "42", "--until", "sealed", "-o", str(proof),
        "--policy-out", str(policy),
    )  # fmt: skip
    assert "wrote" in out
    assert run(["verify", str(proof), "--policy", str(policy)]) == 0
    for name in (proof, proof.with_suffix(".leaf")):
        good = name.read_bytes()
        for place in range(0, len(good), 7):
            name.write_bytes(good[:place] + bytes([good[place] ^ 4]) + good[place + 1 :])
            assert run(["verify", str(proof), "--policy", str(policy)]) == 1, f"byte {place}"
        name.write_bytes(good)
    assert "payments" in up.tally("status")
    assert "FAIL" not in up.tally("doctor")
    check_client(up)


def check_client(up: Up) -> None:
    """The client reads over HTTP what the commands read in the database."""
    client = up.client()
    size = client.size_of("payments")
    assert size == 3
    assert client.has_log("payments")
    assert not client.has_log("nothing")
    root = client.root_at("payments")
    proof = client.prove_leaf("payments", table="payment", key=["42"])
    assert (proof.size, proof.root) == (size, root.root)
    assert client.prove_leaf("payments", leaf_hash=proof.leaf_hash) == proof
    assert client.entry("payments", proof.index).leaf_hash == proof.leaf_hash
    assert [entry.index for entry in client.entries("payments").items] == [0, 1, 2]
    assert client.has_leaf("payments", leaf_hash=proof.leaf_hash)
    assert client.find_root("payments", root.root) == size
    assert not client.has_root("payments", bytes(32))
    assert client.find_root("payments", bytes(32)) is None
    small = client.root_at("payments", size=1)
    assert client.verify_growth("payments", old_size=1, old_root=small.root).root == root.root
    assert len(client.row_history("payments", "payment", ["42"]).items) == 1
    assert len(client.search("payments", op="insert").items) == 2
    assert client.checkpoint("payments").startswith(b"127.0.0.1:")
    assert client.prove_leaf_file("payments", index=1).startswith(b"c2sp.org/tlog-proof@v1\n")
    assert {"payments", "tally"} <= {log["log_name"] for log in client.list_logs().items}
    assert len(client.list_keys("payments").items) == 1
    assert client.list_witnesses("payments").items == ()
    assert len(client.list_checkpoints("payments").items) >= 2
    with pytest.raises(NotFoundProblem) as refused:
        client.prove_leaf("payments", table="payment", key=["7"])
    assert (refused.value.problem, refused.value.status) == ("leaf_not_found", 404)


@pytest.mark.slow
def test_sigterm_under_load(tmp_path: Path) -> None:
    """log 25: SIGTERM under load ends the whole tree within 20 s, and nothing is lost."""
    port = free_port()
    with running(tmp_path / "data", port, tmp_path / "output") as up:
        make_payments(up)
        with load(up.database_url, f"{up.facts['url']}/logs/payments/checkpoint"):
            until(lambda: up.client().size_of("payments") > 50, what="nothing is sealed")
            tree = up.tree()
            began = time.monotonic()
            up.process.send_signal(signal.SIGTERM)
            assert up.process.wait(20) == 0
            assert time.monotonic() - began < 20
        assert [pid for pid in tree if is_alive(pid)] == []
    with running(tmp_path / "data", port, tmp_path / "output") as up:
        until(lambda: all_sealed(up), what="not everything is sealed after the restart")


@pytest.mark.slow
def test_killed_supervisor_leaves_nobody(up: Up) -> None:
    """After `kill -9` of the supervisor no process of its tree stays."""
    make_payments(up)
    tree = up.tree()
    assert len(tree) >= 4
    up.process.kill()
    up.process.wait()
    until(lambda: not [pid for pid in tree if is_alive(pid)], what="somebody stayed")


@pytest.mark.slow
def test_parts_are_started_again(up: Up) -> None:
    """log 25: A worker, a server and a database that are killed come back, and sealing resumes."""
    make_payments(up)
    for number, word in enumerate(("worker --supervised", "serve --supervised", "cluster")):
        pid = find_postmaster(up) if word == "cluster" else find(up.tree(), word)
        os.kill(pid, signal.SIGKILL)
        until(lambda gone=pid: not is_alive(gone))
        until(lambda row=number: inserted(up, row), seconds=60, what=f"no database after {word}")
        until(lambda: all_sealed(up), seconds=60, what=f"no sealing after {word}")
        until(lambda: answers(up), seconds=60, what=f"no answer after {word}")
    assert up.process.poll() is None


def find_postmaster(up: Up) -> int:
    """The pid of the embedded server."""
    lines = Path(up.data, "postgres", "cluster", "postmaster.pid").read_text().splitlines()
    return int(lines[0])


def inserted(up: Up, row: int) -> bool:
    """Whether a row could be inserted."""
    with contextlib.suppress(psycopg.OperationalError):
        up.execute(f"INSERT INTO payment VALUES ({row}, 1)")
        return True
    return False


def answers(up: Up) -> bool:
    """Whether HTTP answers with the sealed size."""
    [(size,)] = up.execute("SELECT tree_size FROM tally.log_heads WHERE log_name = 'payments'")
    with contextlib.suppress(Exception):
        return up.client().size_of("payments") == size
    return False


@pytest.mark.slow
def test_second_signal_aborts(up: Up) -> None:
    """A second signal ends the tree at once, and still nobody stays."""
    tree = up.tree()
    serve = find(tree, "serve --supervised")
    # A child that does not come to its end is what a second signal is for.
    os.kill(serve, signal.SIGSTOP)
    up.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert up.process.poll() is None
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(10) == 130
    until(lambda: not [pid for pid in tree if is_alive(pid)], what="somebody stayed")


def test_address_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that somebody listens on stops the start before anything is made: exit code 5."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert run(["up", "--data", str(tmp_path / "data"), "--port", port]) == 5
    assert capsys.readouterr().err.startswith("tally: address_in_use: ")
    assert not (tmp_path / "data").exists()
