"""The push door over HTTP: every answer of `POST /logs/{log}/add`, disconnects, kills and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.http.push import parse_push
from tallystick.seal.door import door as doors
from tallystick.seal.logs import freeze_log
from tallystick.seal.sequencer import SequencerWorker
from tests.http.conftest import TOKEN, free_port, running
from tests.http.test_server import PROGRAM
from tests.http.transcript import shown, transcript
from tests.support.keys import issue, make_user

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.config import Settings
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

KEY = {"Authorization": f"Bearer {TOKEN}"}


@contextlib.contextmanager
def sealing(builder: LogBuilder) -> Iterator[None]:
    """Seal in a thread of this process, as a worker does."""
    worker = SequencerWorker(builder.database, builder.keys, origin_prefix="log.example", threads=2)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def receipts(server: Running) -> Iterator[Running]:
    """A server with a log that takes entries and a worker that seals them."""
    server.builder.create("receipts", accepts_entries=True, visibility="public")
    server.builder.create("closed", visibility="public")
    server.services.publisher.refresh()
    with sealing(server.builder):
        yield server


def leaves(url: str) -> list[bytes]:
    """The leaves of the one log that has some, in the order of their indexes."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT leaf FROM tally.merkle_log ORDER BY leaf_index")
        return [bytes(leaf) for (leaf,) in rows]


def test_an_entry_is_answered_by_its_index(receipts: Running) -> None:
    """log 22: POST add answers the index in ASCII once the entry is sealed."""
    for index, entry in enumerate((b"x", b"\x00" * 65_535, "grün".encode())):
        response = receipts.operator.post("/logs/receipts/add", content=entry)
        assert transcript(response) == shown("""
            POST /logs/receipts/add
            200
            content-type: text/plain; charset=utf-8
            cache-control: no-store
        """)
        assert response.content == b"%d" % index
        assert len(response.headers["x-request-id"]) == 16
        # Answered means sealed: it is in the log already.
        assert leaves(receipts.builder.url)[index] == entry


def test_deduplication_over_http(receipts: Running) -> None:
    """log 22: With deduplicate the same bytes answer their earlier index; else a new one."""
    add = receipts.operator.post
    assert add("/logs/receipts/add", content=b"a").text == "0"
    assert add("/logs/receipts/add?deduplicate=1", content=b"a").text == "0"
    assert add("/logs/receipts/add?deduplicate=0", content=b"a").text == "1"
    wrong = add("/logs/receipts/add?deduplicate=perhaps", content=b"a")
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("path", "entry", "status", "code"),
    [
        ("receipts/add", b"", 400, "invalid_entry"),
        ("receipts/add", b"tallystick/seal-record/v1\n{}", 400, "invalid_entry"),
        ("receipts/add", b"x" * 65_536, 413, "entry_too_large"),
        ("closed/add", b"x", 409, "entries_not_accepted"),
        ("nowhere/add", b"x", 404, "log_not_found"),
    ],
)
def test_refusals(receipts: Running, path: str, entry: bytes, status: int, code: str) -> None:
    """log 22: What is no entry, or for no log that takes any, is a problem and is not queued."""
    for content in (entry, iter([entry[:7], entry[7:]])):
        response = receipts.operator.post(f"/logs/{path}", content=content)
        assert transcript(response) == shown(f"""
            POST /logs/{path}
            {status}
            content-type: application/problem+json
            cache-control: no-store
        """)
        assert response.json()["code"] == code
    assert leaves(receipts.builder.url) == []


def test_a_refusal_before_the_end_closes_the_connection(receipts: Running) -> None:
    """Whoever is refused with his body still coming is told not to use the connection again."""
    add = receipts.operator.post
    assert add("/logs/receipts/add", content=b"x" * 65_536).headers["connection"] == "close"
    assert "connection" not in add("/logs/receipts/add", content=b"x").headers


def test_who_may_push(receipts: Running) -> None:
    """log 22: Without a key 401, with one that lacks log:append 403, also into a public log."""
    assert receipts.anonymous.post("/logs/receipts/add", content=b"x").status_code == 401
    database = receipts.services.database
    key = issue(database, make_user(database), "log:read", "entries:read", "log:admin")
    add = "/logs/receipts/add"
    refused = receipts.anonymous.post(add, content=b"x", headers=key.headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope")
    assert leaves(receipts.builder.url) == []


def test_only_post_pushes(receipts: Running) -> None:
    """log 22: Any other method at the door's path is 405; HEAD has no body."""
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        refused = receipts.operator.request(method, "/logs/receipts/add")
        assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert receipts.operator.head("/logs/receipts/add").content == b""
    assert parse_push("/logs/a/b/add") is parse_push("/logs//add") is parse_push("/add") is None


def test_a_frozen_log_takes_no_entry(receipts: Running) -> None:
    """log 22, 27: From the freeze request on a push is 409 log_frozen."""
    with receipts.builder.database.transaction() as tx:
        freeze_log(tx, "receipts")
    refused = receipts.operator.post("/logs/receipts/add", content=b"x")
    assert (refused.status_code, refused.json()["code"]) == (409, "log_frozen")


def test_a_busy_log_says_when_to_come_again(
    settings: Settings, builder_of_server: LogBuilder
) -> None:
    """log 22: With max_backlog rows waiting a push is 503 log_busy with Retry-After."""
    builder_of_server.create("receipts", accepts_entries=True)
    builder_of_server.append("receipts", [b"1", b"2"])
    few = settings.model_copy(update={"max_backlog": 2})
    with running(few, builder_of_server) as server:
        response = server.operator.post("/logs/receipts/add", content=b"x")
        assert transcript(response) == shown("""
            POST /logs/receipts/add
            503
            content-type: application/problem+json
            cache-control: no-store
            retry-after: 1
        """)
        assert response.json()["code"] == "log_busy"


def test_what_is_not_sealed_in_time(
    settings: Settings, builder_of_server: LogBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log 22: An entry that nobody seals is 503 and says that it is queued; it is sealed later."""
    monkeypatch.setattr(doors, "PATIENCE_SECONDS", 0.3)
    builder_of_server.create("receipts", accepts_entries=True)
    with running(settings, builder_of_server) as server:
        response = server.operator.post("/logs/receipts/add", content=b"x")
        assert (response.status_code, response.json()["code"]) == (503, "entry_pending")
        assert "queued (seq 1)" in response.json()["detail"]
        assert response.headers["retry-after"] == "1"
        server.seal("receipts")
        again = server.operator.post("/logs/receipts/add?deduplicate=1", content=b"x")
        assert (again.status_code, again.text) == (200, "0")


def test_a_caller_who_goes_leaves_his_entry(
    settings: Settings, builder_of_server: LogBuilder
) -> None:
    """A client that disconnects before the answer stops nobody; its entry is sealed."""
    builder_of_server.create("receipts", accepts_entries=True)
    with running(settings, builder_of_server) as server:
        with socket.create_connection(("127.0.0.1", settings.port)) as gone:
            request = (
                f"POST /logs/receipts/add HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}"
            )
            gone.sendall(f"{request}\r\nContent-Length: 4\r\n\r\ngone".encode())
            await_queued(builder_of_server.url, 1)
        with sealing(builder_of_server):
            assert server.operator.post("/logs/receipts/add", content=b"stays").text == "1"
    assert leaves(builder_of_server.url) == [b"gone", b"stays"]


def await_queued(url: str, rows: int) -> None:
    """Wait until so many rows are queued."""
    with psycopg.connect(url, autocommit=True) as connection:
        deadline = time.monotonic() + 30
        while connection.execute("SELECT count(*) FROM tally.capture").fetchone() != (rows,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_many_clients_at_once(receipts: Running) -> None:
    """log 24: 32 clients at once each get the index of their own bytes, and no index is missed."""
    got = push_from_many(receipts.url, clients=32, each=10)
    assert sorted(got.values()) == list(range(320))
    stored = leaves(receipts.builder.url)
    assert {entry: stored[index] for entry, index in got.items()} == {e: e for e in got}


def push_from_many(url: str, *, clients: int, each: int, name: str = "") -> dict[bytes, int]:
    """Push from so many threads, each with a connection; return what was answered 200."""
    got: dict[bytes, int] = {}

    def push(number: int) -> None:
        with (
            httpx.Client(base_url=url, headers=KEY, timeout=20) as client,
            contextlib.suppress(httpx.TransportError),
        ):
            for turn in range(each):
                entry = f"{name} client {number} turn {turn}".encode()
                response = client.post("/logs/receipts/add", content=entry)
                if response.status_code == 200:
                    got[entry] = int(response.text)

    threads = [threading.Thread(target=push, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return got


@contextlib.contextmanager
def server_process(settings: Settings, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server as a process, until it answers; killed at the end."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
        "TALLY_DATABASE_URL": settings.database_url or "",
        "TALLY_DATA_DIR": str(settings.data_dir),
        "TALLY_KEY_DIR": str(settings.keys),
        "TALLY_PORT": str(port),
        "TALLY_ORIGIN_PREFIX": "log.example",
        "TALLY_LOG_LEVEL": "warning",
    }
    with subprocess.Popen([sys.executable, PROGRAM], env=environment) as process:
        try:
            for _ in range(1000):
                with contextlib.suppress(httpx.TransportError):
                    url = f"http://127.0.0.1:{port}/api/v1/health/live"
                    if httpx.get(url).status_code == 200:
                        break
                time.sleep(0.03)
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_answered_is_in_the_log(
    settings: Settings, builder_of_server: LogBuilder, end: signal.Signals
) -> None:
    """log 25: Ended or killed under load, a server has answered only what is in the log."""
    builder_of_server.create("receipts", accepts_entries=True)
    with (
        sealing(builder_of_server),
        server_process(settings, settings.port) as process,
    ):
        got: dict[bytes, int] = {}
        url = f"http://127.0.0.1:{settings.port}"
        pushing = threading.Thread(
            target=lambda: got.update(push_from_many(url, clients=8, each=100_000))
        )
        pushing.start()
        await_leaves(builder_of_server.url, 200)
        process.send_signal(end)
        assert process.wait(20) == (0 if end is signal.SIGTERM else -end)
        pushing.join(60)
        assert not pushing.is_alive()
    builder_of_server.seal("receipts")
    stored = leaves(builder_of_server.url)
    assert len(got) >= 150
    assert {entry: stored[index] for entry, index in got.items()} == {e: e for e in got}
    if end is signal.SIGTERM:
        # Nothing was left behind either: whatever was taken has its answer, or says why not.
        assert len(stored) - len(got) <= 8


@pytest.mark.slow
def test_two_servers_push_into_one_log(settings: Settings, builder_of_server: LogBuilder) -> None:
    """log 24: Two server processes push into one log at once: gapless, each its own index."""
    builder_of_server.create("receipts", accepts_entries=True)
    ports = [settings.port, free_port()]
    got: dict[bytes, int] = {}
    with (
        sealing(builder_of_server),
        server_process(settings, ports[0]),
        server_process(settings, ports[1]),
    ):
        threads = [
            threading.Thread(
                target=lambda port=port: got.update(
                    push_from_many(
                        f"http://127.0.0.1:{port}", clients=16, each=20, name=f"server {port}"
                    )
                )
            )
            for port in ports
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(got.values()) == list(range(640))
    stored = leaves(builder_of_server.url)
    assert {entry: stored[index] for entry, index in got.items()} == {e: e for e in got}


def await_leaves(url: str, count: int) -> None:
    """Wait until so many leaves are sealed."""
    deadline = time.monotonic() + 60
    while len(leaves(url)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
