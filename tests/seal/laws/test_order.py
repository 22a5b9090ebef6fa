"""A key's leaves stand in the order of its versions, end to end (log.md 5.4; 7, law 3)."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.audit import audit_log
from tests.seal.capture.workload import (
    EXPECTED,
    KEYS,
    ROWS,
    check_chains,
    leaves_of_log,
    make_tables,
    run_writers,
)
from tests.seal.laws.stage import assert_whole, attach, drained, sql, worker_process
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from pathlib import Path

HISTORY = """
SELECT count(*) FILTER (WHERE tally.leaf_record(m.leaf) IS NULL),
       count(*) FILTER (WHERE tally.leaf_record(m.leaf) -> 'key' <> m.source_key::jsonb),
       count(*)
FROM tally.merkle_log AS m WHERE m.log_id = %s
"""


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log over the tables of the workload, cut into many small batches."""
    made = make_bench(
        database_url, tmp_path / "keys", batch_size=40, batch_interval_ms=20, control_leaves=False
    )
    with psycopg.connect(database_url) as connection:
        make_tables(connection)
    for table in KEYS:
        attach(made, table)
    return made


def prepare_until(url: str, stop: threading.Event) -> None:
    """Change accounts in prepared transactions, which hold their rows for a while."""
    chance = random.Random("prepared")
    number = 0
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET deadlock_timeout = '20ms'")
        connection.execute("SET lock_timeout = '2s'")
        while not stop.is_set():
            number += 1
            connection.execute("BEGIN")
            try:
                connection.execute(
                    "INSERT INTO account VALUES (%(id)s, NULL, %(balance)s)"
                    " ON CONFLICT (id) DO UPDATE SET balance = %(balance)s",
                    {"id": chance.randint(1, ROWS), "balance": chance.randint(0, 1000)},
                )
                connection.execute(f"PREPARE TRANSACTION 'writer {number}'")
            except EXPECTED:
                connection.execute("ROLLBACK")
                continue
            time.sleep(0.02)
            ending = "ROLLBACK" if chance.random() < 0.2 else "COMMIT"
            connection.execute(f"{ending} PREPARED 'writer {number}'")


def seal_the_workload(bench: LogBench, seconds: float) -> None:
    """Seal the workload with two processes; then look at every leaf."""
    stop = threading.Event()
    preparer = threading.Thread(target=prepare_until, args=[bench.url, stop])
    with worker_process(bench), worker_process(bench):
        preparer.start()
        try:
            committed = run_writers(bench.url, seconds=seconds, seed=7)
        finally:
            stop.set()
            preparer.join()
        drained(bench)
    assert committed > 0
    with psycopg.connect(bench.url) as connection:
        check_chains(connection, leaves_of_log(connection, bench.log.log_id))
    assert sql(bench.url, HISTORY, (bench.log.log_id,)) == [(0, 0, bench.size())]
    assert_whole(bench, size=bench.size())
    assert audit_log(bench.database, bench.log.log_name).rows == sum(
        sql(bench.url, f"SELECT count(*) FROM {table}")[0][0] for table in KEYS
    )


def test_every_leaf_continues_its_predecessor(bench):
    """log 4: under 8 writers and two sequencers each leaf continues its key's last, to the row."""
    seal_the_workload(bench, 3.0)


@pytest.mark.slow
def test_every_leaf_continues_its_predecessor_for_a_minute(bench):
    """log 4: so it does for 60 seconds of the workload."""
    seal_the_workload(bench, 60.0)


def test_one_row_under_all_hands(bench):
    """log 4: one row that everybody updates has one leaf for each version, in order, in one log."""
    sql(bench.url, "CREATE TABLE counter (id int PRIMARY KEY, value int NOT NULL)")
    attach(bench, "counter")
    sql(bench.url, "INSERT INTO counter VALUES (1, 0)")

    def count() -> None:
        with psycopg.connect(bench.url, autocommit=True) as connection:
            for _ in range(50):
                connection.execute("UPDATE counter SET value = value + 1")

    threads = [threading.Thread(target=count) for _ in range(8)]
    with worker_process(bench), worker_process(bench):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        drained(bench)
    values = sql(
        bench.url,
        "SELECT (tally.leaf_record(leaf) #>> '{row,value}')::int FROM tally.merkle_log"
        " WHERE source_table = 'counter' ORDER BY leaf_index",
    )
    assert [value for (value,) in values] == list(range(401))
    assert_whole(bench, size=401)
