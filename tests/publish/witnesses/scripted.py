"""A witness that answers as a test tells it, over a real socket."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tallystick.record import Ed25519Signer, make_signer
from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    AddCheckpoint,
    format_signature_line,
    format_verifier_key,
    parse_add_checkpoint,
    sign_cosignature,
)

Answer = tuple[int, bytes]


@dataclass
class ScriptedWitness:
    """Answers add-checkpoint by *script*; keeps what it was asked, and the paths."""

    name: str
    script: Callable[[ScriptedWitness, AddCheckpoint], Answer]
    shown: Answer = (404, b"")
    asked: list[AddCheckpoint] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    connections: set[object] = field(default_factory=set)
    port: int = 0

    @property
    def signer(self) -> Ed25519Signer:
        """Its key."""
        secret = self.name.encode().ljust(32, b"w")[:32]
        return make_signer(name=self.name, secret=secret, algorithm=ALGORITHM_COSIGNATURE)

    @property
    def vkey(self) -> str:
        """Its public key."""
        return format_verifier_key(self.signer.verifier_key)

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}/witness"

    def cosign(self, request: AddCheckpoint, *, at: int = 1767323047) -> Answer:
        """Return the honest answer 200."""
        signature = sign_cosignature(request.note.text, self.signer, time_seconds=at)
        return 200, format_signature_line(signature).encode()


def cosigning(witness: ScriptedWitness, request: AddCheckpoint) -> Answer:
    """Cosign whatever comes."""
    return witness.cosign(request)


def always(status: int, body: bytes = b"") -> Callable[[ScriptedWitness, AddCheckpoint], Answer]:
    """Answer the same to everything."""
    return lambda _witness, _request: (status, body)


@contextlib.contextmanager
def serving(witness: ScriptedWitness) -> Iterator[ScriptedWitness]:
    """Let *witness* answer until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = parse_add_checkpoint(body)
            witness.connections.add(self.client_address)
            witness.paths.append(self.path)
            witness.asked.append(request)
            self.answer(*witness.script(witness, request))

        def do_GET(self) -> None:
            witness.paths.append(self.path)
            self.answer(*witness.shown)

        def answer(self, status: int, body: bytes) -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                if 300 <= status <= 399:
                    self.send_header("Location", f"http://127.0.0.1:{witness.port}/elsewhere")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Set-Cookie", "a=b")
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    witness.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield witness
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
