"""
JSON-RPC over HTTP for the dev chain, on loopback only (chain.md, section 4.5).

The server is the standard library's: one thread for each connection, one of them inside the
machine at a time, because the EVM is one. Whoever can reach loopback may send transactions; a
page in a browser may not, though it can make the browser call us: it cannot name our host, and
it cannot send JSON without asking first.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from typing import Any, Final

import structlog

from tallystick.runtime.devchain.errors import Refusal

LOOPBACK: Final = "127.0.0.1"
LOCAL_NAMES: Final = frozenset({"127.0.0.1", "localhost"})
MAX_BODY_BYTES: Final = 16 * 2**20
"""A batch of a hundred of the longest transactions, in hexadecimal."""
MAX_BATCH: Final = 1000
IDLE_SECONDS: Final = 120.0
"""How long a connection may say nothing."""
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INTERNAL_ERROR: Final = -32603

Answer = Callable[[str, list[Any]], Any]

logger = structlog.get_logger(__name__)


class RpcServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers JSON-RPC on loopback, by a function that one thread at a time is inside."""

    daemon_threads = True
    # Whoever is connected when it ends is not waited for: what he asked is done or not.
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, answer: Answer) -> None:
        self._answer = answer
        self.turn = threading.Lock()
        self.broken = threading.Event()
        """Set when the disk refused: what is in memory is ahead of it, so nothing may go on."""
        super().__init__((LOOPBACK, port), Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://{LOOPBACK}:{self.port}"

    def respond(self, body: bytes) -> bytes:
        """Return the answer to the body of a request; empty: it was only notifications."""
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return encode(failure(None, PARSE_ERROR, "parse error"))
        if not isinstance(asked, list):
            answered = self._respond_to(asked)
            return b"" if answered is None else encode(answered)
        if not asked or len(asked) > MAX_BATCH:
            return encode(failure(None, INVALID_REQUEST, f"a batch has 1 to {MAX_BATCH} calls"))
        answers = [answered for one in asked if (answered := self._respond_to(one)) is not None]
        return encode(answers) if answers else b""

    def _respond_to(self, asked: Any) -> dict[str, Any] | None:
        identity = asked.get("id") if isinstance(asked, dict) else None
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return failure(identity, INVALID_REQUEST, "invalid request")
        parameters = asked.get("params", [])
        if not isinstance(parameters, list):
            return failure(identity, INVALID_REQUEST, "parameters are a list")
        try:
            with self.turn:
                result = self._run(asked["method"], parameters)
        except Refusal as refused:
            answered = failure(identity, refused.code, refused.message, refused.data)
        except Exception as error:
            logger.exception("devchain.failed", method=asked["method"][:100])
            answered = failure(identity, INTERNAL_ERROR, type(error).__name__)
        else:
            answered = {"jsonrpc": "2.0", "id": identity, "result": result}
        return answered if "id" in asked else None

    def _run(self, method: str, parameters: list[Any]) -> Any:
        if self.broken.is_set():
            raise Refusal(INTERNAL_ERROR, "the journal cannot be written")
        try:
            return self._answer(method, parameters)
        except OSError:
            # Only the journal touches the disk.
            self.broken.set()
            raise


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    server: RpcServer
    protocol_version = "HTTP/1.1"
    server_version = "tallystick-devchain"
    sys_version = ""
    timeout = IDLE_SECONDS
    # An answer goes out as it is written, without waiting for the client to acknowledge the last.
    disable_nagle_algorithm = True
    wbufsize = 2**16

    def do_POST(self) -> None:
        """Answer a request, or say why it is none."""
        refused = refusal_of(self.headers)
        if refused is not None:
            # The body was not read, so nothing behind it can be.
            self.close_connection = True
            self._send(refused, b"")
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.respond(body)
        self._send(HTTPStatus.OK if answer else HTTPStatus.NO_CONTENT, answer)

    def _send(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002 (the library's name)
        """Nothing is said of single requests."""


def refusal_of(headers: Message) -> HTTPStatus | None:
    """Return the status that refuses a request with these headers; None: it may be read."""
    host = headers.get("Host", "")
    if host.rpartition(":")[0] not in LOCAL_NAMES and host not in LOCAL_NAMES:
        return HTTPStatus.FORBIDDEN
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    length = headers.get("Content-Length", "")
    if not (length.isascii() and length.isdigit()):
        return HTTPStatus.LENGTH_REQUIRED
    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE if int(length) > MAX_BODY_BYTES else None


def failure(identity: Any, code: int, message: str, data: str | None = None) -> dict[str, Any]:
    """Return the answer that says what went wrong."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return {"jsonrpc": "2.0", "id": identity, "error": error}


def encode(answer: Any) -> bytes:
    """Return *answer* as JSON."""
    return json.dumps(answer, separators=(",", ":")).encode()
