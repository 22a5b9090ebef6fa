"""Clocks that step back and forward: order and trees know no time (log.md, sections 1 and 5.4)."""

from __future__ import annotations

import datetime
import random

import psycopg

from tallystick.record import parse_record
from tests.seal.laws.stage import assert_whole, attach, leaves_of, running_worker, sql, wait_until
from tests.support.logs import make_bench

NOON = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.UTC)
STEPS_SECONDS = (0, -86_400, 3_600, -1, 31_536_000, -31_536_000, 0.000001, -7)


def test_a_clock_that_steps_disturbs_nothing(database_url, tmp_path):
    """Through days back and years forward each change is sealed once, and keys keep their order."""
    bench = make_bench(database_url, tmp_path / "keys", batch_interval_ms=20, control_leaves=False)
    sql(database_url, "CREATE TABLE account (id integer PRIMARY KEY, version integer NOT NULL)")
    attach(bench, "account")
    dice = random.Random(7)
    written = 0
    with running_worker(bench) as running, psycopg.connect(database_url) as connection:
        for step in STEPS_SECONDS:
            at = NOON + datetime.timedelta(seconds=step)
            sql(database_url, "SELECT tally.set_test_clock(%s, %s)", (at, step > 0))
            for _ in range(20):
                connection.execute(
                    "INSERT INTO account VALUES (%s, 1)"
                    " ON CONFLICT (id) DO UPDATE SET version = account.version + 1",
                    (dice.randrange(5),),
                )
                connection.commit()
                written += 1
            expected = written
            wait_until(lambda size=expected: bench.size() == size, "every change")
    assert running.failed == []
    assert_whole(bench, size=written)
    versions: dict[str, int] = {}
    for leaf in leaves_of(bench):
        record = parse_record(leaf)
        assert record is not None
        (key,) = record.key
        assert record.row is not None
        assert int(record.row["version"] or 0) == versions.get(key, 0) + 1
        versions[key] = int(record.row["version"] or 0)
    bench.database.close()
