"""What can be polled: views, foreign tables, rows without a key, strange names (log.md, 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.errors import NoKeyError, UnsupportedSourceError
from tallystick.seal.logs import KeyRing, open_new_logs
from tests.seal.sources.polled import ORDERS, keys, poll, reconcile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.seal.sources.rig import Rig


@pytest.fixture
def rig(rig: Rig, tmp_path: Path) -> Rig:
    """The rig with both logs opened, so that a reconcile has a head to note."""
    open_new_logs(rig.database, KeyRing(tmp_path / "keys"), origin_prefix="log.example")
    return rig


def test_views_are_read(rig: Rig) -> None:
    """A view is a source once its key is named; its changes and deletes are reconciled."""
    rig.sql(ORDERS)
    rig.sql("CREATE VIEW cheap AS SELECT id, note FROM orders WHERE amount < 4")
    with pytest.raises(NoKeyError):
        rig.add("cheap", order_column="id")
    source = rig.add("cheap", key=["id"], order_column="id")
    rig.seal()
    rig.sql("UPDATE orders SET note = 'other' WHERE id = 1")
    rig.sql("UPDATE orders SET amount = 9 WHERE id = 2")
    assert reconcile(rig, "cheap") == 2
    assert [row[0] for row in rig.queue(source)] in (["D", "U"], ["U", "D"])
    rig.seal()
    assert reconcile(rig, "cheap") == 0


def test_rows_of_a_view_that_share_a_key_are_one(rig: Rig) -> None:
    """Where a view's key is not unique the row that is last in order speaks for it, once."""
    rig.sql("CREATE TABLE entry (n int PRIMARY KEY, id int, note text)")
    rig.sql("INSERT INTO entry VALUES (1, 7, 'a'), (2, 7, 'b'), (3, 8, 'c')")
    rig.sql("CREATE VIEW latest AS SELECT n, id, note FROM entry")
    source = rig.add("latest", key=["id"], order_column="n")
    assert [record["row"]["note"] for record in rig.records(source)] == ["b", "c"]
    rig.seal()
    assert reconcile(rig, "latest") == 0
    rig.sql("INSERT INTO entry VALUES (4, 7, 'd')")
    assert reconcile(rig, "latest") == 1
    assert reconcile(rig, "latest") == 0


def test_foreign_tables_are_read(rig: Rig) -> None:
    """A foreign table is polled and reconciled like any other."""
    rig.sql(ORDERS)
    try:
        rig.sql("CREATE EXTENSION file_fdw")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server has no file_fdw")
    [(folder,)] = rig.sql("SELECT current_setting('data_directory')")
    write = f"COPY (SELECT id, note FROM orders ORDER BY id) TO '{folder}/far.csv' (FORMAT csv)"
    rig.sql(write)
    rig.sql("CREATE SERVER files FOREIGN DATA WRAPPER file_fdw")
    rig.sql(
        "CREATE FOREIGN TABLE far (id bigint, note text) SERVER files"
        f" OPTIONS (filename '{folder}/far.csv', format 'csv')"
    )
    with pytest.raises(NoKeyError):
        rig.add("far", order_column="id")
    source = rig.add("far", key=["id"], order_column="id")
    assert keys(rig, source) == [f'["{i}"]' for i in range(1, 6)]
    rig.seal()
    rig.sql("INSERT INTO orders VALUES (6)")
    rig.sql("DELETE FROM orders WHERE id = 1")
    rig.sql(write)
    assert poll(rig) == 1
    assert reconcile(rig, "far") == 1
    assert reconcile(rig, "far") == 0


def test_equal_rows_keyed_by_all_that_they_hold(rig: Rig) -> None:
    """Keyed by the full row a poll seals one of equal rows, and the reconcile counts the others."""
    rig.sql("CREATE TABLE bag (n int, note text)")
    rig.sql("INSERT INTO bag VALUES (1, 'a'), (1, 'a'), (2, 'b')")
    source = rig.add("bag", key_full_row=True, order_column="n")
    assert len(rig.queue(source)) == 2
    assert reconcile(rig, "bag") == 1
    assert reconcile(rig, "bag") == 0
    rig.sql("DELETE FROM bag")
    assert reconcile(rig, "bag") == 3
    assert reconcile(rig, "bag") == 0


def test_strange_names_are_polled(rig: Rig) -> None:
    """log 16: tables and columns called as nobody should call them are read and reconciled."""
    rig.sql(
        'CREATE TABLE "a""; DROP" ("Größe" int PRIMARY KEY, "c1" text, "100%s" text,'
        ' "follows" text)'
    )
    rig.sql("""INSERT INTO "a""; DROP" VALUES (1, 'x', 'y', 'z')""")
    source = rig.add('"a""; DROP"', order_column="Größe")
    assert rig.records(source)[0]["row"] == {"100%s": "y", "Größe": "1", "c1": "x", "follows": "z"}
    rig.sql("""UPDATE "a""; DROP" SET "100%s" = 'other'""")
    assert reconcile(rig, '"a""; DROP"') == 1


def test_a_view_cannot_act_as_the_owner(rig: Rig) -> None:
    """What a view calls runs with the rights of nobody: it cannot touch the evidence."""
    rig.sql(ORDERS)
    rig.sql(
        "CREATE FUNCTION trap() RETURNS text LANGUAGE plpgsql AS $$ BEGIN"
        " DELETE FROM tally.capture; RETURN current_user; END $$"
    )
    rig.sql("CREATE VIEW baited AS SELECT id, trap() AS note FROM orders")
    with pytest.raises(UnsupportedSourceError, match="read-only"):
        rig.add("baited", key=["id"], order_column="id")
    rig.sql("CREATE VIEW telling AS SELECT id, current_user::text AS who FROM orders")
    source = rig.add("telling", key=["id"], order_column="id")
    assert {record["row"]["who"] for record in rig.records(source)} == {"tally_poller"}


def test_a_view_cannot_change_the_session(rig: Rig) -> None:
    """What a view sets, prepares or locks is gone with the reading: nothing of its runs later."""
    rig.sql("""
        CREATE SCHEMA evil;
        CREATE TABLE evil.seen (who text);
        GRANT USAGE ON SCHEMA evil TO PUBLIC;
        GRANT INSERT ON evil.seen TO PUBLIC;
        CREATE FUNCTION evil.is_same(a integer, b integer) RETURNS boolean LANGUAGE plpgsql AS $$
          BEGIN
            INSERT INTO evil.seen VALUES (current_user);
            RETURN a OPERATOR(pg_catalog.=) b;
          END $$;
        CREATE OPERATOR evil.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = evil.is_same);
        CREATE FUNCTION evil.bait(id bigint) RETURNS bigint LANGUAGE plpgsql AS $$
          BEGIN
            PERFORM set_config('search_path', 'evil, pg_catalog', false);
            PERFORM set_config('tally.actor', 'somebody else', false);
            PERFORM pg_advisory_lock(1952541817, 1);
            EXECUTE format('PREPARE _pg3_%s AS SELECT 1', id);
            RETURN id;
          END $$;
        CREATE TABLE evil.rows (id bigint);
        INSERT INTO evil.rows VALUES (1);
        CREATE VIEW evil.baited AS SELECT evil.bait(id) AS id FROM evil.rows""")
    source = rig.add("evil.baited", key=["id"], order_column="id")
    rig.sql("INSERT INTO evil.rows VALUES (2)")
    assert poll(rig) == 1
    rig.seal()
    rig.sql("DELETE FROM evil.rows WHERE id = 1")
    assert reconcile(rig, "evil.baited") == 1
    assert rig.sql("SELECT who FROM evil.seen") == []
    assert [record["actor"] for record in rig.records(source)] == [None]
    with rig.database.transaction() as tx:
        left = tx.connection.execute(
            "SELECT current_setting('search_path'), current_setting('tally.actor', true),"
            " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),"
            " (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)"
        ).fetchone()
    assert left is not None
    assert (left[0], left[1] or "", left[2], left[3]) == ('"$user", public', "", 0, 0)


def test_names_of_our_own_are_read(rig: Rig) -> None:
    """Columns that are called as our statements call things of theirs are polled like any other."""
    rig.sql("CREATE TABLE ours (id bigint, tally_key text, tally_order text, tally_nth text)")
    rig.sql("INSERT INTO ours VALUES (1, 'a', 'b', 'c')")
    rig.sql("CREATE VIEW keyed AS SELECT * FROM ours; CREATE VIEW whole AS SELECT * FROM ours")
    keyed = rig.add("keyed", key=["id"], order_column="id")
    rig.add("whole", key_full_row=True, order_column="id")
    rig.seal()
    rig.sql("UPDATE ours SET tally_key = 'x'; INSERT INTO ours VALUES (1, 'x', 'b', 'c')")
    assert reconcile(rig, "keyed") == 1
    assert rig.records(keyed)[0]["row"]["tally_key"] == "x"
    assert reconcile(rig, "whole") == 3
