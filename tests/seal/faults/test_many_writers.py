"""Fifty writers in long transactions: what commits is sealed once, whenever it commits (law 1)."""

from __future__ import annotations

import random
import time

import psycopg
import pytest

from tests.seal.laws.stage import Writers, assert_whole, attach, drained, sql, worker_process
from tests.support.logs import make_bench

WRITERS = 50


def hold_transactions(url: str, key_dir, seconds: float, longest_seconds: float) -> None:
    """Let fifty connections write, hold, commit or roll back, while two processes seal."""
    bench = make_bench(url, key_dir, batch_interval_ms=50, control_leaves=False)
    sql(url, "CREATE TABLE payment (id bigint PRIMARY KEY, note text)")
    attach(bench, "payment")
    dice = random.Random(11)

    def write(connection: psycopg.Connection, number: int, turn: int) -> int:
        first = number * 10**8 + turn * 10
        connection.execute(
            "INSERT INTO payment SELECT g, 'a' FROM generate_series(%s::bigint, %s) AS g",
            (first, first + 9),
        )
        time.sleep(dice.uniform(0, longest_seconds))
        connection.execute("UPDATE payment SET note = 'b' WHERE id = %s", (first,))
        if dice.random() < 0.2:
            connection.rollback()
            return 0
        connection.commit()
        return 11

    writers = Writers(url, write)
    with worker_process(bench), worker_process(bench):
        with writers.running(WRITERS):
            time.sleep(seconds)
        drained(bench)
    assert writers.committed > 0
    assert_whole(bench, size=writers.committed)
    bench.database.close()


def test_fifty_writers_with_long_transactions(database_url, tmp_path):
    """log 3: transactions that stay open for most of the run are sealed when they commit."""
    hold_transactions(database_url, tmp_path / "keys", 3.0, 2.0)


@pytest.mark.slow
def test_fifty_writers_for_minutes(database_url, tmp_path):
    """log 3: so they are over three minutes, open for up to twenty seconds."""
    hold_transactions(database_url, tmp_path / "keys", 180.0, 20.0)
