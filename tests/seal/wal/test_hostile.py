"""What others may do to a database whose changes are read from the WAL (log.md, 4.4 to 5.4)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.seal.logs import freeze_log
from tallystick.seal.sources import detach_source, switch_source
from tallystick.seal.succession import move_source, succeed_log
from tallystick.seal.audit.repair import reconcile_and_mend
from tests.seal.wal.test_laws import PAYMENT, payment  # noqa: F401

if TYPE_CHECKING:
    from tests.seal.wal.rig import WalRig


def test_seconds(payment: WalRig):
    payment.sql(
        "BEGIN; INSERT INTO payment VALUES (1, 1); ALTER TABLE payment ADD COLUMN more int;"
        "INSERT INTO payment VALUES (2, 1); UPDATE payment SET amount = 2 WHERE id = 2;"
        "DELETE FROM payment WHERE id = 2; INSERT INTO payment VALUES (2, 3); TRUNCATE payment;"
        "INSERT INTO payment VALUES (3, 1); COMMIT"
    )
    assert ["I 1", "I 2", "U 2", "D 2", "I 2", "T", "I 3"] == payment.take()


def test_xid(payment: WalRig):
    n = 60_000
    with payment.reader() as reader:
        payment.sql(f"INSERT INTO payment SELECT g, 1 FROM generate_series(1, {n}) AS g")
        orig = reader._queue
        done = []
        def queue():
            orig()
            if not done:
                done.append(1)
                payment.sql("INSERT INTO payment VALUES (-1, 1)")
                payment.sql("INSERT INTO payment VALUES (-2, 1)")
                time.sleep(0.5)
        reader._queue = queue
        for _ in range(10):
            reader.look(0.2)
    txs = {row.change["tx"] for row in payment.queue() if row.op == "I"}
    assert all(int(t) > 0 for t in txs), txs


def test_move(payment: WalRig):
    payment.sql("INSERT INTO tally.verification_logs (log_name, origin) VALUES ('second', 'o/second')")
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        move_source(tx, "payment", source_log="payments", to="second")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    payment.adopt()
    print(payment.sql("SELECT source_no, log_name, status::text, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    payment.catch_up()
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.capture ORDER BY seq"))
    assert [(1, '["1"]'), (2, '["2"]')] == payment.sql("SELECT log_id, source_key FROM tally.capture WHERE via='w' ORDER BY seq")


def test_succeed(payment: WalRig):
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        succeed_log(tx, "payments", "second", keys=payment.bench.keys, origin_prefix="o")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    payment.bench.seal_all()
    payment.adopt()
    payment.catch_up()
    payment.bench.seal_all()
    print(payment.sql("SELECT source_no, log_name, status::text, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.capture ORDER BY seq"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.merkle_log ORDER BY log_id, leaf_index"))
    assert 0


def test_freeze(payment: WalRig):
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
        freeze_log(tx, "payments")
    payment.bench.seal_all()
    payment.catch_up()
    payment.bench.seal_all()
    print(payment.sql("SELECT status::text FROM tally.verification_logs"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.capture ORDER BY seq"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.merkle_log ORDER BY log_id, leaf_index"))
    assert 0


def test_publication_again(payment: WalRig):
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.sql("DROP PUBLICATION tally")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    payment.sql("CREATE PUBLICATION tally FOR TABLE ONLY payment")
    payment.sql("INSERT INTO payment VALUES (3, 1)")
    for _ in range(4):
        try:
            payment.catch_up()
            break
        except Exception as e:
            print(repr(e))
    print(payment.sql("SELECT source_no, log_name, status::text, problem, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.capture ORDER BY seq"))
    assert 0


def test_publication_gone(payment: WalRig):
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.sql("DROP PUBLICATION tally")
    payment.sql("INSERT INTO payment VALUES (2, 1)")
    for _ in range(4):
        try:
            payment.adopt()
            payment.catch_up()
            break
        except Exception as e:
            print(repr(e))
    print(payment.sql("SELECT source_no, log_name, status::text, problem, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    print(payment.sql("SELECT log_id, op, via, source_key FROM tally.capture ORDER BY seq"))
    print(payment.check("payment"))
    print(reconcile_and_mend(payment.database, "payments", "payment", repair=True))
    print(payment.sql("SELECT source_no, log_name, status::text, problem, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    assert 0


def test_row_filter(payment: WalRig):
    payment.sql("ALTER PUBLICATION tally SET TABLE ONLY payment WHERE (false)")
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    payment.catch_up()
    assert payment.check("payment") != []


def test_switched_before_adoption(rig: WalRig):
    rig.sql(PAYMENT)
    from tallystick.seal.sources import add_source
    with rig.database.transaction() as tx:
        add_source(tx, "payments", "payment", capture="wal")
    with rig.database.transaction() as tx:
        switch_source(tx, "payments", "payment", enabled=False)
    with rig.database.transaction() as tx:
        switch_source(tx, "payments", "payment", enabled=True)
    rig.adopt()
    reconcile_and_mend(rig.database, "payments", "payment", repair=True)
    rig.adopt()
    rig.sql("INSERT INTO payment VALUES (1, 1)")
    print(rig.sql("SELECT source_no, log_name, status::text, problem, wal_epoch, wal_from, wal_until FROM tally.verification_sources"))
    assert ["I 1"] == rig.take()


def test_last_detached(payment: WalRig):
    from tallystick.seal.wal import is_needed
    payment.sql("INSERT INTO payment VALUES (1, 1)")
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
    with payment.database.transaction() as tx:
        assert is_needed(tx)


def test_actor(payment: WalRig):
    payment.sql("BEGIN; SELECT tally.sign_as(repeat('x', 20000)); INSERT INTO payment VALUES (1, 1); COMMIT")
    assert [None] == [r.problem for r in payment.queue()]
