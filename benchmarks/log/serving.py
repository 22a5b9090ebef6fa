"""
A server's answers a second over HTTP: proofs and checkpoints, with keep-alive.

The server is a process of its own, started as `tally serve`. The client is another, which does
as little as possible: it shares the machine, and what it takes the server does not get.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.capture_clients import percentile
from benchmarks.log.payments import large_log
from tallystick.publish import Publisher
from tallystick.tlog import LeafIndex

HOST: Final = "127.0.0.1"
CONNECTIONS: Final = 16
START_SECONDS: Final = 60.0
LAST: Final = 99
OK: Final = b"HTTP/1.1 200"
LENGTH: Final = b"content-length:"
IN_PROCESS: Final = "the same proofs in one thread, without HTTP"


def run(ground: Ground) -> list[Figure]:
    """Return proofs and checkpoints a second, and the latency of proofs."""
    large = large_log(ground, rows=ground.scale.pick(2_000_000, 50_000))
    size, name = large.log.size(), large.log.log.log_name
    seconds = ground.scale.pick(3.0, 0.5)
    slowest: list[float] = []
    publisher = Publisher(large.log.database)
    publisher.refresh()
    dice = random.Random(13)
    context = multiprocessing.get_context("spawn")
    with (
        running_server(large.log.url) as port,
        ProcessPoolExecutor(1, mp_context=context) as client,
    ):

        def proofs() -> float:
            paths = [f"/logs/{name}/proof?index={dice.randrange(size)}" for _ in range(20_000)]
            latencies = client.submit(ask_for, port, paths, seconds).result()
            slowest.append(percentile(latencies, LAST) * 1000)
            return len(latencies) / seconds

        def checkpoints() -> float:
            paths = [f"/logs/{name}/checkpoint"]
            return len(client.submit(ask_for, port, paths, seconds).result()) / seconds

        def in_process() -> float:
            head, count, began = publisher.published_head(name), 500, time.monotonic()
            for _ in range(count):
                publisher.prove_index(head, LeafIndex(dice.randrange(size)))
            return count / (time.monotonic() - began)

        # Once unmeasured: the client's process starts, and the server fills its caches.
        proofs()
        slowest.clear()
        sides = measure(
            {"proofs": proofs, "checkpoints": checkpoints, "in process": in_process},
            rounds=ground.scale.rounds,
        )
    return [
        Figure(
            f"proofs over HTTP, {size:,} leaves, {CONNECTIONS} connections",
            sides["proofs"],
            "/s",
            "more",
            IN_PROCESS,
            sides["in process"],
            Bound(least=1500),
            note="a Python client on the same cores takes its share of them",
        ),
        Figure(
            f"proofs over HTTP, {size:,} leaves, p99",
            Samples(tuple(slowest)),
            "ms",
            "less",
            target=Bound(most=15),
        ),
        Figure(
            "checkpoints over HTTP",
            sides["checkpoints"],
            "/s",
            "more",
            "proofs by the same client",
            sides["proofs"],
            Bound(least=5000),
        ),
    ]


@contextlib.contextmanager
def running_server(database_url: str) -> Iterator[int]:
    """Run `tally serve` on the database, and yield the port once it answers."""
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place:
        port = free_port()
        settings = {"TALLY_DATABASE_URL": database_url, "TALLY_DATA_DIR": place}
        command = [sys.executable, "-m", "tallystick", "serve", "--host", HOST]
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            env={**os.environ, **settings, "TALLY_LOG_LEVEL": "error"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_until_up(server, port)
            yield port
        finally:
            server.terminate()
            # Reads what it said at its end, and closes the pipe.
            server.communicate(timeout=START_SECONDS)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until_up(server: subprocess.Popen[str], port: int) -> None:
    """
    Wait until the port takes connections.

    Raises:
        RuntimeError: The server ended, or did not come up in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        if server.poll() is not None:
            said = server.stderr.read()[-500:] if server.stderr else ""
            raise RuntimeError(f"the server ended: {said}")
        if time.monotonic() > deadline:
            raise RuntimeError("the server did not come up")
        time.sleep(0.05)


def ask_for(port: int, paths: Sequence[str], seconds: float) -> list[float]:
    """Ask for *paths* over and over on several connections, and return the latencies."""
    return asyncio.run(ask_on_connections(port, paths, seconds))


async def ask_on_connections(port: int, paths: Sequence[str], seconds: float) -> list[float]:
    """Keep every connection busy until the time is over."""
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    end = time.monotonic() + seconds
    askers = []
    for number in range(CONNECTIONS):
        requests = [request(path) for path in paths[number::CONNECTIONS] or paths]
        done = loop.create_future()
        asker = Asker(requests, latencies, end, done)
        await loop.create_connection(lambda asker=asker: asker, HOST, port)  # type: ignore[misc]
        askers.append(done)
    await asyncio.gather(*askers)
    return latencies


def request(path: str) -> bytes:
    """Return the bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\n\r\n".encode()


class Asker(asyncio.Protocol):
    """One connection that always has one request under way."""

    def __init__(
        self,
        requests: Sequence[bytes],
        latencies: list[float],
        end: float,
        done: asyncio.Future[None],
    ) -> None:
        self._requests = requests
        self._latencies = latencies
        self._end = end
        self._done = done
        self._asked = 0
        self._began = 0.0
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Collect an answer; once it is whole, send the next request."""
        self._answer += data
        head, blank, body = self._answer.partition(b"\r\n\r\n")
        if not blank or len(body) < content_length(head):
            return
        now = time.monotonic()
        if not head.startswith(OK):
            self._fail(head)
            return
        self._latencies.append(now - self._began)
        if now < self._end:
            self._ask()
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that closes before the end is a failure."""
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _ask(self) -> None:
        self._answer = b""
        self._began = time.monotonic()
        self._transport.write(self._requests[self._asked % len(self._requests)])
        self._asked += 1

    def _fail(self, head: bytes) -> None:
        self._done.set_exception(RuntimeError(head.split(b"\r\n")[0].decode()))
        self._transport.close()


def content_length(head: bytes) -> int:
    """Return how long the body is."""
    lines = head.lower().split(b"\r\n")
    return next((int(line[len(LENGTH) :]) for line in lines if line.startswith(LENGTH)), 0)
