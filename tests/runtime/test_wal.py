"""The worker's duties for capture from the WAL, and what the doctor says of it."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest

from tallystick import metrics
from tallystick.runtime.doctor import Level, check_wal
from tallystick.runtime.wal import read_wal, tell_lag, tend_wal_sources
from tallystick.seal.sources import add_source
from tallystick.seal.wal import lag
from tests.seal.laws.stage import wait_until
from tests.seal.wal.rig import WalRig, open_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_BYTES = 10**12


@pytest.fixture
def rig(database_url: str, tmp_path: Path) -> Iterator[WalRig]:
    """A migrated database with the log `payments`."""
    with open_rig(database_url, tmp_path / "keys") as rig:
        rig.sql("CREATE TABLE payment (id bigint PRIMARY KEY, note text)")
        yield rig


@contextlib.contextmanager
def running_duties(rig: WalRig) -> Iterator[None]:
    """Run both duties as a worker does, for the block."""
    stop = threading.Event()
    threads = [
        threading.Thread(
            target=duty, args=(rig.database, stop), kwargs={"limit_bytes": LIMIT_BYTES}
        )
        for duty in (read_wal, tend_wal_sources)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def findings(rig: WalRig, limit_bytes: int = LIMIT_BYTES) -> list[tuple[Level, str]]:
    """What the doctor says of the WAL."""
    with rig.database.transaction(read_only=True) as tx:
        return [(finding.level, finding.message) for finding in check_wal(tx, limit_bytes)]


def waiting(rig: WalRig) -> int:
    """How many changes of rows wait in the queue."""
    return int(rig.value("SELECT count(*) FROM tally.capture WHERE op <> 'C'"))


def test_a_worker_makes_the_slot_and_brings_a_source_up(rig: WalRig):
    """A source that was added is backfilled, active and read, without anybody's help."""
    rig.sql("INSERT INTO payment VALUES (1, 'before'), (2, 'before')")
    with running_duties(rig):
        with rig.database.transaction() as tx:
            add_source(tx, "payments", "payment", capture="wal")
        wait_until(lambda: rig.get("payment").status == "active", "an active source")
        rig.sql("INSERT INTO payment VALUES (3, 'after')")
        wait_until(lambda: waiting(rig) == 3, "three rows")
        assert Level.PROBLEM not in {level for level, _ in findings(rig)}
    assert rig.audit() == []


def test_a_worker_mends_what_a_lost_slot_broke(rig: WalRig):
    """A slot that is gone costs a gap leaf and nothing else: the worker reconciles by itself."""
    rig.add("payment")
    rig.sql("INSERT INTO payment VALUES (1, 'read')")
    rig.take()
    rig.sql("INSERT INTO payment VALUES (2, 'unread')")
    rig.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
    assert (Level.PROBLEM, "there is no replication slot: the worker makes it; what was before it"
            " is a gap") in findings(rig)  # fmt: skip
    with running_duties(rig):
        wait_until(lambda: len(rig.controls("gap")) == 1, "the gap leaf")
        wait_until(lambda: rig.get("payment").status == "active", "an active source")
    assert {"2"} <= {str(row.source_id) for row in rig.queue()} | {
        row.key.strip('[]"') for row in rig.queue()
    }


def test_the_lag_is_a_measure_with_a_limit(rig: WalRig):
    """WAL that waits is measured, and beyond the limit the doctor warns."""
    rig.add("payment")
    rig.sql("INSERT INTO payment SELECT g, repeat('x', 500) FROM generate_series(1, 2000) AS g")
    with rig.database.transaction(read_only=True) as tx:
        behind = lag(tx)
    assert behind is not None
    assert behind.bytes > 500_000
    tell_lag(behind, LIMIT_BYTES)
    assert float(behind.bytes) == metrics.WAL_LAG_BYTES._value.get()
    assert Level.WARNING in {level for level, _ in findings(rig, limit_bytes=100_000)}


def test_no_source_needs_no_slot(rig: WalRig):
    """Where nothing is captured from the WAL the doctor says nothing, and no slot is made."""
    with running_duties(rig):
        assert findings(rig) == []
    assert 0 == rig.value(
        "SELECT count(*) FROM pg_replication_slots WHERE database = current_database()"
    )


def test_lag_of_no_slot(rig: WalRig):
    """Without a slot there is no lag to tell."""
    with rig.database.transaction(read_only=True) as tx:
        assert lag(tx) is None
    tell_lag(None, LIMIT_BYTES)
