"""What others may do to a database whose changes are read from the WAL (docs/adr/0016)."""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tallystick.runtime.binaries import find_binaries
from tallystick.seal.audit.repair import reconcile_and_mend
from tallystick.seal.errors import WalUnavailableError
from tallystick.seal.sources import (
    add_source,
    check_sources,
    detach_source,
    refresh_source,
    switch_source,
)
from tallystick.seal.sources.store import mendable_wal_sources
from tallystick.seal.wal import WalReader, drop_unneeded_slot, is_needed
from tallystick.seal.wal import reader as reader_module
from tallystick.seal.wal.queueing import full_xid
from tests.seal.laws.test_restore import dump, empty, restore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.seal.wal.rig import WalRig
    from tests.support.server import TestServer

PAYMENT = "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"


@pytest.fixture
def payment(rig: WalRig) -> WalRig:
    """A rig with the table `payment`, captured from the WAL."""
    rig.sql(PAYMENT)
    rig.add("payment")
    return rig


def mend(rig: WalRig) -> str:
    """Refresh the source of `payment`, as its owner would, reconcile it; its state."""
    with rig.database.transaction() as tx:
        refresh_source(tx, rig.get("payment"))
    rig.adopt()
    reconcile_and_mend(rig.database, "payments", "payment", repair=True)
    return rig.get("payment").status


def epoch(rig: WalRig) -> int:
    """How often the slot has been made."""
    return int(rig.value("SELECT epoch FROM tally.wal_positions"))


def test_columns_that_change_inside_a_transaction(payment: WalRig):
    """log 4: rows before and behind a change of columns, and a TRUNCATE, stand in their order."""
    payment.sql(
        "BEGIN; INSERT INTO payment VALUES (1, 1); ALTER TABLE payment ADD COLUMN more int;"
        "INSERT INTO payment VALUES (2, 1); UPDATE payment SET amount = 2 WHERE id = 2;"
        "DELETE FROM payment WHERE id = 2; INSERT INTO payment VALUES (2, 3); TRUNCATE payment;"
        "INSERT INTO payment VALUES (3, 1); COMMIT"
    )
    assert ["I 1", "I 2", "U 2", "D 2", "I 2", "T", "I 3"] == payment.take()


def test_two_sources_of_one_log_and_table(rig: WalRig):
    """log 4: a partition and its table may feed one log; each has its rows in their order."""
    rig.sql(
        "CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);"
        "CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20)"
    )
    low = rig.add("part_low")
    whole = rig.add("part")
    rig.sql("INSERT INTO part VALUES (1, 1); UPDATE part SET n = 2; UPDATE part SET id = 11")
    rig.sql("UPDATE part SET id = 1; TRUNCATE part")
    ops = [(row.op, row.source_id) for row in rig.queue(whole)]
    assert [
        ("I", 1), ("U", 1), ("D", 1), ("I", 11), ("D", 11), ("I", 1), ("T", None)
    ] == ops  # fmt: skip
    assert ["I 1", "U 1", "D 1", "I 1", "T"] == rig.take(low)


@pytest.mark.parametrize(
    ("xid", "own", "full"),
    [
        (999, 1000, 999),
        (1005, 1000, 1005),
        (5, 2**32 + 9, 2**32 + 5),
        (2**32 - 3, 2**32 + 9, 2**32 - 3),
        (4, 2**32 - 2, 2**32 + 4),
    ],
)
def test_transactions_that_began_behind_ours(xid: int, own: int, full: int):
    """A transaction's number is whole, whether it began before or behind the reader's own."""
    assert full == full_xid(xid, own)


def test_what_is_whole_is_committed(payment: WalRig, monkeypatch: pytest.MonkeyPatch):
    """Writers that are ahead keep nothing from being committed: each full batch is a look."""
    monkeypatch.setattr(reader_module, "MAX_BATCH_PLACES", 5)
    waiting: collections.deque[bytes] = collections.deque()
    with payment.reader() as reader:
        arriving = reader._stream.messages

        def all_at_once() -> Iterator[bytes]:
            # As of a writer who is ahead: the end of what has come is never seen.
            while sum(message[:1] == b"C" for message in waiting) < 20 and not found:
                waiting.extend(arriving())
            while waiting:
                yield waiting.popleft()

        found: list[int] = []
        monkeypatch.setattr(reader._stream, "messages", all_at_once)
        for number in range(20):
            payment.sql("INSERT INTO payment VALUES (%s, 1)", (number,))
        while sum(found) < 20:
            found.append(reader.look(1.0).rows)
            assert sum(found) == payment.value("SELECT count(*) FROM tally.capture WHERE op = 'I'")
    assert [5, 5, 5, 5] == found


def test_a_publication_that_was_made_anew_is_a_gap(payment: WalRig):
    """What was changed while there was no publication is found, though it is there again."""
    payment.sql("DROP PUBLICATION tally")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    payment.sql("CREATE PUBLICATION tally FOR TABLE ONLY payment")
    payment.adopt()
    assert 1 == len(payment.controls("gap"))
    assert "active" == mend(payment)
    assert ["I 2"] == payment.take()


def test_without_a_publication_nobody_reads(payment: WalRig):
    """A publication that is gone costs one gap, however often somebody tries to read."""
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.sql("DROP PUBLICATION tally")
    for _ in range(3):
        with pytest.raises(WalUnavailableError):
            payment.adopt()
    assert (2, 1) == (epoch(payment), len(payment.controls("gap")))
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    # A refresh makes the publication, and the next reader a slot behind it.
    assert "active" == mend(payment)
    payment.sql("INSERT INTO payment VALUES (3, 1)")
    assert ["I 1", "I 2", "I 3"] == payment.take()


@pytest.mark.parametrize(
    "statements",
    [
        ["ALTER PUBLICATION tally SET TABLE ONLY payment WHERE (id > 5)"],
        ["ALTER PUBLICATION tally SET TABLE ONLY payment (id, amount)"],
        ["ALTER PUBLICATION tally SET (publish = 'insert')"],
        ["ALTER PUBLICATION tally SET (publish_via_partition_root = true)"],
        ["ALTER PUBLICATION tally DROP TABLE payment"],
        [
            "ALTER PUBLICATION tally DROP TABLE payment",
            "INSERT INTO payment VALUES (1, 1, 'unseen')",
            "ALTER PUBLICATION tally ADD TABLE ONLY payment",
        ],
    ],
)
def test_a_publication_that_was_altered_breaks_the_source(payment: WalRig, statements: list[str]):
    """Changes that somebody keeps out of the publication are a gap, and found by the reconcile."""
    for statement in statements:
        payment.sql(statement)
    payment.sql("INSERT INTO payment VALUES (2, 1, 'x') ON CONFLICT DO NOTHING")
    assert {"wal_unpublished"} == set(payment.check("payment"))
    assert 1 == len(payment.controls("gap"))
    assert "active" == mend(payment)
    assert [] == payment.check("payment")
    payment.sql("INSERT INTO payment VALUES (3, 1, 'x')")
    kept = payment.value("SELECT count(*) FROM payment")
    assert kept == len({op for op in payment.take() if op.startswith("I")})


def test_a_source_that_broke_before_a_slot_served_it(rig: WalRig):
    """It is served all the same, and not active before that."""
    rig.sql(PAYMENT)
    with rig.database.transaction() as tx:
        add_source(tx, "payments", "payment", capture="wal")
    for enabled in (False, True):
        with rig.database.transaction() as tx:
            switch_source(tx, "payments", "payment", enabled=enabled)
    assert ["wal_lost"] == rig.check("payment")
    rig.adopt()
    reconcile_and_mend(rig.database, "payments", "payment", repair=True)
    rig.adopt()
    reconcile_and_mend(rig.database, "payments", "payment", repair=True)
    rig.sql("INSERT INTO payment VALUES (1, 1)")
    assert (["I 1"], "active") == (rig.take(), rig.get("payment").status)


def test_the_last_source_is_read_to_its_end_and_the_slot_dropped(payment: WalRig):
    """A slot that nobody needs keeps no WAL; one with changes still to be read stays."""
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    with payment.database.transaction() as tx:
        assert is_needed(tx)
    assert not drop_unneeded_slot(payment.url)
    assert ["I 1"] == payment.take()
    with payment.database.transaction() as tx:
        assert not is_needed(tx)
    deadline = time.monotonic() + 60
    while not drop_unneeded_slot(payment.url):
        assert time.monotonic() < deadline, "its last reader never went"
        time.sleep(0.05)
    assert 0 == payment.value(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = tally.wal_slot()"
    )


def test_the_end_of_a_source_that_was_lost_is_said(payment: WalRig):
    """A detached source whose last changes were lost has a gap leaf, and its log can freeze."""
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    payment.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
    payment.adopt()
    assert ["the replication slot is gone"] == [gap["problem"] for gap in payment.controls("gap")]
    with payment.database.transaction() as tx:
        assert not is_needed(tx)


def test_a_source_that_is_held_keeps_nobody_from_reading(rig: WalRig):
    """Who holds a source may wait for the reader that breaks it: neither waits for the other."""
    rig.sql(
        "CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20)"
    )
    rig.add("part")
    with psycopg.connect(rig.url) as holder:
        holder.execute("SELECT FROM tally.verification_sources FOR NO KEY UPDATE")
        rig.sql("TRUNCATE part_low")
        rig.sql("INSERT INTO part VALUES (11)")
        assert ["I 11"] == rig.take()
        assert "active" == rig.get("part").status
    rig.adopt()
    assert "broken" == rig.get("part").status


def test_a_column_that_went_before_the_end(payment: WalRig):
    """A source that ended and lacks a column for its last changes has a gap leaf, and stays."""
    payment.sql("ALTER TABLE payment RENAME COLUMN id TO number")
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    assert [] == payment.take()
    assert ("detached", 1) == (payment.get("payment").status, len(payment.controls("gap")))


def test_a_table_that_is_dropped_before_it_is_read(payment: WalRig):
    """log 3: what was committed to a table before it was dropped is sealed."""
    payment.sql("INSERT INTO payment VALUES (1, 1, 'a'); UPDATE payment SET note = 'b'")
    payment.sql("DROP TABLE payment")
    assert ["I 1", "U 1"] == payment.take()


def test_only_a_transaction_says_who_acts(payment: WalRig):
    """A message outside of a transaction names nobody's actor."""
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.sql("SELECT pg_logical_emit_message(false, 'tally.actor', 'user:evil')")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    with psycopg.connect(payment.url) as connection:
        connection.execute("SELECT pg_logical_emit_message(false, 'tally.actor', 'user:evil')")
        connection.execute("INSERT INTO payment VALUES (3, 1)")
    assert [None, None, None] == [row.change["actor"] for row in payment.queue()]


@pytest.mark.slow
def test_wal_that_the_server_gave_up(payment: WalRig):
    """Behind max_slot_wal_keep_size the slot is made anew, with a gap; a reconcile finds all."""
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '16MB'")
    payment.sql("SELECT pg_reload_conf()")
    try:
        for _ in range(6):
            payment.sql("SELECT pg_logical_emit_message(true, 'x', 'y')")
            payment.sql("SELECT pg_switch_wal()")
        payment.sql("CHECKPOINT")
        assert "lost" == payment.value(
            "SELECT wal_status FROM pg_replication_slots WHERE slot_name = tally.wal_slot()"
        )
        payment.adopt()
        assert 1 == len(payment.controls("gap"))
        reconcile_and_mend(payment.database, "payments", "payment", repair=True)
        assert ("active", ["I 1"]) == (payment.get("payment").status, payment.take())
    finally:
        payment.sql("ALTER SYSTEM RESET max_slot_wal_keep_size")
        payment.sql("SELECT pg_reload_conf()")


def test_the_workers_role_reads(payment: WalRig):
    """A role with tally_app and REPLICATION, which owns nothing, reads, queues and breaks."""
    payment.sql("DROP ROLE IF EXISTS wal_worker")
    payment.sql("CREATE ROLE wal_worker LOGIN REPLICATION PASSWORD 'p' IN ROLE tally_app")
    url = make_conninfo(payment.url, user="wal_worker", password="p")
    try:
        payment.sql("INSERT INTO payment VALUES (1, 1)")
        with WalReader(url) as reader:
            while not reader.look(0.2).rows:
                pass
            assert reader.adopt()
        assert ["I 1"] == payment.take()
        payment.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
        with WalReader(url):
            pass
        assert "broken" == payment.get("payment").status
    finally:
        payment.sql("DROP ROLE wal_worker")


def test_nobody_else_may_call_what_the_worker_calls(rig: WalRig):
    """Of the functions that read from the WAL only those that sign are everybody's."""
    assert ["sign_as"] == [
        name
        for (name,) in rig.sql(
            "SELECT p.proname::text FROM pg_proc AS p WHERE p.pronamespace = 'tally'::regnamespace"
            " AND (p.proname ~ 'wal|sign_as|publication|is_published|identity' OR p.proname IN"
            " ('lock_page_v1', 'queue_page_v1')) AND has_function_privilege('public', p.oid,"
            " 'EXECUTE')"
        )
    ]


def test_what_reading_broke_stays_known(payment: WalRig):
    """A validation that finds the source whole again does not hide from the worker what to do."""
    payment.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
    payment.adopt()
    check_sources(payment.database)
    with payment.database.transaction() as tx:
        assert [("payments", "payment")] == mendable_wal_sources(tx)


def test_a_restored_dump_goes_on(
    payment: WalRig, test_server: TestServer, postgres_bin: Path | None, tmp_path: Path
):
    """log 21: in a restored dump the source is found by its publication; what was unread is."""
    bin_dir = postgres_bin or find_binaries()
    payment.sql("INSERT INTO payment VALUES (1, 1, 'sealed')")
    payment.catch_up()
    payment.bench.seal_all()
    payment.sql("INSERT INTO payment VALUES (2, 2, 'unread')")
    dump(bin_dir, payment.url, tmp_path / "dump.sql")
    payment.sql("SELECT pg_drop_replication_slot(tally.wal_slot())")
    empty(test_server, payment.url)
    restore(bin_dir, payment.url, tmp_path / "dump.sql")
    payment.adopt()
    gaps = [gap["problem"] for gap in payment.controls("gap")]
    assert ["the database was copied or restored, and its replication slot stayed behind"] == gaps
    assert "active" == mend(payment)
    payment.sql("UPDATE payment SET note = 'changed' WHERE id = 1")
    assert ["I 2", "U 1"] == payment.take()
