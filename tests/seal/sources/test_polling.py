"""Polling: tables that are only read are sealed as completely as others, if later (log.md, 4.5)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.db.errors import PermissionDeniedError
from tallystick.seal.audit import reconcile_source
from tallystick.seal.errors import (
    HashColumnError,
    InvalidSourceError,
    SourceExistsError,
    SourceNotFoundError,
    UnknownColumnError,
    UnsupportedSourceError,
)
from tallystick.seal.logs import KeyRing, open_new_logs
from tallystick.seal.sources import (
    Poller,
    add_source,
    detach_source,
    get_source,
    polling,
    requeue,
)
from tests.seal.sources.polled import ORDERS, keys, poll, reconcile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.seal.sources.rig import Rig

ROWS_WITHOUT_ONE_LEAF = """
    SELECT count(*) FROM (
      SELECT o.id, count(m.leaf_index) AS leaves
      FROM orders AS o
      LEFT JOIN tally.merkle_log AS m ON m.source_key = '["' || o.id || '"]'
      GROUP BY o.id HAVING count(m.leaf_index) <> 1) AS odd"""


@pytest.fixture
def rig(rig: Rig, tmp_path: Path) -> Rig:
    """The rig with both logs opened, so that a reconcile has a head to note."""
    open_new_logs(rig.database, KeyRing(tmp_path / "keys"), origin_prefix="log.example")
    return rig


def leaves(rig: Rig) -> list[tuple[Any, ...]]:
    """The (op, via, key) of all leaves, in order."""
    return rig.sql(
        "SELECT op::text, via::text, source_key FROM tally.merkle_log"
        " WHERE op <> 'C' ORDER BY leaf_index"
    )


def test_what_is_there_is_queued_as_it_is_added(rig: Rig) -> None:
    """A small table is active at once; nothing is done to it, and its rows are queued in order."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    assert (source.capture, source.status) == ("poll", "active")
    assert (source.poll_cursor, source.poll_lookback) == ("5", 10_000)
    assert source.reconcile_interval_seconds == 3600
    assert rig.queue(source) == [("I", "p", f'["{i}"]') for i in range(1, 6)]
    assert rig.sql("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass") == [(0,)]
    assert rig.records(source)[0] | {"at": "", "tx": "", "role": ""} == {
        "actor": None,
        "at": "",
        "key": ["1"],
        "log": "payments",
        "op": "insert",
        "role": "",
        "row": {"amount": "1.00", "id": "1", "note": "n1"},
        "table": "public.orders",
        "tx": "",
        "via": "poll",
    }


def test_new_rows_are_queued_once(rig: Rig) -> None:
    """Each look queues what has neither leaf nor queue row, sealed between or not."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    rig.sql("INSERT INTO orders VALUES (6), (7)")
    assert poll(rig) == 2
    assert poll(rig) == 0
    rig.seal()
    assert poll(rig) == 0
    rig.sql("INSERT INTO orders VALUES (8)")
    assert poll(rig) == 1
    assert rig.reload(source).poll_cursor == "8"


def test_a_late_commit_within_the_window_is_found(rig: Rig) -> None:
    """log 16: a row that commits behind the cursor is queued by the next look, once."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    with rig.session() as late:
        late.execute("INSERT INTO orders VALUES (6)")
        rig.sql("INSERT INTO orders VALUES (7)")
        assert poll(rig) == 1
        assert rig.reload(source).poll_cursor == "7"
    assert poll(rig) == 1
    assert poll(rig) == 0
    assert keys(rig, source)[-2:] == ['["7"]', '["6"]']


def test_a_late_commit_beyond_the_window_is_reconciled(rig: Rig) -> None:
    """log 16: what no window reaches is sealed by the next reconcile, and none is sealed twice."""
    rig.sql(ORDERS)
    rig.add("orders", order_column="id", poll_lookback=2)
    with rig.session() as late:
        late.execute("INSERT INTO orders VALUES (6)")
        rig.sql("INSERT INTO orders SELECT i FROM generate_series(7, 20) AS i")
        assert poll(rig) == 14
        rig.seal()
    assert poll(rig) == 0
    assert reconcile(rig) == 1
    assert poll(rig) == 0
    rig.seal()
    assert reconcile(rig) == 0
    assert leaves(rig)[-1] == ("I", "r", '["6"]')
    assert rig.sql(ROWS_WITHOUT_ONE_LEAF) == [(0,)]


def test_changed_and_deleted_rows_are_reconciled_once(rig: Rig) -> None:
    """log 16: a poll never sees a change or a delete; the reconcile seals each once."""
    rig.sql(ORDERS)
    rig.add("orders", order_column="id")
    rig.seal()
    rig.sql("UPDATE orders SET amount = 99 WHERE id = 2")
    rig.sql("DELETE FROM orders WHERE id IN (3, 4)")
    assert poll(rig) == 0
    assert reconcile(rig) == 3
    assert reconcile(rig) == 0
    rig.seal()
    assert reconcile(rig) == 0
    assert sorted(leaves(rig)[5:]) == [
        ("D", "r", '["3"]'),
        ("D", "r", '["4"]'),
        ("U", "r", '["2"]'),
    ]
    deleted = rig.sql(
        "SELECT tally.leaf_record(leaf) -> 'row' ->> 'note' FROM tally.merkle_log WHERE op = 'D'"
        " ORDER BY 1"
    )
    assert deleted == [("n3",), ("n4",)]


def test_a_row_that_comes_back_is_reconciled(rig: Rig) -> None:
    """A key that was deleted and is there again is an insert, found by the reconcile."""
    rig.sql(ORDERS)
    rig.add("orders", order_column="id")
    rig.sql("DELETE FROM orders WHERE id = 5")
    assert reconcile(rig) == 1
    rig.sql("INSERT INTO orders VALUES (5, 1, 'again')")
    assert poll(rig) == 0
    assert reconcile(rig) == 1
    rig.seal()
    assert [op for op, _, key in leaves(rig) if key == '["5"]'] == ["I", "D", "I"]


def test_many_rows_of_one_time_cross_pages(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows of one timestamp than a page holds are all queued, each once."""
    monkeypatch.setattr(polling, "BATCH_ROWS", 1)
    monkeypatch.setattr(polling, "SMALLEST_SHARE_ROWS", 3)
    rig.sql("CREATE TABLE orders (id int PRIMARY KEY, at timestamptz)")
    source = rig.add("orders", timestamp_column="at")
    rig.sql(
        "INSERT INTO orders SELECT i, '2026-01-02 03:04:05+00'::timestamptz + i / 10 * '1 s'"
        "::interval FROM generate_series(1, 45) AS i"
    )
    assert poll(rig) == 45
    assert poll(rig) == 0
    assert rig.reload(source).poll_cursor == "2026-01-02 03:04:09+00"


def test_a_large_table_is_backfilled_by_looks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of more rows than a first page is active once a look has come to its end."""
    monkeypatch.setattr("tallystick.seal.sources.operations.FIRST_PAGE_ROWS", 2)
    monkeypatch.setattr(polling, "BATCH_ROWS", 1)
    monkeypatch.setattr(polling, "SMALLEST_SHARE_ROWS", 2)
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    assert (source.status, source.poll_cursor) == ("backfilling", "2")
    assert poll(rig) == 3
    assert rig.reload(source).status == "active"


def test_a_time_to_come_does_not_carry_the_cursor(rig: Rig) -> None:
    """A row dated in the future is sealed, and the rows of today still are."""
    rig.sql("CREATE TABLE orders (id int PRIMARY KEY, at timestamptz)")
    rig.add("orders", timestamp_column="at")
    rig.sql("INSERT INTO orders VALUES (1, '2999-01-01'), (2, 'infinity')")
    assert poll(rig) == 1
    rig.sql("INSERT INTO orders VALUES (3, now())")
    assert poll(rig) == 1
    assert reconcile(rig) == 1
    rig.seal()
    assert leaves(rig)[-1] == ("I", "r", '["2"]')


def test_two_pollers_queue_each_row_once(rig: Rig) -> None:
    """log 16: however many poll a source at once, no row is queued twice and none is missed."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_polling() -> None:
        try:
            while not stop.is_set():
                poll(rig)
        except BaseException as raised:  # noqa: BLE001 (told by the test)
            failures.append(raised)

    threads = [threading.Thread(target=keep_polling) for _ in range(3)]
    for thread in threads:
        thread.start()
    with rig.session() as writer:
        for first in range(6, 606, 20):
            writer.execute(
                "INSERT INTO orders SELECT i FROM generate_series(%s::int, %s) AS i",
                (first, first + 19),
            )
            writer.commit()
    stop.set()
    for thread in threads:
        thread.join()
    poll(rig)
    assert failures == []
    assert sorted(keys(rig, source)) == sorted(f'["{i}"]' for i in range(1, 606))


def test_a_second_poller_leaves_the_source_to_the_first(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """While one transaction polls a source another look queues nothing of it and does not wait."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    rig.sql("INSERT INTO orders VALUES (6)")
    with rig.session() as first:
        taken = first.execute(
            "SELECT rows_queued FROM tally.poll_page_v1(%s, NULL, 100)", (source.source_no,)
        )
        assert taken.fetchall() == [(1,)]
        assert poll(rig) == 0
        assert caplog.messages == []
        assert rig.reload(source).poll_cursor == "5"
    assert poll(rig) == 0


HASHED = """CREATE TABLE hashed (id int PRIMARY KEY, hash bytea);
            INSERT INTO hashed SELECT i, sha256(i::text::bytea) FROM generate_series(1, 3) AS i"""


def test_poison_rows_stop_nobody(rig: Rig) -> None:
    """log 16: a bad hash is quarantined, the others are sealed; repaired, it is requeued."""
    rig.sql(HASHED)
    rig.sql("INSERT INTO hashed VALUES (4, NULL), (5, 'short'), (6, sha256('6'))")
    source = rig.add("hashed", log="hashes", hash_column="hash", order_column="id")
    assert source.leaf_form == "column"
    rig.seal()
    assert [key for _, _, key in leaves(rig)] == ['["1"]', '["2"]', '["3"]', '["6"]']
    problems = rig.sql("SELECT source_key, problem FROM tally.capture_quarantine ORDER BY 1")
    assert problems == [
        ('["4"]', "the hash is null"),
        ('["5"]', "the hash has 5 bytes, not 16 to 64"),
    ]
    assert poll(rig) == 0
    assert reconcile_source(rig.database, "hashes", "hashed").queued == 0
    rig.sql("UPDATE hashed SET hash = sha256('4') WHERE id = 4")
    with rig.database.transaction() as tx:
        result = requeue(tx, "hashes", "hashed")
    assert (result.keys_queued, result.rows_resolved, result.rows_left) == (1, 1, 1)
    rig.sql("UPDATE hashed SET hash = sha256('5') WHERE id = 5")
    assert reconcile_source(rig.database, "hashes", "hashed").queued == 1
    rig.seal()
    assert rig.sql("SELECT count(*) FROM tally.capture_quarantine WHERE resolved_at IS NULL") == [
        (0,)
    ]
    assert leaves(rig)[4:] == [("I", "r", '["4"]'), ("I", "r", '["5"]')]
    assert rig.sql("SELECT leaf FROM tally.merkle_log WHERE source_key = '[\"4\"]'") == rig.sql(
        "SELECT sha256('4')"
    )


def test_a_source_that_fails_stops_no_other(rig: Rig) -> None:
    """log 16: a view that raises an error breaks its own source; the next one is polled."""
    rig.sql(ORDERS)
    rig.sql("CREATE TABLE knob (value int); INSERT INTO knob VALUES (1)")
    rig.sql("CREATE VIEW brittle AS SELECT id, id / (SELECT min(value) FROM knob) AS x FROM orders")
    brittle = rig.add("brittle", key=["id"], order_column="id")
    source = rig.add("orders", order_column="id")
    rig.sql("UPDATE knob SET value = 0")
    rig.sql("INSERT INTO orders VALUES (6)")
    poll(rig)
    assert keys(rig, source)[-1] == '["6"]'
    broken = rig.reload(brittle)
    assert broken.status == "broken"
    assert broken.problem is not None
    assert broken.problem["message"] == "DivisionByZero (SQLSTATE 22012)"


def test_shares_are_taken_in_turn(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source with much to read gives the others their page before its own next one."""
    monkeypatch.setattr(polling, "BATCH_ROWS", 1)
    monkeypatch.setattr(polling, "SMALLEST_SHARE_ROWS", 10)
    rig.sql(ORDERS)
    rig.sql("CREATE TABLE small (id int PRIMARY KEY)")
    large = rig.add("orders", order_column="id")
    small = rig.add("small", order_column="id")
    rig.sql("INSERT INTO orders SELECT i FROM generate_series(6, 100) AS i")
    rig.sql("INSERT INTO small VALUES (1)")
    poll(rig)
    order = rig.sql("SELECT source_no FROM tally.capture WHERE via = 'p' ORDER BY seq")
    at = [number for (number,) in order].index(small.source_no)
    assert at < 30
    assert len(order) == 101
    assert large.source_no < small.source_no


def test_salted_and_private_polls(rig: Rig) -> None:
    """Salted digests and private columns come out of a poll as they do of a trigger."""
    rig.sql(ORDERS)
    salted = rig.add("orders", log="hashes", order_column="id")
    assert salted.leaf_form == "salted"
    facts = rig.sql(
        "SELECT octet_length(leaf), octet_length(salt), octet_length(record) > 100"
        " FROM tally.capture WHERE source_no = %s",
        (salted.source_no,),
    )
    assert set(facts) == {(32, 32, True)}
    private = rig.add("orders", order_column="id", private=["note"])
    record = rig.records(private)[0]
    assert sorted(record["row"]) == ["amount", "id"]
    assert sorted(record["private"]) == ["note"]
    rig.sql("DELETE FROM orders WHERE id = 1")
    assert reconcile_source(rig.database, "hashes", "orders").queued == 1
    assert reconcile(rig) == 1
    assert reconcile_source(rig.database, "hashes", "orders").queued == 0
    assert reconcile(rig) == 0


def test_a_source_that_ended_costs_nothing(rig: Rig) -> None:
    """Once a polled source is detached its poller pauses as if it had never been."""
    rig.sql(ORDERS)
    rig.add("orders", order_column="id")
    poller = Poller(rig.database)
    poller.run_once()
    with rig.database.transaction() as tx:
        detach_source(tx, "payments", "orders")
    poller.run_once()
    assert poller.pause_seconds(at_most=1.0) == 1.0


def test_no_value_reaches_an_error(rig: Rig) -> None:
    """What the server quotes of a row stands in no problem, no event and no log line."""
    rig.sql(ORDERS)
    rig.sql("CREATE VIEW casting AS SELECT id, note::int AS note FROM orders WHERE id < 6")
    with pytest.raises(UnsupportedSourceError) as raised:
        rig.add("casting", key=["id"], order_column="id")
    assert "n1" not in str(raised.value)
    rig.sql("CREATE VIEW later AS SELECT id, note::int AS note FROM orders WHERE id > 5")
    source = rig.add("later", key=["id"], order_column="id")
    rig.sql("INSERT INTO orders VALUES (6, 6, 'secret')")
    poll(rig)
    assert rig.reload(source).status == "broken"
    assert rig.sql("SELECT problem::text LIKE '%secret%' FROM tally.verification_sources") == [
        (False,)
    ]
    assert rig.sql("SELECT count(*) FROM tally.outbox_events WHERE payload::text ~ 'secret'") == [
        (0,)
    ]


def test_a_detached_source_is_not_requeued(rig: Rig) -> None:
    """What stands in quarantine stays there once its source has ended: its log takes no row."""
    rig.sql(
        "CREATE TABLE hashed (id bigint PRIMARY KEY, h bytea); INSERT INTO hashed VALUES (1, NULL)"
    )
    rig.add("hashed", order_column="id", hash_column="h")
    rig.seal()
    with rig.database.transaction() as tx:
        detach_source(tx, "payments", "hashed")
    rig.sql("UPDATE hashed SET h = sha256('x')")
    with pytest.raises(SourceNotFoundError), rig.database.transaction() as tx:
        requeue(tx, "payments", "hashed")
    assert rig.sql("SELECT count(*) FROM tally.capture_quarantine WHERE resolved_at IS NULL") == [
        (1,)
    ]


def test_ddl_on_a_polled_table(rig: Rig) -> None:
    """A new column is recorded from then on with a schema leaf; a lost order breaks the source."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    rig.seal()
    rig.sql("ALTER TABLE orders ADD COLUMN colour text")
    rig.sql("INSERT INTO orders VALUES (6, 1, 'n', 'red')")
    assert poll(rig) == 1
    assert rig.check("orders") == []
    assert rig.records(source)[0]["row"]["colour"] == "red"
    assert rig.controls(source, "schema")[0]["key"] == ["id"]
    rig.sql("ALTER TABLE orders RENAME COLUMN id TO number")
    assert [problem.code for problem in rig.check("orders")] == ["column_missing"]
    assert poll(rig) == 0


def test_a_polled_source_is_turned_off_and_on(rig: Rig) -> None:
    """Off, it is broken with a gap leaf and not read; on, a reconcile makes it active again."""
    rig.sql(ORDERS)
    source = rig.add("orders", order_column="id")
    rig.sql("UPDATE tally.verification_sources SET enabled = false")
    assert [problem.code for problem in rig.check("orders")] == ["disabled"]
    assert [detail["problem"] for detail in rig.controls(source, "gap")] == [
        "orders is not polled: it was turned off"
    ]
    rig.sql("INSERT INTO orders VALUES (6)")
    assert poll(rig) == 0
    rig.sql("UPDATE tally.verification_sources SET enabled = true")
    assert [problem.code for problem in rig.check("orders")] == ["unreconciled"]
    assert reconcile(rig) == 1
    assert rig.check("orders", reconcile=lambda _tx, _source: None) == []
    assert rig.reload(source).status == "active"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"capture": "poll"}, InvalidSourceError),
        ({"order_column": "note"}, InvalidSourceError),
        ({"timestamp_column": "id"}, InvalidSourceError),
        ({"order_column": "nowhere"}, UnknownColumnError),
        ({"order_column": "id", "on_delete": "refuse"}, InvalidSourceError),
        ({"order_column": "id", "capture": "trigger"}, InvalidSourceError),
        ({"order_column": "id", "poll_lookback": -1}, InvalidSourceError),
        ({"order_column": "id", "reconcile_interval_seconds": 0}, InvalidSourceError),
        ({"poll_lookback": 5}, InvalidSourceError),
        ({"order_column": "id", "hash_column": "note", "log": "hashes"}, HashColumnError),
    ],
)
def test_bad_settings_are_named(rig: Rig, settings: dict[str, Any], error: type) -> None:
    """What a poll cannot do is refused when it is asked for, and leaves nothing."""
    rig.sql(ORDERS)
    with pytest.raises(error):
        rig.add("orders", **settings)
    assert rig.sql("SELECT count(*) FROM tally.verification_sources") == [(0,)]


def test_tables_one_may_only_select(rig: Rig) -> None:
    """Who may not grant on a table is told what its owner has to do; then it can be polled."""
    rig.sql(ORDERS)
    rig.sql("CREATE ROLE reading_clerk LOGIN PASSWORD 'x' IN ROLE tally_app")
    try:
        rig.sql("GRANT SELECT ON orders TO reading_clerk")
        with rig.database.transaction() as tx, pytest.raises(PermissionDeniedError) as refused:
            tx.connection.execute("SET LOCAL ROLE reading_clerk")
            add_source(tx, "payments", "orders", order_column="id")
        assert "GRANT SELECT" in str(refused.value)
        rig.sql("GRANT SELECT ON orders TO tally_poller")
        with rig.database.transaction() as tx:
            tx.connection.execute("SET LOCAL ROLE reading_clerk")
            assert add_source(tx, "payments", "orders", order_column="id").status == "active"
        with rig.database.transaction() as tx:
            tx.connection.execute("SET LOCAL ROLE reading_clerk")
            assert get_source(tx, "payments", "orders").poll_cursor == "5"
    finally:
        rig.sql("DROP OWNED BY reading_clerk")
        rig.sql("DROP ROLE reading_clerk")


def test_the_same_poll_again_changes_nothing(rig: Rig) -> None:
    """Adding a polled source again returns it; other fields are an error that names them."""
    rig.sql(ORDERS)
    first = rig.add("orders", order_column="id")
    assert rig.add("orders", order_column="id").source_no == first.source_no
    with pytest.raises(SourceExistsError) as refused:
        rig.add("orders", order_column="id", poll_lookback=5)
    assert refused.value.evidence["fields"] == ["poll_lookback"]
