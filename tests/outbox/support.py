"""What the outbox's tests share: writing, numbering, workers in processes, a receiver."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.outbox import EventId, Position, emit, read_events, register_topics
from tallystick.outbox.numbering import numbering_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallystick.db import Database
    from tallystick.outbox import Event

CERTIFICATES = Path(__file__).parent / "certificates"
WORKER = Path(__file__).parent / "worker_process.py"
TOPIC = "test.happened"
OTHER_TOPIC = "test.other"


def register_test_topics() -> None:
    """Register the topics of the tests."""
    register_topics({TOPIC: "test:read", OTHER_TOPIC: "other:read"})


def emit_one(database: Database, number: int = 0, **fields: Any) -> EventId:
    """Write one event in a transaction of its own."""
    with database.transaction() as tx:
        return emit(
            tx,
            fields.get("topic", TOPIC),
            key=fields.get("key", "k"),
            payload={"number": number},
            user_id=fields.get("user_id"),
        )


def emit_many(database: Database, count: int, **fields: Any) -> list[EventId]:
    """Write *count* events in one transaction."""
    with database.transaction() as tx:
        return [
            emit(tx, fields.get("topic", TOPIC), key="k", payload={"number": number})
            for number in range(count)
        ]


def number_all(database: Database) -> int:
    """Take the lock, look once, and give the lock back."""
    with numbering_session(database) as numbering:
        assert numbering is not None
        return numbering.number()


def events_of(database: Database) -> list[Event]:
    """Every numbered event."""
    events: list[Event] = []
    after = Position(0)
    while True:
        with database.transaction() as tx:
            page = read_events(tx, after=after, limit=1000)
        events.extend(page.events)
        if len(page.events) < 1000:
            return events
        after = page.through


def wait_until(condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Wait until *condition* holds; fail where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@contextlib.contextmanager
def worker_process(
    url: str, *, pause_at: str | None = None, flag: Path | None = None
) -> Iterator[int]:
    """Run the outbox's worker in a process; killed with SIGKILL at the end of the block."""
    environment = dict(os.environ)
    if pause_at is not None:
        environment |= {"TALLY_PAUSE_AT": pause_at, "TALLY_PAUSE_FILE": str(flag)}
    process = subprocess.Popen([sys.executable, str(WORKER), url], env=environment)
    try:
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True, slots=True)
class Post:
    """What a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> int:
        """The event that was posted."""
        return int(json.loads(self.body)["event_id"])


@dataclass(slots=True)
class Receiver:
    """A receiver of webhooks; it answers as told, 204 once nothing more is told."""

    port: int
    posts: list[Post] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self.port}/hook?x=1"

    @property
    def host(self) -> str:
        """The listing that allows it."""
        return f"localhost:{self.port}"


def trusting_context() -> ssl.SSLContext:
    """TLS that trusts the tests' authority and no other."""
    return ssl.create_default_context(cafile=str(CERTIFICATES / "authority.pem"))


@contextlib.contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port of this machine."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.posts.append(Post(self.path, dict(self.headers), body))
            status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "receiver.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(port=server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
