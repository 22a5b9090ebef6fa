"""The monitor: what it keeps, what it lets pass, and when it raises the alarm (log.md 4.6)."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tallystick.client.errors import NotFoundProblem, ServerUnreachableError
from tallystick.publish import monitor as monitor_module
from tallystick.publish.errors import InvalidWitnessError, MonitoredForkError, MonitorStateError
from tallystick.publish.monitor import Monitor, monitor
from tallystick.tlog import UnverifiedNoteError, format_verifier_key
from tests.http.conftest import builder_of_server, server, settings
from tests.support.sealed import SealedLog, log_signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Running

__all__ = ["builder_of_server", "server", "settings"]

VKEY = format_verifier_key(log_signer().verifier_key)


def leaves(count: int, kind: str = "leaf") -> list[bytes]:
    """Return so many different leaves."""
    return [f"{kind} {number}".encode() for number in range(count)]


@dataclass
class ServedTree:
    """A log's static tree as a monitor fetches it; *gone* are partial tiles that were dropped."""

    log: SealedLog
    gone: set[str] = field(default_factory=set)

    def get(self, path: str, *, accept: str) -> bytes:
        """Return one object of the tree."""
        del accept
        stored = self.log.objects()
        name = path.removeprefix("/")
        if name not in stored or name in self.gone:
            raise NotFoundProblem(status=404)
        return stored[name]


@dataclass
class Watching:
    """A monitor over a tree that a test changes."""

    tree: ServedTree
    state: Path

    def look(self, log: SealedLog) -> str:
        """Serve *log* and look; return the outcome."""
        self.tree.log = log
        return Monitor("http://log.example", [VKEY], self.state, fetcher=self.tree).look().outcome


@pytest.fixture
def watching(tmp_path: Path) -> Watching:
    """A monitor that has seen nothing yet."""
    return Watching(ServedTree(SealedLog(leaves(1))), tmp_path / "shop.state")


def test_growth_is_followed(watching: Watching) -> None:
    """Each head that extends the last is remembered, whole notes and nothing else."""
    assert watching.look(SealedLog(leaves(0))) == "first"
    for size in (1, 5, 300, 700, 1000):
        log = SealedLog(leaves(size))
        assert watching.look(log) == "grown"
        assert watching.state.read_bytes() == log.note_bytes()
        assert watching.look(log) == "unchanged"


def test_an_older_head_of_the_same_history_is_no_fork(watching: Watching) -> None:
    """A smaller head is told as behind where the remembered one extends it; the state stays."""
    watching.look(SealedLog(leaves(300)))
    log = SealedLog(leaves(300))
    watching.tree.log = log
    smaller = SealedLog(leaves(300))
    note = smaller.note_bytes(7)

    class Behind(ServedTree):
        def get(self, path: str, *, accept: str) -> bytes:
            return note if path == "/checkpoint" else super().get(path, accept=accept)

    watched = Monitor("http://log.example", [VKEY], watching.state, fetcher=Behind(log)).look()
    assert (watched.outcome, watched.size) == ("behind", 7)
    assert watching.state.read_bytes() == log.note_bytes()


@pytest.mark.parametrize("fork_size", [3, 5, 700])
def test_a_fork_is_an_alarm_and_never_the_base(watching: Watching, fork_size: int) -> None:
    """On a fork both notes are written, exit 1, and the old head stays the base, look by look."""
    base = SealedLog(leaves(5))
    watching.look(base)
    fork = SealedLog(leaves(fork_size, "fork"))
    for _ in range(2):
        with pytest.raises(MonitoredForkError):
            watching.look(fork)
        both = watching.state.with_name("shop.state.fork").read_bytes()
        assert both == base.note_bytes() + b"\n" + fork.note_bytes()
        assert watching.state.read_bytes() == base.note_bytes()
    assert watching.look(SealedLog(leaves(9))) == "grown"


def test_strangers_heads_are_refused(watching: Watching) -> None:
    """A checkpoint of another key or origin is refused, and is neither remembered nor a fork."""
    watching.look(SealedLog(leaves(5)))
    with pytest.raises(UnverifiedNoteError):
        watching.look(SealedLog(leaves(9), signers=[log_signer(secret=b"x" * 32)]))
    signer = log_signer()
    with pytest.raises(UnverifiedNoteError):
        watching.look(SealedLog(leaves(9), origin="log.example/other", signers=[signer]))
    assert not watching.state.with_name("shop.state.fork").exists()
    with pytest.raises(InvalidWitnessError):
        Monitor("http://log.example", [], watching.state)
    with pytest.raises(InvalidWitnessError):
        Monitor("http://log.example", ["nothing"], watching.state)


def test_a_spoilt_state_is_told(watching: Watching) -> None:
    """A state file that is no checkpoint of the log is an error, not a first look."""
    for spoilt in (
        b"",
        b"hello",
        SealedLog(leaves(2), signers=[log_signer(secret=b"y" * 32)]).note_bytes(),
    ):
        watching.state.write_bytes(spoilt)
        with pytest.raises(MonitorStateError):
            watching.look(SealedLog(leaves(5)))
        assert watching.state.read_bytes() == spoilt


def test_a_dropped_partial_tile_is_read_from_the_full_one(watching: Watching) -> None:
    """Where a log has dropped partial tiles of an old size, the full tile answers."""
    watching.look(SealedLog(leaves(200)))
    watching.tree.gone = {"tile/0/000.p/200"}
    assert watching.look(SealedLog(leaves(600))) == "grown"


def test_a_real_server_is_monitored(server: Running, tmp_path: Path) -> None:
    """The monitor follows a served log by HTTP; a dead server is unavailable, and no fork."""
    server.builder.filled("shop", leaves(3), visibility="public")
    server.services.publisher.refresh()
    [(vkey,)] = server.builder.execute("SELECT vkey FROM tally.log_keys WHERE purpose = 'log'")
    state = tmp_path / "shop.state"
    url = f"{server.url}/logs/shop"
    assert monitor(url, [str(vkey)], state).outcome == "first"
    server.builder.append("shop", leaves(600, "more"))
    server.seal("shop")
    assert monitor(url, [str(vkey)], state).outcome == "grown"
    with pytest.raises(ServerUnreachableError):
        monitor("http://127.0.0.1:1/logs/shop", [str(vkey)], state)


class Dripping:
    """A log that answers a byte at a time, and never to the end, until it is closed."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/logs/shop"

    def _answer(self) -> None:
        client, _ = self._listener.accept()
        with client, contextlib.suppress(OSError):
            client.recv(4096)
            client.sendall(self._head)
            while not self._ended.wait(0.05):
                client.sendall(b"x")

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()
        self._listener.close()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "]
)
def test_a_log_that_drips_is_one_that_does_not_answer(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and body have one deadline: no log can keep its monitor waiting."""
    monkeypatch.setattr(monitor_module, "TIMEOUT_SECONDS", 0.4)
    log = Dripping(head)
    try:
        with pytest.raises(ServerUnreachableError):
            monitor(log.url, [VKEY], tmp_path / "shop.state")
    finally:
        log.close()


def test_evidence_of_a_fork_is_never_written_over(watching: Watching) -> None:
    """Another fork is added to the first one's notes; the same one again is not."""
    base, one, two = SealedLog(leaves(5)), SealedLog(leaves(7, "one")), SealedLog(leaves(3, "two"))
    watching.look(base)
    for fork in (one, two, one):
        with pytest.raises(MonitoredForkError):
            watching.look(fork)
    notes = [base.note_bytes(), one.note_bytes(), base.note_bytes(), two.note_bytes()]
    kept = watching.state.with_name("shop.state.fork").read_bytes()
    assert kept == b"\n".join(notes)
