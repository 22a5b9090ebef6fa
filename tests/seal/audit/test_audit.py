"""Audit and reconcile: what is changed behind the log's back is named (log.md, section 4.7)."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tallystick.db.errors import PermissionDeniedError
from tallystick.record import parse_record
from tallystick.seal.audit import AuditStartError, audit_log, list_findings, reconcile_source
from tallystick.seal.errors import LogNotFoundError, SourceNotFoundError
from tallystick.seal.sources import add_source, run_backfills
from tests.support.logs import LogBench, make_bench

TABLE = """
CREATE TABLE payment (
  id bigint PRIMARY KEY, amount numeric(12, 2) NOT NULL, note text, paid boolean, doc bytea
)
"""


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A full log over the table `payment` with 600 rows, some of them updated or deleted."""
    made = make_bench(database_url, tmp_path / "keys")
    execute(made, TABLE)
    attach(made, "payment")
    execute(
        made,
        "INSERT INTO payment SELECT i, i * 1.5, 'note ' || i, i %% 2 = 0, NULL"
        " FROM generate_series(1, 600) AS i",
        "UPDATE payment SET amount = amount + 1 WHERE id %% 10 = 0",
        "DELETE FROM payment WHERE id > 590",
        "UPDATE payment SET note = repeat('x', 9000) WHERE id = 7",
    )
    made.seal_all()
    return made


def execute(bench: LogBench, *statements: str) -> None:
    """Run statements, each in its own transaction, as an application would."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.replace("%%", "%"))


def behind_the_back(bench: LogBench, *statements: str, table: str = "payment") -> None:
    """Change a table with its triggers disabled, and enable them again as they were."""
    with psycopg.connect(bench.url) as connection:
        connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            connection.execute(statement)
        triggers = connection.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal",
            (table,),
        ).fetchall()
        for (trigger,) in triggers:
            connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


def tamper(bench: LogBench, table: str, statement: str) -> None:
    """Change evidence as a superuser would who removes the triggers first."""
    with psycopg.connect(bench.url) as connection:
        connection.execute(f"ALTER TABLE tally.{table} DISABLE TRIGGER USER")
        connection.execute(statement)


def attach(bench: LogBench, table: str, **settings: object) -> None:
    """Make *table* a source of the bench's log and backfill it."""
    with bench.database.transaction() as tx:
        add_source(tx, bench.log.log_name, table, **settings)
    run_backfills(bench.database)


def kinds(bench: LogBench, **options: object) -> list[tuple[str, str | None]]:
    """The findings of an audit: kind and key, sorted."""
    report = audit_log(bench.database, bench.log.log_name, **options)
    return sorted({(finding.kind, finding.source_key) for finding in report.findings}, key=str)


def test_untouched_log_is_clean(bench):
    """An audit of a log and its table that nobody tampered with finds nothing, and says so."""
    report = audit_log(bench.database, bench.log.log_name)
    assert report.findings == ()
    assert (report.size, report.rows) == (bench.size(), 590)
    assert bench.value("SELECT verdict FROM tally.audits WHERE log_id = %s") == "clean"


def test_rows_waiting_in_the_queue_are_counted(bench):
    """A change that is captured and not yet sealed is no finding."""
    execute(
        bench,
        "UPDATE payment SET note = 'waiting' WHERE id = 1",
        "DELETE FROM payment WHERE id = 2",
        "INSERT INTO payment VALUES (1000, 1, NULL, NULL, NULL)",
    )
    assert kinds(bench) == []


def test_changes_behind_the_log_are_named(bench):
    """log 13: a row changed, one deleted and one added with triggers disabled are all named."""
    behind_the_back(
        bench,
        "UPDATE payment SET amount = 9999, paid = NULL WHERE id = 42",
        "DELETE FROM payment WHERE id = 43",
        "INSERT INTO payment VALUES (5000, 1, NULL, NULL, NULL), (595, 1, NULL, NULL, NULL)",
    )
    assert kinds(bench) == [
        ("row_changed", '["42"]'),
        ("row_missing", '["43"]'),
        ("row_resurrected", '["595"]'),
        ("row_unlogged", '["5000"]'),
    ]
    with bench.database.transaction() as tx:
        findings = list_findings(tx, bench.log.log_id)
    [changed] = [finding for finding in findings if finding.kind == "row_changed"]
    assert changed.columns == ["amount", "paid"]


def test_repair_seals_what_was_found(bench):
    """log 13: `reconcile --repair` queues what differs, via reconcile; then the audit is clean."""
    behind_the_back(
        bench,
        "UPDATE payment SET amount = 9999 WHERE id = 42",
        "DELETE FROM payment WHERE id IN (43, 7)",
        "INSERT INTO payment VALUES (5000, 1, NULL, NULL, NULL)",
    )
    report = reconcile_source(bench.database, bench.log.log_name, "payment", repair=True)
    assert report.queued == 4
    bench.seal_all()
    assert kinds(bench) == []
    with psycopg.connect(bench.url) as connection:
        repaired = connection.execute(
            "SELECT source_key, op::text, via::text, leaf FROM tally.merkle_log"
            " WHERE via = 'r' ORDER BY source_key"
        ).fetchall()
    assert [(key, op) for key, op, _, _ in repaired] == [
        ('["42"]', "U"),
        ('["43"]', "D"),
        ('["5000"]', "I"),
        ('["7"]', "D"),
    ]
    for _, _, via, leaf in repaired:
        record = parse_record(bytes(leaf))
        assert record is not None
        assert (via, record.via) == ("r", "reconcile")


def test_finding_without_repair_queues_nothing(bench):
    """On a trigger source a difference is a finding first: a reconcile alone queues nothing."""
    behind_the_back(bench, "DELETE FROM payment WHERE id = 43")
    report = reconcile_source(bench.database, bench.log.log_name, "public.payment")
    assert [finding.kind for finding in report.findings] == ["row_missing"]
    assert bench.value("SELECT count(*) FROM tally.capture WHERE log_id = %s") == 0


def test_disabled_trigger_is_named(bench):
    """log 13: a trigger that is off is a finding of its own."""
    execute(bench, "ALTER TABLE payment DISABLE TRIGGER USER")
    assert "trigger_disabled" in {kind for kind, _ in kinds(bench)}


def test_dropped_trigger_is_named(bench):
    """log 13: a trigger that is gone is a finding of its own."""
    name = bench.value("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'tally%%delete' AND %s > 0")
    execute(bench, f"DROP TRIGGER {name} ON payment")
    assert "trigger_missing" in {kind for kind, _ in kinds(bench)}


FLIPPED_LEAF = "set_byte(leaf, 40, get_byte(leaf, 40) # 1)"
FLIPPED_HASHES = "set_byte(hashes, 40, get_byte(hashes, 40) # 1)"
FAULTS = {
    "leaf": (
        "merkle_log",
        f"UPDATE tally.merkle_log SET leaf = {FLIPPED_LEAF} WHERE leaf_index = 300",
        "leaf_changed",
    ),
    "leaf with its hash": (
        "merkle_log",
        f"UPDATE tally.merkle_log SET leaf = {FLIPPED_LEAF},"
        f" leaf_hash = tally.leaf_hash({FLIPPED_LEAF}) WHERE leaf_index = 300",
        "leaf_changed",
    ),
    "leaf hash": (
        "merkle_log",
        "UPDATE tally.merkle_log SET leaf_hash = sha256('x') WHERE leaf_index = 5",
        "leaf_changed",
    ),
    "leaf gone": (
        "merkle_log",
        "DELETE FROM tally.merkle_log WHERE leaf_index = 5",
        "leaf_missing",
    ),
    "level 0 tile": (
        "log_tiles",
        f"UPDATE tally.log_tiles SET hashes = {FLIPPED_HASHES} WHERE level = 0 AND tile_index = 1",
        "tile_changed",
    ),
    "level 1 tile": (
        "log_tiles",
        f"UPDATE tally.log_tiles SET hashes = {FLIPPED_HASHES} WHERE level = 1",
        "tile_changed",
    ),
    "root": (
        "checkpoints",
        "UPDATE tally.checkpoints SET root_hash = sha256('x')"
        " WHERE tree_size = (SELECT max(tree_size) FROM tally.checkpoints)",
        "root_mismatch",
    ),
    "note": (
        "checkpoints",
        "UPDATE tally.checkpoints SET note = overlay(note PLACING 'AAAA' FROM length(note) - 20)"
        " WHERE tree_size > 0",
        "bad_signature",
    ),
    "table column": (
        "merkle_log",
        "UPDATE tally.merkle_log SET source_table = 'other' WHERE leaf_index = 9",
        "leaf_changed",
    ),
    "table column gone": (
        "merkle_log",
        "UPDATE tally.merkle_log SET source_table = NULL WHERE leaf_index = 9",
        "leaf_changed",
    ),
    "op column": (
        "merkle_log",
        "UPDATE tally.merkle_log SET op = 'U' WHERE op = 'D'",
        "leaf_changed",
    ),
    "via column": (
        "merkle_log",
        "UPDATE tally.merkle_log SET via = 'b' WHERE leaf_index = 9",
        "leaf_changed",
    ),
    "leaf beyond the head": (
        "merkle_log",
        "INSERT INTO tally.merkle_log (log_id, leaf_index, log_name, source_table, source_key, op,"
        " via, seq, leaf, leaf_hash, processed_at) SELECT log_id, 1000000, log_name, source_table,"
        " source_key, op, via, seq, leaf, leaf_hash, processed_at FROM tally.merkle_log"
        " WHERE leaf_index = 9",
        "leaf_changed",
    ),
    "tile beyond the head": (
        "log_tiles",
        "INSERT INTO tally.log_tiles SELECT log_id, 0, 77, hashes FROM tally.log_tiles"
        " WHERE level = 0 AND tile_index = 0",
        "tile_changed",
    ),
    "root of size 0": (
        "checkpoints",
        "UPDATE tally.checkpoints SET root_hash = sha256('x') WHERE tree_size = 0",
        "root_mismatch",
    ),
    "key that is none": (
        "log_keys",
        "UPDATE tally.log_keys SET vkey = 'log.example/payments+00000000+AAAA'",
        "bad_signature",
    ),
    "head gone that an audit saw": (
        "audits",
        "INSERT INTO tally.audits (log_id, kind, snapshot, tree_size, root_hash, started_at,"
        " counts, verdict) SELECT log_id, 'audit', 's', max(tree_size) + 1, sha256('x'), now(),"
        " '{}', 'clean' FROM tally.checkpoints GROUP BY log_id",
        "root_mismatch",
    ),
    "key column": (
        "merkle_log",
        "UPDATE tally.merkle_log SET source_key = '[\"8\"]' WHERE leaf_index = 9",
        "leaf_changed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tampered_evidence_is_named(bench, fault):
    """log 14: one flipped byte in a leaf, tile, root or note is named by the audit."""
    table, statement, kind = FAULTS[fault]
    tamper(bench, table, statement)
    assert kind in {finding for finding, _ in kinds(bench, with_rows=False)}


def test_false_cosignature_is_named(bench):
    """log 14: a stored cosignature that is not its witness's over its checkpoint is named."""
    vkey = "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
    line = (
        "— witness.example/w1 IDJKvgAAAABpVzWn1qsXxxpfn126uU6bMRhwc8UOY9MGpyxWUep9G/C25Jv8"
        "qmzphShYfQr7HQxi5I/jw+9Ek3tBqCuAaSvgfNt6AA=="
    )
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "INSERT INTO tally.witnesses (log_id, name, vkey, public_key, key_id, url)"
            " VALUES (%s, 'witness.example/w1', %s, sha256('x'), '\\x20324abe', 'https://w')",
            (bench.log.log_id, vkey),
        )
        connection.execute(
            "INSERT INTO tally.cosignatures"
            " (log_id, tree_size, witness_name, line, signed_at_seconds)"
            " VALUES (%s, %s, 'witness.example/w1', %s, 1)",
            (bench.log.log_id, bench.size(), line),
        )
    assert ("bad_signature", None) in kinds(bench, with_rows=False)


def test_growth_alone_is_audited_from_a_checkpoint(bench):
    """`--since` audits the growth from a stored checkpoint, and needs that it is one."""
    since = bench.size()
    execute(bench, "UPDATE payment SET note = 'later' WHERE id < 50")
    bench.seal_all()
    report = audit_log(bench.database, bench.log.log_name, since=since)
    assert (report.is_clean, report.leaves) == (True, 49)
    with pytest.raises(AuditStartError):
        audit_log(bench.database, bench.log.log_name, since=since + 1)


def test_blocks_and_processes_agree_with_one_block(bench):
    """A log of several blocks is audited by a pool of processes, with each checkpoint's root."""
    bench.push(b"small")
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
            " SELECT %s, 'A', 'a', '[]', convert_to('leaf ' || i, 'UTF8'), tally.clock()"
            " FROM generate_series(1, 210000) AS i",
            (bench.log.log_id,),
        )
        connection.execute(
            "UPDATE tally.verification_logs SET batch_size = 30000 WHERE log_id = %s",
            (bench.log.log_id,),
        )
    bench.seal_all()
    assert audit_log(bench.database, bench.log.log_name, processes=2).is_clean
    tamper(
        bench,
        "merkle_log",
        "UPDATE tally.merkle_log SET leaf = '\\x00' WHERE leaf_index = 190000",
    )
    report = audit_log(bench.database, bench.log.log_name, processes=2)
    assert ("leaf_changed", 190000) in {(f.kind, f.leaf_index) for f in report.findings}


def test_growth_from_the_end_of_a_block_has_the_root_of_its_start(bench):
    """`--since` a size that ends a block compares the root there too, and the growth behind it."""
    missing = 65536 - bench.size()
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
            " SELECT %s, 'A', 'a', '[]', convert_to('leaf ' || i, 'UTF8'), tally.clock()"
            " FROM generate_series(1, %s::integer) AS i",
            (bench.log.log_id, missing),
        )
    assert bench.seal_all() == 65536
    for further in (0, 256):
        bench.push(*(b"leaf" for _ in range(further)))
        bench.seal_all()
        report = audit_log(bench.database, bench.log.log_name, since=65536)
        assert (report.findings, report.leaves) == ((), further)
        assert audit_log(bench.database, bench.log.log_name).findings == ()
    tamper(
        bench,
        "checkpoints",
        "UPDATE tally.checkpoints SET root_hash = sha256('x') WHERE tree_size = 65536",
    )
    report = audit_log(bench.database, bench.log.log_name, since=65536)
    assert "root_mismatch" in {finding.kind for finding in report.findings}


def test_large_values_are_compared(bench):
    """A value too large for its leaf is compared by its digest."""
    behind_the_back(bench, "UPDATE payment SET note = repeat('y', 9000) WHERE id = 7")
    assert kinds(bench) == [("row_changed", '["7"]')]


def test_added_and_dropped_columns_are_no_findings(bench):
    """A column that was added or dropped since makes no row differ; the schema leaf tells of it."""
    execute(
        bench,
        "ALTER TABLE payment ADD COLUMN region text DEFAULT 'eu'",
        "ALTER TABLE payment DROP COLUMN doc",
    )
    assert kinds(bench) == []
    behind_the_back(bench, "UPDATE payment SET note = 'x' WHERE id = 3")
    assert kinds(bench) == [("row_changed", '["3"]')]


def test_rename_before_validation_is_no_finding(bench):
    """What a renamed table's writers do is sealed under the name that the source's row has."""
    execute(
        bench,
        'CREATE TABLE "a.b" (id integer PRIMARY KEY)',
        "CREATE SCHEMA books",
        "CREATE TABLE books.page (id integer PRIMARY KEY)",
    )
    attach(bench, '"a.b"')
    attach(bench, "books.page")
    execute(
        bench,
        'ALTER TABLE "a.b" RENAME TO c',
        "ALTER TABLE c ADD COLUMN note text",
        "INSERT INTO c VALUES (1, 'x')",
        "INSERT INTO books.page VALUES (1)",
    )
    bench.seal_all()
    assert kinds(bench) == []
    tables = bench.value(
        "SELECT string_agg(DISTINCT tally.leaf_record(leaf) ->> 'table', ' ') FROM tally.merkle_log"
        " WHERE log_id = %s AND source_table NOT IN ('payment')"
    )
    assert tables == 'books.page public."a.b"'


def test_truncate_ends_every_key(bench):
    """After a truncate leaf a row that is still there is resurrected, and none is missing."""
    execute(bench, "TRUNCATE payment")
    assert kinds(bench) == []
    bench.seal_all()
    assert kinds(bench) == []
    execute(bench, "INSERT INTO payment VALUES (1, 1, NULL, NULL, NULL)")
    assert kinds(bench) == []
    behind_the_back(bench, "INSERT INTO payment VALUES (2, 1, NULL, NULL, NULL)")
    assert kinds(bench) == [("row_resurrected", '["2"]')]


def test_rows_without_key_are_counted(bench):
    """Of a source keyed by full row, equal rows are counted: one too many or too few is named."""
    execute(bench, "CREATE TABLE tick (at integer, what text)")
    attach(bench, "tick", key_full_row=True)
    execute(bench, "INSERT INTO tick VALUES (1, 'a'), (1, 'a'), (2, 'b')")
    bench.seal_all()
    assert kinds(bench) == []
    behind_the_back(
        bench,
        "DELETE FROM tick WHERE ctid = (SELECT min(ctid) FROM tick WHERE at = 1)",
        "INSERT INTO tick VALUES (2, 'b'), (2, 'b'), (3, 'c')",
        table="tick",
    )
    assert sorted(kind for kind, _ in kinds(bench)) == [
        "row_missing",
        "row_unlogged",
        "row_unlogged",
    ]
    report = reconcile_source(bench.database, bench.log.log_name, "tick", repair=True)
    assert report.queued == 4
    bench.seal_all()
    assert kinds(bench) == []


def test_salted_leaves_are_compared_through_their_records(database_url, tmp_path):
    """In a digest log the plain records beside the leaves are what rows are compared with."""
    bench = make_bench(database_url, tmp_path / "keys", "digests", mode="digest")
    execute(bench, TABLE)
    attach(bench, "payment")
    execute(bench, "INSERT INTO payment VALUES (1, 1, 'a', NULL, NULL), (2, 2, 'b', NULL, NULL)")
    bench.seal_all()
    assert kinds(bench) == []
    behind_the_back(
        bench, "UPDATE payment SET note = 'z' WHERE id = 1", "DELETE FROM payment WHERE id = 2"
    )
    assert kinds(bench) == [("row_changed", '["1"]'), ("row_missing", '["2"]')]
    assert reconcile_source(bench.database, "digests", "payment", repair=True).queued == 2
    bench.seal_all()
    assert kinds(bench) == []


RECORD_FAULTS = {
    "changed": (
        "UPDATE tally.leaf_records SET record ="
        " convert_to(replace(convert_from(record, 'UTF8'), '\"a\"', '\"z\"'), 'UTF8')",
        "leaf_changed",
    ),
    "no record": ("UPDATE tally.leaf_records SET record = 'x'", "leaf_changed"),
    "of another leaf": (
        "UPDATE tally.leaf_records AS k SET record = o.record FROM tally.leaf_records AS o"
        " WHERE o.leaf_index <> k.leaf_index",
        "leaf_changed",
    ),
    "gone": ("DELETE FROM tally.leaf_records", "leaf_missing"),
}


@pytest.mark.parametrize("fault", RECORD_FAULTS)
@pytest.mark.parametrize("mode", ["full", "digest"])
def test_records_beside_leaves_must_open_them(database_url, tmp_path, mode, fault):
    """A record kept beside a leaf is believed only if it makes that leaf; none may be gone."""
    bench = make_bench(database_url, tmp_path / "keys", "sealed", mode=mode, control_leaves=False)
    execute(bench, TABLE)
    attach(bench, "payment", **({"private": ["note"]} if mode == "full" else {}))
    execute(bench, "INSERT INTO payment VALUES (1, 1, 'a', NULL, NULL), (2, 2, 'b', NULL, NULL)")
    bench.seal_all()
    assert kinds(bench) == []
    statement, kind = RECORD_FAULTS[fault]
    tamper(bench, "leaf_records", statement)
    assert kind in {finding for finding, _ in kinds(bench)}


def test_column_that_is_recorded_no_more_is_named(bench):
    """A column that was taken out of the source's row cannot be changed unseen."""
    tamper(
        bench,
        "verification_sources",
        "UPDATE tally.verification_sources SET exclude_columns = '{amount}'",
    )
    behind_the_back(bench, "UPDATE payment SET amount = 9999 WHERE id = 42")
    assert ("row_changed", '["42"]') in kinds(bench)


def test_trigger_with_a_condition_is_named(bench):
    """log 13: a trigger of the same name that a table's owner made to fire never counts as off."""
    name = bench.value("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'tally%%update' AND %s > 0")
    number = name.split("_")[1]
    execute(
        bench,
        f"DROP TRIGGER {name} ON payment",
        f"CREATE TRIGGER {name} AFTER UPDATE ON payment REFERENCING OLD TABLE AS tally_old"
        " NEW TABLE AS tally_new FOR EACH STATEMENT WHEN (false)"
        f" EXECUTE FUNCTION tally.capture_{number}()",
        f"ALTER TABLE payment ENABLE ALWAYS TRIGGER {name}",
    )
    assert "trigger_disabled" in {kind for kind, _ in kinds(bench)}


def test_policies_never_run_as_the_owner(bench):
    """A row-level policy hides no row from an audit; its functions never run as tally_owner."""
    execute(
        bench,
        "CREATE TABLE diary (id integer PRIMARY KEY)",
        "CREATE TABLE seen (role text)",
        "GRANT INSERT ON seen TO PUBLIC",
    )
    attach(bench, "diary")
    execute(
        bench,
        "CREATE FUNCTION look() RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (current_user); RETURN false; END $$",
        "INSERT INTO diary VALUES (1), (2)",
        "ALTER TABLE diary ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY hidden ON diary USING (look())",
    )
    bench.seal_all()
    report = audit_log(bench.database, bench.log.log_name)
    assert [(f.kind, f.source_table) for f in report.findings] == [("source_unreadable", "diary")]
    with pytest.raises(PermissionDeniedError):
        reconcile_source(bench.database, bench.log.log_name, "diary", repair=True)
    assert bench.value("SELECT count(*) FROM seen WHERE %s > 0") == 0


def test_hash_columns_are_compared(database_url, tmp_path):
    """A source of form column is compared by its hash column."""
    bench = make_bench(database_url, tmp_path / "keys", "digests", mode="digest")
    execute(bench, "CREATE TABLE doc (id integer PRIMARY KEY, digest bytea)")
    attach(bench, "doc", leaf_form="column", hash_column="digest")
    execute(bench, "INSERT INTO doc SELECT i, sha256(i::text::bytea) FROM generate_series(1, 5) i")
    bench.seal_all()
    assert kinds(bench) == []
    behind_the_back(
        bench,
        "UPDATE doc SET digest = sha256('x') WHERE id = 1",
        "DELETE FROM doc WHERE id = 2",
        table="doc",
    )
    assert kinds(bench) == [("row_changed", '["1"]'), ("row_missing", '["2"]')]
    assert reconcile_source(bench.database, "digests", "doc", repair=True).queued == 2
    bench.seal_all()
    assert kinds(bench) == []


def test_private_columns_are_compared_by_their_commitments(bench):
    """A private column's value is compared through its commitment, and no finding shows it."""
    execute(bench, "CREATE TABLE person (id integer PRIMARY KEY, mail text, city text)")
    attach(bench, "person", private=["mail"])
    execute(bench, "INSERT INTO person VALUES (1, 'a@example.org', 'x'), (2, NULL, 'y')")
    bench.seal_all()
    assert kinds(bench) == []
    behind_the_back(bench, "UPDATE person SET mail = 'canary' WHERE id = 1", table="person")
    assert kinds(bench) == [("row_changed", '["1"]')]
    with psycopg.connect(bench.url) as connection:
        stored = connection.execute(
            "SELECT jsonb_agg(to_jsonb(f))::text FROM tally.audit_findings AS f"
        ).fetchone()
    assert "canary" not in stored[0]
    assert json.loads(stored[0])[0]["columns"] == ["mail"]


def test_unknown_names_are_refused(bench):
    """A log or a table that is not there is named."""
    with pytest.raises(LogNotFoundError):
        audit_log(bench.database, "nothing")
    with pytest.raises(SourceNotFoundError):
        reconcile_source(bench.database, bench.log.log_name, "nothing")
