"""Any number of workers share the logs, start quickly and outlive the server (laws 2 and 17)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db.database import POOL_TIMEOUT_SECONDS
from tallystick.seal.sequencer import store
from tests.seal.laws.stage import (
    Writers,
    assert_whole,
    attach,
    drained,
    leaves_of,
    running_worker,
    sql,
    wait_until,
    worker_process,
)
from tests.support.logs import LogBench, make_bench, queue_leaf
from tests.support.server import TestServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tallystick.runtime.postgres import StopMode

LOGS, TABLES = 20, 4
BLOCKED = (
    "SELECT waiting.application_name, lock.locktype, blocking.application_name, waiting.query"
    " FROM pg_locks AS lock INNER JOIN pg_stat_activity AS waiting ON waiting.pid = lock.pid"
    " CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS b (pid)"
    " INNER JOIN pg_stat_activity AS blocking ON blocking.pid = b.pid"
    # A table grows by a few pages at a time; that lock is held for microseconds.
    " WHERE NOT lock.granted AND lock.locktype <> 'extend'"
    " AND 'tallystick' IN (waiting.application_name, blocking.application_name)"
    " AND waiting.backend_type = 'client backend' AND blocking.backend_type = 'client backend'"
)


def make_logs(url: str, key_dir: Path) -> list[LogBench]:
    """Twenty logs over four tables: each table feeds five of them."""
    for table in range(TABLES):
        sql(url, f"CREATE TABLE table_{table} (id bigint PRIMARY KEY, version integer NOT NULL)")
    benches = []
    for number in range(LOGS):
        bench = make_bench(
            url, key_dir, f"log_{number}", batch_interval_ms=50, control_leaves=False
        )
        attach(bench, f"table_{number % TABLES}")
        benches.append(bench)
    return benches


def share_under_load(url: str, key_dir: Path, seconds: float) -> None:
    """Let two processes seal twenty logs while four writers write."""
    benches = make_logs(url, key_dir)
    rows = [0] * TABLES

    def write(connection: psycopg.Connection, number: int, turn: int) -> int:
        table = (number + turn) % TABLES
        first = number * 10_000_000 + turn * 20
        values = f"SELECT i, 1 FROM generate_series({first}, {first + 9}) AS i"
        connection.execute(f"INSERT INTO table_{table} {values}".encode())
        where = f"id BETWEEN {first} AND {first + 4}"
        connection.execute(f"UPDATE table_{table} SET version = 2 WHERE {where}".encode())
        connection.commit()
        with lock:
            rows[table] += 15
        return 15

    lock = threading.Lock()
    writers = Writers(url, write)
    blocked: list[tuple[str, ...]] = []
    with worker_process(benches[0]), worker_process(benches[0]):
        with writers.running(4):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                blocked += sql(url, BLOCKED)
                time.sleep(0.05)
        for bench in benches:
            drained(bench)
    assert blocked == []
    assert sum(bench.size() for bench in benches) == writers.committed * LOGS // TABLES
    for number, bench in enumerate(benches):
        assert bench.size() == rows[number % TABLES]
        assert_whole(bench, size=rows[number % TABLES])
        bench.database.close()


def test_two_processes_share_twenty_logs(database_url, tmp_path):
    """log 24: two workers seal 20 logs over 4 tables under load: gapless, and nobody waits."""
    share_under_load(database_url, tmp_path / "keys", 2.0)


@pytest.mark.slow
def test_two_processes_share_twenty_logs_for_a_minute(database_url, tmp_path):
    """log 24: so they do for 60 seconds."""
    share_under_load(database_url, tmp_path / "keys", 60.0)


class Statements:
    """Counts what is sent, but for BEGIN, COMMIT and the pool's question whether one is there."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.tiles = 0

    @contextlib.contextmanager
    def counted(self) -> Iterator[Statements]:
        """Count within the block."""
        execute, read_tiles = psycopg.Cursor.execute, store.TileReader.read_tiles

        def counting(cursor, query, *arguments, **named):
            if query:
                self.sent.append(str(query)[:60])
            return execute(cursor, query, *arguments, **named)

        def reading(reader, tiles):
            self.tiles += len(tiles)
            return read_tiles(reader, tiles)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Cursor, "execute", counting)
            patch.setattr(store.TileReader, "read_tiles", reading)
            yield self


@pytest.mark.parametrize("size", [0, 1, 300, 70_000])
def test_start_reads_the_right_edge_alone(database_url, tmp_path, size):
    """log 24: a new process's first batch takes at most 12 statements and 8 tiles at any size."""
    bench = make_bench(database_url, tmp_path / "keys", batch_size=100_000, control_leaves=False)
    sql(
        bench.url,
        "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
        " SELECT %s, 'A', 'a', '[]', int4send(i), tally.clock() FROM generate_series(1, %s) AS i",
        (bench.log.log_id, size),
    )
    assert bench.seal_all() == size
    bench.push(b"first")
    sequencer = bench.sequencer
    with Statements().counted() as statements:
        assert sequencer.seal_once(bench.log.log_id).size == size + 1
    assert len(statements.sent) <= 12, statements.sent
    assert statements.tiles <= 8


def test_reading_and_sealing_take_no_lock_of_each_other(database_url, tmp_path):
    """A reader that holds whatever reading takes delays no batch, nor a batch a reader (law 17)."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    bench.push(b"one")
    bench.seal_all()
    tables = ("checkpoints", "log_tiles", "merkle_log", "leaf_records", "verification_logs")
    with psycopg.connect(database_url) as reader, psycopg.connect(database_url) as sealer:
        for table in tables:
            reader.execute(f"SELECT * FROM tally.{table}")
        bench.push(b"two")
        with bench.database.transaction() as tx:
            tx.connection.execute("SET LOCAL lock_timeout = '2s'")
            assert bench.sequencer.seal_once(bench.log.log_id).size == 2
        # Now the other way round: what a batch writes is locked until its commit.
        sealer.execute("SELECT pg_advisory_xact_lock(1952541817, %s)", (bench.log.log_id,))
        for table in ("checkpoints", "log_tiles", "merkle_log", "verification_logs"):
            sealer.execute(f"LOCK TABLE tally.{table} IN ROW EXCLUSIVE MODE")
        reader.rollback()
        reader.execute("SET lock_timeout = '2s'")
        for table in tables:
            reader.execute(f"SELECT * FROM tally.{table}")


@pytest.fixture
def own_server(postgres_bin: Path | None) -> Iterator[TestServer]:
    """A server that a test may stop."""
    with running_server(postgres_bin) as server:
        yield server


def write_through(url: str, stop: threading.Event) -> None:
    """Insert rows one by one until told to stop, whatever happens to the server."""
    number = 0
    while not stop.is_set():
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(url, autocommit=True) as connection,
        ):
            while not stop.is_set():
                number += 1
                connection.execute("INSERT INTO payment VALUES (%s)", (number,))
        time.sleep(0.02)


def outlive_the_server(server: TestServer, key_dir: Path, mode: StopMode, seconds: float) -> None:
    """Stop the server under load for so long, and see the same worker seal on."""
    with server.database() as url:
        bench = make_bench(url, key_dir, batch_interval_ms=20, control_leaves=False)
        sql(url, "CREATE TABLE payment (id bigint PRIMARY KEY)")
        attach(bench, "payment")
        stop = threading.Event()
        writer = threading.Thread(target=write_through, args=[url, stop])
        with running_worker(bench) as running:
            writer.start()
            try:
                wait_until(lambda: bench.size() > 20, "the first leaves")
                server.server.stop(mode)
                time.sleep(seconds)
                server.server.start()
                before = bench.size()
                wait_until(lambda: bench.size() > before + 20, "leaves after the start")
            finally:
                stop.set()
                writer.join()
            drained(bench)
            # A short outage is waited for; one that is longer than that patience is an error.
            assert (running.failed != []) or seconds < POOL_TIMEOUT_SECONDS
        [(rows,)] = sql(url, "SELECT count(*) FROM payment")
        assert_whole(bench, size=rows)
        bench.database.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_sealing_resumes_when_the_server_is_back(own_server, tmp_path, mode):
    """log 25: the server stopped and started under load: sealing resumes without a restart."""
    outlive_the_server(own_server, tmp_path / "keys", mode, 1.0)


@pytest.mark.slow
def test_sealing_resumes_after_a_long_outage(own_server, tmp_path):
    """log 25: so it does when the server was away for longer than any look waits for it."""
    outlive_the_server(own_server, tmp_path / "keys", "fast", 2.5 * POOL_TIMEOUT_SECONDS)


def test_a_signed_head_survives_the_server(own_server, tmp_path):
    """Where commits do not wait for the disk, a head still does: the guard knows it (law 12)."""
    with own_server.database() as url:
        assert sql(url, "SHOW synchronous_commit") == [("off",)]
        bench = make_bench(url, tmp_path / "keys", control_leaves=False)
        for size in range(1, 4):
            bench.push(b"leaf")
            assert bench.seal_all() == size
            own_server.server.stop("immediate")
            own_server.server.start()
            assert bench.size() == size
        bench.database.close()


def test_a_restarted_process_goes_on(database_url, tmp_path):
    """log 24: processes that come and go seal each row once, under one growing tree (law 9)."""
    bench = make_bench(database_url, tmp_path / "keys", batch_size=7, batch_interval_ms=20)
    for round_ in range(3):
        with psycopg.connect(database_url) as connection:
            for number in range(20):
                queue_leaf(connection, bench.log.log_id, b"leaf %d %d" % (round_, number))
        with worker_process(bench):
            drained(bench)
    assert_whole(bench, size=61)
    assert leaves_of(bench)[1:] == [
        b"leaf %d %d" % (round_, number) for round_ in range(3) for number in range(20)
    ]
