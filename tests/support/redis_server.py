"""A real Redis of the test's own, on a socket, that can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

START_SECONDS = 20.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


class RedisServer:
    """One `redis-server` process over a directory, with its data kept on disk at each write."""

    def __init__(self, program: str, place: Path) -> None:
        self._program = program
        self._place = place
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{place}/redis.sock"

    def start(self) -> None:
        """Start it and wait until it answers."""
        socket = self._place / "redis.sock"
        self._process = subprocess.Popen(
            [
                self._program,
                *f"--port 0 --unixsocket {socket} --dir {self._place}".split(),
                *DURABLE,
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with (
                contextlib.suppress(redis.ConnectionError),
                redis.Redis.from_url(self.url) as client,
            ):
                client.ping()
                return
            time.sleep(0.02)
        raise AssertionError("redis-server did not answer in time")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def flush(self) -> None:
        """Forget everything."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """A block in which it answers nobody, and takes all the same what is sent to it."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)


@contextlib.contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Yield a running Redis; skips the test where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("install redis-server: apt-get install redis-server")
    place = Path(tempfile.mkdtemp(prefix="tally-redis-"))
    server = RedisServer(program, place)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place)
