"""A restored backup signs no fork, and a dump in another cluster loses nothing (law 12)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql as composed

from tallystick.db import connect
from tallystick.runtime.binaries import find_binaries
from tallystick.seal.audit import audit_log, reconcile_and_mend
from tallystick.seal.errors import RollbackError, SourceNotFoundError
from tallystick.seal.logs.guard import guard_path, read_guard
from tallystick.seal.sources import check_sources, get_source, refresh_source
from tests.seal.laws.stage import (
    assert_whole,
    attach,
    count_waiting,
    leaves_of,
    running_worker,
    sql,
    wait_until,
)
from tests.support.logs import LogBench, make_bench
from tests.support.server import TestServer, running_server

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bin_dir(postgres_bin: Path | None) -> Path:
    """Where pg_dump and psql of the server's own version are."""
    return postgres_bin or find_binaries()


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log over a table with a hundred rows, all sealed."""
    made = make_bench(database_url, tmp_path / "keys", batch_size=20, batch_interval_ms=20)
    sql(database_url, "CREATE TABLE payment (id bigint PRIMARY KEY, version integer NOT NULL)")
    attach(made, "payment")
    sql(database_url, "INSERT INTO payment SELECT i, 1 FROM generate_series(1, 100) AS i")
    made.seal_all()
    return made


def dump(bin_dir: Path, url: str, path: Path) -> None:
    """Dump a database as an operator does each night."""
    subprocess.run([bin_dir / "pg_dump", "--file", path, url], check=True)


def restore(bin_dir: Path, url: str, path: Path) -> None:
    """Put a dump into an empty database."""
    subprocess.run(
        [bin_dir / "psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-f", path, url],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def empty(server: TestServer, url: str) -> None:
    """Drop the database of *url*, with whoever is connected, and make it anew without contents."""
    name = composed.Identifier(psycopg.conninfo.conninfo_to_dict(url)["dbname"])
    with psycopg.connect(server.server.url(), autocommit=True) as connection:
        connection.execute(composed.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        connection.execute(composed.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))


def test_yesterdays_dump_signs_nothing(bench, test_server, bin_dir, tmp_path):
    """log 21: over yesterday's dump the log fails with RollbackError before anything is signed."""
    yesterday = bench.size()
    dump(bin_dir, bench.url, tmp_path / "yesterday.sql")
    sql(bench.url, "UPDATE payment SET version = 2 WHERE id <= 10")
    today = bench.seal_all()
    guard = guard_path(bench.keys.directory, bench.log.log_name).read_text()
    empty(test_server, bench.url)
    restore(bin_dir, bench.url, tmp_path / "yesterday.sql")
    assert (yesterday, today) == (bench.size(), yesterday + 10)

    bench.push(b"one more")
    with pytest.raises(RollbackError) as raised:
        bench.sequencer.seal_once(bench.log.log_id)
    assert raised.value.expected == guard
    assert bench.sequencer.seal_once(bench.log.log_id) is None
    assert (bench.size(), count_waiting(bench)) == (yesterday, 1)
    status = "SELECT status::text || ' ' || (failure ->> 'code') FROM tally.verification_logs"
    assert bench.value(f"{status} WHERE log_id = %s") == "failed rollback"
    assert guard_path(bench.keys.directory, bench.log.log_name).read_text() == guard


def test_running_worker_notices_the_dump_below_it(bench, test_server, bin_dir, tmp_path):
    """log 21: a worker that ran on while yesterday's dump was restored signs nothing either."""
    with running_worker(bench) as running:
        dump(bin_dir, bench.url, tmp_path / "yesterday.sql")
        yesterday = bench.size()
        sql(bench.url, "UPDATE payment SET version = 2 WHERE id <= 10")
        wait_until(lambda: bench.size() == yesterday + 10)
        path = guard_path(bench.keys.directory, bench.log.log_name)
        wait_until(lambda: read_guard(path)[0].size == yesterday + 10, "the guard")
        empty(test_server, bench.url)
        restore(bin_dir, bench.url, tmp_path / "yesterday.sql")
        bench.push(b"one more")
        wait_until(
            lambda: RollbackError in {type(error) for _, error in running.failed},
            "the rollback",
        )
    assert (bench.size(), count_waiting(bench)) == (yesterday, 1)


def test_todays_dump_goes_on(bench, test_server, bin_dir, tmp_path):
    """log 21: a dump that holds all that was signed goes on, with what waited in its queue."""
    sql(bench.url, "UPDATE payment SET version = 2 WHERE id <= 10")
    size = bench.size()
    dump(bin_dir, bench.url, tmp_path / "today.sql")
    empty(test_server, bench.url)
    restore(bin_dir, bench.url, tmp_path / "today.sql")
    bench.push(b"one more")
    assert bench.seal_all() == size + 11
    assert_whole(bench, size=size + 11)


def test_restored_table_is_not_recorded_wrongly(bench, test_server, bin_dir, tmp_path):
    """log 21: a restored table's rows are no source of the log's: a change is refused in words."""
    dump(bin_dir, bench.url, tmp_path / "today.sql")
    empty(test_server, bench.url)
    restore(bin_dir, bench.url, tmp_path / "today.sql")
    for statement in (
        "INSERT INTO payment VALUES (500, 1)",
        "UPDATE payment SET version = 2 WHERE id = 1",
        "DELETE FROM payment WHERE id = 1",
    ):
        with pytest.raises(psycopg.Error) as raised:
            sql(bench.url, statement)
        assert raised.value.sqlstate == "TS103"
    assert count_waiting(bench) == 0
    [checked] = check_sources(bench.database)
    assert [problem.code for problem in checked.problems] == ["table_replaced"]


def test_restored_table_is_sealed_on_after_a_refresh(bench, test_server, bin_dir, tmp_path):
    """log 21: `source refresh` takes a restored table for the sealed one; a reconcile mends it."""
    size = bench.size()
    dump(bin_dir, bench.url, tmp_path / "today.sql")
    empty(test_server, bench.url)
    restore(bin_dir, bench.url, tmp_path / "today.sql")
    with bench.database.transaction() as tx:
        refresh_source(tx, get_source(tx, bench.log.log_name, "payment"))
    mended = reconcile_and_mend(bench.database, bench.log.log_name, "payment", repair=True)
    assert (mended.status, mended.problems) == ("active", [])
    sql(bench.url, "UPDATE payment SET version = version + 1 WHERE id = 1")
    bench.seal_all()
    assert bench.size() > size
    assert audit_log(bench.database, bench.log.log_name).findings == ()


def test_another_table_under_the_name_is_not_taken(bench, test_server, bin_dir, tmp_path):
    """log 12: a table that does not carry the source's triggers is not taken for the sealed one."""
    sql(bench.url, "DROP TABLE payment")
    sql(bench.url, "CREATE TABLE payment (id bigint PRIMARY KEY, version int)")
    with bench.database.transaction() as tx, pytest.raises(SourceNotFoundError):
        refresh_source(tx, get_source(tx, bench.log.log_name, "payment"))


def test_cluster_with_lower_transaction_ids_drains_the_queue(
    bench, bin_dir, tmp_path, postgres_bin
):
    """log 21: in a new cluster, whose transaction ids are lower, the queue drains."""
    # Subtransactions use ids up quickly.
    sql(
        bench.url,
        "DO $$ BEGIN CREATE TEMP TABLE spent (id int); FOR i IN 1..5000 LOOP"
        " BEGIN INSERT INTO spent VALUES (i); EXCEPTION WHEN division_by_zero THEN END;"
        " END LOOP; END $$",
    )
    sql(bench.url, "UPDATE payment SET version = 2 WHERE id <= 50")
    size, waiting = bench.size(), count_waiting(bench)
    dump(bin_dir, bench.url, tmp_path / "dump.sql")
    with (
        running_server(postgres_bin) as server,
        server.database(),
        server.database(migrated=False) as url,
    ):
        restore(bin_dir, url, tmp_path / "dump.sql")
        moved = LogBench(url, connect(url), bench.keys, bench.log)
        [(is_lower,)] = sql(
            url, "SELECT pg_current_xact_id() < (SELECT min(xid) FROM tally.capture)"
        )
        assert is_lower
        sequencer = moved.sequencer
        assert sequencer.seal_once(bench.log.log_id).rows == 20
        moved.push(b"one more")
        while sequencer.seal_once(bench.log.log_id).rows:
            pass
        assert (waiting, moved.size()) == (50, size + 51)
        assert leaves_of(moved)[-1] == b"one more"
        assert_whole(moved, size=size + 51)
        moved.database.close()


def make_database(url: str):
    """Connect to a database that the bench was moved to."""
    from tallystick.db import connect

    return connect(url)
