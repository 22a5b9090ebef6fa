"""The audit on many machines: a real Dask cluster of two worker processes does the same work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tallystick.bulk import Bulk, ClusterUnavailableError
from tallystick.seal.audit import audit_log
from tests.support.logs import LogBench, make_bench

pytest.importorskip("distributed", reason="install the extra `dask`")

LEAVES = 200_000
"""More than three blocks of 65,536, so that both workers have some."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a scheduler with two workers, each a process of its own."""
    place = tmp_path_factory.mktemp("dask")
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    environment = os.environ | {
        "DASK_TEMPORARY_DIRECTORY": str(place),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    scheduler = start(["scheduler", *options, "--port", "0"], place, environment)
    processes = [scheduler]
    try:
        address = address_of(scheduler)
        worker = ["worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        processes += [start(worker, place, environment) for _ in range(2)]
        from distributed import Client

        with Client(address, timeout="30s") as client:
            client.wait_for_workers(2, timeout=60)
        yield address
    finally:
        # The workers first: one that has lost its scheduler asks for it until a limit of its own.
        for process in reversed(processes):
            end(process)


def start(arguments: list[str], place: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start one part of the cluster in *place*."""
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]],
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End one part of the cluster, asked first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()


def address_of(scheduler: subprocess.Popen[str]) -> str:
    """Return where a scheduler says that it listens; its later words go on into the pipe."""
    assert scheduler.stderr is not None
    for line in scheduler.stderr:
        found = re.search(r"tcp://127\.0\.0\.1:\d+", line)
        if found:
            return found.group()
    raise AssertionError("the scheduler ended before it listened")


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log of four blocks."""
    made = make_bench(database_url, tmp_path / "keys")
    with psycopg.connect(made.url) as connection:
        connection.execute(
            "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
            " SELECT %s, 'A', 'a', '[]', convert_to('leaf ' || i, 'UTF8'), tally.clock()"
            " FROM generate_series(1, %s) AS i",
            (made.log.log_id, LEAVES),
        )
    made.seal_all()
    return made


def test_a_cluster_audits_as_this_machine_does(bench, cluster):
    """Two workers check the blocks in one snapshot, and name the leaf that was changed."""
    clean = audit_log(bench.database, bench.log.log_name, cluster=cluster)
    alone = audit_log(bench.database, bench.log.log_name, processes=1)
    assert (clean.is_clean, clean.leaves, clean.root) == (True, alone.leaves, alone.root)
    with psycopg.connect(bench.url) as connection:
        connection.execute("ALTER TABLE tally.merkle_log DISABLE TRIGGER ALL")
        connection.execute("UPDATE tally.merkle_log SET leaf = '\\x00' WHERE leaf_index = 150000")
    changed = audit_log(bench.database, bench.log.log_name, cluster=cluster)
    assert ("leaf_changed", 150000) in {(f.kind, f.leaf_index) for f in changed.findings}


def worker_process(_: int) -> int:
    """Return the process that a task runs in."""
    return os.getpid()


def test_the_tasks_run_in_the_workers(cluster):
    """What is sent to a cluster does not run here."""
    with Bulk(cluster=cluster) as bulk:
        places = set(bulk.map(worker_process, range(16)))
    assert os.getpid() not in places
    assert len(places) == 2


def test_a_scheduler_that_does_not_answer_is_a_named_error():
    """A wrong address ends in ClusterUnavailableError."""
    with Bulk(cluster="tcp://127.0.0.1:9") as bulk, pytest.raises(ClusterUnavailableError):
        list(bulk.map(abs, [1, 2, 3]))
