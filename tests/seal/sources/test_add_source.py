"""Adding a source: what is made, what is refused, what is left alone."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.db.errors import PermissionDeniedError
from tallystick.seal.errors import (
    HashColumnError,
    InvalidSourceError,
    LogFailedError,
    LogFrozenError,
    NoKeyError,
    SourceBusyError,
    SourceExistsError,
    SourceNotFoundError,
    UnknownColumnError,
    UnsupportedSourceError,
)
from tallystick.seal.sources import add_source, list_sources, operations, run_backfill

if TYPE_CHECKING:
    from tests.seal.sources.rig import Rig

PAYMENT = "CREATE TABLE payment (id int PRIMARY KEY, amount numeric, note text, secret text)"
FOREIGN = """
    CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
    CREATE FOREIGN TABLE t (a int) SERVER s"""
HIDDEN = "CREATE TABLE t (a int PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY"


def test_empty_table_is_active_at_once(rig: Rig) -> None:
    """A source of an empty table is active in the transaction that adds it, and captures."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    assert (source.status, source.key_columns, source.key_types) == ("active", ["id"], ["integer"])
    rig.sql("INSERT INTO payment VALUES (1, 2.5)")
    assert rig.queue(source) == [("I", "t", '["1"]')]


def test_filled_table_waits_for_its_backfill(rig: Rig) -> None:
    """A source of a table with rows is backfilling until run_backfill has queued them."""
    rig.sql(PAYMENT)
    rig.sql("INSERT INTO payment SELECT i FROM generate_series(1, 3) AS i")
    source = rig.add("payment")
    assert source.status == "backfilling"
    result = run_backfill(rig.database, source)
    assert (result.rows_read, result.rows_queued, result.finished) == (3, 3, True)
    assert rig.reload(source).status == "active"
    assert [("I", "b", f'["{i}"]') for i in (1, 2, 3)] == rig.queue(source)


def test_same_settings_give_the_same_source(rig: Rig) -> None:
    """Adding a source again with the same settings returns it and does nothing."""
    rig.sql(PAYMENT)
    first = rig.add("payment", private=["secret"], on_update="refuse")
    again = rig.add("public.payment", private=["secret"], on_update="refuse", key=["id"])
    assert first == again


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"private": ["secret"]}, ["private_columns"]),
        ({"on_delete": "refuse", "exclude": ["note"]}, ["exclude_columns", "on_delete"]),
        ({"key_full_row": True}, ["key_columns", "key_types"]),
    ],
)
def test_other_settings_are_refused(rig: Rig, settings: dict[str, Any], fields: list[str]) -> None:
    """A second source of a table in a log, with other settings, is TS112 and names the fields."""
    rig.sql(PAYMENT)
    rig.add("payment")
    with pytest.raises(SourceExistsError) as raised:
        rig.add("payment", **settings)
    assert fields == raised.value.evidence["fields"]


def test_one_table_feeds_two_logs(rig: Rig) -> None:
    """One table may feed several logs, each by its own rules."""
    rig.sql(PAYMENT)
    full, digest = rig.add("payment"), rig.add("payment", log="hashes")
    rig.sql("INSERT INTO payment VALUES (1)")
    assert (full.leaf_form, digest.leaf_form) == ("record", "salted")
    assert [("I", "t", '["1"]')] == rig.queue(full) == rig.queue(digest)


def test_dry_run_does_nothing(rig: Rig) -> None:
    """A dry run returns the source that would be made, and makes none."""
    rig.sql(PAYMENT)
    source = rig.add("payment", dry_run=True)
    assert (source.source_no, source.key_columns, source.on_truncate) == (0, ["id"], "record")
    with rig.database.transaction() as tx:
        assert list_sources(tx) == []
    assert rig.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tally%'") == [(0,)]


@pytest.mark.parametrize("named", ['"; DROP', '"""; DROP"', 'public."""; DROP"'])
def test_hostile_names_work(rig: Rig, named: str) -> None:
    """A table and columns whose names hold quotes are captured and backfilled like any other."""
    rig.sql("""CREATE TABLE "\"\"; DROP" ("'; --" int, "Größe" text, PRIMARY KEY ("'; --"))""")
    rig.sql("""INSERT INTO "\"\"; DROP" VALUES (1, 'groß')""")
    source = rig.add(named)
    run_backfill(rig.database, source)
    assert source.source_table == '"""; DROP"'
    assert [record["row"] for record in rig.records(source)] == [{"'; --": "1", "Größe": "groß"}]
    assert [record["table"] for record in rig.records(source)] == ['public."""; DROP"']


def test_names_are_found_as_printed_or_bare(rig: Rig) -> None:
    """A table is found by its printed name and in bare words, by default in schema public."""
    rig.sql("CREATE SCHEMA billing")
    rig.sql(
        "CREATE TABLE billing.payment (id int PRIMARY KEY);"
        'CREATE TABLE "Größe" (id int PRIMARY KEY)'
    )
    assert rig.add("billing.payment").source_table == "billing.payment"
    assert rig.add("Größe").source_table == '"Größe"'
    assert len({rig.get(name).source_no for name in ('"Größe"', "Größe", "billing.payment")}) == 2
    with pytest.raises(SourceNotFoundError):
        rig.add("payment")


def test_note_names_clear_columns(rig: Rig) -> None:
    """The note names the columns that stand in clear, because they cannot be erased."""
    rig.sql(PAYMENT)
    note = rig.add("payment", private=["secret"], exclude=["amount"]).note
    assert note is not None
    assert note.startswith("id, note: what stands in clear cannot be erased")
    assert None is rig.add("payment", log="hashes").note


def test_owner_gets_what_it_needs_alone(rig: Rig) -> None:
    """tally_owner gets SELECT, and UPDATE of one key column, and nothing else."""
    rig.sql(PAYMENT)
    rig.add("payment")
    rights = rig.sql("""
        SELECT has_table_privilege('tally_owner', 'payment', 'SELECT'),
               has_table_privilege('tally_owner', 'payment', 'UPDATE, INSERT, DELETE, TRUNCATE'),
               array(SELECT attname::text FROM pg_attribute
                     WHERE attrelid = 'payment'::regclass AND attnum > 0
                     AND has_column_privilege('tally_owner', attrelid, attnum, 'UPDATE'))""")
    assert rights == [(True, False, ["id"])]


@pytest.mark.parametrize(
    ("table", "candidates"),
    [
        ("CREATE TABLE t (a int)", []),
        ("CREATE TABLE t (a int NOT NULL UNIQUE, b int UNIQUE)", [["a"]]),
        ("CREATE TABLE t (a int, b int NOT NULL, PRIMARY KEY (a) DEFERRABLE)", []),
        (
            "CREATE TABLE t (a int NOT NULL, b int NOT NULL, UNIQUE (b, a) INCLUDE (a))",
            [["b", "a"]],
        ),
        ("CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX ON t (a) WHERE a > 0", []),
        ("CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX ON t ((a + 1))", []),
    ],
)
def test_table_without_key_is_refused(rig: Rig, table: str, candidates: list[list[str]]) -> None:
    """log 8: a table without primary key, or with a deferrable one, is TS102 with candidates."""
    rig.sql(table)
    with pytest.raises(NoKeyError) as raised:
        rig.add("t")
    assert candidates == raised.value.evidence["candidates"]


@pytest.mark.parametrize("key", [["a"], ["b"], ["c"], ["d"], ["a", "b"]])
def test_named_key_must_be_a_key(rig: Rig, key: list[str]) -> None:
    """log 8: a named key that is deferrable, partial, nullable or not unique is TS102."""
    rig.sql("""
        CREATE TABLE t (
          a int NOT NULL UNIQUE DEFERRABLE, b int UNIQUE, c int NOT NULL, d int NOT NULL);
        CREATE UNIQUE INDEX ON t (c) WHERE c > 0""")
    with pytest.raises(NoKeyError):
        rig.add("t", key=key)


def test_named_unique_index_is_the_key(rig: Rig) -> None:
    """A unique index on NOT NULL columns keys the rows when it is named, in the index's order."""
    rig.sql("CREATE TABLE t (a int NOT NULL, b text NOT NULL, UNIQUE (b, a))")
    source = rig.add("t", key=["a", "b"])
    rig.sql("INSERT INTO t VALUES (1, 'x')")
    assert source.key_columns == ["b", "a"]
    assert rig.queue(source) == [("I", "t", '["x","1"]')]


def test_full_row_key_counts_equal_rows(rig: Rig) -> None:
    """log 8: with key_full_row two equal rows give two leaves, before it is added and after."""
    rig.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    source = rig.add("t", key_full_row=True)
    rig.sql("INSERT INTO t VALUES (1), (1)")
    queued = rig.queue(source)
    assert source.status == "active"
    assert [via for _, via, _ in queued] == ["b", "b", "t", "t"]
    assert len({key for _, _, key in queued}) == 1


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ("CREATE UNLOGGED TABLE t (a int PRIMARY KEY)", "is unlogged"),
        ("CREATE VIEW t AS SELECT 1 AS a", "is a view"),
        ("CREATE MATERIALIZED VIEW t AS SELECT 1 AS a", "is a materialized view"),
        ("CREATE SEQUENCE t", "is a sequence"),
        (FOREIGN, "is a foreign table"),
        (HIDDEN, "has row-level security"),
    ],
)
def test_unsupported_tables_are_refused(rig: Rig, made: str, reason: str) -> None:
    """What triggers cannot capture is TS103, with the reason."""
    rig.sql(made)
    with pytest.raises(UnsupportedSourceError, match=reason):
        rig.add("t")


def test_row_security_with_bypass_is_supported(rig: Rig) -> None:
    """Where tally_owner has BYPASSRLS a table with row-level security is captured, all of it."""
    rig.sql(HIDDEN)
    rig.sql("ALTER TABLE t FORCE ROW LEVEL SECURITY; INSERT INTO t VALUES (1)")
    rig.sql("ALTER ROLE tally_owner BYPASSRLS")
    try:
        assert run_backfill(rig.database, rig.add("t")).rows_queued == 1
    finally:
        rig.sql("ALTER ROLE tally_owner NOBYPASSRLS")


def test_temporary_table_is_refused(rig: Rig) -> None:
    """A temporary table is TS103."""
    with rig.database.transaction() as tx:
        tx.connection.execute("CREATE TEMP TABLE t (a int PRIMARY KEY)")
        with pytest.raises(UnsupportedSourceError, match="temporary"):
            add_source(tx, "payments", "t")


def test_tables_that_sealing_writes_are_refused(rig: Rig) -> None:
    """The queue, the leaves and the tiles are no sources: they would feed themselves."""
    for table in ("capture", "merkle_log", "log_tiles", "checkpoints"):
        with pytest.raises(UnsupportedSourceError, match="feed itself"):
            rig.add(f"tally.{table}")


def test_partitioned_table_expands_truncates(rig: Rig) -> None:
    """A partitioned table refuses one leaf for TRUNCATE, and expands it by default."""
    rig.sql(
        "CREATE TABLE t (a int PRIMARY KEY) PARTITION BY RANGE (a);"
        "CREATE TABLE t1 PARTITION OF t DEFAULT"
    )
    with pytest.raises(UnsupportedSourceError, match="partitioned"):
        rig.add("t", on_truncate="record")
    assert rig.add("t").on_truncate == "expand"


@pytest.mark.parametrize("name", ["key", "include", "exclude", "private"])
def test_unknown_columns_are_named(rig: Rig, name: str) -> None:
    """A column that the table lacks is TS109, and named."""
    rig.sql(PAYMENT)
    with pytest.raises(UnknownColumnError) as raised:
        rig.add("payment", **{name: ["id", "nope"]})
    assert raised.value.evidence["columns"] == ["nope"]


def test_hash_column_is_a_bytea(rig: Rig) -> None:
    """The leaf of form column is a bytea column: none, or one of another type, is TS110."""
    rig.sql("CREATE TABLE t (a int PRIMARY KEY, h bytea, x text)")
    for settings in ({"hash_column": "x"}, {"leaf_form": "column"}):
        with pytest.raises(HashColumnError):
            rig.add("t", log="hashes", **settings)
    assert rig.add("t", log="hashes", hash_column="h").leaf_form == "column"


@pytest.mark.parametrize(
    "settings",
    [
        {"include": ["id"], "exclude": ["note"]},
        {"on_update": "never"},
        {"on_truncate": "never"},
        {"key": ["id"], "key_full_row": True},
        {"key": []},
        {"private": ["id"]},
        {"private": ["note"], "key_full_row": True},
        {"leaf_form": "record", "log": "hashes"},
        {"leaf_form": "salted", "hash_column": "note"},
        {"leaf_form": "salted", "private": ["note"]},
    ],
)
def test_contradictions_are_refused(rig: Rig, settings: dict[str, Any]) -> None:
    """Settings that contradict each other, the table or the log's mode are refused."""
    rig.sql(PAYMENT)
    with pytest.raises(InvalidSourceError):
        rig.add("payment", **settings)


def test_only_the_owner_adds(rig: Rig) -> None:
    """Who does not own the table is refused, because ENABLE ALWAYS is the owner's to say."""
    rig.sql(PAYMENT)
    rig.sql("CREATE ROLE other_one; GRANT tally_app TO other_one")
    try:
        with rig.database.transaction() as tx:
            tx.connection.execute("SET LOCAL ROLE other_one")
            with pytest.raises(PermissionDeniedError, match="owner"):
                add_source(tx, "payments", "payment")
    finally:
        rig.sql("DROP OWNED BY other_one; DROP ROLE other_one")


def test_owner_without_superuser_adds(rig: Rig) -> None:
    """A table's owner who is granted tally_app, and nothing else, adds and backfills a source."""
    rig.sql("CREATE ROLE shop; GRANT tally_app TO shop; GRANT CREATE ON SCHEMA public TO shop")
    rig.sql("CREATE SCHEMA mine AUTHORIZATION shop")
    try:
        with rig.database.transaction() as tx:
            tx.connection.execute("SET LOCAL ROLE shop")
            tx.connection.execute("CREATE TABLE mine.t (a int PRIMARY KEY)")
            tx.connection.execute("INSERT INTO mine.t VALUES (1)")
            source = add_source(tx, "payments", "mine.t")
            tx.connection.execute("INSERT INTO mine.t VALUES (2)")
        assert run_backfill(rig.database, source).rows_queued == 1
        assert [key for _, _, key in rig.queue(source)] == ['["2"]', '["1"]']
    finally:
        rig.sql("DROP OWNED BY shop CASCADE; DROP ROLE shop")


def test_frozen_and_failed_logs_take_no_source(rig: Rig) -> None:
    """A log whose freeze was requested is TS107, a failed one TS108."""
    rig.sql(PAYMENT)
    rig.sql("SELECT tally.request_freeze_v1(1), tally.fail_log_v1(2, '{}')")
    with pytest.raises(LogFrozenError):
        rig.add("payment")
    with pytest.raises(LogFailedError):
        rig.add("payment", log="hashes")


def test_locked_table_is_tried_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that writers hold is tried again, and added when they have ended, with their rows."""
    rig.sql(PAYMENT)
    with rig.session() as writer:
        writer.execute("INSERT INTO payment VALUES (1)")
        end = threading.Timer(2.5, writer.commit)
        end.start()
        source = rig.add("payment")
        end.join()
    run_backfill(rig.database, source)
    assert rig.queue(source) == [("I", "b", '["1"]')]

    monkeypatch.setattr(operations, "LOCK_PATIENCE_SECONDS", 0.0)
    with rig.session() as writer:
        writer.execute("UPDATE payment SET note = 'x'")
        with pytest.raises(SourceBusyError):
            rig.add("payment", log="hashes")
        writer.commit()
