"""What keeps a captured statement cheap (log.md, section 5.1; docs/adr/0017)."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from tallystick.db import migrate
from tallystick.db.migrate import load_migrations
from tests.seal.capture.rig import TAG, Rig

NARROW = 18
"""The migration that makes capture cheaper."""
PAYMENT = "CREATE TABLE payment (id bigint PRIMARY KEY, payer text)"
LARGE = "INSERT INTO payment SELECT g, 'payer' FROM generate_series(1, 20000) AS g"


def test_a_large_statement_leaves_small_ones_planned(rig):
    """After a statement of many rows, a session's small ones are not planned anew each time."""
    rig.sql(PAYMENT)
    rig.seal("payment")
    for payment in range(1, 8):
        rig.sql("INSERT INTO payment VALUES (%s, 'payer')", (-payment,))
    # Whoever looks at the queue's statistics makes all plans for it invalid.
    rig.sql("ANALYZE tally.capture")
    rig.sql(LARGE)
    plans: list[str] = []
    rig.connection.add_notice_handler(lambda notice: plans.append(notice.message_detail or ""))
    rig.sql("SET client_min_messages = 'log'")
    rig.sql("SET debug_print_plan = on")
    small = range(20001, 20004)
    for payment in small:
        rig.connection.execute(
            "INSERT INTO payment VALUES (%s, 'payer')", (payment,), prepare=False
        )
    rig.sql("RESET debug_print_plan")
    inserts = [plan for plan in plans if ":commandType 3" in plan]
    assert len(inserts) == len(small), "the small statements' own plans, and none inside them"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO payment SELECT 1, 'payer' WHERE false",
        "UPDATE payment SET payer = 'other' WHERE false",
        "DELETE FROM payment WHERE false",
    ],
)
def test_a_statement_without_rows_gets_no_transaction_id(rig, statement):
    """What changes nothing stays a transaction that wrote nothing."""
    rig.sql(PAYMENT)
    rig.seal("payment")
    with rig.connection.transaction():
        rig.sql(statement)
        assert rig.value("SELECT pg_current_xact_id_if_assigned()::text") is None
    assert rig.queue() == []


@pytest.mark.parametrize("bytes_long", [9, 9000, 69_999])
def test_triggers_take_long_values_out_as_the_generator_does(rig, bytes_long):
    """A trigger and the generator's plain statement make the same leaf and record of a row."""
    rig.sql(PAYMENT)
    source = rig.seal("payment")
    rig.sql("INSERT INTO payment VALUES (1, repeat('é\"', %s))", (bytes_long // 3,))
    [queued] = rig.queue()
    select = rig.value("SELECT tally.capture_select(%s, 'I', 't', 'payment AS p', 'p')", (source,))
    [row] = rig.sql(select)
    leaf, record, problem = row[6], row[8], row[9]
    assert (queued.problem, problem) == (None, None)
    assert parsed(queued.leaf) == parsed(leaf)
    assert parsed(queued.record) == parsed(record)
    assert (record is None) == (bytes_long < 8192)


def parsed(leaf: bytes | None) -> dict[str, Any] | None:
    """What a leaf says, but when it was captured and in which transaction."""
    if leaf is None:
        return None
    return {**json.loads(leaf.removeprefix(TAG)), "at": None, "tx": None}


def test_migration_renews_the_functions_that_stand(empty_database_url, monkeypatch):
    """Functions of an earlier schema are made anew, but not those whose table changed since."""
    earlier = [m for m in load_migrations() if m.number < NARROW]
    with monkeypatch.context() as patch:
        module = importlib.import_module("tallystick.db.migrate")
        patch.setattr(module, "load_migrations", lambda: earlier)
        migrate(empty_database_url)
    rig = Rig(empty_database_url)
    rig.sql(PAYMENT)
    rig.sql(PAYMENT.replace("payment", "refund"))
    sources = [rig.seal("payment"), rig.seal("refund")]
    rig.sql("ALTER TABLE refund ADD COLUMN reason text")
    migrate(empty_database_url)
    texts = [
        rig.value("SELECT prosrc FROM pg_proc WHERE oid = %s::regproc", (f"tally.capture_{n}",))
        for n in sources
    ]
    rig.sql("INSERT INTO payment VALUES (1, 'a')")
    rig.sql("INSERT INTO refund VALUES (1, 'a', 'b')")
    rows = rig.rows()
    rig.close()
    assert ["here.tail" in text for text in texts] == [True, False]
    assert rows == [{"id": "1", "payer": "a"}, {"id": "1", "payer": "a", "reason": "b"}]
