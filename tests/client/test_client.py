"""
The client against a server that misbehaves: every answer ends in a value or a named error.

What it reads of a real server is shown with `tally up` (tests/runtime/test_supervisor.py).
"""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tallystick.client import (
    Client,
    ForbiddenProblem,
    GoneProblem,
    InvalidRequestProblem,
    MalformedAnswerError,
    NotFoundProblem,
    RequestRefusedError,
    ServerUnreachableError,
    UnavailableProblem,
)
from tallystick.errors import Kind
from tallystick.tlog import ConsistencyError, MalformedProofError

HASH = base64.b64encode(bytes(range(32))).decode()
PROOF = {"index": 1, "tree_size": 2, "root": HASH, "leaf_hash": HASH, "hashes": [HASH]}


class Server(http.server.ThreadingHTTPServer):
    """A server that gives one answer to everything, and keeps what it was asked."""

    status = 200
    body = b"{}"
    headers: dict[str, str]
    pause_seconds = 0.0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.headers = {}

    def handle_error(self, *_: object) -> None:
        """A client that gave up waiting is what a test is about."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, value: Any, *, status: int = 200, **headers: str) -> None:
        """From now on answer with *value*."""
        self.body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.status, self.headers = status, headers


class Handler(http.server.BaseHTTPRequestHandler):
    """One request to it."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        length = int(self.headers.get("Content-Length") or 0)
        asked = (self.command, self.path, dict(self.headers), self.rfile.read(length))
        self.server.asked.append(asked)
        time.sleep(self.server.pause_seconds)
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815 (as above)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """The server, running."""
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Client:
    """A client of it."""
    return Client(f"{server.url}/", "tly_secret")


def test_asks_with_its_key(server: Server, client: Client) -> None:
    """Each request carries the key, and names and keys of any spelling arrive as they are."""
    server.answer({"proof": PROOF})
    client.prove_leaf("a/b", table="Größe", key=["4 2", "ü"], version="first", size=2)
    [(method, path, headers, _)] = server.asked
    assert (method, headers["Authorization"]) == ("GET", "Bearer tly_secret")
    assert path.startswith("/logs/a%2Fb/proof?")
    assert "version=first" in path
    assert "size=2" in path
    assert "index=" not in path


def test_proof_is_parsed(server: Server, client: Client) -> None:
    """A proof's hashes are bytes of 32, its numbers sizes and indexes."""
    server.answer({"status": "ok", "proof": PROOF})
    proof = client.prove_leaf("payments", index=1)
    assert (proof.index, proof.size, proof.hashes) == (1, 2, (bytes(range(32)),))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"no json",
        {},
        {"proof": []},
        {"proof": PROOF | {"index": -1}},
        {"proof": PROOF | {"index": True}},
        {"proof": PROOF | {"index": "1"}},
        {"proof": PROOF | {"root": "AAAA"}},
        {"proof": PROOF | {"root": "!!"}},
        {"proof": PROOF | {"hashes": [1]}},
        {"proof": PROOF | {"hashes": None}},
    ],
)
def test_malformed_answers_are_named(server: Server, client: Client, answer: Any) -> None:
    """An answer of another form is `MalformedAnswerError`, whatever it is."""
    server.answer(answer)
    with pytest.raises(MalformedAnswerError):
        client.prove_leaf("payments", index=1)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, InvalidRequestProblem, Kind.INVALID),
        (401, ForbiddenProblem, Kind.FORBIDDEN),
        (403, ForbiddenProblem, Kind.FORBIDDEN),
        (404, NotFoundProblem, Kind.NOT_FOUND),
        (409, RequestRefusedError, Kind.CONFLICT),
        (410, GoneProblem, Kind.GONE),
        (422, InvalidRequestProblem, Kind.INVALID),
        (429, UnavailableProblem, Kind.UNAVAILABLE),
        (503, UnavailableProblem, Kind.UNAVAILABLE),
    ],
)
def test_problems_are_errors(
    server: Server, client: Client, status: int, error: type[RequestRefusedError], kind: Kind
) -> None:
    """A problem document is an error with its code, its words and its status."""
    server.answer({"code": "log_frozen", "detail": "the log is frozen"}, status=status)
    with pytest.raises(error) as raised:
        client.size_of("payments")
    assert (raised.value.problem, raised.value.message) == ("log_frozen", "the log is frozen")
    assert (raised.value.status, raised.value.kind) == (status, kind)


def test_problem_without_document(server: Server, client: Client) -> None:
    """A refusal whose body is no problem document is told by its status."""
    server.answer(b"<html>", status=502)
    with pytest.raises(UnavailableProblem, match="502"):
        client.size_of("payments")


def test_redirects_are_not_followed(server: Server, client: Client) -> None:
    """A redirect is refused: the key goes to no other server."""
    server.answer(b"", status=302, Location="http://127.0.0.1:1/elsewhere")
    with pytest.raises(RequestRefusedError, match="302"):
        client.size_of("payments")
    assert len(server.asked) == 1


def test_no_answer_in_time(server: Server) -> None:
    """A server that does not answer in time is unreachable, as is one that is not there."""
    server.pause_seconds = 0.5
    with pytest.raises(ServerUnreachableError):
        Client(server.url, timeout_seconds=0.1).size_of("payments")
    with pytest.raises(ServerUnreachableError):
        Client("http://127.0.0.1:1").size_of("payments")


@pytest.mark.parametrize("url", ["ftp://a.example", "file:///etc/passwd", "a.example", "http://"])
def test_url_is_checked(url: str) -> None:
    """Only http and https URLs of a server are taken."""
    with pytest.raises(InvalidRequestProblem):
        Client(url)


def test_growth_is_checked(server: Server, client: Client) -> None:
    """`verify_growth` believes no proof that does not hold, nor one of another length."""
    proof: dict[str, Any] = {
        "old_tree_size": 1,
        "old_root": HASH,
        "new_tree_size": 2,
        "new_root": HASH,
        "hashes": [HASH],
    }
    server.answer({"proof": proof})
    with pytest.raises(ConsistencyError):
        client.verify_growth("payments", old_size=1, old_root=bytes(32))
    server.answer({"proof": proof | {"hashes": []}})
    with pytest.raises(MalformedProofError):
        client.verify_growth("payments", old_size=1, old_root=bytes(32))


def test_append(server: Server, client: Client) -> None:
    """An entry is pushed as it is; the answer is its index or malformed."""
    server.answer(b"17\n")
    assert client.append_entry("payments", b"\x00data", deduplicate=True) == 17
    [(method, path, _, body)] = server.asked
    assert (method, path, body) == ("POST", "/logs/payments/add?deduplicate=1", b"\x00data")
    server.answer(b"seventeen")
    with pytest.raises(MalformedAnswerError):
        client.append_entry("payments", b"data")


def test_pages(server: Server, client: Client) -> None:
    """A list is a page with what leads to the next; an item of another form is named."""
    entry = {"index": 0, "leaf": "AAAA", "leaf_hash": HASH, "record": None}
    server.answer({"items": [entry], "next": "x"})
    page = client.entries("payments", limit=1)
    assert (page.items[0].leaf, page.next) == (b"\x00\x00\x00", "x")
    server.answer({"items": [1], "next": None})
    with pytest.raises(MalformedAnswerError):
        client.list_logs()


def test_loads_no_driver() -> None:
    """The client needs neither driver nor server, nor any package for HTTP."""
    program = (
        "import sys, tallystick.client;"
        "bad = {'psycopg', 'litestar', 'pydantic', 'httpx', 'urllib3'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
