"""Tables move between logs; each change is in exactly one of them (log.md, sections 3.1, 4.4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.audit import reconcile_source
from tallystick.seal.audit import store as audits
from tallystick.seal.errors import (
    LogFrozenError,
    SourceExistsError,
    SourceNotFoundError,
)
from tallystick.seal.logs import LogSettings, create_log, freeze_log, get_log
from tallystick.seal.sources import (
    Poller,
    add_source,
    check_sources,
    get_source,
    run_backfill,
    switch_source,
)
from tallystick.seal.sources.backfill import queue_page
from tallystick.seal.succession import drop_moved_triggers, move_source
from tests.seal.laws.stage import Writers, attach, sql, wait_until, worker_process
from tests.support.logs import ORIGIN_PREFIX

if TYPE_CHECKING:
    from tallystick.seal.sources import Source
    from tests.seal.succession.conftest import Line

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)
TRIGGERS = (
    "SELECT count(*), count(*) FILTER (WHERE tgenabled <> 'D') FROM pg_trigger"
    " WHERE tgrelid = 'payment'::regclass AND NOT tgisinternal"
)


def other_log(line: Line, name: str = "other", **settings: object) -> None:
    """Make a log that continues no other."""
    with line.bench.database.transaction() as tx:
        create_log(
            tx,
            name,
            keys=line.bench.keys,
            origin_prefix=ORIGIN_PREFIX,
            settings=LogSettings(batch_interval_ms=20, **settings),
        )


def move(line: Line, table: str, source_log: str, to: str) -> Source:
    """Move a table in a transaction of its own."""
    with line.bench.database.transaction() as tx:
        return move_source(tx, table, source_log=source_log, to=to)


def test_a_table_moved_to_an_unrelated_log_is_queued_anew(line):
    """A log that knows nothing of the table's rows gets them by backfill; then both are clean."""
    line.run("INSERT INTO payment VALUES (1, 'a'), (2, 'b')")
    other_log(line)
    moved = move(line, "payment", "one", "other")
    assert (moved.log_name, moved.status) == ("other", "backfilling")
    line.run("UPDATE payment SET note = 'c' WHERE id = 1")
    assert line.backfill() == 1
    line.seal("one", "other")
    line.audit("one", "other")
    assert line.changes("other") == [
        ("other", "public.payment", "update", "1"),
        ("other", "public.payment", "insert", "2"),
    ]
    assert [one[2:] for one in line.changes("one")] == [("insert", "1"), ("insert", "2")]


def test_a_table_moves_alone_to_a_log_that_continues_its_own(line):
    """A table may follow its log later: what the old log said of its rows stays known."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    other_log(line, "next", predecessor_log_id=line.bench.log.log_id)
    moved = move(line, "payment", "one", "next")
    assert moved.status == "active"
    assert line.backfill() == 0
    line.run("DELETE FROM payment")
    line.seal("one", "next")
    line.audit("one", "next")
    assert [one[2:] for one in line.changes("next")] == [("delete", "1")]


def test_moves_are_refused_by_name(line):
    """A table that does not feed the log, a frozen log, a log that it left are told by name."""
    other_log(line)
    with pytest.raises(SourceNotFoundError):
        move(line, "nothing", "one", "other")
    with pytest.raises(SourceExistsError):
        move(line, "payment", "one", "one")
    move(line, "payment", "one", "other")
    with pytest.raises(SourceNotFoundError):
        move(line, "payment", "one", "other")
    with pytest.raises(SourceExistsError):
        move(line, "payment", "other", "one")
    with line.bench.database.transaction() as tx:
        freeze_log(tx, "one")
    with pytest.raises(LogFrozenError):
        move(line, "payment", "other", "one")


def test_the_old_triggers_are_off_and_dropped_later(line):
    """A move turns the old triggers off beside readers; they are dropped when nobody reads."""
    assert line.run(TRIGGERS) == [(5, 5)]
    with psycopg.connect(line.bench.url) as reader:
        reader.execute("SELECT * FROM payment")
        line.succeed("one", "two")
        assert line.run(TRIGGERS) == [(10, 5)]
        assert drop_moved_triggers(line.bench.database) == [2]
        check_sources(line.bench.database)
    assert drop_moved_triggers(line.bench.database) == [1]
    assert drop_moved_triggers(line.bench.database) == []
    assert line.run(TRIGGERS) == [(5, 5)]
    assert [state for *_, state in line.sources()] == ["detached"] * 2 + ["active"] * 2


def test_an_unfinished_backfill_goes_on_where_it_goes(line):
    """A table that moves while it is backfilled: each row has one first leaf, in one log."""
    line.run("CREATE TABLE big (id bigint PRIMARY KEY)")
    line.run("INSERT INTO big SELECT generate_series(1, 12000)")
    with line.bench.database.transaction() as tx:
        source = add_source(tx, "one", "big")
    with line.bench.database.transaction() as tx:
        page = queue_page(tx, source.source_no)
    assert page is not None
    assert page.rows_queued == 5000
    line.run("DELETE FROM big WHERE id = 3")
    line.run("UPDATE big SET id = 20000 WHERE id = 11000")
    line.succeed("one", "two")
    line.run("DELETE FROM big WHERE id = 5")
    assert ("big", "two", "backfilling") in line.sources()
    assert line.backfill() == 6999
    assert ("big", "two", "active") in line.sources()
    line.audit("two")
    line.seal("one", "two")
    line.audit("one", "two")
    first = [one for one in line.changes("one", "two") if one[2] == "insert"]
    assert len({key for *_, key in first}) == len(first) == 12000


def test_a_source_that_is_off_stays_off(line):
    """A source that was switched off moves as it is: broken, triggers off, until reconciled."""
    with line.bench.database.transaction() as tx:
        switch_source(tx, "one", "payment", enabled=False)
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.succeed("one", "two")
    line.run("INSERT INTO payment VALUES (2, 'b')")
    assert ("payment", "two", "broken") in line.sources()
    line.seal("one", "two")
    assert line.changes("one", "two") == []
    assert ("row_unlogged", '["1"]') in line.findings("two")


def test_new_partitions_are_covered_by_the_move(line):
    """A partition that came since the last look is captured and queued where its table goes."""
    line.run("CREATE TABLE part (id bigint PRIMARY KEY) PARTITION BY RANGE (id)")
    line.run("CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10)")
    attach(line.bench, "part")
    line.run("CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20)")
    line.run("INSERT INTO part VALUES (1), (11)")
    line.run("INSERT INTO part_2 VALUES (12)")
    line.succeed("one", "two")
    line.run("INSERT INTO part_2 VALUES (13)")
    line.backfill()
    line.seal("one", "two")
    line.audit("one", "two")


def test_the_rules_of_a_source_move_with_it(line):
    """Refused operations, private columns and left out columns are the same in the new log."""
    line.run("CREATE TABLE kept (id bigint PRIMARY KEY, secret text, noise text)")
    attach(line.bench, "kept", private=["secret"], exclude=["noise"], on_delete="refuse")
    line.run("INSERT INTO kept VALUES (1, 's', 'n')")
    line.seal("one")
    line.succeed("one", "two")
    with pytest.raises(psycopg.Error, match="log two, which refuses DELETE"):
        line.run("DELETE FROM kept")
    line.run("UPDATE kept SET secret = 't', noise = 'm'")
    line.seal("one", "two")
    line.audit("one", "two")
    record = line.records("two")[-1]
    assert set(record.row) == {"id"}
    assert set(record.private) == {"secret"}


def insert(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Insert one row, which no other writer inserts."""
    connection.execute("INSERT INTO payment VALUES (%s, 'x')", (number * 10_000_000 + turn,))
    return 1


def test_a_move_under_load_loses_and_doubles_nothing(line):
    """log 27: a table moved back and forth under load: each change is in one of the logs, once."""
    names = ["one", "b", "c"]
    for name in names[1:]:
        with line.bench.database.transaction() as tx:
            before = get_log(tx, names[names.index(name) - 1])
        other_log(line, name, predecessor_log_id=before.log_id)
    writers = Writers(line.bench.url, insert, pause_seconds=0.002)
    with worker_process(line.bench):
        with writers.running(6):
            for before, after in (("one", "b"), ("b", "c")):
                wait_until(lambda name=before: line.of(name).size() > 200, "leaves")
                assert move(line, "payment", before, after).status == "active"
            wait_until(lambda: line.of("c").size() > 200, "leaves")
        wait_until(
            lambda: sql(line.bench.url, "SELECT count(*) FROM tally.capture") == [(0,)], "an end"
        )
    keys = [key for *_, key in line.changes(*names)]
    assert (len(keys), len(set(keys))) == (writers.committed, writers.committed)
    line.audit(*names)


def test_a_source_that_moved_away_is_not_backfilled(line):
    """The source that a move leaves behind has ended: nothing of it is queued any more."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.seal("one")
    other_log(line)
    with line.bench.database.transaction() as tx:
        source = get_source(tx, "one", "payment")
    move(line, "payment", "one", "other")
    assert run_backfill(line.bench.database, source.source_no).rows_queued == 0


def test_what_cannot_be_locked_is_not(line):
    """What is polled moves untouched, be it a kind of table on which there is no lock."""
    line.run("CREATE TABLE orders (id bigint)")
    line.run("CREATE MATERIALIZED VIEW heap AS SELECT id FROM orders")
    attach(line.bench, "heap", order_column="id", key=["id"])
    other_log(line)
    line.succeed("one", "two")
    with pytest.raises(SourceNotFoundError):
        move(line, "heap", "two", "other")
    line.run("INSERT INTO orders VALUES (1); REFRESH MATERIALIZED VIEW heap")
    Poller(line.bench.database).run_once()
    line.seal("one", "two")
    assert line.changes("one", "two") == [("two", "public.heap", "insert", "1")]


def test_a_reconcile_under_way_queues_nothing_behind_a_move(line):
    """What a reconcile finds while its table moves is left to the new log, and not lost."""
    line.run("CREATE TABLE orders (id bigint PRIMARY KEY); INSERT INTO orders VALUES (1)")
    attach(line.bench, "orders", order_column="id")
    Poller(line.bench.database).run_once()
    line.seal("one")
    line.run("DELETE FROM orders")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(line.bench.url) as holder:
        holder.execute("LOCK TABLE orders")
        late = pool.submit(reconcile_source, line.bench.database, "one", "orders")
        wait_until(lambda: line.run(WAITING) == [(1,)])
        line.succeed("one", "two")
        holder.rollback()
        with pytest.raises(SourceNotFoundError):
            late.result()
    line.seal("one", "two")
    assert line.status("one") == "frozen"
    assert reconcile_source(line.bench.database, "two", "orders").queued == 1
    line.seal("two")
    line.audit("one", "two")


def test_a_repair_under_way_queues_nothing_behind_a_move(line):
    """A repair that gets its table once that has moved leaves the old log as it is."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.seal("one")
    line.run("ALTER TABLE payment DISABLE TRIGGER USER; UPDATE payment SET note = 'b'")
    with line.bench.database.transaction() as tx:
        source = get_source(tx, "one", "payment")
    line.succeed("one", "two")
    with line.bench.database.transaction() as tx:
        assert audits.repair_rows(tx, source.source_no, ['["1"]']) == 0
    assert line.findings("two") == [("row_changed", '["1"]')]


def test_a_polled_table_moves_with_its_cursor(line):
    """A polled table goes on in the new log behind its cursor: none is queued twice or missed."""
    line.run("CREATE TABLE orders (id bigint PRIMARY KEY)")
    line.run("INSERT INTO orders VALUES (1), (2)")
    attach(line.bench, "orders", order_column="id")
    Poller(line.bench.database).run_once()
    line.seal("one")
    line.succeed("one", "two")
    line.run("INSERT INTO orders VALUES (3)")
    Poller(line.bench.database).run_once()
    line.seal("one", "two")
    assert [one[0:4:3] for one in line.changes("one", "two")] == [
        ("one", "1"),
        ("one", "2"),
        ("two", "3"),
    ]
    line.audit("one", "two")
