"""Tables of the WAL that move between logs: each change is in one of them (log.md, 3.1, 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.seal.logs import freeze_log, get_log
from tallystick.seal.sources import detach_source, run_backfills
from tallystick.seal.succession import move_source, succeed_log
from tests.support.logs import ORIGIN_PREFIX, make_bench

if TYPE_CHECKING:
    from tests.seal.wal.rig import WalRig

KEYS = (
    "SELECT m.log_name, string_agg(m.source_key, ' ' ORDER BY m.leaf_index)"
    " FROM tally.merkle_log AS m WHERE m.op <> 'C' GROUP BY 1 ORDER BY 1"
)


@pytest.fixture
def payment(rig: WalRig) -> WalRig:
    """The rig with a table of one sealed row, and one that the WAL still holds."""
    rig.sql("CREATE TABLE payment (id bigint PRIMARY KEY)")
    rig.add("payment")
    rig.sql("INSERT INTO payment VALUES (1)")
    rig.catch_up()
    rig.bench.seal_all()
    rig.sql("INSERT INTO payment VALUES (2)")
    return rig


def seal(rig: WalRig, *names: str) -> None:
    """Seal each log until nothing waits, twice, for a freeze waits for another log."""
    with rig.database.transaction() as tx:
        logs = [get_log(tx, name) for name in names]
    sequencer = rig.bench.sequencer
    for log in [*logs, *logs]:
        while (sealed := sequencer.seal_once(log.log_id)) is not None and sealed.rows:
            pass


def status(rig: WalRig, name: str) -> str:
    """The state of a log."""
    with rig.database.transaction() as tx:
        return get_log(tx, name).status


def test_a_log_of_the_wal_is_continued(payment: WalRig) -> None:
    """log 27: what was written before is sealed in the old log, though nobody had read it yet."""
    with payment.database.transaction() as tx:
        succeed_log(tx, "payments", "next", keys=payment.bench.keys, origin_prefix=ORIGIN_PREFIX)
    seal(payment, "payments", "next")
    payment.sql("INSERT INTO payment VALUES (3); DELETE FROM payment WHERE id = 1")
    payment.catch_up()
    seal(payment, "payments", "next")
    assert payment.sql(KEYS) == [("next", '["3"] ["1"]'), ("payments", '["1"] ["2"]')]
    assert status(payment, "payments") == "frozen"
    assert payment.sql("SELECT count(*) FROM tally.capture") == [(0,)]


def test_a_table_of_the_wal_moves_to_an_unrelated_log(payment: WalRig) -> None:
    """A log that knows nothing of the rows gets them anew; the old one has what came before."""
    make_bench(payment.url, payment.bench.keys.directory, "other")
    with payment.database.transaction() as tx:
        move_source(tx, "payment", source_log="payments", to="other")
    payment.adopt()
    run_backfills(payment.database, from_wal=True)
    payment.sql("INSERT INTO payment VALUES (3)")
    payment.catch_up()
    seal(payment, "payments", "other")
    assert payment.sql(KEYS) == [("other", '["1"] ["2"] ["3"]'), ("payments", '["1"] ["2"]')]


def test_a_freeze_waits_for_the_wal(payment: WalRig) -> None:
    """A detached source's last changes are read and sealed before its log freezes."""
    with payment.database.transaction() as tx:
        detach_source(tx, "payments", "payment")
        freeze_log(tx, "payments")
    seal(payment, "payments")
    assert status(payment, "payments") == "active"
    payment.catch_up()
    seal(payment, "payments")
    assert payment.sql(KEYS) == [("payments", '["1"] ["2"]')]
    assert status(payment, "payments") == "frozen"
