"""What must not happen to changes that are read from the WAL (log.md, sections 5.4 and 7)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.audit.repair import reconcile_and_mend
from tallystick.seal.errors import WalBehindError
from tallystick.seal.sources import (
    detach_source,
    install_new_sources,
    run_backfills,
    switch_source,
)
from tallystick.seal.wal import WalReader, wait_until_read
from tests.seal.laws.stage import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.seal.wal.rig import WalRig

READER = Path(__file__).with_name("reader_process.py")
PAYMENT = "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"


@pytest.fixture
def payment(rig: WalRig) -> WalRig:
    """A rig with the table `payment`, captured from the WAL."""
    rig.sql(PAYMENT)
    rig.add("payment")
    return rig


@contextlib.contextmanager
def reader_process(url: str, pause_at: str, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a reader in a process of its own; killed at the end, if it was not before."""
    environment = {**os.environ, "TALLY_PAUSE_AT": pause_at, "TALLY_PAUSE_FILE": str(place)}
    command = [sys.executable, str(READER), url]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def running_reader(rig: WalRig) -> Iterator[None]:
    """Read in a thread for the block."""
    stop = threading.Event()
    errors: list[BaseException] = []
    with rig.reader() as reader:

        def run() -> None:
            try:
                reader.run(stop)
            except BaseException as error:  # noqa: BLE001 (told to the test)
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
    assert errors == []


@contextlib.contextmanager
def running_writers(
    rig: WalRig, count: int, write: Callable[[psycopg.Connection, random.Random], None]
) -> Iterator[None]:
    """Write with *count* connections for the block; deadlocks are tried again."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(number: int) -> None:
        dice = random.Random(number)
        try:
            with psycopg.connect(rig.url) as connection:
                while not stop.is_set():
                    try:
                        write(connection, dice)
                        connection.commit()
                    except (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                        connection.rollback()
                    time.sleep(0.005)
        except BaseException as error:  # noqa: BLE001 (told to the test)
            errors.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert errors == []


def assert_continuous(rig: WalRig, *, from_birth: bool = True) -> None:
    """
    Assert that each key's leaves alternate as its versions must, and that the audit is clean.

    Not *from_birth*: a row that was there may change before its backfill comes to it.
    """
    assert rig.audit() == []
    leaves = rig.sql(
        "SELECT source_key, array_agg(op::text ORDER BY leaf_index) FROM tally.merkle_log"
        " WHERE op IN ('I', 'U', 'D') GROUP BY source_key"
    )
    for key, ops in leaves:
        is_there = ops[0] != "I" and not from_birth
        for op in ops:
            assert is_there == (op != "I"), (key, ops)
            is_there = op != "D"


@pytest.mark.parametrize("pause_at", ["wal-before-commit", "wal-before-confirm"])
def test_a_killed_reader_loses_and_doubles_nothing(payment: WalRig, tmp_path: Path, pause_at: str):
    """log 3: kill -9 before the commit or before the confirmation: each change is queued once."""
    paused = tmp_path / "paused"
    with reader_process(payment.url, pause_at, paused):
        payment.sql("INSERT INTO payment SELECT g, g, 'a' FROM generate_series(1, 500) AS g")
        wait_until(paused.exists, "the pause")
    payment.sql("INSERT INTO payment VALUES (501, 1, 'b')")
    assert [f"I {number}" for number in range(1, 502)] == payment.take()


def test_a_cut_connection_loses_and_doubles_nothing(payment: WalRig):
    """log 3: the reader's connections are cut while it reads, and each change is queued once."""
    for number in range(1, 6):
        payment.sql(
            "INSERT INTO payment SELECT g + %s, 1 FROM generate_series(1, 50) AS g", (number * 100,)
        )
        with contextlib.suppress(Exception), payment.reader() as reader:
            payment.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = %s",
                (["tallystick-wal", "tallystick-wal-reader"][number % 2],),
            )
            reader.look(1.0)
    keys = [g + number * 100 for number in range(1, 6) for g in range(1, 51)]
    assert [f"I {key}" for key in keys] == payment.take()


def test_one_reader_at_a_time(payment: WalRig):
    """A second reader is turned away, and waiting for the first one's progress works beside it."""
    with running_reader(payment):
        payment.sql("INSERT INTO payment VALUES (1, 1, 'a')")
        assert ["I 1"] == payment.take()


def test_an_open_transaction_delays_nobody(payment: WalRig):
    """log 17: others' changes are read at once while a transaction that wrote first stays open."""
    with psycopg.connect(payment.url) as slow:
        slow.execute("INSERT INTO payment VALUES (1, 1, 'slow')")
        payment.sql("INSERT INTO payment VALUES (2, 1, 'quick')")
        assert ["I 2"] == payment.take()
        slow.execute("INSERT INTO payment VALUES (3, 1, 'slow')")
    assert ["I 1", "I 3"] == payment.take()


@pytest.mark.slow
def test_order_under_writers(rig: WalRig):
    """log 4: under 8 writers each leaf continues its predecessor, and the last equals the row."""
    rig.sql(PAYMENT)
    rig.sql("INSERT INTO payment SELECT g, 0, 'old' FROM generate_series(1, 40) AS g")
    rig.add("payment")

    def write(connection: psycopg.Connection, dice: random.Random) -> None:
        for _ in range(dice.randrange(1, 4)):
            key, other = dice.randrange(1, 60), dice.randrange(1, 60)
            statement = dice.choice(
                [
                    "UPDATE payment SET amount = amount + 1 WHERE id = %(key)s",
                    "DELETE FROM payment WHERE id = %(key)s",
                    "INSERT INTO payment VALUES (%(key)s, 1, 'new')"
                    " ON CONFLICT (id) DO UPDATE SET amount = payment.amount + 1",
                    "UPDATE payment SET id = %(other)s WHERE id = %(key)s"
                    " AND NOT EXISTS (SELECT FROM payment WHERE id = %(other)s)",
                    "SAVEPOINT s; UPDATE payment SET note = 'undone'; ROLLBACK TO s",
                ]
            )
            with psycopg.ClientCursor(connection) as cursor:
                cursor.execute(statement, {"key": key, "other": other})

    with running_reader(rig), running_writers(rig, 8, write):
        for _ in range(4):
            time.sleep(1.0)
            rig.bench.seal_all()
    assert_continuous(rig)


@pytest.mark.slow
def test_audit_beside_writers_finds_nothing(payment: WalRig):
    """Changes that are committed and not read yet are no findings, however busy a key is."""

    def write(connection: psycopg.Connection, dice: random.Random) -> None:
        connection.execute(
            "INSERT INTO payment VALUES (%s, 1, 'hot') ON CONFLICT (id)"
            " DO UPDATE SET amount = 1 - payment.amount",
            (dice.randrange(1, 5),),
        )

    with running_reader(payment), running_writers(payment, 4, write):
        for _ in range(5):
            assert payment.audit() == []


def test_audit_without_a_reader_reads_for_itself(payment: WalRig):
    """An audit finds a row that was changed behind the log's back, and no row that waits in WAL."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a'), (2, 2, 'b')")
    payment.take()
    payment.sql("INSERT INTO payment VALUES (3, 3, 'unread')")
    payment.bench.seal_all()
    assert ['row_unlogged ["1"]', 'row_unlogged ["2"]'] == payment.audit()


@pytest.mark.slow
def test_backfill_beside_writers(rig: WalRig):
    """log 15: rows that were there are queued while others write; no row has two first leaves."""
    rig.sql(PAYMENT)
    rig.sql("INSERT INTO payment SELECT g, g, 'old' FROM generate_series(1, 12000) AS g")

    def write(connection: psycopg.Connection, dice: random.Random) -> None:
        key = dice.randrange(1, 14000)
        connection.execute(
            "INSERT INTO payment VALUES (%s, 1, 'new') ON CONFLICT (id)"
            " DO UPDATE SET amount = payment.amount + 1",
            (key,),
        )
        connection.execute("DELETE FROM payment WHERE id = %s", (dice.randrange(1, 14000),))

    with running_writers(rig, 4, write):
        rig.add("payment")
        with running_reader(rig):
            wait_until(
                lambda: (
                    rig.get("payment").status == "active"
                    or bool(run_backfills(rig.database, from_wal=True))
                ),
                "the end of the backfill",
            )
    assert "active" == rig.get("payment").status
    assert_continuous(rig, from_birth=False)


def test_a_lost_slot_is_a_gap_and_a_reconcile(payment: WalRig):
    """A slot that is dropped costs a gap leaf; what it had to read is found by the reconcile."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')")
    payment.take()
    payment.bench.seal_all()
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a') ON CONFLICT DO NOTHING")
    payment.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
    payment.sql("DELETE FROM payment WHERE id = 2; UPDATE payment SET amount = 9 WHERE id = 3")
    payment.adopt()
    source = payment.get("payment")
    assert ("broken", "wal_lost") == (source.status, (source.problem or {})["code"])
    assert ["the replication slot is gone"] == [gap["problem"] for gap in payment.controls("gap")]
    payment.sql("INSERT INTO payment VALUES (4, 4, 'd')")
    mended = reconcile_and_mend(payment.database, "payments", "payment", repair=True)
    assert ("active", []) == (mended.status, mended.problems)
    assert payment.audit() == []


def test_a_moved_slot_is_lost(payment: WalRig):
    """A slot that somebody else has moved may have skipped changes: it is made anew."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a')")
    payment.sql("SELECT tally.mark_wal()")  # flushed: a slot moves no further
    payment.sql("SELECT pg_replication_slot_advance(tally.wal_slot(), pg_current_wal_lsn())")
    payment.adopt()
    assert "broken" == payment.get("payment").status
    assert ["the replication slot was moved by somebody else"] == [
        gap["problem"] for gap in payment.controls("gap")
    ]


def test_truncate_of_a_partition_is_a_gap(rig: WalRig):
    """All partitions emptied is a truncate leaf; one alone is a gap, and a reconcile's deletes."""
    rig.sql(
        "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20)"
    )
    rig.add("part")
    rig.sql("INSERT INTO part VALUES (1), (11); TRUNCATE part")
    rig.sql("INSERT INTO part VALUES (2), (12)")
    assert ["I 1", "I 11", "T", "I 2", "I 12"] == [
        f"{row.op} {''.join(json.loads(row.key))}".strip() for row in rig.queue()
    ]
    rig.sql("TRUNCATE part_low")
    rig.catch_up()
    assert "broken" == rig.get("part").status
    reconcile_and_mend(rig.database, "payments", "part", repair=True)
    assert "active" == rig.get("part").status
    assert rig.audit() == []


def test_identity_that_was_changed_breaks_the_source(payment: WalRig):
    """Without the whole old row a delete cannot be recorded: it is quarantined, and mended."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a'), (2, 2, 'b')")
    payment.sql("ALTER TABLE payment REPLICA IDENTITY DEFAULT")
    payment.sql("DELETE FROM payment WHERE id = 1")
    assert [
        None,
        None,
        "the row before is not in the WAL: the replica identity of its table is not full",
    ] == [row.problem for row in payment.queue()]
    payment.bench.seal_all()
    assert ["identity_changed"] == payment.check("payment")
    assert "broken" == payment.get("payment").status
    payment.sql("ALTER TABLE payment REPLICA IDENTITY FULL")
    reconcile_and_mend(payment.database, "payments", "payment", repair=True)
    assert "active" == payment.get("payment").status
    assert payment.audit() == []


def test_detaching_reads_to_the_end_and_gives_the_identity_back(payment: WalRig):
    """What was committed before the end of a source is read; its table is as it was."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a')")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    payment.sql("INSERT INTO payment VALUES (2, 1, 'b')")
    assert ["I 1"] == payment.take()
    assert "d" == payment.value("SELECT relreplident::text FROM pg_class WHERE relname = 'payment'")
    assert 0 == payment.value("SELECT count(*) FROM pg_publication_tables")


def test_a_large_transaction_is_queued_in_pieces(payment: WalRig):
    """A transaction of more rows than a batch holds is queued whole, in one transaction."""
    rows = 120_000
    payment.sql(f"INSERT INTO payment SELECT g, g, 'x' FROM generate_series(1, {rows}) AS g")
    payment.catch_up()
    assert (rows, 1) == payment.sql(
        "SELECT count(*), count(DISTINCT xid) FROM tally.capture WHERE op = 'I'"
    )[0]
    assert payment.value(
        "SELECT bool_and(source_id = n) FROM ("
        "  SELECT source_id, row_number() OVER (ORDER BY seq) AS n"
        "  FROM tally.capture WHERE op = 'I') AS q"
    )


def test_waiting_ends(payment: WalRig):
    """Who waits for a reader that does not come is told so."""
    with (
        psycopg.connect(payment.url, autocommit=True) as other,
        payment.database.transaction() as tx,
    ):
        other.execute("SELECT pg_advisory_lock(1952541817, -3)")
        with pytest.raises(WalBehindError):
            wait_until_read(tx, patience_seconds=0.2)


def test_plain_sql_adds_a_source(rig: WalRig):
    """log 29: a plainly inserted row with capture wal is installed like any other."""
    rig.sql(PAYMENT)
    rig.sql(
        "INSERT INTO tally.verification_sources (source_table, log_name, capture)"
        " VALUES ('payment', 'payments', 'wal')"
    )
    install_new_sources(rig.database)
    with WalReader(rig.url):
        pass
    run_backfills(rig.database, from_wal=True)
    rig.sql("INSERT INTO payment VALUES (1, 1, 'a')")
    assert ["I 1"] == rig.take()
    assert "active" == rig.get("payment").status


def test_a_source_that_is_turned_off_is_a_gap(payment: WalRig):
    """Off, its changes are read and left out; on again, a reconcile finds what was changed."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a')")
    payment.take()
    with payment.database.transaction() as tx:
        switch_source(tx, "payments", "payment", enabled=False)
    payment.sql("INSERT INTO payment VALUES (2, 2, 'unseen')")
    assert [] == payment.take()
    assert ("broken", 1) == (payment.get("payment").status, len(payment.controls("gap")))
    with payment.database.transaction() as tx:
        switch_source(tx, "payments", "payment", enabled=True)
    payment.sql("INSERT INTO payment VALUES (3, 3, 'seen')")
    reconcile_and_mend(payment.database, "payments", "payment", repair=True)
    assert "active" == payment.get("payment").status
    assert {"I 1", "I 2", "I 3"} == set(payment.take())
