"""Validation: what breaks a source, what is mended, what is written down about it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tallystick.db.errors import IllegalTransitionError
from tallystick.seal.errors import SourceBusyError, SourceExistsError, SourceNotFoundError
from tallystick.seal.sources import (
    check_source,
    check_sources,
    detach_source,
    install_new_sources,
    refresh_source,
    requeue,
    run_backfills,
    switch_source,
)

if TYPE_CHECKING:
    from tallystick.db import Transaction
    from tallystick.seal.sources import Source
    from tests.seal.sources.rig import Rig


class UndoError(Exception):
    """Rolls back what was only tried."""


PAYMENT = "CREATE TABLE payment (id int PRIMARY KEY, amount int, note text)"


def mark_reconciled(tx: Transaction, source: Source) -> None:
    """Say that a reconcile has looked at everything."""
    tx.connection.execute(
        "UPDATE tally.verification_sources SET reconciled_at = tally.clock() WHERE source_no = %s",
        (source.source_no,),
    )


def test_sound_source_has_no_problem(rig: Rig) -> None:
    """A source that stands as it was made has no problem, and checked_at moves."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    assert rig.check("payment") == []
    checked = rig.reload(source)
    assert checked.status == "active"
    assert checked.checked_at is not None
    assert source.checked_at is not None
    assert checked.checked_at > source.checked_at


@pytest.mark.parametrize(
    ("change", "columns"),
    [
        ("ADD COLUMN extra date", ["amount", "extra", "id", "note"]),
        ("DROP COLUMN note", ["amount", "id"]),
        ("RENAME COLUMN note TO memo", ["amount", "id", "memo"]),
    ],
)
def test_changed_columns_become_one_schema_leaf(rig: Rig, change: str, columns: list[str]) -> None:
    """log 9: DDL between inserts breaks none of them; one schema leaf follows, with the columns."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    rig.sql("INSERT INTO payment VALUES (1, 1)")
    rig.sql(f"ALTER TABLE payment {change}")
    rig.sql("INSERT INTO payment (id) VALUES (2)")
    assert [rig.check("payment"), rig.check("payment")] == [[], []]
    rig.sql("INSERT INTO payment (id) VALUES (3)")
    rows = [sorted(r["row"]) for r in rig.records(source) if r["op"] == "insert"]
    assert rows == [["amount", "id", "note"], columns, columns]
    details = rig.controls(source, "schema")
    assert [[name for name, _ in detail["columns"]] for detail in details] == [columns]
    assert (details[0]["key"], details[0]["private"]) == (["id"], [])


def test_dropped_table_breaks_its_source_alone(rig: Rig) -> None:
    """log 12: a dropped table's source is broken, with an event; the others stay active."""
    rig.sql(PAYMENT)
    rig.sql("CREATE TABLE other (id int PRIMARY KEY)")
    rig.add("payment")
    other = rig.add("other")
    rig.sql("DROP TABLE payment")
    found = {checked.source.source_table: checked for checked in check_sources(rig.database)}
    assert [problem.code for problem in found["payment"].problems] == ["table_missing"]
    assert found["payment"].source.status == "broken"
    assert found["other"].problems == []
    rig.sql("INSERT INTO other VALUES (1)")
    assert rig.queue(other) == [("I", "t", '["1"]')]
    events = rig.sql("SELECT key, payload->>'code' FROM tally.outbox_events")
    assert events == [("payments", "table_missing")]


def test_table_under_the_same_name_is_not_accepted(rig: Rig) -> None:
    """log 12: a table that is made again under the name is not the source's, nor made so by add."""
    rig.sql(PAYMENT)
    rig.add("payment")
    rig.sql("DROP TABLE payment")
    rig.sql(PAYMENT)
    assert [problem.code for problem in rig.check("payment")] == ["table_replaced"]
    with pytest.raises(SourceExistsError) as raised:
        rig.add("payment")
    assert raised.value.evidence["fields"] == ["relation"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("ALTER TABLE payment RENAME TO paid", "table_replaced"),
        ("ALTER TABLE payment SET UNLOGGED", "table_unsupported"),
        ("ALTER TABLE payment DROP COLUMN id", "column_missing"),
        ("ALTER TABLE payment RENAME COLUMN id TO no", "column_missing"),
        ("ALTER TABLE payment ALTER id TYPE bigint", "column_retyped"),
        ("ALTER TABLE payment RENAME COLUMN note TO memo", "column_missing"),
        ("ALTER TABLE payment DROP CONSTRAINT payment_pkey", "key_missing"),
        ("REVOKE SELECT ON payment FROM tally_owner", "permission_lost"),
        ("REVOKE UPDATE (id) ON payment FROM tally_owner", "permission_lost"),
        ("DROP TRIGGER tally_1_delete ON payment", "trigger_missing"),
        ("ALTER TABLE payment DISABLE TRIGGER tally_1_update", "trigger_disabled"),
        ("ALTER TABLE payment ENABLE TRIGGER tally_1_update", "trigger_disabled"),
    ],
)
def test_what_breaks_a_source(rig: Rig, change: str, code: str) -> None:
    """A missing table, column, trigger or right, each breaks the source, and says which."""
    rig.sql(PAYMENT)
    source = rig.add("payment", private=["note"])
    rig.sql(change)
    with rig.database.transaction() as tx:
        problems = check_source(tx, source)
    assert [problem.code for problem in problems] == [code]
    broken = rig.reload(source)
    assert broken.status == "broken"
    assert broken.problem is not None
    assert broken.problem["code"] == code


def test_disabled_trigger_is_one_gap_leaf(rig: Rig) -> None:
    """log 13: disabled triggers are found and become one gap leaf, however often they are found."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    rig.sql("ALTER TABLE payment DISABLE TRIGGER tally_1_update")
    rig.sql("ALTER TABLE payment DISABLE TRIGGER tally_1_insert")
    for _ in range(3):
        found = {problem.code for problem in rig.check("payment")}
        assert found == {"trigger_disabled"}
    gaps = rig.controls(source, "gap")
    assert len(gaps) == 1
    assert "tally_1_insert" in gaps[0]["problem"]
    assert "tally_1_update" in gaps[0]["problem"]
    assert gaps[0]["since"] < gaps[0]["found"]


def test_triggers_fire_for_replication_roles(rig: Rig) -> None:
    """session_replication_role = replica does not silence capture."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    with rig.session() as replica:
        replica.execute("SET session_replication_role = replica")
        replica.execute("INSERT INTO payment VALUES (1)")
    assert rig.queue(source) == [("I", "t", '["1"]')]


def test_broken_source_needs_a_reconcile(rig: Rig) -> None:
    """A source made whole again stays broken until it was reconciled since it broke."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    rig.sql("DROP TRIGGER tally_1_delete ON payment")
    rig.check("payment")
    with rig.database.transaction() as tx:
        refresh_source(tx, source)
    assert [problem.code for problem in rig.check("payment")] == ["unreconciled"]
    assert rig.reload(source).status == "broken"
    with pytest.raises(IllegalTransitionError):
        rig.sql_named("SELECT tally.source_ready_v1(1)")
    assert rig.check("payment", reconcile=mark_reconciled) == []
    assert rig.reload(source).status == "active"
    assert rig.reload(source).problem is None
    rig.sql("ALTER TABLE payment DISABLE TRIGGER tally_1_update")
    rig.check("payment")
    assert len(rig.controls(source, "gap")) == 2


def test_enabled_switches_the_triggers(rig: Rig) -> None:
    """enabled = false turns the triggers off and is a gap leaf; true turns them on again."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    rig.sql("UPDATE tally.verification_sources SET enabled = false")
    assert {problem.code for problem in rig.check("payment")} == {"disabled"}
    rig.sql("INSERT INTO payment VALUES (1)")
    assert len(rig.controls(source, "gap")) == 1
    rig.sql("UPDATE tally.verification_sources SET enabled = true")
    assert rig.check("payment", reconcile=mark_reconciled) == []
    rig.sql("INSERT INTO payment VALUES (2)")
    assert [key for op, _, key in rig.queue(source) if op == "I"] == ['["2"]']
    assert rig.reload(source).status == "active"


def test_a_source_is_switched_off_and_on(rig: Rig) -> None:
    """Switched off a source captures nothing and leaves a gap; on, it captures from the commit on
    and stays broken until it is reconciled; a detached one cannot be switched.
    """
    rig.sql(PAYMENT)
    source = rig.add("payment")
    with rig.database.transaction() as tx:
        off = switch_source(tx, "payments", "payment", enabled=False)
    assert (off.enabled, off.status, off.problem["code"]) == (False, "broken", "disabled")
    rig.sql("INSERT INTO payment VALUES (1)")
    assert len(rig.controls(source, "gap")) == 1
    with rig.database.transaction() as tx:
        on = switch_source(tx, "payments", "payment", enabled=True)
    assert (on.enabled, on.status) == (True, "broken")
    rig.sql("INSERT INTO payment VALUES (2)")
    assert [key for op, _, key in rig.queue(source) if op == "I"] == ['["2"]']
    with rig.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    with pytest.raises(SourceNotFoundError), rig.database.transaction() as tx:
        switch_source(tx, "payments", "payment", enabled=True)


def test_new_partitions_are_covered_and_queued(rig: Rig) -> None:
    """A partition that came since gets its triggers, and its rows are queued, also of a subtree."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, v int) PARTITION BY RANGE (id)")
    source = rig.add("t")
    rig.sql("""
        CREATE TABLE t1 (id int PRIMARY KEY, v int); INSERT INTO t1 VALUES (1), (2);
        ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
        CREATE TABLE t3 PARTITION OF t2 DEFAULT;
        INSERT INTO t3 VALUES (11)""")
    checked = check_sources(rig.database)[0]
    assert (checked.problems, checked.new_partitions) == ([], ("t1", "t2", "t3"))
    rig.sql("UPDATE t1 SET v = 1 WHERE id = 2")
    rig.sql("INSERT INTO t3 VALUES (12)")
    assert [result.rows_queued for result in run_backfills(rig.database)] == [2]
    assert [(via, key) for _, via, key in rig.queue(source)] == [
        ("t", '["2"]'),
        ("t", '["12"]'),
        ("b", '["1"]'),
        ("b", '["11"]'),
    ]
    assert check_sources(rig.database)[0].new_partitions == ()
    assert rig.reload(source).status == "active"


def test_partition_without_its_triggers_is_a_gap(rig: Rig) -> None:
    """A partition that had triggers and lost them all is no new one: it breaks the source."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    rig.sql("CREATE TABLE t1 PARTITION OF t DEFAULT")
    source = rig.add("t")
    for kind in ("begin", "insert", "update", "delete", "truncate"):
        rig.sql(f"DROP TRIGGER tally_1_{kind} ON t1")
    assert {problem.code for problem in rig.check("t")} == {"trigger_missing"}
    assert len(rig.controls(source, "gap")) == 1


def test_partitions_of_unkeyed_tables_are_queued_at_once(rig: Rig) -> None:
    """The rows of a new partition of a table keyed by full row are queued under its lock."""
    rig.sql("CREATE TABLE t (id int) PARTITION BY RANGE (id)")
    source = rig.add("t", key_full_row=True)
    rig.sql("CREATE TABLE t1 PARTITION OF t DEFAULT; INSERT INTO t1 VALUES (1), (1)")
    rig.check("t")
    assert [via for _, via, _ in rig.queue(source)] == ["b", "b"]
    assert rig.reload(source).backfill_relations == []


def test_plain_insert_is_installed_or_broken(rig: Rig) -> None:
    """log 29: plainly inserted sources are installed, or broken with the reason, each alone."""
    rig.sql(PAYMENT)
    rig.sql("CREATE TABLE keyless (id int)")
    rig.sql("CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id)")
    rig.sql("""
        INSERT INTO tally.verification_sources (source_table, log_name)
        VALUES ('missing', 'payments'), ('keyless', 'payments'), ('public.payment', 'payments'),
               ('part', 'payments')""")
    installed = {c.source.source_table: c.source for c in install_new_sources(rig.database)}
    assert {name: source.status for name, source in installed.items()} == {
        "missing": "broken",
        "keyless": "broken",
        "payment": "active",
        "part": "active",
    }
    problem = installed["keyless"].problem
    assert problem is not None
    assert "no primary key" in problem["message"]
    rig.sql("INSERT INTO payment VALUES (1)")
    assert len(rig.queue(installed["payment"])) == 1
    assert install_new_sources(rig.database) == []
    assert {c.source.status for c in check_sources(rig.database)} == {"broken", "active"}


def test_locked_source_stops_no_other(rig: Rig) -> None:
    """While one source's table is locked the others are validated."""
    rig.sql(PAYMENT)
    rig.sql("CREATE TABLE other (id int PRIMARY KEY)")
    rig.add("other")
    rig.sql("""
        INSERT INTO tally.verification_sources (source_table, log_name)
        VALUES ('payment', 'payments')""")
    with rig.session() as writer:
        writer.execute("INSERT INTO payment VALUES (1)")
        end = threading.Timer(2.5, writer.commit)
        end.start()
        found = check_sources(rig.database)
        end.join()
    assert {checked.source.source_table: checked.problems for checked in found} == {
        "payment": [],
        "other": [],
    }


def test_detached_source_captures_no_more(rig: Rig) -> None:
    """Detaching drops the triggers and keeps the row and its queue; it is final."""
    rig.sql(PAYMENT)
    source = rig.add("payment")
    rig.sql("INSERT INTO payment VALUES (1)")
    with rig.database.transaction() as tx:
        assert detach_source(tx, "payments", "payment").status == "detached"
    rig.sql("INSERT INTO payment VALUES (2)")
    assert rig.queue(source) == [("I", "t", '["1"]')]
    assert rig.check("payment") == []
    with pytest.raises(SourceExistsError, match="final"):
        rig.add("payment")
    assert rig.sql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'tally\\_%%'") == [(0,)]


def test_detach_of_a_dropped_table(rig: Rig) -> None:
    """A broken source whose table is gone can be detached."""
    rig.sql(PAYMENT)
    rig.add("payment")
    rig.sql("DROP TABLE payment")
    rig.check("payment")
    with rig.database.transaction() as tx:
        assert detach_source(tx, "payments", "payment").status == "detached"


STEPS = {
    "backfilling": [],
    "active": ["SELECT tally.source_ready_v1(1)"],
    "broken": ["SELECT tally.break_source_v1(1, '{}')"],
    "detached": ["SELECT tally.detach_source_v1(1)"],
}
"""How a new source comes into each state."""


@pytest.mark.parametrize("before", STEPS)
def test_states_change_as_written_alone(rig: Rig, before: str) -> None:
    """log 11: a source's state changes by rows of status_transitions alone, else it is TS001."""
    rig.sql(PAYMENT)
    rig.sql("INSERT INTO payment VALUES (1)")
    rig.add("payment")
    for step in STEPS[before]:
        rig.sql(step)
    reached = set()
    for after in STEPS:
        change = "UPDATE tally.verification_sources SET status = %s"
        refused = contextlib.suppress(IllegalTransitionError, UndoError)
        with refused, rig.database.transaction() as tx:
            tx.connection.execute(change.encode(), (after,))
            reached.add(after)
            raise UndoError
    written = rig.sql(
        "SELECT to_status FROM tally.status_transitions"
        " WHERE table_name = 'verification_sources' AND from_status = %s",
        (before,),
    )
    assert reached - {before} == {status for (status,) in written}


def test_nobody_but_the_functions_writes_a_state(rig: Rig) -> None:
    """The server's role cannot write a source's state, table or key; definer functions do."""
    allowed = "SELECT has_column_privilege('tally_app', 'tally.verification_sources', %s, 'UPDATE')"
    for column in ("status", "relation", "key_columns", "problem", "covered_relations"):
        assert rig.sql(allowed, (column,)) == [(False,)]
    functions = rig.sql("""
        SELECT DISTINCT t.function_name FROM tally.status_transitions AS t
        LEFT JOIN pg_proc AS p ON p.proname = t.function_name AND p.prosecdef
        WHERE t.table_name = 'verification_sources' AND p.oid IS NULL""")
    assert functions == []


def test_poison_rows_are_requeued_after_repair(rig: Rig) -> None:
    """log 16: poison rows are quarantined, block nobody, and are requeued as they are now."""
    rig.sql("CREATE TABLE t (a int, b text, h bytea, PRIMARY KEY (a, b))")
    source = rig.add("t", hash_column="h", on_update="ignore")
    rig.sql("""
        INSERT INTO t VALUES (1, 'ok', sha256('')), (2, 'no"hash', NULL), (3, 'short', '\\x01'),
          (4, 'gone', NULL), (5, 'still', NULL)""")
    rig.seal()
    rig.sql("UPDATE t SET h = sha256('mended') WHERE a IN (2, 3)")
    rig.sql("DELETE FROM t WHERE a = 4")
    rig.seal()
    with rig.database.transaction() as tx:
        result = requeue(tx, "payments", "t")
    assert (result.keys_queued, result.rows_resolved, result.rows_left) == (2, 3, 1)
    assert sorted(rig.queue(source)) == [
        ("I", "r", '["2","no\\"hash"]'),
        ("I", "r", '["3","short"]'),
    ]
    rig.seal()
    with rig.database.transaction() as tx:
        again = requeue(tx, "payments", "t")
    assert (again.keys_queued, again.rows_resolved, again.rows_left) == (0, 0, 1)


def test_requeue_continues_what_is_known(rig: Rig) -> None:
    """A requeued key is an update of what the log knows of it, and an insert after its truncate."""
    rig.sql("CREATE TABLE t (a int PRIMARY KEY, h bytea)")
    source = rig.add("t", hash_column="h", on_update="record")
    rig.sql("INSERT INTO t VALUES (1, sha256('')), (2, sha256(''))")
    rig.seal()
    rig.sql("UPDATE t SET h = NULL")
    rig.seal()
    rig.sql("ALTER TABLE t DISABLE TRIGGER USER; UPDATE t SET h = sha256('mended')")
    with rig.database.transaction() as tx:
        assert requeue(tx, "payments", "t").keys_queued == 2
    assert sorted(rig.queue(source)) == [("U", "r", '["1"]'), ("U", "r", '["2"]')]


def test_a_source_of_sources(rig: Rig) -> None:
    """The configuration of sources can itself be sealed, without its progress."""
    progress = ["status", "problem", "covered_relations", "backfill_relations", "backfill_after"]
    times = ["schema_fingerprint", "checked_at", "reconciled_at"]
    source = rig.add("tally.verification_sources", exclude=[*progress, *times])
    run_backfills(rig.database)
    rig.sql(PAYMENT)
    rig.add("payment")
    rig.check("payment")
    keys = [key for _, _, key in rig.queue(source)]
    assert keys == ['["tally.verification_sources","payments"]', *['["payment","payments"]'] * 2]


def test_requeue_waits_only_so_long(rig: Rig) -> None:
    """A quarantined row that others hold is told to be busy."""
    rig.sql("CREATE TABLE t (a int PRIMARY KEY, h bytea)")
    rig.add("t", hash_column="h")
    rig.sql("INSERT INTO t VALUES (1, NULL)")
    rig.seal()
    with rig.session() as writer:
        writer.execute("UPDATE t SET h = sha256('')")
        with pytest.raises(SourceBusyError), rig.database.transaction() as tx:
            requeue(tx, "payments", "t")
        writer.rollback()
