"""Freezing, pausing and resuming while writers write (log.md, sections 2.1 and 3.1)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import pytest

from tallystick.db.errors import AppendOnlyError
from tallystick.seal.errors import InvalidLogError
from tallystick.seal.logs import configure_log, freeze_log
from tallystick.seal.sequencer import set_sealing
from tallystick.seal.sources import detach_source
from tests.seal.laws.stage import Writers, count_waiting, wait_until, worker_process

if TYPE_CHECKING:
    import psycopg

    from tests.seal.succession.conftest import Line


def insert(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Insert a row that no other writer inserts."""
    connection.execute("INSERT INTO payment VALUES (%s, 'x')", (number * 10_000_000 + turn,))
    return 1


def changes(line: Line) -> int:
    """How many leaves are of rows."""
    return len(line.changes("one"))


def test_a_paused_log_seals_nothing_and_loses_nothing(line):
    """A log paused under load stands still while writers go on; resumed, it seals all of it."""
    writers = Writers(line.bench.url, insert)
    with worker_process(line.bench), writers.running(4):
        wait_until(lambda: line.bench.size() > 50, "leaves")
        with line.bench.database.transaction() as tx:
            configure_log(tx, "one", enabled=False)
            # A batch that had begun before ends within its own lock.
            tx.connection.execute("SELECT pg_advisory_xact_lock(1952541817, 1)")
        before, waiting = line.bench.size(), writers.committed
        wait_until(lambda: writers.committed > waiting + 100, "changes")
        assert line.bench.size() == before
        assert count_waiting(line.bench) >= 100
        with line.bench.database.transaction() as tx:
            configure_log(tx, "one", enabled=True)
        wait_until(lambda: line.bench.size() > before + 100, "what waited")
    line.seal("one")
    assert changes(line) == writers.committed
    line.audit("one")


def test_sealing_is_stopped_and_goes_on_in_every_process(line):
    """`stopping` seals what was captured before and then nothing; `running` seals the rest."""
    writers = Writers(line.bench.url, insert)
    with worker_process(line.bench), worker_process(line.bench), writers.running(4):
        wait_until(lambda: line.bench.size() > 50, "leaves")
        with line.bench.database.transaction() as tx:
            set_sealing(tx, "stopping", actor="user:1")
        wait_until(lambda: count_waiting(line.bench) > 100, "what was captured since")
        with line.bench.database.transaction() as tx:
            set_sealing(tx, "running", actor="user:1")
        before = line.bench.size()
        wait_until(lambda: line.bench.size() > before + 100, "what waited")
    line.seal("one")
    assert changes(line) == writers.committed
    line.audit("one")


def test_a_freeze_under_load_has_every_change_before_it(line):
    """A freeze that is asked for under load comes once the tables left, behind all they wrote."""
    writers = Writers(line.bench.url, insert)
    with worker_process(line.bench):
        with writers.running(4):
            wait_until(lambda: line.bench.size() > 50, "leaves")
            with line.bench.database.transaction() as tx:
                freeze_log(tx, "one")
            before = line.bench.size()
            wait_until(lambda: line.bench.size() > before + 50, "leaves after the request")
            assert line.status("one") == "active"
        for table in ("payment", "refund"):
            with line.bench.database.transaction() as tx:
                detach_source(tx, "one", table)
        wait_until(lambda: line.status("one") == "frozen", "the freeze")
    assert changes(line) == writers.committed
    assert line.records("one")[-1].op == "freeze"
    line.audit("one")


def test_retention_is_never_shortened(line):
    """`retain_until` grows by configuration; a shorter promise is refused, by SQL as well."""

    def set_until(year: int) -> None:
        until = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
        with line.bench.database.transaction() as tx:
            configure_log(tx, "one", retain_until=until)

    set_until(2030)
    set_until(2031)
    with pytest.raises(InvalidLogError):
        set_until(2029)
    for value in ("'2029-01-01'", "NULL"):
        with pytest.raises(AppendOnlyError), line.bench.database.transaction() as tx:
            tx.connection.execute(
                f"UPDATE tally.verification_logs SET retain_until = {value}".encode()
            )
    assert line.of("one").log.retain_until == datetime.datetime(2031, 1, 1, tzinfo=datetime.UTC)
