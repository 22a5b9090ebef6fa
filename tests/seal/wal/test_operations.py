"""What each operation leaves in the queue when it is read from the WAL (log.md, 4.5 and 5.2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.record import parse_record
from tallystick.seal.errors import UnsupportedSourceError

if TYPE_CHECKING:
    from tests.seal.wal.rig import WalRig

PAYMENT = "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"


@pytest.fixture
def payment(rig: WalRig) -> WalRig:
    """A rig with the table `payment`, captured from the WAL."""
    rig.sql(PAYMENT)
    rig.add("payment")
    return rig


def test_insert_update_delete(payment: WalRig):
    """log 5: each changed row is one leaf with the row after the change, a delete with the last."""
    payment.sql("INSERT INTO payment VALUES (1, 10.5, 'café'), (2, 3, NULL)")
    payment.sql("UPDATE payment SET amount = 11 WHERE id = 1")
    payment.sql("DELETE FROM payment WHERE id = 1")
    queued = payment.queue()
    assert [
        ("insert", {"amount": "10.50", "id": "1", "note": "café"}),
        ("insert", {"amount": "3.00", "id": "2", "note": None}),
        ("update", {"amount": "11.00", "id": "1", "note": "café"}),
        ("delete", {"amount": "11.00", "id": "1", "note": "café"}),
    ] == [(row.change["op"], row.change["row"]) for row in queued]
    assert [1, 2, 1, 1] == [row.source_id for row in queued]


def test_members_of_a_record(payment: WalRig):
    """A record says when and in which transaction it was committed, and no role."""
    with psycopg.connect(payment.url) as connection:
        connection.execute("INSERT INTO payment VALUES (1, 10.5, 'a')")
        (xid,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone() or ("",)
    (queued,) = payment.queue()
    assert queued.leaf is not None
    record = parse_record(queued.leaf)
    assert record is not None
    assert ("wal", None, None, xid, "public.payment", "payments") == (
        record.via, record.role, record.actor, record.tx, record.table, record.log
    )  # fmt: skip
    assert payment.value(
        "SELECT abs(extract(epoch FROM now() - %s::timestamptz)) < 60", (record.at,)
    )


def test_a_signature_names_the_actor_of_the_rest(payment: WalRig):
    """An actor that the application states stands in what follows in the transaction, no more."""
    with psycopg.connect(payment.url) as connection:
        connection.execute("INSERT INTO payment VALUES (1, 1, 'before')")
        connection.execute("SELECT tally.sign_as('user:7')")
        connection.execute("INSERT INTO payment VALUES (2, 1, 'behind')")
    payment.sql("INSERT INTO payment VALUES (3, 1, 'later')")
    assert [None, "user:7", None] == [row.change["actor"] for row in payment.queue()]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (["UPDATE payment SET amount = amount, note = note || ''"], []),
        (["UPDATE payment SET id = id + 10 WHERE id = 1"], ["D 1", "I 11"]),
        (["INSERT INTO payment VALUES (1, 9) ON CONFLICT (id) DO UPDATE SET amount = 9"], ["U 1"]),
        (["INSERT INTO payment VALUES (1, 9) ON CONFLICT DO NOTHING"], []),
        (
            [
                "MERGE INTO payment AS p USING (VALUES (1, 7), (8, 8)) AS v (id, amount)"
                " ON p.id = v.id WHEN MATCHED THEN UPDATE SET amount = v.amount"
                " WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.amount)"
            ],
            ["U 1", "I 8"],
        ),
        (["COPY payment (id) FROM PROGRAM 'seq 5 6'"], ["I 5", "I 6"]),
        (["TRUNCATE payment"], ["T"]),
        (["BEGIN; DELETE FROM payment; TRUNCATE payment; INSERT INTO payment VALUES (9); COMMIT"],
         ["D 1", "D 2", "T", "I 9"]),
        (["BEGIN; INSERT INTO payment VALUES (3); SAVEPOINT s; INSERT INTO payment VALUES (4);"
          " ROLLBACK TO s; INSERT INTO payment VALUES (5); COMMIT"], ["I 3", "I 5"]),
        (["BEGIN; INSERT INTO payment VALUES (3, 1); ROLLBACK"], []),
        (["BEGIN; INSERT INTO payment VALUES (3, 1); PREPARE TRANSACTION 'later'",
          "INSERT INTO payment VALUES (4, 1)", "COMMIT PREPARED 'later'"], ["I 4", "I 3"]),
    ],
)  # fmt: skip
def test_shapes(payment: WalRig, statements: list[str], expected: list[str]):
    """log 5: each operation leaves its leaves once, in the order of the commits."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a'), (2, 20, 'b')")
    payment.take()
    for statement in statements:
        payment.sql(statement)
    assert expected == payment.take()


def test_cascades(rig: WalRig):
    """log 5: rows that a foreign key's action changes are captured like any other."""
    rig.sql(
        "CREATE TABLE customer (id int PRIMARY KEY);"
        "CREATE TABLE purchase (id int PRIMARY KEY,"
        " customer int REFERENCES customer ON DELETE CASCADE ON UPDATE CASCADE)"
    )
    rig.add("customer")
    rig.add("purchase")
    rig.sql("INSERT INTO customer VALUES (1), (2); INSERT INTO purchase VALUES (10, 1), (11, 2)")
    rig.take()
    rig.sql("UPDATE customer SET id = 3 WHERE id = 1")
    assert ["D 1", "I 3", "U 10"] == rig.take()
    rig.sql("DELETE FROM customer WHERE id = 2")
    assert ["D 11", "D 2"] == sorted(rig.take())


def test_partitions(rig: WalRig):
    """log 5: a row that moves between partitions changes its key; a new partition is captured."""
    rig.sql(
        "CREATE TABLE part (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);"
        "CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (10) TO (20)"
    )
    source = rig.add("part")
    rig.sql("INSERT INTO part VALUES (1, 'a'), (11, 'b')")
    rig.sql("UPDATE part SET id = 12 WHERE id = 1")
    rig.sql("CREATE TABLE part_new PARTITION OF part FOR VALUES FROM (20) TO (30)")
    rig.sql("INSERT INTO part VALUES (21, 'c')")
    assert {"public.part"} == {row.change["table"] for row in rig.queue()}
    assert ["I 1", "I 11", "D 1", "I 12", "I 21"] == rig.take(source)


def test_rules(rig: WalRig):
    """log 6: what is to be ignored leaves nothing."""
    rig.sql(PAYMENT)
    rig.add("payment", on_update="ignore", on_delete="ignore", on_truncate="ignore")
    rig.sql("INSERT INTO payment VALUES (1, 1, 'a'), (2, 2, 'b')")
    rig.sql("UPDATE payment SET amount = 5")
    rig.sql("DELETE FROM payment WHERE id = 1")
    rig.sql("TRUNCATE payment")
    assert ["I 1", "I 2"] == rig.take()


@pytest.mark.parametrize(
    "rule",
    [{"on_update": "refuse"}, {"on_delete": "refuse"}, {"on_truncate": "refuse"},
     {"on_truncate": "expand"}],
)  # fmt: skip
def test_rules_that_the_wal_cannot_keep(rig: WalRig, rule: dict[str, Any]):
    """log 6: who reads what has happened cannot refuse it, and is not asked to."""
    rig.sql(PAYMENT)
    with pytest.raises(UnsupportedSourceError):
        rig.add("payment", **rule)


def test_full_row_keys(rig: WalRig):
    """log 8: two equal rows of a table without key are two leaves, before and behind the start."""
    rig.sql("CREATE TABLE reading (at int, value int); INSERT INTO reading VALUES (1, 1), (1, 1)")
    source = rig.add("reading", key_full_row=True)
    rig.sql("INSERT INTO reading VALUES (1, 1), (2, 2); UPDATE reading SET value = 3 WHERE at = 2")
    assert ["I", "I", "I", "I", "D", "I"] == [row.op for row in rig.queue(source)]
    assert [] == rig.audit()


def test_two_logs_and_two_modes(rig: WalRig):
    """One table feeds two logs from the WAL, and a third by triggers, each change once in each."""
    rig.sql("INSERT INTO tally.verification_logs (log_name, origin) VALUES ('second', 'o/second')")
    rig.sql("INSERT INTO tally.verification_logs (log_name, origin) VALUES ('third', 'o/third')")
    rig.sql(PAYMENT)
    first, second = rig.add("payment"), rig.add("payment", log="second")
    third = rig.add("payment", log="third", capture="trigger")
    rig.sql("INSERT INTO payment VALUES (1, 1, 'a'); UPDATE payment SET amount = 2")
    assert [["I 1", "U 1"]] * 3 == [
        [f"{row.op} {row.source_id}" for row in rig.queue(source)]
        for source in (first, second, third)
    ]


def test_a_value_out_of_line_that_was_left_alone(rig: WalRig):
    """An update that leaves a long value alone records it, though the WAL does not repeat it."""
    rig.sql("CREATE TABLE doc (id int PRIMARY KEY, body text, n int)")
    rig.sql("ALTER TABLE doc ALTER COLUMN body SET STORAGE EXTERNAL")
    rig.add("doc")
    rig.sql("INSERT INTO doc VALUES (1, repeat('x', 7000), 1), (2, repeat('y', 90000), 1)")
    rig.sql("UPDATE doc SET n = 2")
    rig.sql("UPDATE doc SET body = body")
    queued = rig.queue()
    assert ["I 1", "I 2", "U 1", "U 2"] == [f"{row.op} {row.source_id}" for row in queued]
    assert "x" * 7000 == queued[2].row["body"]
    assert queued[1].change["large"] == queued[3].change["large"]
    assert [] == rig.audit()


def test_private_salted_and_hashed(rig: WalRig):
    """Commitments, salted digests and hash columns are made from the WAL as by triggers."""
    rig.sql(
        "INSERT INTO tally.verification_logs (log_name, origin, mode)"
        " VALUES ('digests', 'o/digests', 'digest')"
    )
    rig.sql("CREATE TABLE person (id int PRIMARY KEY, name text, digest bytea)")
    private = rig.add("person", private=("name",))
    salted = rig.add("person", log="digests", leaf_form="salted")
    rig.sql("INSERT INTO person VALUES (1, 'Zoë', sha256('a'))")
    (row,) = rig.queue(private)
    assert {
        "id": "1",
        "digest": "\\x" + "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
    } == row.row
    assert ["name"] == list(row.change["private"])
    assert row.record is not None
    assert "Zoë" in row.record.decode()
    assert row.salt is not None
    (digest,) = rig.queue(salted)
    assert digest.leaf is not None
    assert digest.salt is not None
    assert digest.record is not None
    assert 32 == len(digest.leaf)
    assert [] == rig.audit()


def test_ddl_between_inserts(rig: WalRig):
    """log 9: a new column is recorded at once; one schema leaf follows each change of columns."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    source = rig.add("t")
    rig.sql("INSERT INTO t VALUES (1, 'a')")
    rig.sql("ALTER TABLE t ADD COLUMN b int DEFAULT 7")
    rig.sql("INSERT INTO t VALUES (2, 'a', 8)")
    rig.sql("ALTER TABLE t RENAME COLUMN a TO c")
    rig.sql("UPDATE t SET c = 'd' WHERE id = 1")
    rig.sql("ALTER TABLE t DROP COLUMN b")
    rig.sql("INSERT INTO t VALUES (3, 'e')")
    assert [
        {"id": "1", "a": "a"},
        {"id": "2", "a": "a", "b": "8"},
        {"id": "1", "c": "d", "b": "7"},
        {"id": "3", "c": "e"},
    ] == [row.row for row in rig.queue(source)]
    rig.check("t")
    assert 1 == len(rig.controls("schema"))


def test_names_that_need_quotes(rig: WalRig):
    """Tables and columns with any name work, and each name stands in the record as it is."""
    rig.sql('CREATE TABLE "; DROP" ("Größe" int PRIMARY KEY, "a""b\'c" text)')
    rig.add("; DROP")
    rig.sql("""INSERT INTO "; DROP" VALUES (1, 'x"\n\\')""")
    (row,) = rig.queue()
    assert {"Größe": "1", "a\"b'c": 'x"\n\\'} == row.row
    assert ["1"] == json.loads(row.key)
