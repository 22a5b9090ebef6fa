"""A log goes on with its own tree, whoever seals it, and whatever its tables are called (9, 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.record import parse_record
from tallystick.seal.audit import audit_log, reconcile_source
from tallystick.seal.logs import KeyRing, configure_log, get_log
from tallystick.seal.sequencer import Sequencer
from tallystick.seal.sources import add_source, check_sources, get_source, run_backfills
from tallystick.tlog import hash_leaf, tree_root
from tests.seal.laws.stage import (
    assert_whole,
    count_waiting,
    drained,
    leaves_of,
    running_worker,
    sql,
    wait_until,
    worker_process,
)
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log without control leaves."""
    return make_bench(
        database_url, tmp_path / "keys", batch_size=50, batch_interval_ms=20, control_leaves=False
    )


def switch(bench: LogBench, *, enabled: bool) -> None:
    """Turn sealing of the log on or off."""
    with bench.database.transaction() as tx:
        configure_log(tx, bench.log.log_name, enabled=enabled)


def assert_right_tree(bench: LogBench, leaves: list[bytes]) -> None:
    """Assert that the head is of exactly these leaves, hashed from scratch."""
    root = bench.value(
        "SELECT root_hash FROM tally.checkpoints WHERE log_id = %s ORDER BY tree_size DESC LIMIT 1"
    )
    assert leaves_of(bench) == leaves
    assert bytes(root) == tree_root([hash_leaf(leaf) for leaf in leaves])
    assert_whole(bench, size=len(leaves))


def test_disabled_log_seals_nothing_and_loses_nothing(bench):
    """A log that is disabled captures on and seals nothing; re-enabled it goes on (law 9)."""
    first = [b"before %d" % number for number in range(300)]
    later = [b"meanwhile %d" % number for number in range(120)]
    sequencer = bench.sequencer
    bench.push(*first)
    while sequencer.seal_once(bench.log.log_id).rows:
        pass
    switch(bench, enabled=False)
    bench.push(*later)
    assert sequencer.seal_once(bench.log.log_id) is None
    assert (bench.size(), count_waiting(bench)) == (300, 120)
    switch(bench, enabled=True)
    while sequencer.seal_once(bench.log.log_id).rows:
        pass
    assert_right_tree(bench, first + later)


def test_running_worker_follows_the_switch(bench):
    """A worker stops sealing a log that is disabled, and goes on once it is re-enabled (law 9)."""
    with running_worker(bench) as running:
        bench.push(b"one")
        drained(bench)
        switch(bench, enabled=False)
        wait_until(lambda: bench.log.log_id not in running.worker._turns)
        bench.push(b"two")
        switch(bench, enabled=True)
        drained(bench)
        assert running.failed == []
    assert_right_tree(bench, [b"one", b"two"])


def test_process_with_an_old_edge_goes_on_from_the_head(bench):
    """A process that sealed long ago goes on from what others have sealed since (law 9)."""
    old, other = bench.sequencer, Sequencer(bench.database, KeyRing(bench.keys.directory))
    wanted: list[bytes] = []
    for round_ in range(12):
        new = [b"leaf %d %d" % (round_, number) for number in range(50)]
        wanted += new
        bench.push(*new)
        sequencer = old if round_ % 4 == 0 else other
        assert sequencer.seal_once(bench.log.log_id).rows == 50
    assert_right_tree(bench, wanted)


def test_processes_in_turn_make_one_tree(bench):
    """A log sealed by one process, then another, with a pause between, is one tree (law 9)."""
    wanted: list[bytes] = []
    for round_ in range(2):
        new = [b"leaf %d %d" % (round_, number) for number in range(80)]
        wanted += new
        with worker_process(bench):
            bench.push(*new)
            drained(bench)
        switch(bench, enabled=False)
        switch(bench, enabled=True)
    assert_right_tree(bench, wanted)


HOSTILE = ('"; DROP', "Größe", "a%b", "it's", "tab\tle", "{}", "SELECT", "tally_new", "😀")
"""Names that quoting, formatting or encoding could get wrong."""


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_works_from_source_to_audit(bench, name):
    """A table, schema and columns of any name are captured, sealed, audited, repaired (law 14)."""
    [(table,)] = sql(bench.url, "SELECT format('%%I.%%I', %s::text, %s::text)", (name, name))
    statements = [
        f"CREATE SCHEMA {quoted(name)}",
        f"CREATE TABLE {table} ({quoted(name)} text PRIMARY KEY, {quoted(name + '2')} text)",
        f"INSERT INTO {table} VALUES ('before', 'x')",
    ]
    for statement in statements:
        sql(bench.url, statement)
    with bench.database.transaction() as tx:
        source = add_source(tx, bench.log.log_name, table, private=[name + "2"])
    run_backfills(bench.database)
    for statement in (
        f"INSERT INTO {table} VALUES ('{name.replace(chr(39), chr(39) * 2)}', NULL)",
        f"UPDATE {table} SET {quoted(name + '2')} = 'y' WHERE {quoted(name)} = 'before'",
        f"ALTER TABLE {table} ADD COLUMN {quoted(name + '3')} text DEFAULT 'z'",
        f"INSERT INTO {table} VALUES ('after', 'x', 'new')",
        f"DELETE FROM {table} WHERE {quoted(name)} = 'before'",
    ):
        sql(bench.url, statement)
    [checked] = check_sources(bench.database)
    assert (checked.problems, checked.source.status) == ([], "active")
    bench.seal_all()
    records = [parse_record(leaf) for leaf in leaves_of(bench)]
    changes = [record for record in records if record.op != "schema"]
    assert [record.op for record in changes] == ["insert", "insert", "update", "insert", "delete"]
    assert [record.key for record in changes] == [
        ("before",), (name,), ("before",), ("after",), ("before",)
    ]  # fmt: skip
    assert {record.table for record in records} == {source.source_table}
    assert changes[3].row == {name: "after", name + "3": "new"}
    assert set(changes[3].private) == {name + "2"}
    assert audit_log(bench.database, bench.log.log_name).findings == ()

    # Behind the log's back, then found and repaired.
    sql(bench.url, f"ALTER TABLE {table} DISABLE TRIGGER USER")
    sql(bench.url, f"UPDATE {table} SET {quoted(name + '3')} = 'forged'")
    sql(bench.url, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER tally_{source.source_no}_begin")
    for kind in ("insert", "update", "delete", "truncate"):
        sql(bench.url, f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER tally_{source.source_no}_{kind}")
    findings = audit_log(bench.database, bench.log.log_name).findings
    assert {(finding.kind, finding.columns) for finding in findings} == {
        ("row_changed", (name + "3",))
    }
    reconcile_source(bench.database, bench.log.log_name, source.source_table, repair=True)
    bench.seal_all()
    assert audit_log(bench.database, bench.log.log_name).findings == ()
    with bench.database.transaction() as tx:
        assert get_source(tx, bench.log.log_name, table).source_no == source.source_no
        assert get_log(tx, bench.log.log_name).status == "active"
