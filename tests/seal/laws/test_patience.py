"""Nothing waits for other people's transactions (log.md 5.6; 7, laws 4 and 6)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.seal.logs import configure_log
from tests.seal.laws.stage import (
    Writers,
    assert_whole,
    attach,
    count_waiting,
    drained,
    running_worker,
    sql,
    wait_until,
)
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROBE = (
    "SELECT q.captured_at FROM tally.capture AS q"
    " WHERE q.log_id = %s AND q.seq > %s ORDER BY q.seq LIMIT 1"
)
FEW_PAGES = 12
"""What a look may read that passes by no dead entries: down the index, and a page or two."""


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log over the table `payment`, looked at as often as a log can be."""
    made = make_bench(
        database_url, tmp_path / "keys", batch_size=5000, batch_interval_ms=20, control_leaves=False
    )
    sql(database_url, "CREATE TABLE payment (id bigint PRIMARY KEY, version integer NOT NULL)")
    attach(made, "payment")
    return made


@contextlib.contextmanager
def open_dump(url: str) -> Iterator[psycopg.Connection]:
    """Hold a snapshot as pg_dump does, for the block."""
    with psycopg.connect(url, application_name="dump") as dump:
        dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        dump.execute("SELECT count(*) FROM payment")
        yield dump


def write(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Insert ten rows and update each, in one transaction; return how many leaves that is."""
    first = number * 10_000_000 + turn * 10
    connection.execute(
        "INSERT INTO payment SELECT i, 1 FROM generate_series(%s::int, %s) AS i", (first, first + 9)
    )
    connection.execute(
        "UPDATE payment SET version = 2 WHERE id BETWEEN %s AND %s", (first, first + 9)
    )
    return 20


def pages_read(bench: LogBench, floor: int) -> int:
    """How many pages a look from *floor* reads."""
    with psycopg.connect(bench.url) as connection:
        connection.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
        row = connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {PROBE}".encode(), (bench.log.log_id, floor)
        ).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def stay_open_under_load(bench: LogBench, seconds: float) -> None:
    """Seal under load, beside an open writing transaction and an open snapshot."""
    writers = Writers(bench.url, write)
    with (
        running_worker(bench) as running,
        psycopg.connect(bench.url, application_name="idle writer") as idle,
        open_dump(bench.url),
    ):
        floor = running.worker._sequencer.state(bench.log.log_id).floor
        idle.execute("INSERT INTO payment VALUES (-1, 1)")
        [(held_back,)] = sql(bench.url, "SELECT last_value FROM tally.capture_seq")
        with writers.running(4):
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                before = bench.size()
                wait_until(lambda: bench.size() > before, "a further checkpoint")  # noqa: B023
        drained(bench)
        assert bench.size() == writers.committed
        named = sql(
            bench.url,
            "SELECT application, state, has_written FROM tally.long_transactions"
            " WHERE application IN ('dump', 'idle writer') ORDER BY application",
        )
        assert named == [
            ("dump", "idle in transaction", False),
            ("idle writer", "idle in transaction", True),
        ]
        assert floor.seq < held_back

        # Its commit lets the floor rise past all that was sealed, whatever snapshot is open.
        idle.commit()
        [(drawn,)] = sql(bench.url, "SELECT last_value FROM tally.capture_seq")
        sql(bench.url, "INSERT INTO payment VALUES (-2, 1)")
        wait_until(lambda: floor.seq >= drawn, "the floor's rise")
        drained(bench)
        assert pages_read(bench, floor.seq) <= FEW_PAGES < pages_read(bench, 0)
        assert running.failed == []
    assert_whole(bench, size=writers.committed + 2)


def test_open_transactions_hold_nothing_up(bench):
    """log 17: beside an idle writing transaction and an open dump sealing goes on (law 6)."""
    stay_open_under_load(bench, 3.0)


@pytest.mark.slow
def test_open_transactions_hold_nothing_up_for_a_minute(bench):
    """log 17: so it does for 60 seconds under load."""
    stay_open_under_load(bench, 60.0)


def cycle_rows(bench: LogBench, *, rows: int, block: int) -> None:
    """Cycle rows through the queue under an open dump; then end it and vacuum."""
    sequencer = bench.sequencer
    floor = sequencer.state(bench.log.log_id).floor
    with open_dump(bench.url):
        for _ in range(0, rows, block):
            sql(
                bench.url,
                "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
                " SELECT %s, 'A', 'a', '[]', int4send(i), tally.clock()"
                " FROM generate_series(1, %s) AS i",
                (bench.log.log_id, block),
            )
            while sequencer.seal_once(bench.log.log_id).rows:
                pass
            assert pages_read(bench, floor.seq) <= FEW_PAGES
        assert count_waiting(bench) == 0
        index_bytes = sql(bench.url, "SELECT pg_relation_size('tally.capture_pkey')")[0][0]
        assert index_bytes < 200_000_000 * rows / 3_000_000
        assert pages_read(bench, 0) > FEW_PAGES
    sql(bench.url, "VACUUM tally.capture")
    assert sql(bench.url, "SELECT pg_relation_size('tally.capture')") == [(0,)]
    assert pages_read(bench, 0) <= FEW_PAGES
    assert bench.size() == rows


def test_queue_stays_small_and_is_emptied(bench):
    """log 18: rows cycle under an open dump, looks read as little, and vacuum empties the queue."""
    cycle_rows(bench, rows=100_000, block=20_000)


@pytest.mark.slow
def test_queue_stays_small_over_millions_of_rows(bench):
    """log 18: with 3 million rows the queue's index stays below 200 MB."""
    with bench.database.transaction() as tx:
        configure_log(tx, bench.log.log_name, batch_size=65536)
    cycle_rows(bench, rows=3_000_000, block=250_000)
