"""The worker as a process: load, several of them, an end, a database that goes away."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tallystick.config import Settings, load_settings
from tallystick.db import Database, connect
from tallystick.runtime.house import initialise
from tallystick.runtime.postgres import EmbeddedPostgres
from tallystick.runtime.status import wait_until_sealed
from tallystick.seal.logs import KeyRing, LogSettings, create_log
from tallystick.seal.sources import add_source
from tests.runtime.conftest import tally_process, until

QUICK = LogSettings(batch_interval_ms=50)


def make_log(database: Database, settings: Settings, name: str, *tables: str) -> None:
    """Make a log that *tables* feed."""
    with database.transaction() as tx:
        keys = KeyRing(settings.keys)
        create_log(tx, name, keys=keys, origin_prefix="log.example", settings=QUICK)
    for table in tables:
        with database.transaction() as tx:
            add_source(tx, name, table)


def make_table(url: str, name: str) -> None:
    """Make a table of a number and a text."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, note text)")


class Writer(threading.Thread):
    """Inserts rows into a table, some in each transaction, and rolls every fifth back."""

    def __init__(self, url: str, table: str, *, rows: int = 3, pause: float = 0.0) -> None:
        super().__init__()
        self._url, self._table, self._rows, self._pause = url, table, rows, pause
        self._stop_asked = threading.Event()
        self.committed = 0

    def run(self) -> None:
        """Write until told to stop."""
        insert = f"INSERT INTO {self._table} SELECT n, 'x' FROM generate_series(%s::int8, %s) AS n"
        next_id, turn = 1, 0
        with psycopg.connect(self._url) as connection:
            while not self._stop_asked.is_set():
                turn += 1
                connection.execute(insert, (next_id, next_id + self._rows - 1))
                if turn % 5 == 0:
                    connection.rollback()
                else:
                    connection.commit()
                    self.committed += self._rows
                next_id += self._rows
                time.sleep(self._pause)

    def finish(self) -> None:
        """Stop, after the transaction at hand."""
        self._stop_asked.set()
        self.join()


@contextmanager
def writing(url: str, *tables: str, pause: float = 0.0) -> Iterator[list[Writer]]:
    """Writers on *tables*, finished at the end."""
    writers = [Writer(url, table, pause=pause) for table in tables]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.finish()


def sealed_rows(connection: psycopg.Connection, log: str, table: str) -> int:
    """How many leaves of a table a log has."""
    found = connection.execute(
        "SELECT count(*) FROM tally.merkle_log WHERE log_name = %s AND source_table = %s",
        (log, table),
    ).fetchone()
    assert found is not None
    return int(found[0])


def gaps(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """Logs whose leaves are not exactly those from 0 to the size of their head."""
    return connection.execute(
        "SELECT h.log_name, h.tree_size, count(m.leaf_index), max(m.leaf_index)"
        " FROM tally.log_heads AS h LEFT JOIN tally.merkle_log AS m USING (log_id)"
        " GROUP BY 1, 2 HAVING count(m.leaf_index) <> h.tree_size"
        " OR max(m.leaf_index) <> h.tree_size - 1"
    ).fetchall()


@pytest.mark.slow
def test_two_processes_seal_twenty_logs(
    settings: Settings,
    environment: dict[str, str],
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    """log 24: Two workers over 20 logs and 4 tables under load leave no gap and no lock waits."""
    tables = [f"t{number}" for number in range(4)]
    for table in tables:
        make_table(database_url, table)
    for number in range(20):
        make_log(database, settings, f"log{number}", tables[number % 4])
    waits: list[tuple[object, ...]] = []
    with (
        tally_process("worker", environment=environment, output=tmp_path / "one"),
        tally_process("worker", environment=environment, output=tmp_path / "two"),
        psycopg.connect(database_url, autocommit=True) as watch,
    ):
        # Both attend to new sources at first, one waiting for the other's pages.
        assert wait_until_sealed(database, "tally", timeout_seconds=30)
        time.sleep(2)
        with writing(database_url, *tables, pause=0.01) as writers:
            until(lambda: sealed_rows(watch, "log0", "t0") > 0, what="nothing is sealed")
            end = time.monotonic() + 6
            while time.monotonic() < end:
                waits += watch.execute(
                    "SELECT application_name, wait_event, query FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                    " AND wait_event IN ('relation', 'tuple', 'transactionid', 'advisory')"
                ).fetchall()
                time.sleep(0.02)
        for number in range(20):
            assert wait_until_sealed(database, f"log{number}", timeout_seconds=60)
        for number in range(20):
            table = tables[number % 4]
            assert sealed_rows(watch, f"log{number}", table) == writers[number % 4].committed
        assert gaps(watch) == []
    assert waits == []
    assert min(writer.committed for writer in writers) > 100
    for name in ("one", "two"):
        assert '"level": "error"' not in (tmp_path / name).read_text()


def test_sigterm_under_load_loses_nothing(
    settings: Settings,
    environment: dict[str, str],
    database: Database,
    database_url: str,
    tmp_path: Path,
) -> None:
    """log 25: SIGTERM under load ends the worker well within 20 s, and the next seals the rest."""
    make_table(database_url, "t0")
    make_log(database, settings, "log0", "t0")
    log = tmp_path / "log"
    with (
        psycopg.connect(database_url, autocommit=True) as watch,
        writing(database_url, "t0") as [writer],
    ):
        with tally_process("worker", environment=environment, output=log) as worker:
            until(lambda: sealed_rows(watch, "log0", "t0") > 0, what="nothing is sealed")
            worker.send_signal(signal.SIGTERM)
            began = time.monotonic()
            assert worker.wait(20) == 0
            assert time.monotonic() - began < 20
        assert gaps(watch) == []
        with tally_process("worker", environment=environment, output=log):
            writer.finish()
            assert wait_until_sealed(database, "log0", timeout_seconds=60)
        assert sealed_rows(watch, "log0", "t0") == writer.committed
        assert gaps(watch) == []


def test_sealing_resumes_when_the_database_is_back(
    postgres_bin: Path | None, tmp_path: Path
) -> None:
    """log 25: The database is stopped and started: sealing resumes without a restart."""
    data = tmp_path / "data"
    data.mkdir()
    server = EmbeddedPostgres(data / "server", bin_dir=postgres_bin, durable=False)
    with server:
        url = server.url()
        settings = load_settings(data_dir=data, database_url=url)
        initialise(settings, url)
        make_table(url, "t0")
        with connect(url) as database:
            make_log(database, settings, "log0", "t0")
        environment = {"TALLY_DATABASE_URL": url, "TALLY_DATA_DIR": str(data)}
        output = tmp_path / "log"
        with tally_process("worker", environment=environment, output=output) as worker:
            until(lambda: b"worker.started" in output.read_bytes())
            for start in (1, 101):
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(
                        "INSERT INTO t0 SELECT n FROM generate_series(%s::bigint, %s) AS n",
                        (start, start + 99),
                    )
                with connect(url) as database:
                    assert wait_until_sealed(database, "log0", timeout_seconds=60)
                if start == 1:
                    server.stop("fast")
                    time.sleep(2)
                    server.start()
            assert worker.poll() is None
            with psycopg.connect(url) as watch:
                assert sealed_rows(watch, "log0", "t0") == 200
                assert gaps(watch) == []


def test_worker_waits_for_its_database(postgres_bin: Path | None, tmp_path: Path) -> None:
    """A worker that starts before its database waits for it, and says so."""
    data = tmp_path / "data"
    data.mkdir()
    server = EmbeddedPostgres(data / "server", bin_dir=postgres_bin, durable=False)
    with server:
        url = server.url()
        initialise(load_settings(data_dir=data, database_url=url), url)
        server.stop("fast")
        environment = {"TALLY_DATABASE_URL": url, "TALLY_DATA_DIR": str(data)}
        output = tmp_path / "log"
        with tally_process("worker", environment=environment, output=output) as worker:
            until(lambda: b"worker.waiting" in output.read_bytes())
            server.start()
            until(lambda: b"worker.started" in output.read_bytes())
            worker.send_signal(signal.SIGINT)
            assert worker.wait(20) == 0
