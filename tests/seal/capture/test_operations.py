"""What each operation on a captured table leaves in the queue (log.md, sections 4.5 and 5.1)."""

from __future__ import annotations

import hashlib
import json

import psycopg
import pytest

from tests.seal.capture.rig import TAG, Rig

PAYMENT = "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"


@pytest.fixture
def payment(rig: Rig) -> Rig:
    """A rig with the captured table `payment`."""
    rig.sql(PAYMENT)
    rig.seal("payment")
    return rig


def test_insert_update_delete(payment: Rig):
    """log 5: each changed row is one leaf with the row after the change, a delete with the last."""
    payment.sql("INSERT INTO payment VALUES (1, 10.5, 'café'), (2, 3, NULL)")
    payment.sql("UPDATE payment SET amount = 11 WHERE id = 1")
    payment.sql("DELETE FROM payment WHERE id = 1")
    changes = [row.change for row in payment.queue()]
    assert [
        ("insert", {"amount": "10.50", "id": "1", "note": "café"}),
        ("insert", {"amount": "3.00", "id": "2", "note": None}),
        ("update", {"amount": "11.00", "id": "1", "note": "café"}),
        ("delete", {"amount": "11.00", "id": "1", "note": "café"}),
    ] == [(change["op"], change["row"]) for change in changes]
    assert [1, 2, 1, 1] == [row.source_id for row in payment.queue()]


def test_members_of_a_record(payment: Rig):
    """A record says log, table, operation, way, key, time, transaction, login role and actor."""
    payment.sql("CREATE ROLE clerk; GRANT ALL ON payment TO clerk")
    with payment.connection.transaction():
        payment.sql("SET LOCAL tally.actor = 'user:7'; SET LOCAL ROLE clerk")
        payment.sql("INSERT INTO payment VALUES (1, 10.5, 'a')")
    (queued,) = payment.queue()
    payment.sql("DROP OWNED BY clerk; DROP ROLE clerk")
    change = queued.change
    assert sorted(change) == list(change)
    at = change.pop("at")
    assert {
        "actor": "user:7", "key": ["1"], "log": "payments", "op": "insert", "role": "postgres",
        "row": {"amount": "10.50", "id": "1", "note": "a"}, "table": "public.payment",
        "tx": queued.xid, "via": "trigger",
    } == change  # fmt: skip
    assert payment.value("SELECT abs(extract(epoch FROM now() - %s::timestamptz)) < 60", (at,))


def test_no_op_update(payment: Rig):
    """log 5: an update in which no recorded column differs leaves nothing."""
    payment.sql("INSERT INTO payment VALUES (1, 10.5, 'a')")
    payment.take()
    payment.sql("UPDATE payment SET amount = amount, note = note || ''")
    assert [] == payment.take()


@pytest.mark.parametrize(
    ("type_name", "before", "after"),
    [
        ("numeric", "'1.0'", "'1.00'"),
        ("float8", "'0'", "'-0'"),
        ("interval", "'24 hours'", "'1 day'"),
        ("jsonb", "'{\"a\": 1.0}'", "'{\"a\": 1.00}'"),
        ("timetz", "'12:00+00'", "'13:00+01'"),
        ("text COLLATE nearly", "'a'", "'A'"),
        ("text", "NULL", "''"),
    ],
)
def test_equal_values_with_other_texts(rig: Rig, type_name: str, before: str, after: str):
    """A value that PostgreSQL calls equal, but prints otherwise, is an update."""
    if "nearly" in type_name:
        try:
            rig.sql(
                "CREATE COLLATION nearly"
                " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
            )
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server is built without ICU")
    rig.sql(f"CREATE TABLE t (id int PRIMARY KEY, value {type_name})")
    rig.seal("t")
    rig.sql(f"INSERT INTO t VALUES (1, {before})")
    rig.sql(f"UPDATE t SET value = {after}")
    assert ["I 1", "U 1"] == rig.take()


def test_update_of_the_key(payment: Rig):
    """log 5: an update of the key is a delete of the old key and an insert of the new one."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a'), (2, 20, 'b')")
    payment.take()
    payment.sql("UPDATE payment SET id = id + 10, amount = 5")
    assert {
        ("D", '["1"]', "10.00"), ("D", '["2"]', "20.00"),
        ("I", '["11"]', "5.00"), ("I", '["12"]', "5.00"),
    } == {(row.op, row.key, row.row["amount"]) for row in payment.queue()}  # fmt: skip


def test_keys_equal_but_printed_otherwise(rig: Rig):
    """A key whose text changes while PostgreSQL calls it equal is another key."""
    rig.sql("CREATE TABLE t (id numeric PRIMARY KEY)")
    rig.seal("t")
    rig.sql("INSERT INTO t VALUES (1.0)")
    rig.take()
    rig.sql("UPDATE t SET id = 1.00")
    assert ["D 1.0", "I 1.00"] == sorted(rig.take())


@pytest.mark.parametrize(
    ("columns", "key", "values", "expected"),
    [
        ("a bool", ["a"], "true", ["t"]),
        ("a int2", ["a"], "-7", ["-7"]),
        ("a text", ["a"], "'x\"y'", ['x"y']),
        ("a inet", ["a"], "'10.0.0.1'", ["10.0.0.1"]),
        ("a uuid", ["a"], "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", None),
        ("a timestamptz", ["a"], "'2026-01-02 03:04:05+02'", ["2026-01-02 01:04:05+00"]),
        ("a int, b bool, c text", ["c", "b", "a"], "1, false, 'z'", ["z", "f", "1"]),
    ],
)
def test_keys_of_types(rig: Rig, columns: str, key: list[str], values: str, expected: list[str]):
    """A key is the array of its columns' output texts, in the queue's column as in the record."""
    rig.sql(f"CREATE TABLE t ({columns}, value int, PRIMARY KEY ({', '.join(key)}))")
    rig.seal("t", key=key)
    rig.sql(f"INSERT INTO t VALUES ({values}, 0); UPDATE t SET value = 1; DELETE FROM t")
    for queued in rig.queue():
        assert (expected or values[1:-1].split()) == json.loads(queued.key)
        assert json.loads(queued.key) == queued.change["key"]


def test_on_conflict(payment: Rig):
    """log 5: ON CONFLICT DO UPDATE gives one insert or one update for each row."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    payment.take()
    payment.sql(
        "INSERT INTO payment VALUES (1, 11, 'b'), (2, 20, 'c')"
        " ON CONFLICT (id) DO UPDATE SET amount = excluded.amount"
    )
    assert ["I 2", "U 1"] == sorted(payment.take())
    payment.sql("INSERT INTO payment VALUES (1, 0, '') ON CONFLICT DO NOTHING")
    assert [] == payment.take()


def test_merge(payment: Rig):
    """log 5: MERGE gives one leaf for each row that it changed."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c')")
    payment.take()
    payment.sql(
        "MERGE INTO payment AS p USING (VALUES (1), (2), (4)) AS v (id) ON p.id = v.id"
        " WHEN MATCHED AND v.id = 1 THEN DELETE"
        " WHEN MATCHED THEN UPDATE SET amount = 0"
        " WHEN NOT MATCHED THEN INSERT VALUES (v.id, 40, 'd')"
    )
    assert ["D 1", "I 4", "U 2"] == sorted(payment.take())


def test_merge_gives_a_key_away(payment: Rig):
    """A MERGE that takes a key from one row and gives it to another is one update of that key."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    payment.take()
    payment.sql(
        "MERGE INTO payment AS p USING (VALUES (1, 1), (2, 1)) AS v (n, id) ON p.id = v.n"
        " WHEN MATCHED THEN UPDATE SET id = 9"
        " WHEN NOT MATCHED THEN INSERT VALUES (v.id, 40, 'd')"
    )
    assert {("U", '["1"]', "40.00"), ("I", '["9"]', "10.00")} == {
        (row.op, row.key, row.row["amount"]) for row in payment.queue()
    }


def test_merge_not_matched_by_source(payment: Rig):
    """MERGE … WHEN NOT MATCHED BY SOURCE and RETURNING are captured where the server has them."""
    if payment.connection.info.server_version < 170000:
        pytest.skip("PostgreSQL 17 brought them")
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a'), (2, 20, 'b')")
    payment.take()
    payment.sql(
        "MERGE INTO payment AS p USING (VALUES (2)) AS v (id) ON p.id = v.id"
        " WHEN MATCHED THEN UPDATE SET amount = 1"
        " WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action(), p.id"
    )
    assert ["D 1", "U 2"] == sorted(payment.take())


def test_copy(payment: Rig):
    """log 5: COPY is captured like an insert."""
    with payment.connection.cursor().copy("COPY payment FROM STDIN") as copy:
        copy.write("1\t10\ta\n2\t20\t\\N\n")
    assert ["I 1", "I 2"] == payment.take()


def test_cascade(rig: Rig):
    """log 5: rows that foreign keys delete, update or set null are captured, once."""
    rig.sql(
        "CREATE TABLE customer (id int PRIMARY KEY);"
        "CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customer"
        " ON DELETE CASCADE ON UPDATE CASCADE);"
        "CREATE TABLE line (id int PRIMARY KEY, orders int REFERENCES orders ON DELETE SET NULL)"
    )
    for table in ("customer", "orders", "line"):
        rig.seal(table)
    rig.sql("INSERT INTO customer VALUES (1), (2)")
    rig.sql("INSERT INTO orders VALUES (10, 1), (20, 2)")
    rig.sql("INSERT INTO line VALUES (100, 10), (101, 10)")
    rig.take()
    rig.sql("UPDATE customer SET id = 3 WHERE id = 2")
    assert ["D 2", "I 3", "U 20"] == sorted(rig.take())
    rig.sql("DELETE FROM customer WHERE id = 1")
    assert ["D 1", "D 10", "U 100", "U 101"] == sorted(rig.take())


def test_self_referencing_cascade(rig: Rig):
    """A cascade that changes a row which its statement had changed gives one leaf per key."""
    rig.sql(
        "CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON UPDATE CASCADE"
        " ON DELETE SET NULL)"
    )
    rig.seal("tree")
    rig.sql("INSERT INTO tree VALUES (1, 1), (2, 1), (3, 2)")
    rig.take()
    rig.sql("UPDATE tree SET id = id + 100 WHERE id IN (1, 2)")
    found = {(row.op, row.key): row.row["parent"] for row in rig.queue()}
    assert {
        ("D", '["1"]'): "1", ("D", '["2"]'): "1",
        ("I", '["101"]'): "101", ("I", '["102"]'): "101", ("U", '["3"]'): "102",
    } == found  # fmt: skip


@pytest.mark.parametrize("partition_key", ["region", "id"])
def test_partitions(rig: Rig, partition_key: str):
    """log 5: partitions are one source whichever a statement names; a move is an update."""
    rig.sql(
        f"CREATE TABLE sale (id int, region text, amount int, PRIMARY KEY (id, region))"
        f" PARTITION BY LIST ({partition_key});"
    )
    low, high = ("'north'", "'south'") if partition_key == "region" else ("1, 2", "3, 4")
    rig.sql(
        f"CREATE TABLE sale_low PARTITION OF sale FOR VALUES IN ({low});"
        # The columns of this one stand in another order.
        f"CREATE TABLE sale_high (amount int, region text NOT NULL, id int NOT NULL);"
        f"ALTER TABLE sale ATTACH PARTITION sale_high FOR VALUES IN ({high})"
    )
    rig.seal("sale", key=["id"])
    rig.sql("INSERT INTO sale VALUES (1, 'north', 5), (3, 'south', 6)")
    rig.sql("INSERT INTO sale_high (id, region, amount) VALUES (4, 'south', 7)")
    assert ["I 1", "I 3", "I 4"] == rig.take()
    moved = "region = 'south'" if partition_key == "region" else "id = 3 + 1"
    rig.sql("DELETE FROM sale WHERE id = 4")
    rig.take()
    rig.sql(f"UPDATE sale SET {moved} WHERE id = 1")
    assert (["U 1"] if partition_key == "region" else ["D 1", "I 4"]) == sorted(rig.take())
    rig.sql("UPDATE sale_high SET amount = 1 WHERE id = 3")
    rig.sql("DELETE FROM ONLY sale_high WHERE id = 3")
    assert ["U 3", "D 3"] == rig.take()


def test_inheritance(rig: Rig):
    """Children of an inheritance parent are captured with the parent's columns."""
    rig.sql(
        "CREATE TABLE animal (id int PRIMARY KEY, name text);"
        "CREATE TABLE dog (breed text, PRIMARY KEY (id)) INHERITS (animal)"
    )
    rig.seal("animal")
    rig.sql("INSERT INTO animal VALUES (1, 'cat'); INSERT INTO dog VALUES (2, 'rex', 'pug')")
    rig.sql("UPDATE animal SET name = name || '!'")
    assert [
        {"id": "1", "name": "cat"}, {"id": "2", "name": "rex"},
        {"id": "1", "name": "cat!"}, {"id": "2", "name": "rex!"},
    ] == rig.rows()  # fmt: skip


def test_truncate_is_one_leaf(payment: Rig):
    """log 5: a truncate is one leaf without key and row."""
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    payment.take()
    payment.sql("TRUNCATE payment")
    (queued,) = payment.queue()
    assert ("T", "[]", "truncate", [], None) == (
        queued.op, queued.key, queued.change["op"], queued.change["key"], queued.change["row"],
    )  # fmt: skip


def test_truncate_expanded(rig: Rig):
    """log 6: `expand` makes a truncate a delete of every row."""
    rig.sql(PAYMENT)
    rig.seal("payment", on_truncate="expand")
    rig.sql("INSERT INTO payment VALUES (1, 10, 'a'), (2, 20, 'b')")
    rig.take()
    rig.sql("TRUNCATE payment")
    assert ["D 1", "D 2"] == rig.take()


def test_truncate_of_a_partition(rig: Rig):
    """A truncate of a part of the source is a delete of its rows, of the whole a delete of all."""
    rig.sql(
        "CREATE TABLE sale (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM (10) TO (20)"
    )
    rig.seal("sale", on_truncate="expand")
    rig.sql("INSERT INTO sale VALUES (1), (11), (12)")
    rig.take()
    rig.sql("TRUNCATE sale_1")
    assert ["D 1"] == rig.take()
    rig.sql("TRUNCATE sale")
    assert ["D 11", "D 12"] == rig.take()


@pytest.mark.parametrize(
    ("rules", "statement", "expected"),
    [
        ({"on_update": "ignore"}, "UPDATE payment SET amount = 0", []),
        ({"on_delete": "ignore"}, "DELETE FROM payment", []),
        ({"on_truncate": "ignore"}, "TRUNCATE payment", []),
        (
            {"on_update": "ignore"},
            "INSERT INTO payment VALUES (1, 0, ''), (3, 0, '')"
            " ON CONFLICT (id) DO UPDATE SET amount = 0",
            ["I 3"],
        ),
    ],
)
def test_ignore(rig: Rig, rules: dict[str, str], statement: str, expected: list[str]):
    """log 6: with `ignore` an operation leaves nothing, and the others go on."""
    rig.sql(PAYMENT)
    rig.seal("payment", **rules)
    rig.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    assert ["I 1"] == rig.take()
    rig.sql(statement)
    assert expected == rig.take()


@pytest.mark.parametrize(
    ("rules", "statement", "harmless"),
    [
        ({"on_update": "refuse"}, "UPDATE payment SET amount = 0", " WHERE id = 99"),
        ({"on_delete": "refuse"}, "DELETE FROM payment", " WHERE id = 99"),
        ({"on_truncate": "refuse"}, "TRUNCATE payment", None),
    ],
)
def test_refuse(rig: Rig, rules: dict[str, str], statement: str, harmless: str | None):
    """log 6: with `refuse` a statement that changes a row is TS101, another passes."""
    rig.sql(PAYMENT)
    rig.seal("payment", **rules)
    rig.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    with pytest.raises(psycopg.Error) as raised:
        rig.sql(statement)
    assert "TS101" == raised.value.sqlstate
    if harmless:
        rig.sql(statement + harmless)
    assert [(1,)] == rig.sql("SELECT count(*) FROM payment")
    rig.sql("INSERT INTO payment VALUES (2, 10, 'a')")
    assert ["I 1", "I 2"] == rig.take()


def test_full_row_key(rig: Rig):
    """log 8: without a key each row inserted or deleted is a leaf, equal rows one each."""
    rig.sql("CREATE TABLE reading (sensor int, value text)")
    rig.seal("reading", key=[])
    rig.sql("INSERT INTO reading VALUES (1, 'a'), (1, 'a'), (2, 'b')")
    row = b'{"sensor":"1","value":"a"}'
    key = hashlib.sha256(b"tallystick/seal-row-key/v1\n" + row).hexdigest()
    assert [json.dumps([key])] * 2 == [queued.key for queued in rig.queue()][:2]
    rig.take()
    rig.sql("UPDATE reading SET value = 'c' WHERE sensor = 1")
    changes = [(queued.op, queued.row["value"]) for queued in rig.queue()]
    assert [("D", "a")] * 2 + [("I", "c")] * 2 == sorted(changes)
    rig.take()
    rig.sql("UPDATE reading SET value = value")
    assert [] == rig.take()


def test_full_row_key_swaps_count(rig: Rig):
    """Rows that become each other leave nothing: only their number per content counts."""
    rig.sql("CREATE TABLE reading (value text)")
    rig.seal("reading", key=[])
    rig.sql("INSERT INTO reading VALUES ('a'), ('b'), ('b')")
    rig.take()
    rig.sql("UPDATE reading SET value = CASE value WHEN 'a' THEN 'b' ELSE 'a' END")
    assert [("D", "b"), ("I", "a")] == sorted((q.op, q.row["value"] or "") for q in rig.queue())


def test_columns_included_excluded(rig: Rig):
    """Only the named columns and the key are recorded; a change of the others leaves nothing."""
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a int, b int)")
    rig.make_log("second")
    rig.seal("t", include_columns=["a"])
    rig.seal("t", log="second", exclude_columns=["a"])
    rig.sql("INSERT INTO t VALUES (1, 2, 3)")
    assert [{"id": "1", "a": "2"}, {"id": "1", "b": "3"}] == rig.rows()
    rig.sql("UPDATE t SET b = 4")
    assert [{"id": "1", "b": "4"}] == rig.rows()


def test_generated_columns(rig: Rig):
    """Stored generated columns are recorded, virtual ones not."""
    virtual = (
        ", v int GENERATED ALWAYS AS (a * 3) VIRTUAL"
        if rig.connection.info.server_version >= 180000
        else ""
    )
    rig.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a int,"
        f" s int GENERATED ALWAYS AS (a * 2) STORED{virtual})"
    )
    rig.seal("t")
    rig.sql("INSERT INTO t VALUES (1, 2)")
    rig.sql("UPDATE t SET a = 3")
    assert ["4", "6"] == [row["s"] for row in rig.rows()]


def test_column_form(rig: Rig):
    """With form `column` the hash is the leaf; what is no hash is queued with its problem."""
    rig.make_log("hashes", "digest")
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, h bytea)")
    rig.seal("t", log="hashes", leaf_form="column", hash_column="h")
    rig.sql("INSERT INTO t VALUES (1, sha256('a')), (2, NULL), (3, '\\x01')")
    rig.sql("UPDATE t SET h = sha256('b') WHERE id = 3")
    rig.sql("DELETE FROM t WHERE id = 1")
    rig.sql("TRUNCATE t")
    one, two, three, repaired, deleted, truncated = rig.queue()
    assert (hashlib.sha256(b"a").digest(), None) == (one.leaf, one.problem)
    assert (None, "the hash is null") == (two.leaf, two.problem)
    assert (None, "the hash has 1 bytes, not 16 to 64") == (three.leaf, three.problem)
    assert hashlib.sha256(b"b").digest() == repaired.leaf
    for queued in (deleted, truncated):
        assert queued.salt is not None
        assert queued.record is not None
        assert salted(queued.salt, queued.record) == queued.leaf
    assert "delete" == deleted.change["op"]


def test_salted_form(rig: Rig):
    """With form `salted` the leaf is the digest of salt and record, and no two are alike."""
    rig.make_log("hashes", "digest")
    rig.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    rig.seal("t", log="hashes", leaf_form="salted")
    rig.sql("INSERT INTO t SELECT i, 'same' FROM generate_series(1, 50) AS i")
    found = rig.queue()
    assert 50 == len({queued.salt for queued in found})
    for queued in found:
        assert queued.salt is not None
        assert queued.record is not None
        assert 32 == len(queued.salt)
        assert queued.record.startswith(TAG)
        assert salted(queued.salt, queued.record) == queued.leaf


def salted(salt: bytes, record: bytes) -> bytes:
    """The salted leaf of log.md 5.2."""
    tag = b"tallystick/seal-salted-record/v1\n"
    return hashlib.sha256(tag + b"\0" + salt + record).digest()


def test_two_logs(payment: Rig):
    """One table may feed two logs; each gets every change once."""
    payment.make_log("second")
    second = payment.seal("payment", log="second")
    payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
    payment.sql(
        "INSERT INTO payment VALUES (1, 11, 'b'), (2, 2, 'c')"
        " ON CONFLICT (id) DO UPDATE SET amount = 3"
    )
    everything = payment.queue()
    mine = [(queued.op, queued.key) for queued in payment.queue(second)]
    assert 2 * sorted(mine) == sorted(
        [(queued.op, queued.key) for queued in everything if queued.change["log"] == "second"]
    ) + sorted(
        [(queued.op, queued.key) for queued in everything if queued.change["log"] == "payments"]
    )


def test_replication_role(payment: Rig):
    """`session_replication_role = replica` does not silence capture."""
    with payment.connection.transaction():
        payment.sql("SET LOCAL session_replication_role = replica")
        payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
        payment.sql("TRUNCATE payment")
    assert ["I 1", "T"] == payment.take()


def test_statement_without_rows_takes_no_transaction_id(payment: Rig):
    """A statement that changes no row queues nothing and costs no transaction id."""
    with payment.connection.transaction():
        payment.sql("UPDATE payment SET amount = 0")
        payment.sql("DELETE FROM payment")
        assert payment.value("SELECT pg_current_xact_id_if_assigned()") is None


def test_writer_needs_rights_on_the_table_alone(payment: Rig):
    """A role with rights on the table alone is captured, and cannot use the generated function."""
    payment.sql(
        "CREATE ROLE writer; GRANT ALL ON payment TO writer; CREATE SCHEMA w AUTHORIZATION writer"
    )
    try:
        payment.sql("SET ROLE writer")
        payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
        payment.sql("UPDATE payment SET id = 2")
        payment.sql("DELETE FROM payment")
        payment.sql(
            "CREATE TABLE w.forged (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            payment.sql(
                "CREATE TRIGGER forged AFTER INSERT ON w.forged REFERENCING NEW TABLE AS tally_new"
                " FOR EACH STATEMENT EXECUTE FUNCTION tally.capture_1()"
            )
    finally:
        payment.sql("RESET ROLE; DROP OWNED BY writer; DROP ROLE writer")
    assert ["I 1", "D 1", "I 2", "D 2"] == payment.take()


def test_rollback_takes_queue_rows_along(payment: Rig):
    """What a savepoint's rollback undoes is not in the queue."""
    with payment.connection.transaction():
        payment.sql("INSERT INTO payment VALUES (1, 10, 'a')")
        payment.sql("SAVEPOINT s; INSERT INTO payment VALUES (2, 10, 'a'); ROLLBACK TO s")
        payment.sql("INSERT INTO payment VALUES (3, 10, 'a')")
    assert ["I 1", "I 3"] == payment.take()
