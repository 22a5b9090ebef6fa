"""Backfill: every row that was there is queued once, whatever writers do meanwhile."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.seal.errors import NoKeyError
from tallystick.seal.sources import backfill, run_backfill, run_backfills

if TYPE_CHECKING:
    from tallystick.seal.sources import Source
    from tests.seal.sources.rig import Rig

LAST_IS_NOT_THE_ROW = """
    SELECT count(*) FROM (
      SELECT DISTINCT ON (source_key) source_key, tally.leaf_record(leaf) -> 'row' AS row
      FROM tally.capture WHERE source_no = %(no)s ORDER BY source_key, seq DESC) AS q
    FULL JOIN account AS a ON q.source_key = '["' || a.id || '"]'
    WHERE q.source_key IS NULL OR a.id IS NULL OR (q.row ->> 'balance') <> a.balance::text"""


def small_pages(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Let a page have so few rows that a small table has many pages."""
    monkeypatch.setattr(backfill, "PAGE_ROWS", rows)


def backfill_under_writers(rig: Rig, *, rows: int, writers: int) -> Source:
    """Backfill a table of *rows* accounts while *writers* change random ones."""
    rig.sql("CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL DEFAULT 0, note text)")
    rig.sql("INSERT INTO account SELECT i, 0, 'n' || i FROM generate_series(1, %s) AS i", (rows,))
    source = rig.add("account")
    done = threading.Event()
    changes: list[int] = []
    threads = [
        threading.Thread(target=write, args=(rig.url, rows, done, seed, changes))
        for seed in range(writers)
    ]
    for thread in threads:
        thread.start()
    try:
        result = run_backfill(rig.database, source)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert result.finished
    assert len(changes) == writers, "a writer died"
    assert min(changes) > 0
    return source


def write(url: str, rows: int, done: threading.Event, seed: int, changes: list[int]) -> None:
    """Update, insert and delete random rows, several in one transaction, until *done*."""
    chance = random.Random(seed)
    changed = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while not done.is_set():
            # In the order of keys, so that writers never wait for each other in a circle.
            ids = sorted({chance.randint(1, rows) for _ in range(chance.randint(1, 4))})
            with connection.transaction(force_rollback=chance.random() < 0.1):
                for id_ in ids:
                    if chance.random() < 0.1:
                        connection.execute("DELETE FROM account WHERE id = %s", (id_,))
                        if chance.random() < 0.5:
                            connection.execute("INSERT INTO account VALUES (%s, -1)", (id_,))
                    else:
                        connection.execute(
                            "UPDATE account SET balance = balance + 1 WHERE id = %s", (id_,)
                        )
                    changed += 1
    changes.append(changed)


def check_whole(rig: Rig, source: Source) -> None:
    """Check the law of number 15 on the queue."""
    alive = """
        SELECT count(*) FROM (
          SELECT source_key FROM tally.capture WHERE source_no = %(no)s
          GROUP BY source_key HAVING
            count(*) FILTER (WHERE op = 'I') > count(*) FILTER (WHERE op = 'D') + 1
            OR count(*) FILTER (WHERE via = 'b') > 1) AS twice"""
    gone = """
        DELETE FROM tally.capture AS c WHERE source_no = %(no)s AND source_key IN (
          SELECT DISTINCT ON (source_key)
            CASE WHEN op = 'D' THEN source_key END
          FROM tally.capture WHERE source_no = %(no)s ORDER BY source_key, seq DESC)"""
    number = {"no": source.source_no}
    assert rig.sql(alive, number) == [(0,)]
    rig.sql(gone, number)
    assert rig.sql(LAST_IS_NOT_THE_ROW, number) == [(0,)]


def test_backfill_under_writers(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """log 15: under 4 writers each row's last queue row equals the row, none has two first ones."""
    small_pages(monkeypatch, 500)
    check_whole(rig, backfill_under_writers(rig, rows=20_000, writers=4))


@pytest.mark.slow
def test_backfill_of_a_million_rows_under_writers(rig: Rig) -> None:
    """log 15: the same with 1 million rows and pages of the real length."""
    check_whole(rig, backfill_under_writers(rig, rows=1_000_000, writers=4))


def test_rows_with_leaf_or_queue_row_are_left(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that was sealed, or is queued, or waits in quarantine, is not queued again."""
    small_pages(monkeypatch, 2)
    rig.sql("CREATE TABLE account (id int PRIMARY KEY, h bytea)")
    rig.sql("INSERT INTO account SELECT i, sha256('x') FROM generate_series(1, 7) AS i")
    source = rig.add("account", hash_column="h")
    rig.sql("UPDATE account SET h = sha256('sealed') WHERE id IN (1, 4)")
    rig.sql("UPDATE account SET h = '\\x00' WHERE id = 5")
    rig.seal()
    rig.sql("UPDATE account SET h = sha256('queued') WHERE id IN (2, 7)")
    result = run_backfill(rig.database, source)
    assert (result.rows_read, result.rows_queued) == (7, 2)
    assert [key for _, via, key in rig.queue(source) if via == "b"] == ['["3"]', '["6"]']


def test_backfill_resumes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backfill that was stopped goes on where it ended."""
    small_pages(monkeypatch, 10)
    rig.sql("CREATE TABLE account (a int, b text, PRIMARY KEY (b, a))")
    rig.sql("INSERT INTO account SELECT i, i % 3 FROM generate_series(1, 25) AS i")
    source = rig.add("account")
    stop = threading.Event()
    stop.set()
    assert not run_backfill(rig.database, source, stop).finished
    with rig.database.transaction() as tx:
        assert backfill.queue_page(tx, source.source_no).rows_queued == 10
    assert rig.reload(source).backfill_after == rig.key_at("account", "b, a", 9)
    assert [r.rows_queued for r in run_backfills(rig.database)] == [15]
    assert rig.reload(source).status == "active"
    assert len({key for _, _, key in rig.queue(source)}) == 25


KEYS = {
    "descending": ("a int", "b int", "a DESC, b DESC"),
    "mixed": ("a int", "b text", "a DESC, b"),
    "nulls first": ("a int", "b int", "a NULLS FIRST, b"),
    "pattern": ("a text", "b int", "a text_pattern_ops, b"),
    "collated": ('a text COLLATE "en_x"', "b varchar(9)", 'a COLLATE "C", b'),
    "padded": ("a char(5)", "b bit(4)", "a, b"),
    "numbers": ("a numeric", "b float8", "a, b"),
    "times": ("a timestamptz", "b interval", "a, b"),
    "own types": ("a mood", "b hostile", "a, b"),
    "citext": ("a citext", "b int", "a, b"),
    "arrays": ("a int[]", "b daterange", "a, b"),
}
"""Two columns and the unique index on them."""
VALUES = {
    "a int[]": "ARRAY[i / 4, 7]",
    "a int": "i / 4",
    "b int": "i % 4",
    "b interval": "(i % 4) * interval '1 month'",
    "a text": "chr(70 + 7 * (i / 4))",
    "b text": "chr(97 + i % 4)",
    "a char": "repeat('x', i / 4)",
    "b bit": "(i % 4)::bit(4)",
    "b varchar": "repeat('é', i % 4)",
    "a numeric": "(i / 4) / 3.0",
    "b float8": "(i % 4) / 7.0",
    "a timestamptz": "timestamptz '2026-03-29 00:30 Europe/Berlin' + (i / 4) * interval '1 h'",
    "a mood": """('{sad,ok,glad,"\\"; DROP",e,f}'::mood[])[1 + i / 4]""",
    "b hostile": "i % 4",
    "a citext": "(CASE i / 4 % 2 WHEN 0 THEN 'B' ELSE 'a' END || i / 4)::citext",
    "b daterange": "daterange('2026-01-01', date '2026-01-02' + i % 4)",
}
"""Of each column, its value in row i of 0 to 22."""
TYPES = """
    CREATE COLLATION en_x FROM "C";
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad', '"; DROP', 'e', 'f');
    CREATE FUNCTION is_owner(int) RETURNS bool LANGUAGE plpgsql AS
      $$ BEGIN ASSERT current_user <> 'tally_owner'; RETURN true; END $$;
    CREATE DOMAIN hostile AS int CHECK (is_owner(VALUE))"""


@pytest.mark.parametrize("kind", KEYS)
def test_pages_follow_every_kind_of_key(
    rig: Rig, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of 3 rows reach every row exactly once, whatever the key's types, order, collation."""
    small_pages(monkeypatch, 3)
    if kind == "citext":
        rig.sql("CREATE EXTENSION citext")
    rig.sql(TYPES)
    first, second, index = KEYS[kind]
    rig.sql(f"CREATE TABLE t ({first} NOT NULL, {second} NOT NULL, v int)")
    rig.sql(f"CREATE UNIQUE INDEX ON t ({index})")
    chosen = [
        next(
            value for name, value in sorted(VALUES.items(), reverse=True) if column.startswith(name)
        )
        for column in (first, second)
    ]
    rig.sql(f"INSERT INTO t SELECT {', '.join(chosen)}, i FROM generate_series(0, 22) AS i")
    source = rig.add("t", key=["a", "b"])
    result = run_backfill(rig.database, source)
    assert (result.rows_read, result.rows_queued) == (23, 23)
    assert sorted(int(record["row"]["v"]) for record in rig.records(source)) == list(range(23))


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4)
BIGINTS = st.integers(-(2**63), 2**63 - 1)


@settings(
    max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(keys=st.sets(st.tuples(TEXTS, BIGINTS), max_size=12), page=st.integers(1, 4))
def test_backfill_equals_the_table(rig: Rig, keys: set[tuple[str, int]], page: int) -> None:
    """Whatever the keys and the page, the queued keys are those of the table."""
    rig.sql("DROP SCHEMA IF EXISTS x CASCADE; CREATE SCHEMA x")
    name = f"x.t{time.monotonic_ns()}"
    rig.sql(f"CREATE TABLE {name} (a text, b bigint, PRIMARY KEY (a, b))")
    for key in keys:
        rig.sql(f"INSERT INTO {name} VALUES (%s, %s)", key)
    source = rig.add(name)
    with pytest.MonkeyPatch.context() as patch:
        small_pages(patch, page)
        run_backfill(rig.database, source)
    queued = [tuple(record["key"]) for record in rig.records(source)]
    assert len(queued) == len(keys)
    assert set(queued) == {(a, str(b)) for a, b in keys}


def test_writer_is_never_the_victim(rig: Rig) -> None:
    """Where a writer and a page wait for each other, the page gives way and is tried again."""
    rig.sql("CREATE TABLE account (id int PRIMARY KEY, balance int)")
    rig.sql("INSERT INTO account SELECT i, 0 FROM generate_series(1, 100) AS i")
    source = rig.add("account")
    with rig.session() as writer:
        writer.execute("UPDATE account SET balance = 1 WHERE id = 90")
        running = threading.Thread(target=run_backfill, args=(rig.database, source))
        running.start()
        time.sleep(1.3)  # beyond deadlock_timeout: from here on the writer would find it
        writer.execute("UPDATE account SET balance = 1 WHERE id = 10")
        writer.commit()
        running.join()
    assert rig.reload(source).status == "active"
    vias = {key: via for _, via, key in rig.queue(source)}
    assert (vias['["10"]'], vias['["90"]'], vias['["50"]']) == ("t", "t", "b")


def test_key_that_moves_while_it_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row whose key is moved beyond its page while the page waits makes no row be skipped."""
    small_pages(monkeypatch, 10)
    rig.sql("CREATE TABLE account (id int PRIMARY KEY, balance int)")
    rig.sql("INSERT INTO account SELECT i, 0 FROM generate_series(1, 30) AS i")
    source = rig.add("account")
    with rig.session() as writer:
        writer.execute("UPDATE account SET id = 1000 WHERE id = 10")
        running = threading.Thread(target=run_backfill, args=(rig.database, source))
        running.start()
        time.sleep(0.2)
        writer.commit()
        running.join()
    keys = [key for op, _, key in rig.queue(source) if op == "I"]
    assert len(keys) == len(set(keys)) == 30


def test_held_rows_leave_the_rest_for_later(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others hold rows too long the run ends unfinished, and a later one finishes."""
    rig.sql("CREATE TABLE account (id int PRIMARY KEY); INSERT INTO account VALUES (1)")
    source = rig.add("account")
    monkeypatch.setattr(backfill, "ROW_LOCK_PATIENCE_SECONDS", 0.0)
    with rig.session() as writer:
        writer.execute("DELETE FROM account")
        assert not run_backfill(rig.database, source).finished
        writer.rollback()
    assert run_backfill(rig.database, source).rows_queued == 1


def test_dropped_key_index_is_named(rig: Rig) -> None:
    """A backfill whose key is no longer unique stops with TS102."""
    rig.sql("CREATE TABLE account (id int PRIMARY KEY); INSERT INTO account VALUES (1)")
    source = rig.add("account")
    rig.sql("ALTER TABLE account DROP CONSTRAINT account_pkey")
    with pytest.raises(NoKeyError):
        run_backfill(rig.database, source)
    assert run_backfills(rig.database) == []


def test_partitions_and_children_are_backfilled(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A partitioned table and an inheritance parent are backfilled with all that is below them."""
    small_pages(monkeypatch, 3)
    rig.sql("""
        CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (5);
        CREATE TABLE part_high PARTITION OF part DEFAULT;
        CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (x int) INHERITS (parent);
        INSERT INTO part SELECT generate_series(1, 8);
        INSERT INTO parent SELECT generate_series(1, 4);
        INSERT INTO child SELECT generate_series(5, 8)""")
    for table in ("part", "parent"):
        source = rig.add(table)
        assert run_backfill(rig.database, source).rows_queued == 8
        assert len({key for _, _, key in rig.queue(source)}) == 8
