"""Clients that never finish: how long a body may take, and that a server ends all the same."""

from __future__ import annotations

import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tallystick.http import bodies
from tests.http.conftest import TOKEN, running
from tests.http.test_push import server_process

if TYPE_CHECKING:
    from tallystick.config import Settings
    from tests.http.conftest import Running
    from tests.support.log_builder import LogBuilder

KEY = f"Authorization: Bearer {TOKEN}\r\n"
UNFINISHED = {
    "a length that lies": f"POST /logs/receipts/add HTTP/1.1\r\n{KEY}Content-Length: 9\r\n",
    "chunks without an end": (
        f"POST /logs/receipts/add HTTP/1.1\r\n{KEY}Transfer-Encoding: chunked\r\n"
    ),
    "a stranger": "POST /api/v1/witness/add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n",
    "an operator": f"POST /logs HTTP/1.1\r\n{KEY}Content-Length: 9\r\n",
}


def begin(port: int, head: str, body: bytes = b"") -> socket.socket:
    """Begin a request that never ends."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(f"{head}Host: x\r\n\r\n".encode() + body)
    return client


@pytest.mark.parametrize("kind", UNFINISHED)
def test_a_body_that_does_not_end_is_408(
    settings: Settings,
    builder_of_server: LogBuilder,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    """log 25: Whoever does not end his request in time is answered 408, and holds up no end."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    builder_of_server.create("receipts", accepts_entries=True)
    with running(settings, builder_of_server):
        client = begin(settings.port, UNFINISHED[kind], b"1\r\nx\r\n" if "chunk" in kind else b"x")
        assert client.recv(12) == b"HTTP/1.1 408"
        assert b"body_too_slow" in client.recv(4096)
    # The server has ended with this client still there.
    client.close()


def test_a_body_that_drips_has_one_deadline(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is for the body as a whole: a byte now and then does not begin it anew."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.5)
    server.builder.create("receipts", accepts_entries=True)
    server.services.publisher.refresh()
    client = begin(int(server.url.rpartition(":")[2]), UNFINISHED["a length that lies"])
    client.settimeout(0.1)
    answer = b""
    for _ in range(8):
        client.send(b"x")
        try:
            answer = client.recv(12)
            break
        except TimeoutError:
            continue
    assert answer == b"HTTP/1.1 408"
    client.close()


@pytest.mark.slow
def test_clients_that_stay_hold_up_no_end(
    settings: Settings, builder_of_server: LogBuilder
) -> None:
    """log 25: A process ends within 20 s, though clients end no head and take no answer."""
    builder_of_server.create("receipts", accepts_entries=True, visibility="public")
    builder_of_server.append("receipts", [b"%d" % n + b"x" * 60_000 for n in range(256)])
    builder_of_server.seal("receipts")
    with server_process(settings, settings.port) as process:
        time.sleep(1.2)
        clients = [
            begin(settings.port, "GET /logs/receipts/tile/entries/000 HTTP/1.1\r\n"),
            begin(settings.port, UNFINISHED["a length that lies"], b"x"),
            socket.create_connection(("127.0.0.1", settings.port)),
        ]
        clients[-1].sendall(b"POST /logs/receipts/add HTTP/1.1\r\nHos")
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        for client in clients:
            client.close()
