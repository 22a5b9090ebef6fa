"""Upkeep: reconciles come by themselves, and broken sources go on where nothing differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.seal.audit import Upkeep, reconcile_and_mend
from tallystick.seal.logs import KeyRing, open_new_logs
from tests.seal.sources.rig import Rig, open_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDERS = """CREATE TABLE orders (id int PRIMARY KEY, note text);
            INSERT INTO orders SELECT i, 'n' || i FROM generate_series(1, 5) AS i"""
OFF = "UPDATE tally.verification_sources SET enabled = false"
ON = "UPDATE tally.verification_sources SET enabled = true"


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[Rig]:
    """A database with the log `payments`, opened."""
    with open_rig(database_url) as rig:
        open_new_logs(rig.database, KeyRing(tmp_path / "keys"), origin_prefix="log.example")
        yield rig


def upkeep(rig: Rig) -> list[tuple[str, int, int]]:
    """Reconcile what is due; return table, rows queued and findings of each."""
    reports = Upkeep(rig.database).run_once()
    return [(one.source_table, one.queued, len(one.findings)) for one in reports]


def test_polled_sources_are_reconciled_when_their_interval_has_passed(rig: Rig) -> None:
    """log 16: what a poll cannot see is queued by the next reconcile, which comes by itself."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    assert upkeep(rig) == [("orders", 0, 0)]
    rig.sql("DELETE FROM orders WHERE id = 1")
    assert upkeep(rig) == []
    rig.sql("UPDATE tally.verification_sources SET reconciled_at = now() - interval '3601 s'")
    assert upkeep(rig) == [("orders", 1, 0)]
    assert rig.queue(source)[-1] == ("D", "r", '["1"]')
    verdict = rig.sql("SELECT kind, verdict FROM tally.audits ORDER BY audit_id DESC LIMIT 1")
    assert verdict == [("reconcile", "clean")]


def test_two_processes_share_the_reconciles(rig: Rig) -> None:
    """While one process reconciles another leaves what is due to it."""
    rig.sql(ORDERS)
    rig.add("orders", order_column="id")
    with rig.session() as other:
        other.execute("SELECT pg_advisory_xact_lock(1952541819, 0)")
        assert upkeep(rig) == []
    assert upkeep(rig) == [("orders", 0, 0)]


def test_a_broken_source_without_differences_goes_on(rig: Rig) -> None:
    """A trigger source that is whole again and differs in nothing is active after a reconcile."""
    rig.sql(ORDERS)
    source = rig.add("orders", key=["id"])
    rig.sql("SELECT tally.backfill_page_v1(1, 100)")
    rig.sql("SELECT tally.source_ready_v1(1)")
    rig.sql(OFF)
    rig.check("orders")
    assert upkeep(rig) == []
    rig.sql(ON)
    assert [problem.code for problem in rig.check("orders")] == ["unreconciled"]
    assert upkeep(rig) == [("orders", 0, 0)]
    assert rig.reload(source).status == "active"
    assert upkeep(rig) == []


def test_differences_of_a_broken_source_are_findings_first(rig: Rig) -> None:
    """What changed unseen is told and left: the source stays broken until it is repaired."""
    rig.sql(ORDERS)
    source = rig.add("orders", key=["id"])
    rig.sql("SELECT tally.backfill_page_v1(1, 100)")
    rig.sql("SELECT tally.source_ready_v1(1)")
    rig.sql(OFF)
    rig.check("orders")
    rig.sql("UPDATE orders SET note = 'unseen' WHERE id = 2")
    rig.sql(ON)
    assert upkeep(rig) == [("orders", 0, 1)]
    assert rig.reload(source).status == "broken"
    events = rig.sql("SELECT payload FROM tally.outbox_events WHERE topic = 'source.finding'")
    assert events == [
        ({"log": "payments", "table": "orders", "kinds": ["row_changed"], "count": 1},)
    ]
    assert upkeep(rig) == [], "it was reconciled once; the rest is the operator's"
    assert reconcile_and_mend(rig.database, "payments", "orders", repair=True).status == "active"


def test_a_broken_poll_is_repaired_and_goes_on(rig: Rig) -> None:
    """A polled source that was off is reconciled, its differences queued, and active again."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    upkeep(rig)
    rig.sql(OFF)
    rig.check("orders")
    rig.sql("UPDATE orders SET note = 'unseen' WHERE id = 2")
    assert upkeep(rig) == []
    rig.sql(ON)
    assert upkeep(rig) == [("orders", 1, 0)]
    assert rig.reload(source).status == "active"
    assert rig.queue(source)[-1] == ("U", "r", '["2"]')


def test_a_source_that_cannot_be_reconciled_stops_no_other(rig: Rig) -> None:
    """A view that raises an error is left for a while; the other sources are reconciled."""
    rig.sql(ORDERS)
    rig.sql("CREATE TABLE knob (value int); INSERT INTO knob VALUES (1)")
    rig.sql("CREATE VIEW brittle AS SELECT id, id / (SELECT min(value) FROM knob) AS x FROM orders")
    rig.add("brittle", key=["id"], order_column="id")
    rig.add("orders", order_column="id")
    rig.sql("UPDATE knob SET value = 0")
    assert upkeep(rig) == [("orders", 0, 0)]
