"""kill -9 of PostgreSQL, and of one sealing host among several (log.md, sections 5.5 and 7)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tallystick.seal.logs import KeyRing
from tests.seal.laws.stage import Writers, assert_whole, attach, drained, sql, worker_process
from tests.seal.sequencer.test_crash import PAUSE_POINTS, SEAL_ONCE
from tests.support.logs import LogBench, make_bench
from tests.support.server import TestServer, running_server

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
WITHIN_SECONDS = 60.0


@pytest.fixture(scope="module")
def killed_server(postgres_bin: Path | None) -> Iterator[TestServer]:
    """A server that waits for the disk, as in use, and that tests kill."""
    with running_server(postgres_bin, **DURABLE) as server:
        yield server


def kill_server(server: TestServer) -> None:
    """End every process of the server at once, as the kernel does when memory runs out."""
    postmaster = server.server.pid
    assert postmaster is not None
    children = subprocess.run(
        ["pgrep", "-P", str(postmaster)], capture_output=True, text=True, check=False
    ).stdout.split()
    for pid in (postmaster, *map(int, children)):
        with_signal(pid)


def with_signal(pid: int) -> None:
    """Send SIGKILL; a process that has ended meanwhile needs none."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@pytest.mark.parametrize("point", PAUSE_POINTS)
def test_server_killed_at_each_step(killed_server, tmp_path, point):
    """log 3: PostgreSQL killed at each step of a batch leaves all of it or none, and it goes on."""
    with killed_server.database() as url:
        bench = make_bench(url, tmp_path / "keys", control_leaves=False)
        sql(url, "CREATE TABLE payment (id bigint PRIMARY KEY)")
        attach(bench, "payment")
        sql(url, "INSERT INTO payment SELECT generate_series(1, 300)")
        marker = tmp_path / "paused"
        process = subprocess.Popen(
            [sys.executable, "-c", SEAL_ONCE, url, bench.keys.directory, str(bench.log.log_id)],
            env={**os.environ, "TALLY_PAUSE_AT": point, "TALLY_PAUSE_FILE": str(marker)},
        )
        try:
            deadline = time.monotonic() + WITHIN_SECONDS
            while not marker.exists():
                assert process.poll() is None, f"the process ended before {point}"
                assert time.monotonic() < deadline, f"{point} was never reached"
                time.sleep(0.01)
            kill_server(killed_server)
        finally:
            process.kill()
            process.wait()
        killed_server.server.stop("immediate")
        killed_server.server.start()
        assert bench.size() == (300 if PAUSE_POINTS[point] else 0)
        sql(url, "INSERT INTO payment SELECT generate_series(301, 320)")
        assert bench.seal_all() == 320
        assert_whole(bench, size=320)
        bench.database.close()


def test_server_killed_under_load(killed_server, tmp_path):
    """log 3: three kills of PostgreSQL under writers and a worker: each committed row, once."""
    with killed_server.database() as url:
        bench = make_bench(url, tmp_path / "keys", batch_interval_ms=20, control_leaves=False)
        sql(url, "CREATE TABLE payment (id bigint PRIMARY KEY)")
        attach(bench, "payment")
        for round_ in range(3):
            writers = Writers(url, inserting(round_))
            with worker_process(bench):
                try:
                    with writers.running(4):
                        time.sleep(0.7)
                        kill_server(killed_server)
                except psycopg.OperationalError:
                    pass
                killed_server.server.stop("immediate")
                killed_server.server.start()
                drained(bench)
        [(rows,)] = sql(url, "SELECT count(*) FROM payment")
        assert rows > 0
        assert_whole(bench, size=rows)
        bench.database.close()


def inserting(round_: int):
    """Return what inserts one row a turn under an id of its own."""

    def write(connection: psycopg.Connection, number: int, turn: int) -> int:
        connection.execute(
            "INSERT INTO payment VALUES (%s)", (round_ * 10**9 + number * 10**7 + turn,)
        )
        return 1

    return write


def another_host(bench: LogBench, place: Path) -> LogBench:
    """Return the bench as another host has it: a key directory of its own, with an old guard."""
    shutil.copytree(bench.keys.directory, place)
    return LogBench(bench.url, bench.database, KeyRing(place), bench.log)


def test_hosts_share_logs_with_directories_of_their_own(database_url, tmp_path):
    """log 24: two hosts with their own copies of the keys seal one log; one dies, one goes on."""
    here = make_bench(
        database_url, tmp_path / "here", batch_interval_ms=20, batch_size=50, control_leaves=False
    )
    sql(database_url, "CREATE TABLE payment (id bigint PRIMARY KEY)")
    attach(here, "payment")
    there = another_host(here, tmp_path / "there")
    writers = Writers(database_url, inserting(0))
    with worker_process(there), writers.running(4):
        before = here.size()
        with pytest.raises(AssertionError, match="ended by itself"), worker_process(here) as dying:
            time.sleep(1.0)
            dying.kill()
            dying.wait()
        middle = here.size()
        time.sleep(1.0)
    with worker_process(there):
        drained(there)
    assert before < middle < here.size()
    assert_whole(there, size=writers.committed)
    # The dead host's guard is old, which is legal: it seals on where the other stopped.
    here.push(b"after")
    assert here.seal_all() == writers.committed + 1
    here.database.close()
