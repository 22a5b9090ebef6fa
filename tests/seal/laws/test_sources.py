"""A source that breaks stops no other, and no table takes its place unseen (log.md 3.2; law 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.errors import SourceExistsError
from tallystick.seal.sources import check_sources
from tests.seal.laws.stage import assert_whole, attach, sql
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from pathlib import Path

TABLES = ("payment", "refund", "invoice")


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log over three tables with ten rows each."""
    made = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    for table in TABLES:
        create_and_fill(made, table)
        attach(made, table)
    return made


def create_and_fill(bench: LogBench, table: str) -> None:
    """Make a table with ten rows."""
    sql(bench.url, f"CREATE TABLE {table} (id bigint PRIMARY KEY, amount integer NOT NULL)")
    sql(bench.url, f"INSERT INTO {table} SELECT i, i FROM generate_series(1, 10) AS i")


def states(bench: LogBench) -> dict[str, tuple[str, str | None]]:
    """The sources' states with their problems, as a validation leaves them."""
    check_sources(bench.database)
    query = "SELECT source_table, status::text, problem ->> 'code' FROM tally.verification_sources"
    return {table: (status, problem) for table, status, problem in sql(bench.url, query)}


def test_dropped_table_breaks_its_source_alone(bench):
    """log 12: a dropped source table is broken; the log's other sources seal on (law 5)."""
    assert bench.seal_all() == 30
    sql(bench.url, "UPDATE refund SET amount = 0 WHERE id = 1")
    sql(bench.url, "DROP TABLE refund")
    sql(bench.url, "UPDATE payment SET amount = amount + 1")
    assert states(bench) == {
        "payment": ("active", None),
        "refund": ("broken", "table_missing"),
        "invoice": ("active", None),
    }
    sql(bench.url, "DELETE FROM invoice WHERE id > 5")
    # What the dropped table had captured before is sealed all the same.
    assert bench.seal_all() == 30 + 1 + 10 + 5
    assert_whole(bench, size=46)


def test_table_of_the_same_name_is_not_accepted(bench):
    """log 12: another table under the name stays broken, and cannot be added in its place."""
    size = bench.seal_all()
    sql(bench.url, "DROP TABLE refund")
    create_and_fill(bench, "refund")
    assert states(bench)["refund"] == ("broken", "table_replaced")
    with pytest.raises(SourceExistsError):
        attach(bench, "refund")
    sql(bench.url, "UPDATE refund SET amount = 0")
    assert bench.seal_all() == size
    assert states(bench)["refund"] == ("broken", "table_replaced")


def test_renamed_table_gives_its_name_to_no_other(bench):
    """log 12: a table swapped for another by renaming is broken, not accepted silently."""
    size = bench.seal_all()
    with psycopg.connect(bench.url) as connection:
        connection.execute("CREATE TABLE shadow (LIKE refund INCLUDING ALL)")
        connection.execute("ALTER TABLE refund RENAME TO refund_old")
        connection.execute("ALTER TABLE shadow RENAME TO refund")
    assert states(bench)["refund"] == ("broken", "table_replaced")
    sql(bench.url, "INSERT INTO refund VALUES (1, 1)")
    assert bench.seal_all() == size


def test_dropped_table_stops_no_other_log(bench, tmp_path):
    """A table that feeds two logs and is dropped breaks in both; each seals its others (law 5)."""
    second = make_bench(bench.url, tmp_path / "keys", "second", control_leaves=False)
    for table in ("payment", "refund"):
        attach(second, table)
    sql(bench.url, "DROP TABLE refund")
    check_sources(bench.database)
    sql(bench.url, "UPDATE payment SET amount = 0 WHERE id = 3")
    assert bench.seal_all() == 31
    assert second.seal_all() == 21
    broken = "SELECT log_name FROM tally.verification_sources WHERE status = 'broken' ORDER BY 1"
    assert sql(bench.url, broken) == [("payments",), ("second",)]
    for whole, size in ((bench, 31), (second, 21)):
        assert_whole(whole, size=size)


def test_poison_rows_stop_nobody(bench, tmp_path):
    """Rows that cannot be sealed go aside; their source, its log and others seal on (law 5)."""
    sql(bench.url, "CREATE TABLE hashed (id bigint PRIMARY KEY, hash bytea)")
    digests = make_bench(bench.url, tmp_path / "keys", "digests", mode="digest", batch_size=3)
    attach(digests, "hashed", leaf_form="column", hash_column="hash")
    sql(
        bench.url,
        "INSERT INTO hashed SELECT i, CASE WHEN i %% 2 = 0 THEN sha256(int4send(i)) END"
        " FROM generate_series(1, 20) AS i",
        (),
    )
    sequencer = digests.sequencer
    while sequencer.seal_once(digests.log.log_id).batch_was_full:
        pass
    sealed = "SELECT source_id FROM tally.merkle_log WHERE log_id = %s ORDER BY leaf_index"
    assert sql(bench.url, sealed, (digests.log.log_id,)) == [(i,) for i in range(2, 21, 2)]
    aside = "SELECT count(*) FROM tally.capture_quarantine WHERE log_id = %s"
    assert digests.value(aside) == 10
    assert bench.seal_all() == 30
