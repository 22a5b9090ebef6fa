"""DDL on a captured table: no writer breaks, and what is new is recorded (log.md, section 5.1)."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tests.seal.capture.rig import Rig


@pytest.fixture
def table(rig: Rig) -> Rig:
    """A rig with the captured table `t` and plans that have been used."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a text, b int)")
    rig.seal("t")
    for n in range(7):
        rig.sql("INSERT INTO t VALUES (%s, 'a', 1)", (n,))
    rig.sql("UPDATE t SET b = 2; DELETE FROM t WHERE id > 1")
    rig.take()
    return rig


def test_add_drop_rename(table: Rig):
    """log 9: after ADD, DROP and RENAME COLUMN writers go on; records have the columns of now."""
    table.sql("ALTER TABLE t ADD COLUMN c numeric DEFAULT 1.50")
    table.sql("INSERT INTO t VALUES (10, 'x', 1, 2.5); UPDATE t SET b = 3 WHERE id = 0")
    assert [
        {"a": "x", "b": "1", "c": "2.5", "id": "10"}, {"a": "a", "b": "3", "c": "1.50", "id": "0"},
    ] == table.rows()  # fmt: skip
    table.sql("ALTER TABLE t DROP COLUMN a")
    table.sql("UPDATE t SET b = 4 WHERE id = 0; INSERT INTO t VALUES (11, 1)")
    table.sql("DELETE FROM t WHERE id = 10")
    assert [
        {"b": "4", "c": "1.50", "id": "0"}, {"b": "1", "c": "1.50", "id": "11"},
        {"b": "1", "c": "2.5", "id": "10"},
    ] == table.rows()  # fmt: skip
    table.sql("ALTER TABLE t RENAME COLUMN b TO z")
    table.sql("UPDATE t SET z = 5 WHERE id = 0")
    assert [{"c": "1.50", "id": "0", "z": "5"}] == table.rows()
    table.sql("TRUNCATE t")
    assert ["T"] == table.take()


def test_refreshed_function(table: Rig):
    """Generating the function again leads back to the static statement, with the same bytes."""
    table.sql("ALTER TABLE t ADD COLUMN at timestamptz")
    table.sql("SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'")
    row = "'x', 1, '2026-01-02 03:04:05+00'"
    table.sql(f"INSERT INTO t VALUES (10, {row})")
    assert "Asia/Tokyo" == table.value("SHOW timezone")
    assert "German, DMY" == table.value("SHOW datestyle")
    table.sql("SELECT tally.create_capture(source_no) FROM tally.verification_sources")
    table.sql(f"INSERT INTO t VALUES (11, {row})")
    dynamic, static = table.rows()
    assert {"a": "x", "at": "2026-01-02 03:04:05+00", "b": "1", "id": "10"} == dynamic
    assert dynamic | {"id": "11"} == static
    assert table.value(
        "SELECT schema_fingerprint = tally.table_fingerprint(relation)"
        " FROM tally.verification_sources"
    )


def test_type_change(table: Rig):
    """A column of another type is printed by its new output function."""
    table.sql("ALTER TABLE t ALTER COLUMN b TYPE text USING b || '\"'")
    table.sql("UPDATE t SET a = 'y' WHERE id = 0")
    assert [{"a": "y", "b": '2"', "id": "0"}] == table.rows()


def test_null_is_allowed_later(rig: Rig):
    """A column that was NOT NULL may be NULL after DROP NOT NULL, in plans that had been made."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a text NOT NULL, b int NOT NULL)")
    rig.seal("t")
    rig.sql("INSERT INTO t VALUES (1, 'a', 1)")
    rig.sql("ALTER TABLE t ALTER COLUMN a DROP NOT NULL, ALTER COLUMN b DROP NOT NULL")
    rig.sql("INSERT INTO t VALUES (2, NULL, NULL)")
    rig.sql("UPDATE t SET a = NULL, b = NULL WHERE id = 1")
    rig.sql("DELETE FROM t WHERE id = 1")
    assert [{"a": None, "b": None, "id": "2"}] + [{"a": None, "b": None, "id": "1"}] * 2 == (
        rig.rows()[1:]
    )


def test_unproven_not_null(rig: Rig):
    """A NOT NULL constraint that old rows have not proven does not make a NULL an empty text."""
    if rig.connection.info.server_version < 180000:
        pytest.skip("PostgreSQL 18 brought NOT NULL NOT VALID")
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, b int); INSERT INTO t VALUES (1, NULL)")
    rig.sql("ALTER TABLE t ADD CONSTRAINT b_is_given NOT NULL b NOT VALID")
    rig.seal("t")
    rig.sql("DELETE FROM t")
    assert [{"b": None, "id": "1"}] == rig.rows()


def test_ddl_in_the_writers_transaction(table: Rig):
    """DDL and writes of one transaction, and its rollback, are captured as the table stands."""
    with pytest.raises(ZeroDivisionError), table.connection.transaction():
        table.sql("ALTER TABLE t ADD COLUMN c int")
        table.sql("INSERT INTO t VALUES (10, 'x', 1, 2)")
        assert {"a", "b", "c", "id"} == set(table.queue()[0].row)
        raise ZeroDivisionError
    table.sql("INSERT INTO t VALUES (10, 'x', 1)")
    assert [{"a": "x", "b": "1", "id": "10"}] == table.rows()


def test_ddl_of_another_session(table: Rig):
    """A writer that waited for another session's DDL writes the new columns."""
    with psycopg.connect(table.url) as other:
        other.execute("ALTER TABLE t ADD COLUMN c int DEFAULT 7")
        writer = threading.Thread(
            target=lambda: table.sql("INSERT INTO t (id, a) VALUES (10, 'x')")
        )
        writer.start()
        other.commit()
    writer.join()
    assert [{"a": "x", "b": None, "c": "7", "id": "10"}] == table.rows()


def test_old_snapshot_does_not_decide_for_later_writers(table: Rig):
    """What a transaction with an old snapshot planned hides no column from the next one."""
    with psycopg.connect(table.url, autocommit=True) as other:
        table.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with table.connection.transaction():
            table.sql("SELECT 1")
            other.execute("ALTER TABLE t ADD COLUMN c int DEFAULT 7")
            table.sql("INSERT INTO t VALUES (10, 'x', 1)")
        table.connection.isolation_level = None
    table.sql("INSERT INTO t VALUES (11, 'x', 1)")
    assert {"a": "x", "b": "1", "c": "7", "id": "11"} == table.rows()[-1]


def test_excluded_and_included_columns(rig: Rig):
    """A new column is recorded at once unless include_columns rules."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
    rig.make_log("second")
    rig.seal("t", include_columns=["a"])
    rig.seal("t", log="second", exclude_columns=["a"])
    rig.sql("ALTER TABLE t ADD COLUMN c int; INSERT INTO t VALUES (1, 2, 3, 4)")
    assert [{"a": "2", "id": "1"}, {"b": "3", "c": "4", "id": "1"}] == rig.rows()


def test_missing_key_column(table: Rig):
    """Without its key column a source captures nothing, so the writer is told and stopped."""
    table.sql("ALTER TABLE t RENAME COLUMN id TO number")
    with pytest.raises(psycopg.Error) as raised:
        table.sql("INSERT INTO t VALUES (10, 'x', 1)")
    assert "TS109" == raised.value.sqlstate


def test_column_form_without_its_column(rig: Rig):
    """A missing or retyped hash column quarantines, and stops no writer."""
    rig.make_log("hashes", "digest")
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, h bytea)")
    rig.seal("t", log="hashes", leaf_form="column", hash_column="h")
    rig.sql("ALTER TABLE t ALTER COLUMN h TYPE text USING 'x'; INSERT INTO t VALUES (1, 'y')")
    rig.sql("ALTER TABLE t DROP COLUMN h; INSERT INTO t VALUES (2)")
    assert ["the hash column is missing or no bytea"] * 2 == [q.problem for q in rig.queue()]


def test_new_partition_gets_its_triggers(rig: Rig):
    """Triggers are added where new partitions lack them, switched, and dropped everywhere."""
    rig.sql("CREATE TABLE sale (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    source = rig.seal("sale", on_truncate="expand")
    rig.sql("CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10)")
    rig.sql("INSERT INTO sale VALUES (1)")
    rig.sql("SELECT tally.create_capture_triggers(%s)", (source,))
    rig.sql("INSERT INTO sale_1 VALUES (2)")
    assert ["I 1", "I 2"] == rig.take()
    names = (
        "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = 'sale_1'::regclass"
    )
    kinds = ["begin", "delete", "insert", "truncate", "update"]
    assert [(f"tally_{source}_{kind}", "A") for kind in kinds] == sorted(rig.sql(names))
    rig.sql("SELECT tally.switch_capture_triggers(%s, false)", (source,))
    rig.sql("INSERT INTO sale VALUES (3)")
    rig.sql("SELECT tally.switch_capture_triggers(%s, true)", (source,))
    rig.sql("INSERT INTO sale VALUES (4)")
    assert ["I 4"] == rig.take()
    rig.sql("SELECT tally.drop_capture_triggers(%s)", (source,))
    assert [] == rig.sql(names)
    assert rig.value("SELECT to_regproc(%s) IS NULL", (f"tally.capture_{source}",))
    rig.sql("INSERT INTO sale VALUES (5)")
    assert [] == rig.take()


def test_foreign_key_added_later(rig: Rig):
    """A foreign key that comes later makes cascades possible in plans that had been made."""
    rig.sql("CREATE TABLE tree (id int PRIMARY KEY, parent int)")
    rig.seal("tree")
    rig.sql("INSERT INTO tree VALUES (1, 1), (2, 1)")
    rig.sql("UPDATE tree SET parent = parent")
    rig.sql("ALTER TABLE tree ADD FOREIGN KEY (parent) REFERENCES tree ON UPDATE CASCADE")
    rig.take()
    rig.sql("UPDATE tree SET id = id + 100 WHERE id = 1")
    assert ["D 1", "I 101", "U 2"] == sorted(rig.take())


def test_hostile_names(rig: Rig):
    """Tables and columns of any name work, in any schema, also where leaves are merged."""
    table = '"a""b.c"."; DROP"'
    rig.sql('CREATE SCHEMA "a""b.c"')
    rig.sql(
        f'CREATE TABLE {table} ("Größe" int PRIMARY KEY, c1 text, head text, "%s" text, salt text,'
        ' "$$" text, "$capture$" text, "r.""" text)'
    )
    relation = rig.value(f"SELECT '{table}'::regclass::oid")
    rig.seal(table, key=["Größe"], relation=relation, private_columns=["$$"])
    rig.sql(
        "CREATE FUNCTION react() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF pg_trigger_depth() < 2 THEN UPDATE {table} SET c1 = 'z'"
        ' WHERE "Größe" = NEW."Größe"; END IF;'
        " RETURN NEW; END $$;"
        f" CREATE TRIGGER react AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION react()"
    )
    rig.sql(f"INSERT INTO {table} VALUES (1, 'a', 'b', 'c', 'd', 'e', 'f', 'g')")
    rig.sql(f'UPDATE {table} SET "Größe" = 2')
    rig.sql(f'ALTER TABLE {table} ADD COLUMN "%1$s" int; DELETE FROM {table}')
    found = rig.queue()
    assert ["I", "D", "I", "D"] == [queued.op for queued in found]
    assert {table} == {queued.change["table"] for queued in found}
    row = {
        "%s": "c",
        "Größe": "1",
        "c1": "z",
        "head": "b",
        "salt": "d",
        "$capture$": "f",
        'r."': "g",
    }
    assert row == found[0].row
    assert row | {"Größe": "2", "%1$s": None} == found[-1].row
