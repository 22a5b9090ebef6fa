"""A disk that is full: writers and sealing stop with an error, and nothing is lost (law 1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tallystick.db import connect, migrate
from tallystick.errors import Error
from tallystick.runtime.postgres import EmbeddedPostgres
from tests.seal.laws.stage import assert_whole, attach, sql
from tests.support.logs import make_bench

SMALL_MB = 200
LARGE_MB = 1500
SMALL_WAL = {"min_wal_size": "32MB", "max_wal_size": "64MB", "shared_buffers": "32MB"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MB, which an operator can make larger."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a file system of its own can be mounted by root alone")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m,mode=0755", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("this container may not mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


@pytest.fixture
def small_server(small_disk: Path, postgres_bin: Path | None) -> Iterator[EmbeddedPostgres]:
    """A server whose data lie on the small disk, and which waits for it."""
    server = EmbeddedPostgres(small_disk / "data", bin_dir=postgres_bin, settings=SMALL_WAL)
    server.start()
    try:
        yield server
    finally:
        server.remove()


def fill(url: str) -> int:
    """Insert rows until the disk is full, and return how many transactions were committed."""
    committed = 0
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
        while True:
            connection.execute(
                "INSERT INTO payment"
                " SELECT (SELECT coalesce(max(id), 0) FROM payment) + g, repeat('x', 500)"
                " FROM generate_series(1, 2000) AS g"
            )
            committed += 1
    return committed


@pytest.mark.slow
def test_a_full_disk_loses_nothing(small_server, small_disk, tmp_path):
    """log 3: a disk filled to the last byte; with room again all that committed is sealed."""
    migrate(small_server.url())
    url = small_server.url()
    bench = make_bench(url, tmp_path / "keys", control_leaves=False, batch_size=5000)
    sql(url, "CREATE TABLE payment (id bigint PRIMARY KEY, note text)")
    attach(bench, "payment")
    assert fill(url) > 0
    assert shutil.disk_usage(small_disk).free < SMALL_MB * 1024 * 1024 // 10
    # With no room left a batch fails as a whole, or the last bytes let it through as a whole.
    with contextlib.suppress(Error, psycopg.Error, AssertionError):
        while bench.sequencer.seal_once(bench.log.log_id) is not None:
            pass
    bench.database.close()
    enlarge = ["mount", "-o", f"remount,size={LARGE_MB}m", str(small_disk)]
    subprocess.run(enlarge, check=True)
    # A server that could not write its WAL has ended itself; one that could is started over.
    small_server.stop("immediate")
    small_server.start()
    again = make_again(url, bench)
    [(rows,)] = sql(url, "SELECT count(*) FROM payment")
    sql(url, "DELETE FROM payment WHERE id % 2 = 0 AND id < 100")
    again.seal_all()
    assert_whole(again, size=rows + 49)
    again.database.close()


def make_again(url: str, bench):
    """Return the bench with a new pool, as after a start."""
    return type(bench)(url, connect(url), bench.keys, bench.log)
