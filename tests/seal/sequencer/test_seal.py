"""The sealing transaction (log.md, section 5.5)."""

from __future__ import annotations

import hashlib
import re
import threading
from pathlib import Path

import psycopg
import pytest

from tallystick.record import ed25519_verifier, parse_record
from tallystick.seal.errors import EdgeMismatchError, RollbackError
from tallystick.seal.logs import list_keys
from tallystick.seal.logs.guard import guard_path, read_guard
from tallystick.seal.sources import add_source
from tallystick.tlog import check_note, hash_leaf, parse_checkpoint, parse_note, tree_root
from tests.support.logs import LogBench, make_bench, queue_leaf


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log without control leaves, so that its size is what the test queued."""
    return make_bench(database_url, tmp_path / "keys", control_leaves=False)


def leaves_of(bench: LogBench) -> list[bytes]:
    """The log's leaves in the order of their indexes, which must be gapless."""
    with psycopg.connect(bench.url) as connection:
        rows = connection.execute(
            "SELECT leaf_index, leaf FROM tally.merkle_log WHERE log_id = %s ORDER BY leaf_index",
            (bench.log.log_id,),
        ).fetchall()
    assert [index for index, _ in rows] == list(range(len(rows)))
    return [bytes(leaf) for _, leaf in rows]


def test_head_commits_to_exactly_the_leaves(bench):
    """A checkpoint is signed by the log's key and its root is that of the leaves in order."""
    wanted = [f"leaf {number}".encode() for number in range(700)]
    bench.push(*wanted)
    assert bench.seal_all() == 700
    note = bench.value(
        "SELECT note FROM tally.checkpoints WHERE log_id = %s ORDER BY tree_size DESC LIMIT 1"
    )
    with bench.database.transaction() as tx:
        [key] = list_keys(tx, bench.log.log_name)
    parsed = parse_note(note.encode())
    check_note(parsed, [ed25519_verifier(key.vkey)])
    checkpoint = parse_checkpoint(parsed.text)
    assert checkpoint.root == tree_root([hash_leaf(leaf) for leaf in wanted])
    assert leaves_of(bench) == wanted


POISON = {
    "no bytes": ("''", "'[]'"),
    "a byte too many": ("convert_to(repeat('x', 65536), 'UTF8')", "'[]'"),
    "a key that no index takes": (
        "'leaf'",
        "(SELECT string_agg(sha256(i::text::bytea)::text, '') FROM generate_series(1, 50) AS i)",
    ),
}


@pytest.mark.parametrize("poison", POISON)
def test_row_that_cannot_be_a_leaf_is_quarantined(bench, poison):
    """A queue row that the log would refuse is set aside with the reason; the log goes on."""
    leaf, key = POISON[poison]
    bench.push(b"before")
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
            f" VALUES (%s, 'A', 'a', {key}, {leaf}, tally.clock())",
            (bench.log.log_id,),
        )
    bench.push(b"behind")
    assert bench.seal_all() == 2
    assert leaves_of(bench) == [b"before", b"behind"]
    quarantined = bench.value(
        "SELECT string_agg(problem, ';') FROM tally.capture_quarantine WHERE log_id = %s"
    )
    assert re.fullmatch(r"the (leaf|key) has \d+ bytes, [^;]+", quarantined)


def test_writer_with_an_endless_actor_stops_no_log(bench):
    """Whatever a writer says in tally.actor, the changes of others are sealed."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE tick (id integer PRIMARY KEY)")
        with bench.database.transaction() as tx:
            add_source(tx, bench.log.log_name, "tick")
        connection.execute("SELECT set_config('tally.actor', repeat('x', 70000), false)")
        connection.execute("INSERT INTO tick VALUES (1)")
        connection.execute("SET tally.actor = E'user:\"7\"\\n'")
        connection.execute("INSERT INTO tick VALUES (2)")
    bench.seal_all()
    last = parse_record(leaves_of(bench)[-1])
    assert (last.key, last.actor) == (("2",), 'user:"7"\n')


def test_size_zero_is_signed_when_the_log_is_made(bench):
    """A log has a signed checkpoint of size 0, whose root is that of the empty tree."""
    root = bench.value("SELECT root_hash FROM tally.checkpoints WHERE log_id = %s")
    assert bytes(root) == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("batch_size", [1, 7, 255, 256, 257])
def test_batches_of_any_size_make_the_same_tree(database_url, tmp_path, batch_size):
    """The tree does not depend on how its leaves were cut into batches."""
    bench = make_bench(database_url, tmp_path / "keys", batch_size=batch_size, control_leaves=False)
    wanted = [b"leaf %d" % number for number in range(300)]
    bench.push(*wanted)
    bench.seal_all()
    root = bench.value(
        "SELECT root_hash FROM tally.checkpoints WHERE log_id = %s ORDER BY tree_size DESC LIMIT 1"
    )
    assert bytes(root) == tree_root([hash_leaf(leaf) for leaf in wanted])


def test_late_commit_with_a_low_seq_is_sealed(bench):
    """log 3: a transaction that is open across ten batches loses nothing when it commits."""
    sequencer = bench.sequencer
    with psycopg.connect(bench.url) as late:
        queue_leaf(late, bench.log.log_id, b"late")
        for number in range(10):
            bench.push(b"early %d" % number)
            sequencer.seal_once(bench.log.log_id)
        late.commit()
    sequencer.seal_once(bench.log.log_id)
    assert leaves_of(bench) == [*(b"early %d" % number for number in range(10)), b"late"]


def test_rolled_back_changes_leave_nothing(bench):
    """log 3: a change is sealed if and only if its transaction commits, savepoints included."""
    with psycopg.connect(bench.url) as connection:
        queue_leaf(connection, bench.log.log_id, b"kept")
        with pytest.raises(ZeroDivisionError), connection.transaction():
            queue_leaf(connection, bench.log.log_id, b"undone")
            raise ZeroDivisionError
        connection.commit()
        queue_leaf(connection, bench.log.log_id, b"undone too")
        connection.rollback()
    bench.seal_all()
    assert leaves_of(bench) == [b"kept"]


def test_floor_with_full_batches_and_open_writers_skips_nothing(database_url, tmp_path):
    """log 3: with tiny batches, interleaved open writers and a moving floor every row is sealed."""
    bench = make_bench(database_url, tmp_path / "keys", batch_size=3, control_leaves=False)
    sequencer = bench.sequencer
    open_writers: list[psycopg.Connection] = []
    expected = 0
    for round_ in range(30):
        writer = psycopg.connect(bench.url)
        queue_leaf(writer, bench.log.log_id, b"slow %d" % round_)
        open_writers.append(writer)
        bench.push(*(b"quick %d %d" % (round_, number) for number in range(4)))
        expected += 5
        sequencer.seal_once(bench.log.log_id)
        if round_ % 3 == 2:
            with open_writers.pop(0) as first:
                first.commit()
    for writer in open_writers:
        with writer:
            writer.commit()
    while (sealed := sequencer.seal_once(bench.log.log_id)) and sealed.rows:
        pass
    assert len(leaves_of(bench)) == expected == len(set(leaves_of(bench)))


def test_two_sequencers_share_a_log(bench):
    """log 3: two sequencers on one log leave no gap, no double and one root for each size."""
    total = 400

    def seal() -> None:
        own = bench.sequencer
        while not done.is_set():
            own.seal_once(bench.log.log_id)

    done = threading.Event()
    threads = [threading.Thread(target=seal) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(total):
        bench.push(b"leaf %d" % number)
    done.set()
    for thread in threads:
        thread.join()
    bench.seal_all()
    assert sorted(leaves_of(bench)) == sorted(b"leaf %d" % number for number in range(total))


def test_restart_continues_from_tiles(bench):
    """A sequencer that remembers nothing goes on with the same tree (law 9)."""
    wanted = []
    for round_ in range(6):
        new = [b"leaf %d %d" % (round_, number) for number in range(100)]
        wanted += new
        bench.push(*new)
        bench.seal_all()
    root = bench.value(
        "SELECT root_hash FROM tally.checkpoints WHERE log_id = %s ORDER BY tree_size DESC LIMIT 1"
    )
    assert bytes(root) == tree_root([hash_leaf(leaf) for leaf in wanted])


def test_poison_row_is_quarantined(bench):
    """log 16: a row that cannot be sealed goes to quarantine and blocks nothing."""
    bench.push(b"before")
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "INSERT INTO tally.capture (log_id, op, via, source_key, problem, captured_at)"
            " VALUES (%s, 'I', 't', '[\"1\"]', 'the hash is null', tally.clock())",
            (bench.log.log_id,),
        )
    bench.push(b"after")
    bench.seal_all()
    assert leaves_of(bench) == [b"before", b"after"]
    assert bench.value("SELECT problem FROM tally.capture_quarantine WHERE log_id = %s") == (
        "the hash is null"
    )


def test_damaged_tiles_fail_the_log(bench):
    """A head that the tiles do not lead to is never built on: the log fails, with both roots."""
    bench.push(b"one", b"two")
    bench.seal_all()
    with psycopg.connect(bench.url) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("ALTER TABLE tally.log_tiles DISABLE TRIGGER ALL")
        connection.execute("UPDATE tally.log_tiles SET hashes = sha256('x') || sha256('y')")
        connection.execute("ALTER TABLE tally.log_tiles ENABLE ALWAYS TRIGGER guard_tile")
    bench.push(b"three")
    with pytest.raises(EdgeMismatchError) as raised:
        bench.sequencer.seal_once(bench.log.log_id)
    assert raised.value.expected != raised.value.actual
    assert bench.value("SELECT status::text FROM tally.verification_logs WHERE log_id = %s") == (
        "failed"
    )
    assert bench.size() == 2
    assert bench.sequencer.seal_once(bench.log.log_id) is None


def test_guard_remembers_the_last_note(bench):
    """The guard file holds the note that was signed last, readable by its owner alone."""
    bench.push(b"one")
    bench.seal_all()
    path = guard_path(bench.keys.directory, bench.log.log_name)
    guard = read_guard(path)
    assert guard is not None
    assert guard[0].size == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_restored_backup_signs_nothing(bench):
    """log 21: a database behind its guard fails with RollbackError before anything is signed."""
    bench.push(b"one")
    bench.seal_all()
    path = guard_path(bench.keys.directory, bench.log.log_name)
    later = make_later_guard(bench)
    path.write_text(later)
    bench.push(b"two")
    with pytest.raises(RollbackError):
        bench.sequencer.seal_once(bench.log.log_id)
    assert bench.size() == 1
    failure = bench.value("SELECT failure FROM tally.verification_logs WHERE log_id = %s")
    assert failure["code"] == "rollback"
    assert failure["expected"] == later


def make_later_guard(bench: LogBench) -> str:
    """A note of the log's own key over a size that the database does not have."""
    from tallystick.tlog import Checkpoint, format_checkpoint, format_note, sign_note

    with bench.database.transaction() as tx:
        [key] = list_keys(tx, bench.log.log_name)
    text = format_checkpoint(Checkpoint(bench.log.origin, 5, b"\x07" * 32))
    return format_note(sign_note(text, [bench.keys.signer(key.key_id)])).decode()


def test_sequence_with_a_cache_seals_nothing(bench):
    """A capture_seq that hands out blocks of numbers stops sealing: it breaks the order."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("ALTER SEQUENCE tally.capture_seq CACHE 10")
        queue_leaf(connection, bench.log.log_id, b"one")
    with pytest.raises(EdgeMismatchError):
        bench.sequencer.seal_once(bench.log.log_id)
    assert bench.size() == 0


def test_first_seq_of_a_database_is_sealed(bench):
    """The very first number of the sequence is not skipped by a floor read before it was drawn."""
    sequencer = bench.sequencer
    assert sequencer.seal_once(bench.log.log_id).rows == 0
    bench.push(b"first")
    assert sequencer.seal_once(bench.log.log_id).rows == 1
