"""A log continues another: tables move, leaves name each other, histories stay one (log.md 3.1)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.publish import Publisher, RowKey
from tallystick.seal.audit import reconcile_source
from tallystick.seal.errors import (
    InvalidLogError,
    LogExistsError,
    LogFrozenError,
    LogNotFoundError,
    SourceBusyError,
)
from tallystick.seal.headlog import HEADS_LOG, create_heads_log
from tallystick.seal.logs import create_house_logs, create_key, create_log, freeze_log
from tallystick.seal.succession import find_successor, succeed_log
from tallystick.tlog import (
    Hash,
    TreeSize,
    check_consistency,
    check_inclusion,
    hash_leaf,
)
from tests.seal.laws.stage import Writers, attach, sql, wait_until, worker_process
from tests.seal.succession.conftest import open_line
from tests.support.logs import ORIGIN_PREFIX

if TYPE_CHECKING:
    from tests.seal.succession.conftest import Line


def head_of(line: Line, name: str) -> tuple[int, str]:
    """Size and root of a log's head."""
    [head] = line.run(
        "SELECT tree_size, encode(root_hash, 'hex') FROM tally.log_heads WHERE log_name = %s",
        (name,),
    )
    return head


def test_genesis_and_freeze_name_each_other(line):
    """log 27: the genesis names the predecessor's head, the freeze a head that has the genesis."""
    line.run("INSERT INTO payment VALUES (1, 'a'), (2, 'b')")
    line.seal("one")
    size, root = head_of(line, "one")
    line.run("INSERT INTO payment VALUES (3, 'c')")
    made = line.succeed("one", "two")
    assert (made.predecessor_log_id, made.status) == (line.bench.log.log_id, "active")
    line.seal("one", "two")
    genesis = line.records("two")[0]
    assert (genesis.op, genesis.detail) == (
        "genesis",
        {"origin": "log.example/one", "size": size, "root": root},
    )
    freeze = line.records("one")[-1]
    new_size, new_root = head_of(line, "two")
    assert new_size == 1
    assert (freeze.op, freeze.detail) == (
        "freeze",
        {"origin": "log.example/two", "size": new_size, "root": new_root},
    )
    assert (line.status("one"), line.status("two")) == ("frozen", "active")
    assert [one.op for one in line.records("one")] == ["genesis", *["insert"] * 3, "freeze"]


def test_what_the_two_leaves_prove(line):
    """log 27: the predecessor's last tree extends the one that the genesis names, by proof."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.seal("one")
    line.run("INSERT INTO payment SELECT i, 'x' FROM generate_series(2, 40) AS i")
    line.succeed("one", "two")
    line.seal("one", "two")
    publisher = Publisher(line.bench.database)
    publisher.refresh()
    old, new = publisher.published_head("one"), publisher.published_head("two")
    named = line.records("two")[0].detail
    growth = publisher.prove_growth(old, named["size"])
    check_consistency(
        growth.hashes,
        old_size=TreeSize(named["size"]),
        new_size=old.size,
        old_root=Hash(bytes.fromhex(named["root"])),
        new_root=old.root,
    )
    # The freeze leaf is the predecessor's last, and the genesis lies in the tree that it names.
    last = line.records("one")[-1].detail
    assert publisher.entry(old, old.size - 1).leaf.endswith(b"}")
    proof = publisher.prove_index(new, 0, last["size"])
    check_inclusion(
        proof.hashes,
        leaf=hash_leaf(publisher.entry(new, 0).leaf),
        index=proof.index,
        size=TreeSize(last["size"]),
        root=Hash(bytes.fromhex(last["root"])),
    )


def test_tables_move_and_nothing_is_queued_anew(line):
    """A moved table's rows keep their history: no second insert, no finding, no gap."""
    line.run("INSERT INTO payment SELECT i, 'x' FROM generate_series(1, 9) AS i")
    line.seal("one")
    line.succeed("one", "two")
    assert line.sources() == [
        ("payment", "one", "detached"),
        ("refund", "one", "detached"),
        ("payment", "two", "active"),
        ("refund", "two", "active"),
    ]
    assert line.backfill() == 0
    line.audit("one", "two")
    line.run("UPDATE payment SET note = 'y' WHERE id = 3")
    line.run("DELETE FROM payment WHERE id = 4")
    line.audit("two")
    line.seal("one", "two")
    line.audit("one", "two")
    assert line.changes("two") == [
        ("two", "public.payment", "update", "3"),
        ("two", "public.payment", "delete", "4"),
    ]


def test_audit_of_a_successor_sees_what_its_predecessor_said(line):
    """log 27: a row that changed behind the successor's back differs from the old log's leaf."""
    line.run("INSERT INTO payment VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    line.seal("one")
    line.succeed("one", "two")
    line.seal("one", "two")
    with psycopg.connect(line.bench.url) as connection:
        connection.execute("ALTER TABLE payment DISABLE TRIGGER ALL")
        connection.execute("UPDATE payment SET note = 'z' WHERE id = 1")
        connection.execute("DELETE FROM payment WHERE id = 2")
        connection.execute("INSERT INTO payment VALUES (4, 'd')")
        connection.execute(
            "DO $$ DECLARE t record; BEGIN FOR t IN SELECT tgname FROM pg_trigger"
            " WHERE tgrelid = 'payment'::regclass AND NOT tgisinternal LOOP"
            " EXECUTE format('ALTER TABLE payment ENABLE ALWAYS TRIGGER %I', t.tgname);"
            " END LOOP; END $$"
        )
        connection.execute("ALTER TABLE payment DISABLE TRIGGER tally_1_insert")
    expected = [("row_changed", '["1"]'), ("row_missing", '["2"]'), ("row_unlogged", '["4"]')]
    assert sorted(line.findings("two")) == expected
    report = reconcile_source(line.bench.database, "two", "payment", repair=True)
    assert report.queued == 3
    line.seal("two")
    line.audit("two")
    assert sorted(line.changes("two")) == [
        ("two", "public.payment", "delete", "2"),
        ("two", "public.payment", "insert", "4"),
        ("two", "public.payment", "update", "1"),
    ]


def test_truncates_end_keys_over_both_logs(line):
    """A truncate in either log ends the keys before it, and none after it."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.run("INSERT INTO refund VALUES (1, 'a')")
    line.run("TRUNCATE payment")
    line.run("INSERT INTO payment VALUES (2, 'b')")
    line.succeed("one", "two")
    line.run("TRUNCATE refund")
    line.run("INSERT INTO refund VALUES (2, 'b')")
    line.audit("two")
    line.seal("two")
    # The successor's leaves are later than what still waits in the predecessor's queue.
    line.audit("two")
    line.seal("one", "two")
    line.audit("one", "two")


def test_full_row_keys_are_counted_over_both_logs(line):
    """Rows without a key move too: inserts less deletes of both logs are what the table holds."""
    line.run("CREATE TABLE event (what text)")
    attach(line.bench, "event", key_full_row=True)
    line.run("INSERT INTO event VALUES ('a'), ('a'), ('b')")
    line.seal("one")
    line.succeed("one", "two")
    line.run("DELETE FROM event WHERE what = 'b'")
    line.run("INSERT INTO event VALUES ('a')")
    line.audit("two")
    line.seal("one", "two")
    line.audit("one", "two")
    assert line.run("SELECT count(*) FROM event") == [(3,)]


def test_a_line_of_three_logs(line):
    """log 27: a row's history spans every log of its line, in order, and each audit is clean."""
    for number, (log, successor) in enumerate([("one", "two"), ("two", "three")]):
        line.run("INSERT INTO payment VALUES (%s, 'a')", (number,))
        line.run("UPDATE payment SET note = note || 'b' WHERE id = 0")
        line.seal(log)
        line.succeed(log, successor)
        line.seal(log, successor)
    line.run("DELETE FROM payment WHERE id = 0")
    line.seal("three")
    line.audit("one", "two", "three")
    publisher = Publisher(line.bench.database)
    publisher.refresh()
    head, key = publisher.published_head("three"), RowKey.of("payment", "0")
    versions = publisher.row_history(head, key, limit=10)
    assert [(one.log_name, one.op) for one in versions] == [
        ("one", "I"),
        ("one", "U"),
        ("two", "U"),
        ("three", "D"),
    ]
    other = publisher.row_at(head, RowKey.of("payment", "1"))
    assert (other.version.log_name, other.exists) == ("two", True)


def test_succession_is_idempotent_and_refused_by_name(line):
    """The same call again is the same log; a taken name, a second one, a frozen log are not."""
    with pytest.raises(LogNotFoundError):
        line.succeed("nothing", "two")
    with pytest.raises(InvalidLogError):
        line.succeed("one", "Two")
    with line.bench.database.transaction() as tx:
        create_log(tx, "taken", keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
        create_house_logs(tx, keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    with pytest.raises(LogExistsError):
        line.succeed("one", "taken")
    with pytest.raises(InvalidLogError):
        line.succeed("tally", "tally_2")
    made = line.succeed("one", "two")
    assert line.succeed("one", "two").log_id == made.log_id
    with pytest.raises(LogExistsError):
        line.succeed("one", "other")
    with line.bench.database.transaction() as tx:
        successor = find_successor(tx, "one")
        assert successor is not None
        assert successor.log_name == "two"
        assert find_successor(tx, "two") is None
        freeze_log(tx, "taken")
    line.seal("taken")
    assert line.status("taken") == "frozen"
    with pytest.raises(LogFrozenError):
        line.succeed("taken", "after")


def test_the_log_of_logs_is_not_continued(line):
    """Its name is how it is found, also by verifiers: continued, it would take no head any more."""
    with line.bench.database.transaction() as tx:
        create_heads_log(tx, keys=line.bench.keys, origin_prefix=ORIGIN_PREFIX)
    with pytest.raises(InvalidLogError, match="finds it by its name"):
        line.succeed(HEADS_LOG, "next")


def test_a_log_without_a_head_is_not_continued(line):
    """A log that was plainly inserted has nothing that a genesis could name, and no key yet."""
    line.run("INSERT INTO tally.verification_logs (log_name) VALUES ('plain')")
    with pytest.raises(InvalidLogError, match="opens it first"):
        line.succeed("plain", "next")
    with pytest.raises(InvalidLogError), line.bench.database.transaction() as tx:
        create_key(tx, "plain", keys=line.bench.keys)


def test_a_locked_table_delays_nobody_for_long(line):
    """Where a writer holds one table, the others stay writable, and nothing has changed."""
    with psycopg.connect(line.bench.url) as holder:
        holder.execute("INSERT INTO refund VALUES (1, 'held')")
        with pytest.raises(SourceBusyError), line.bench.database.transaction() as tx:
            succeed_log(
                tx,
                "one",
                "two",
                keys=line.bench.keys,
                origin_prefix=ORIGIN_PREFIX,
                patience_seconds=1.0,
            )
        # A writer that holds what is waited for may take the other table: we give way, not he.
        holder.execute("INSERT INTO payment VALUES (1, 'after')")
    assert [state for *_, state in line.sources()] == ["active", "active"]
    line.succeed("one", "two")
    line.seal("one", "two")
    assert len(line.changes("one")) == 2


def test_a_digest_log_is_continued(database_url, tmp_path):
    """A digest log, which has no control leaves, is continued as well: its tables move."""
    with open_line(database_url, tmp_path / "keys", mode="digest") as line:
        line.run("INSERT INTO payment VALUES (1, 'a'), (2, 'b')")
        line.succeed("one", "two")
        line.run("UPDATE payment SET note = 'c' WHERE id = 1")
        line.seal("one", "two")
        line.audit("one", "two")
        assert (line.of("one").size(), line.of("two").size()) == (2, 1)
        assert line.status("one") == "frozen"


def change(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Write to both tables, in an order that differs by writer, and change what was written."""
    tables = ["payment", "refund"] if number % 2 else ["refund", "payment"]
    first = number * 10_000_000 + turn * 10
    for table in tables:
        connection.execute(
            f"INSERT INTO {table} SELECT i, 'v1'"
            f" FROM generate_series({first}, {first + 4}) AS i".encode()
        )
        connection.commit()
    connection.execute(
        f"UPDATE {tables[0]} SET note = 'v2' WHERE id BETWEEN {first} AND {first + 2}".encode()
    )
    connection.execute(f"DELETE FROM {tables[1]} WHERE id = {first}".encode())
    return 14


def test_succession_under_load(line):
    """log 27: with 8 writers each change is in exactly one of the logs; all audits are clean."""
    names = ["one", "two", "three"]
    writers = Writers(line.bench.url, change)
    with worker_process(line.bench):
        with writers.running(8):
            for log, successor in itertools.pairwise(names):
                wait_until(lambda log=log: line.of(log).size() > 300, "leaves")
                line.succeed(log, successor)
                before = writers.committed
                wait_until(lambda before=before: writers.committed > before + 500, "changes")
        wait_until(
            lambda: sql(line.bench.url, "SELECT count(*) FROM tally.capture") == [(0,)], "an end"
        )
        wait_until(lambda: line.status("two") == "frozen", "the freeze")
    said = [change[1:] for change in line.changes(*names)]
    assert (len(said), len(set(said))) == (writers.committed, writers.committed)
    line.audit(*names)
    for log, successor in itertools.pairwise(names):
        genesis, freeze = line.records(successor)[0], line.records(log)[-1]
        assert (genesis.op, genesis.detail["origin"]) == ("genesis", f"log.example/{log}")
        assert (freeze.op, freeze.detail["origin"]) == ("freeze", f"log.example/{successor}")
        assert freeze.detail["size"] > 0
        assert {one.op for one in line.records(log)[:-1]} >= {"insert", "update", "delete"}
    # A version never stands in an earlier log than the one that it continues.
    seen: dict[tuple[str, str], str] = {}
    for _, table, op, key in line.changes(*names):
        assert (
            seen.get((table, key)) == {"insert": None, "update": "insert", "delete": "insert"}[op]
        )
        seen[table, key] = op
