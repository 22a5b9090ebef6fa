"""
Entries a second through the push door: over HTTP, waiting for the disk, answered once sealed.

`tally serve` and `tally worker` are processes of their own, as an operator runs them; the clients
are another. Each client has one connection and one entry under way, so that entries a second are
clients by latency. Tessera is a Go program that cannot run here: its figures are those that log.md
names, from another machine, and the ratio to them says no more than that.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from benchmarks.ground import ORIGIN_PREFIX, Ground, LogGround
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.capture_clients import percentile
from benchmarks.log.serving import HOST, Asker, free_port
from tallystick.config import Settings
from tallystick.runtime.operator import operator_key_file

CLIENTS: Final = 64
MANY_CLIENTS: Final = 256
ENTRY_BYTES: Final = 280
ENTRIES: Final = 2_000
"""Distinct entries of one client; a faster one begins anew."""
MEDIAN: Final = 50
LAST: Final = 99
TESSERA_UNCAPPED: Final = 7_700.0
TESSERA: Final = "Tessera POSIX, uncapped, on another machine (log.md, section 8)"
END_SECONDS: Final = 30.0
START_SECONDS: Final = 60.0


def run(ground: Ground) -> list[Figure]:
    """Return entries a second with 64 clients and with 256, and the latency of 64."""
    seconds = ground.scale.pick(5.0, 0.5)
    latencies: list[float] = []
    context = multiprocessing.get_context("spawn")
    with (
        ground.log(accepts_entries=True) as log,
        running_door(log) as (port, key),
        ProcessPoolExecutor(1, mp_context=context) as client,
    ):

        def push(clients: int) -> float:
            found = client.submit(push_for, port, key, clients, seconds).result()
            if clients == CLIENTS:
                latencies.append(percentile(found, MEDIAN) * 1000)
                slowest.append(percentile(found, LAST) * 1000)
            return len(found) / seconds

        slowest: list[float] = []
        push(CLIENTS)
        latencies.clear()
        slowest.clear()
        before = log.size()
        sides = measure(
            {"some": lambda: push(CLIENTS), "many": lambda: push(MANY_CLIENTS)},
            rounds=ground.scale.rounds,
        )
        sealed = log.size() - before
    answered = seconds * sum((*sides["some"].values, *sides["many"].values))
    assert sealed >= answered - 1, "what was answered was sealed"
    return [
        against_tessera(f"push door, {CLIENTS} clients", sides["some"], Bound(least=3000)),
        Figure(
            f"push door, {CLIENTS} clients, p50",
            Samples(tuple(latencies)),
            "ms",
            "less",
            target=Bound(most=600),
            note=f"p99 {max(slowest):.0f} ms at most; a Python client on the same cores",
        ),
        against_tessera(f"push door, {MANY_CLIENTS} clients", sides["many"], None),
    ]


def against_tessera(name: str, values: Samples, target: Bound | None) -> Figure:
    """Return a line of entries a second beside Tessera's."""
    theirs = values.map(lambda _: TESSERA_UNCAPPED)
    return Figure(name, values, "/s", "more", TESSERA, theirs, target)


@contextlib.contextmanager
def running_door(log: LogGround) -> Iterator[tuple[int, str]]:
    """Run `tally serve` and `tally worker` over the log; yield the port and the operator's key."""
    with (
        tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place,
        contextlib.ExitStack() as ends,
    ):
        port = free_port()
        key = operator_key_file(Settings(data_dir=Path(place))).read_text().strip()
        settings = {
            "TALLY_DATABASE_URL": log.url,
            "TALLY_DATA_DIR": place,
            "TALLY_KEY_DIR": str(log.keys.directory),
            "TALLY_ORIGIN_PREFIX": ORIGIN_PREFIX,
            "TALLY_LOG_LEVEL": "error",
        }
        for words in (["serve", "--host", HOST, "--port", str(port)], ["worker"]):
            process = subprocess.Popen(
                [sys.executable, "-m", "tallystick", *words],
                env={**os.environ, **settings},
                stdout=subprocess.DEVNULL,
            )
            ends.callback(process.wait, END_SECONDS)
            ends.callback(process.terminate)
        wait_for_answer(f"http://{HOST}:{port}/logs/{log.log.log_name}/add", key)
        yield port, key


def wait_for_answer(url: str, key: str) -> None:
    """
    Wait until an entry is answered.

    Raises:
        RuntimeError: None was in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(url, content=b"first", headers={"Authorization": f"Bearer {key}"})
            if answer.is_success:
                return
        time.sleep(0.1)
    raise RuntimeError("the door did not open")


def push_for(port: int, key: str, clients: int, seconds: float) -> list[float]:
    """Push entries over and over with so many clients, and return the latencies."""
    return asyncio.run(push_with(port, key, clients, seconds))


async def push_with(port: int, key: str, clients: int, seconds: float) -> list[float]:
    """Keep every client busy until the time is over."""
    requests = [requests_of(client, key) for client in range(clients)]
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    end = time.monotonic() + seconds
    pushed = []
    for own in requests:
        done = loop.create_future()
        asker = Asker(own, latencies, end, done)
        await loop.create_connection(lambda asker=asker: asker, HOST, port)  # type: ignore[misc]
        pushed.append(done)
    await asyncio.gather(*pushed)
    return latencies


def requests_of(client: int, key: str) -> Sequence[bytes]:
    """Return the requests of one client, each with bytes of its own."""
    head = (
        f"POST /logs/payments/add HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {ENTRY_BYTES}\r\n\r\n"
    ).encode()
    return [
        head + f"client {client} entry {number} ".encode().ljust(ENTRY_BYTES, b"x")
        for number in range(ENTRIES)
    ]
