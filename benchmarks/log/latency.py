"""From commit to checkpoint at 2,000 rows a second, at two intervals."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

import psycopg

from benchmarks.ground import ORIGIN_PREFIX, Ground, LogGround
from benchmarks.harness import Bound, Figure, Samples
from benchmarks.log.capture_clients import percentile
from benchmarks.log.payments import attach, create_payments, insert_payments
from tallystick.seal.sequencer import SequencerWorker

ROWS_A_COMMIT: Final = 10
COMMITS_A_SECOND: Final = 200
"""Together 2,000 rows a second."""
WINDOWS: Final = 5
"""The run is cut into so many parts: their percentiles are the figure's rounds."""
MEDIAN: Final = 50
LAST: Final = 99


@dataclass(slots=True)
class Heads:
    """When this process heard of which size."""

    heard: list[tuple[int, float]] = field(default_factory=list)

    def latencies(self, committed: list[float]) -> list[float]:
        """
        Return for each commit the seconds until a checkpoint held its rows.

        One client wrote all rows, so the leaves stand in the order of its commits.
        """
        heads, found = iter(sorted(self.heard)), []
        size, at = next(heads)
        for number, committed_at in enumerate(committed, 1):
            while size < number * ROWS_A_COMMIT:
                size, at = next(heads)
            found.append(at - committed_at)
        return found


def run(ground: Ground) -> list[Figure]:
    """Return p50 and p99 at the default interval of 500 ms, and at 100 ms."""
    seconds = ground.scale.pick(20.0, 1.5)
    usual, short = latencies(ground, 500, seconds), latencies(ground, 100, seconds)
    rate = f"{ROWS_A_COMMIT * COMMITS_A_SECOND:,} rows/s"
    return [
        latency(f"commit to checkpoint, {rate}, p50", usual, short, MEDIAN, Bound(most=350)),
        latency(f"commit to checkpoint, {rate}, p99", usual, short, LAST, Bound(most=1000)),
        Figure(
            f"commit to checkpoint, {rate}, interval 100 ms, p99",
            windows(short, LAST),
            "ms",
            "less",
            target=Bound(most=300),
            note="elsewhere: push logs 0.5 to 3 s, database ledgers 30 s; they cannot run here",
        ),
    ]


def latency(
    name: str, usual: list[float], short: list[float], percent: int, target: Bound
) -> Figure:
    """Return the line of one percentile at 500 ms, beside that at 100 ms."""
    return Figure(
        name,
        windows(usual, percent),
        "ms",
        "less",
        "interval 100 ms",
        windows(short, percent),
        target,
    )


def windows(seconds: list[float], percent: int) -> Samples:
    """Return the percentile of each part of the run, in milliseconds."""
    length = len(seconds) // WINDOWS
    parts = [seconds[start : start + length] for start in range(0, length * WINDOWS, length)]
    return Samples(tuple(percentile(part, percent) * 1000 for part in parts))


def latencies(ground: Ground, interval_ms: int, seconds: float) -> list[float]:
    """Return the seconds from each commit to the checkpoint that holds its rows."""
    context = multiprocessing.get_context("spawn")
    with (
        ground.log(batch_interval_ms=interval_ms) as log,
        ProcessPoolExecutor(1, mp_context=context) as writer,
    ):
        with psycopg.connect(log.url, autocommit=True) as connection:
            create_payments(connection, "payment")
        attach(log.database, log.log.log_name, "payment")
        commits = int(seconds * COMMITS_A_SECOND)
        with sealing(log), listening(log, until=commits * ROWS_A_COMMIT) as heads:
            committed = writer.submit(write_steadily, log.url, commits).result()
        return heads.latencies(committed)


def write_steadily(url: str, commits: int) -> list[float]:
    """Commit at a steady pace, and return when each commit had returned (monotonic seconds)."""
    committed = []
    with psycopg.connect(url, autocommit=True) as connection:
        began = time.monotonic()
        for number in range(commits):
            time.sleep(max(0.0, began + number / COMMITS_A_SECOND - time.monotonic()))
            insert_payments(
                connection, "payment", first=number * ROWS_A_COMMIT + 1, rows=ROWS_A_COMMIT
            )
            committed.append(time.monotonic())
    return committed


@contextlib.contextmanager
def sealing(log: LogGround) -> Iterator[None]:
    """Run the sequencer's worker in a thread, as `tally worker` does."""
    worker = SequencerWorker(log.database, log.keys, origin_prefix=ORIGIN_PREFIX, threads=2)
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,), name="seal")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def listening(log: LogGround, *, until: int) -> Iterator[Heads]:
    """Hear of every checkpoint; at the end wait for the size *until*."""
    heads, ready = Heads(), threading.Event()

    def listen() -> None:
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute("LISTEN tally_checkpoint")
            ready.set()
            for notification in connection.notifies(timeout=120):
                heads.heard.append((int(notification.payload.split(":")[1]), time.monotonic()))
                if heads.heard[-1][0] >= until:
                    return

    thread = threading.Thread(target=listen, name="listen")
    thread.start()
    ready.wait()
    yield heads
    thread.join()
