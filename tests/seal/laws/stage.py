"""What the tests of the laws stand on: tables, writers, workers in processes, and one verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.seal.audit import audit_log
from tallystick.seal.sequencer import SealObserver, SequencerWorker
from tallystick.seal.sources import add_source, run_backfills
from tests.support.logs import ORIGIN_PREFIX, LogBench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORKER = Path(__file__).with_name("worker_process.py")
PATIENCE_SECONDS = 60.0
"""What anything here may take on a machine under load; tests wait for facts, not for times."""


def sql(url: str, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Run one statement in a transaction of its own and return its rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def attach(bench: LogBench, table: str, **settings: Any) -> None:
    """Make *table* a source of the bench's log, and queue the rows that it has."""
    with bench.database.transaction() as tx:
        add_source(tx, bench.log.log_name, table, **settings)
    run_backfills(bench.database)


def wait_until(holds: Callable[[], bool], what: str = "it") -> None:
    """Wait until *holds* does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.02)


def leaves_of(bench: LogBench) -> list[bytes]:
    """The log's leaves in the order of their indexes."""
    query = "SELECT leaf FROM tally.merkle_log WHERE log_id = %s ORDER BY leaf_index"
    return [bytes(leaf) for (leaf,) in sql(bench.url, query, (bench.log.log_id,))]


def count_waiting(bench: LogBench) -> int:
    """How many committed rows wait in the log's queue."""
    waiting = bench.value("SELECT count(*) FROM tally.capture WHERE log_id = %s")
    assert isinstance(waiting, int)
    return waiting


def drained(bench: LogBench) -> None:
    """Wait until some worker has sealed all that waits."""
    wait_until(lambda: count_waiting(bench) == 0, "an empty queue")


def assert_whole(bench: LogBench, *, size: int, checkpoints: int | None = None) -> None:
    """
    Assert that the log has exactly *size* leaves, each queue row once, and a clean audit.

    The audit rebuilds the root of every checkpoint, so no size has a root that is not its own.
    """
    [(count, first, last, places, heads, top)] = sql(
        bench.url,
        "SELECT count(*), min(m.leaf_index), max(m.leaf_index), count(DISTINCT m.seq),"
        " (SELECT count(*) FROM tally.checkpoints AS c WHERE c.log_id = %(log)s),"
        " (SELECT max(c.tree_size) FROM tally.checkpoints AS c WHERE c.log_id = %(log)s)"
        " FROM tally.merkle_log AS m WHERE m.log_id = %(log)s",
        {"log": bench.log.log_id},
    )
    assert (count, first, last, places, top) == (size, 0, size - 1, size, size)
    assert checkpoints is None or heads == checkpoints
    report = audit_log(bench.database, bench.log.log_name)
    assert report.findings == ()
    assert (report.size, report.leaves, report.checkpoints) == (size, size, heads)


@contextlib.contextmanager
def worker_process(bench: LogBench, *words: str, threads: int = 2) -> Iterator[subprocess.Popen]:
    """Run a sealing process until the block ends; then it has ended in order."""
    process = subprocess.Popen(
        [sys.executable, WORKER, bench.url, bench.keys.directory, str(threads), *words],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        # A signal that comes before its handler would end it like any other process.
        assert process.stdout.readline() == b"ready\n"
        yield process
        assert process.poll() is None, "the worker ended by itself"
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@dataclasses.dataclass
class RunningWorker:
    """A worker in a thread of this process, and what it told."""

    worker: SequencerWorker
    sealed: list[Any] = dataclasses.field(default_factory=list)
    failed: list[tuple[str, BaseException]] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def running_worker(bench: LogBench, threads: int = 2) -> Iterator[RunningWorker]:
    """Run a worker in a thread until the block ends."""
    sealed: list[Any] = []
    failed: list[tuple[str, BaseException]] = []
    observer = SealObserver(sealed.append, lambda log, error: failed.append((log, error)))
    worker = SequencerWorker(
        bench.database,
        bench.keys,
        origin_prefix=ORIGIN_PREFIX,
        threads=threads,
        observer=observer,
    )
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=[stop])
    thread.start()
    try:
        yield RunningWorker(worker, sealed, failed)
    finally:
        stop.set()
        thread.join()


class Writers:
    """Threads that each write in small transactions until they are stopped."""

    def __init__(
        self,
        url: str,
        write: Callable[[psycopg.Connection, int, int], int],
        *,
        pause_seconds: float = 0.01,
    ) -> None:
        self._url = url
        self._write = write
        # Unhindered, writers outrun a sequencer that shares two cores with them and the server.
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.committed = 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def running(self, count: int) -> Iterator[Writers]:
        """Write with *count* connections for the block; an error of one fails the test."""
        self._threads = [threading.Thread(target=self._run, args=[n]) for n in range(count)]
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()
        if self.errors:
            raise self.errors[0]

    def _run(self, number: int) -> None:
        try:
            with psycopg.connect(self._url) as connection:
                turn = 0
                while not self._stop.is_set():
                    rows = self._write(connection, number, turn)
                    connection.commit()
                    with self._lock:
                        self.committed += rows
                    turn += 1
                    time.sleep(self._pause_seconds)
        except BaseException as error:  # noqa: BLE001 (told to the test)
            self.errors.append(error)
