"""A failed log is continued by one whose genesis names the fork (log.md, sections 3.1 and 5.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.record import MalformedRecordError, parse_record
from tallystick.seal.audit import audit_log
from tallystick.seal.errors import DamagedLogError, LogFailedError, RollbackError
from tallystick.seal.logs import fail_log, list_keys, recover_log
from tallystick.seal.logs.guard import guard_path, replace_guard
from tallystick.tlog import Checkpoint, Hash, TreeSize, format_checkpoint, format_note, sign_note
from tests.seal.laws.stage import attach
from tests.seal.succession.conftest import as_json, open_line

if TYPE_CHECKING:
    from tests.seal.succession.conftest import Line

FORK_ROOT = b"\x07" * 32


def lose_what_was_signed(line: Line) -> None:
    """Let the guard know a head that the database lost, as after the restore of a backup."""
    bench = line.of("one")
    with bench.database.transaction() as tx:
        [key] = list_keys(tx, "one")
    text = format_checkpoint(Checkpoint("log.example/one", TreeSize(99), Hash(FORK_ROOT)))
    note = format_note(sign_note(text, [bench.keys.signer(key.key_id)])).decode()
    replace_guard(guard_path(bench.keys.directory, "one"), note)
    with pytest.raises(RollbackError):
        bench.sequencer.seal_once(bench.log.log_id)


def test_genesis_names_the_fork(line):
    """log 21: after a rollback the log is continued by one whose genesis names the fork."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.seal("one")
    [(size, root)] = line.run("SELECT tree_size, encode(root_hash, 'hex') FROM tally.log_heads")
    line.run("INSERT INTO payment VALUES (2, 'b')")
    lose_what_was_signed(line)
    assert line.status("one") == "failed"
    line.succeed("one", "two")
    line.run("UPDATE payment SET note = 'c' WHERE id = 1")
    line.seal("two")
    assert line.records("two")[0].detail == {
        "origin": "log.example/one",
        "size": size,
        "root": root,
        "fork": {"size": 99, "root": FORK_ROOT.hex()},
    }
    assert (line.status("one"), line.of("one").size()) == ("failed", size)
    line.audit("two")


def test_what_waited_in_a_failed_log_is_sealed_by_its_successor(line):
    """log 21, 27: what a failed log had not sealed is sealed once, by the log that continues it."""
    line.run("CREATE TABLE wide (id bigint PRIMARY KEY, secret text, blob text)")
    attach(line.bench, "wide", private=["secret"])
    line.run("INSERT INTO wide VALUES (1, 's', 'x')")
    line.run("INSERT INTO payment SELECT i, 'a' FROM generate_series(1, 5) AS i")
    line.seal("one")
    line.run('UPDATE payment SET note = \',"log":"one","op":"\' WHERE id = 1')
    line.run("DELETE FROM payment WHERE id = 2")
    line.run("UPDATE wide SET secret = 't', blob = repeat('y', 10000)")
    columns = ", ".join(f"c{number} text DEFAULT repeat('z', 8000)" for number in range(10))
    line.run(f"CREATE TABLE broad (id bigint PRIMARY KEY, {columns})")
    attach(line.bench, "broad")
    line.run("INSERT INTO broad VALUES (1)")
    waiting = line.run("SELECT op::text, source_key, leaf FROM tally.capture ORDER BY seq")
    assert b'"large":{"*":' in bytes(waiting[-1][2])
    lose_what_was_signed(line)
    line.succeed("one", "two")
    assert line.run("SELECT count(*) FROM tally.capture WHERE log_id = 1") == [(0,)]
    line.seal("two")
    line.audit("two")
    sealed = line.run(
        "SELECT op::text, source_key, leaf FROM tally.merkle_log WHERE log_id = 2 AND op <> 'C'"
        " ORDER BY leaf_index"
    )
    assert [row[:2] for row in sealed] == [row[:2] for row in waiting]
    for (*_, before), (*_, after) in zip(waiting[:-1], sealed[:-1], strict=True):
        assert as_json(bytes(after)) == as_json(bytes(before)) | {"log": "two"}
    assert all(parse_record(bytes(leaf)).log == "two" for *_, leaf in sealed)


def test_salted_leaves_are_carried_over(database_url, tmp_path):
    """The salted digest of a carried change is that of its record in the new log's name."""
    with open_line(database_url, tmp_path / "keys", mode="digest") as line:
        line.run("INSERT INTO payment VALUES (1, 'a'), (2, 'b')")
        line.run("DELETE FROM payment WHERE id = 2")
        with line.bench.database.transaction() as tx:
            fail_log(tx, line.bench.log.log_id, DamagedLogError("seen", expected="a", actual="b"))
        line.succeed("one", "two")
        line.seal("two")
        assert line.of("two").size() == 3
        line.audit("two")


def test_a_failed_log_that_is_continued_stays_failed(line):
    """log 21: recovery of a log that another one continues is refused, clean audit or not."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.seal("one")
    with line.bench.database.transaction() as tx:
        fail_log(tx, line.bench.log.log_id, DamagedLogError("seen", expected="a", actual="b"))
    line.succeed("one", "two")
    assert audit_log(line.bench.database, "one").is_clean
    with (
        pytest.raises(LogFailedError, match="two continues it"),
        line.bench.database.transaction() as tx,
    ):
        recover_log(tx, "one", actor="user:1", reason="looked at it")
    line.seal("two")
    # Nothing is known of another head here, so the genesis names no fork.
    assert set(line.records("two")[0].detail) == {"origin", "size", "root"}


def test_only_a_failed_log_gives_its_queue_away(line):
    """The queue of a log that seals it itself cannot be carried away, whoever asks."""
    line.run("INSERT INTO payment VALUES (1, 'a')")
    line.succeed("one", "two")
    with pytest.raises(psycopg.Error, match="seals its own queue"):
        line.run("SELECT tally.carry_queue_v1(1, 2)")


@pytest.mark.parametrize(
    "detail",
    [
        '{"fork":{"root":"%s","size":9},"origin":null,"root":null,"size":null}' % ("07" * 32),
        '{"fork":{"root":"07","size":9},"origin":"o","root":"%s","size":1}' % ("07" * 32),
        '{"fork":{"size":9},"origin":"o","root":"%s","size":1}' % ("07" * 32),
        '{"fork":null,"origin":"o","root":"%s","size":1}' % ("07" * 32),
    ],
    ids=["of nothing", "short root", "no root", "null"],
)
def test_a_malformed_fork_is_refused(detail):
    """A genesis whose fork is not a size and a root of the log that it names is no record."""
    leaf = (
        'tallystick/seal-record/v1\n{"actor":null,"at":"2026-01-02T03:04:05.000006Z","detail":'
        f'{detail},"key":[],"log":"two","op":"genesis","role":"r","table":null,"tx":"7",'
        '"via":"control"}'
    )
    with pytest.raises(MalformedRecordError):
        parse_record(leaf.encode())
