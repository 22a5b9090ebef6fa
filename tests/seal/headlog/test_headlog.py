"""The log of logs: each new head once, in one statement, and never its own (log.md, 9.2)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.publish import Publisher
from tallystick.publish.errors import HeadNotTakenError, LeafNotFoundError
from tallystick.publish.headlog import prove_through_heads
from tallystick.runtime import heads as duty
from tallystick.seal.audit import audit_log
from tallystick.seal.errors import InvalidLogError, LogNotFoundError
from tallystick.seal.headlog import HEADS_LOG, create_heads_log, take_heads
from tallystick.seal.logs import configure_log, create_log
from tallystick.verify import check_chain
from tests.support.log_builder import ORIGIN_PREFIX, LogBuilder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def logs(database_url: str, tmp_path: Path) -> Iterator[LogBuilder]:
    """Two logs with a leaf each, an empty one, and the log of logs."""
    builder = LogBuilder(database_url, tmp_path / "keys")
    builder.filled("one", [b"first"])
    builder.filled("two", [b"second"])
    builder.create("empty")
    with builder.database.transaction() as tx:
        builder.logs[HEADS_LOG] = create_heads_log(
            tx, keys=builder.keys, origin_prefix=ORIGIN_PREFIX
        )
    builder.seal(HEADS_LOG)
    yield builder
    builder.close()


def take(logs: LogBuilder, **pause: float) -> int:
    """Take heads in a transaction of its own."""
    with logs.database.transaction() as tx:
        return take_heads(tx, **pause)


def notes(logs: LogBuilder) -> list[str]:
    """The notes in the log of logs, the oldest first."""
    found = logs.execute(
        "SELECT convert_from(leaf, 'UTF8') FROM tally.merkle_log"
        f" WHERE log_name = '{HEADS_LOG}' AND op = 'A' ORDER BY leaf_index"
    )
    return [str(note) for (note,) in found]


def note_of(logs: LogBuilder, name: str) -> str:
    """The note of a log's head."""
    [(note,)] = logs.execute(f"SELECT note FROM tally.log_heads WHERE log_name = '{name}'")
    return str(note)


def prove(logs: LogBuilder, name: str, index: int) -> bytes:
    """The chain of a leaf."""
    publisher = Publisher(logs.database)
    publisher.refresh()
    return prove_through_heads(logs.database, publisher, publisher.published_head(name), index)


def policy(logs: LogBuilder, *names: str) -> bytes:
    """A policy that trusts logs, without witnesses."""
    origins = "', '".join(f"{ORIGIN_PREFIX}/{name}" for name in names)
    keys = logs.execute(f"SELECT vkey FROM tally.log_keys WHERE name IN ('{origins}')")
    return "".join([*(f"log {key}\n" for (key,) in keys), "quorum none\n"]).encode()


def test_each_new_head_is_taken_once(logs):
    """Each log's note is taken byte for byte when its head is new, and an empty log's never."""
    assert take(logs) == 2
    assert take(logs) == 0
    logs.seal(HEADS_LOG)
    assert notes(logs) == [note_of(logs, "one"), note_of(logs, "two")]
    logs.append("two", [b"third"])
    logs.seal("two")
    assert take(logs) == 1
    logs.seal(HEADS_LOG)
    assert notes(logs)[2:] == [note_of(logs, "two")]


def test_it_comes_to_rest(logs):
    """Taking heads makes no head that is taken: the log of logs never holds its own notes."""
    take(logs)
    logs.seal(HEADS_LOG)
    assert take(logs) == 0
    assert all(not note.startswith(f"{ORIGIN_PREFIX}/{HEADS_LOG}\n") for note in notes(logs))
    assert audit_log(logs.database, HEADS_LOG).findings == ()


def test_only_published_heads_are_taken(logs):
    """A head that waits for its witnesses is taken once they have cosigned it."""
    logs.create("watched", witness_quorum=1)
    logs.append("watched", [b"leaf"])
    logs.seal("watched")
    assert take(logs) == 2
    logs.cosign("watched", 1, witness="witness.example/w1")
    assert take(logs) == 1


def test_it_is_off_without_its_log_paused_or_frozen(logs):
    """Pausing the log of logs stops the taking; what was missed is taken afterwards."""
    with logs.database.transaction() as tx:
        configure_log(tx, HEADS_LOG, enabled=False)
    assert take(logs) == 0
    with logs.database.transaction() as tx:
        configure_log(tx, HEADS_LOG, enabled=True)
    assert take(logs) == 2
    logs.append("one", [b"x"])
    logs.seal("one")
    logs.execute(f"SELECT tally.request_freeze_v1({logs.logs[HEADS_LOG].log_id})")
    assert take(logs) == 0


def test_several_workers_take_each_head_once(logs):
    """One worker at a time takes heads, and none so soon after another."""
    with psycopg.connect(logs.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1952541817, -7)")
        assert take(logs) == 0
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.append(take(logs))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 2
    logs.append("one", [b"x"])
    logs.seal("one")
    assert take(logs, pause_seconds=60) == 0
    assert take(logs) == 1


def test_many_idle_logs_are_one_statement(logs):
    """A look at a thousand logs whose heads were taken before writes nothing."""
    logs.execute(
        "INSERT INTO tally.verification_logs (log_name, origin)"
        " SELECT 'log_' || i, 'x/log_' || i FROM generate_series(1, 1000) AS i"
    )
    logs.execute(
        "INSERT INTO tally.checkpoints (log_id, tree_size, root_hash, note, batch_rows, seal_ms)"
        " SELECT log_id, s, sha256('x'), log_name || s, 1, 1 FROM tally.verification_logs,"
        " generate_series(1, 5) AS s WHERE log_name LIKE 'log\\_%'"
    )
    assert take(logs) == 1002
    with logs.database.transaction() as tx:
        assert take_heads(tx) == 0
        queued = tx.value(b"SELECT count(*) FROM tally.capture")
        assert queued == 1002
    # Nothing was written, so nothing waits for the disk: the look had no transaction id.
    with logs.database.transaction() as tx:
        take_heads(tx)
        assert tx.value(b"SELECT pg_current_xact_id_if_assigned()") is None


def test_an_origin_cannot_pass_for_a_record(logs):
    """No log's note can begin like a record: its origin is refused by name and by the database."""
    with pytest.raises(InvalidLogError), logs.database.transaction() as tx:
        create_log(tx, "evil", keys=logs.keys, origin_prefix="tallystick/seal-record")
    with pytest.raises(psycopg.errors.CheckViolation):
        logs.execute(
            "INSERT INTO tally.verification_logs (log_name, origin) VALUES ('a', 'tallystick/a')"
        )


def test_a_leaf_is_proven_through_the_log_of_logs(logs):
    """A chain from a leaf over its log's note to the head of the log of logs verifies offline."""
    logs.append("two", [b"leaf %d" % number for number in range(300)])
    logs.seal("two")
    take(logs)
    logs.append("two", [b"later"])
    logs.seal("two")
    logs.seal(HEADS_LOG)
    verified = check_chain(
        prove(logs, "two", 250), leaf=b"leaf 249", policy=policy(logs, "two", HEADS_LOG)
    )
    assert (verified.leaf.index, verified.leaf.checkpoint.size) == (250, 301)
    assert verified.heads.checkpoint.origin == f"{ORIGIN_PREFIX}/{HEADS_LOG}"
    take(logs)
    logs.seal(HEADS_LOG)
    assert prove(logs, "two", 301)


def test_what_is_not_taken_yet_is_named(logs, database_url, tmp_path):
    """A leaf whose head is not in the log of logs yet, no such leaf, and no log of logs."""
    with pytest.raises(HeadNotTakenError):
        prove(logs, "one", 0)
    take(logs)
    with pytest.raises(HeadNotTakenError):
        prove(logs, "one", 0)
    logs.seal(HEADS_LOG)
    assert prove(logs, "one", 0)
    logs.append("one", [b"x"])
    logs.seal("one")
    with pytest.raises(HeadNotTakenError):
        prove(logs, "one", 1)
    with pytest.raises(LeafNotFoundError):
        prove(logs, "one", 7)


def test_without_a_log_of_logs_nothing_is_taken(database_url, tmp_path):
    """Where there is no log of logs a look takes nothing, and a proof names the missing log."""
    builder = LogBuilder(database_url, tmp_path / "keys")
    builder.filled("one", [b"first"])
    assert take(builder) == 0
    with pytest.raises(LogNotFoundError):
        prove(builder, "one", 0)
    builder.close()


def test_the_duty_goes_on_whatever_the_database_does(logs, monkeypatch):
    """The worker's thread takes heads at its looks, survives a database that is gone, and stops."""
    monkeypatch.setattr(duty, "LOOK_SECONDS", 0.05)
    stop = threading.Event()
    thread = threading.Thread(target=duty.run_heads, args=(logs.database, stop))
    thread.start()
    for _ in range(200):
        if logs.execute("SELECT count(*) FROM tally.taken_heads") == [(2,)]:
            break
        stop.wait(0.05)
    logs.execute("ALTER FUNCTION tally.take_heads_v1 RENAME TO gone")
    stop.wait(0.3)
    assert thread.is_alive()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
    assert logs.execute("SELECT count(*) FROM tally.taken_heads") == [(2,)]
