"""The door of a process: groups, answers, outages, and its end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

import psycopg
import pytest

from tallystick.db.errors import DatabaseUnavailableError
from tallystick.seal.door import Door, Push, append_entry, door
from tallystick.seal.door.door import MAX_GROUP, MAX_GROUP_BYTES, cut_groups
from tallystick.seal.errors import (
    DoorClosedError,
    EntriesNotAcceptedError,
    EntryPendingError,
    LogBusyError,
)
from tests.seal.laws.stage import (
    assert_whole,
    count_waiting,
    leaves_of,
    running_worker,
    sql,
    wait_until,
)
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

DOORS = "query LIKE '%append_entries_v1%' OR query LIKE 'LISTEN tally_checkpoint%'"


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[LogBench]:
    """A log that takes entries; what is in it was pushed."""
    made = make_bench(
        database_url, tmp_path / "keys", "receipts", accepts_entries=True, control_leaves=False
    )
    yield made
    made.database.close()


class Callers:
    """Whoever pushes through one door, and what each was answered."""

    def __init__(self, bench: LogBench, *, max_backlog: int = 100_000) -> None:
        self.bench = bench
        self.answers: dict[Any, Any] = {}
        self._heard = threading.Condition()
        self.door = Door(bench.database, self._deliver, max_backlog=max_backlog)

    def _deliver(self, answers: Sequence[Any]) -> None:
        with self._heard:
            self.answers |= {push.caller: outcome for push, outcome in answers}
            self._heard.notify_all()

    def push(self, *entries: bytes, log_id: int | None = None, deduplicate: bool = False) -> None:
        """Push entries; each is its own caller."""
        for entry in entries:
            of_log = self.bench.log.log_id if log_id is None else log_id
            self.door.push(Push(of_log, entry, deduplicate, entry))

    def await_answers(self, count: int) -> dict[Any, Any]:
        """Wait until so many have been answered."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.answers) >= count, 60), self.answers
        return self.answers

    def __enter__(self) -> Self:
        self.door.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.door.stop()


def entries(count: int, name: str = "entry") -> list[bytes]:
    """Distinct entries."""
    return [f"{name} {number}".encode() for number in range(count)]


def test_what_came_together_is_one_transaction(bench: LogBench) -> None:
    """Concurrent pushes are queued by one statement in one transaction, in their order."""
    callers = Callers(bench)
    callers.push(*entries(200))
    with callers:
        wait_until(lambda: count_waiting(bench) > 0)
        [(transactions, rows)] = sql(
            bench.url, "SELECT count(DISTINCT xid), count(*) FROM tally.capture"
        )
        assert (transactions, rows) == (1, 200)
        bench.seal_all()
        answers = callers.await_answers(200)
    assert answers == {entry: index for index, entry in enumerate(entries(200))}
    assert leaves_of(bench) == entries(200)


def test_every_caller_hears_his_own_index(bench: LogBench) -> None:
    """Under concurrent callers each answer is the index of the leaf with his bytes; no gap."""
    with running_worker(bench), Callers(bench) as callers:
        threads = [
            threading.Thread(target=lambda n=n: callers.push(*entries(50, f"caller {n}")))
            for n in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        answers = callers.await_answers(800)
    leaves = leaves_of(bench)
    assert {entry: leaves[index] for entry, index in answers.items()} == {e: e for e in answers}
    assert_whole(bench, size=800)


def test_duplicates_are_one_leaf_through_two_doors(bench: LogBench) -> None:
    """The same bytes pushed with deduplicate through two doors at once have one index."""
    with running_worker(bench), Callers(bench) as ours, Callers(bench) as theirs:
        for entry in entries(100):
            ours.push(entry, deduplicate=True)
            theirs.push(entry, deduplicate=True)
        assert ours.await_answers(100) == theirs.await_answers(100)
    assert sorted(leaves_of(bench)) == sorted(entries(100))


def test_one_logs_refusal_is_not_anothers(bench: LogBench, tmp_path: Path) -> None:
    """A log that takes no entries refuses its own pushes and no others that came with them."""
    closed = make_bench(bench.url, tmp_path / "keys", "closed")
    callers = Callers(bench)
    callers.push(*entries(3), *entries(3, "no"), log_id=closed.log.log_id)
    callers.push(*entries(3, "yes"))
    with callers:
        callers.await_answers(6)
        bench.seal_all()
        answers = callers.await_answers(9)
    assert [answers[entry] for entry in entries(3, "yes")] == [0, 1, 2]
    assert {type(answers[entry]) for entry in entries(3, "no")} == {EntriesNotAcceptedError}
    closed.database.close()


def test_a_full_queue_refuses_the_group(bench: LogBench) -> None:
    """Over max_backlog pushes are LogBusyError, and nothing of them is queued."""
    bench.push(b"a", b"b")
    with Callers(bench, max_backlog=2) as callers:
        callers.push(b"c")
        assert type(callers.await_answers(1)[b"c"]) is LogBusyError
    assert bench.seal_all() == 2


def test_what_nobody_seals_is_told_to_be_pending(
    bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is not sealed in time is answered as queued, and sealed later all the same."""
    monkeypatch.setattr(door, "PATIENCE_SECONDS", 0.2)
    with Callers(bench) as callers:
        callers.push(b"a")
        answer = callers.await_answers(1)[b"a"]
    assert type(answer) is EntryPendingError
    assert "seq 1" in str(answer)
    assert bench.seal_all() == 1


def test_entries_that_wait_survive_their_connection(bench: LogBench) -> None:
    """The session lost after the commit, the index is found over the next one."""
    with Callers(bench) as callers:
        callers.push(b"a")
        wait_until(lambda: count_waiting(bench) > 0)
        terminate_doors(bench.url)
        bench.seal_all()
        assert callers.await_answers(1) == {b"a": 0}
        callers.push(b"b")
        wait_until(lambda: count_waiting(bench) > 0)
        bench.seal_all()
        assert callers.await_answers(2)[b"b"] == 1


def test_a_group_that_broke_off_is_answered_as_unknown(bench: LogBench) -> None:
    """The session lost while a group is handed over, each of it hears that nobody knows."""
    with psycopg.connect(bench.url) as frozen, Callers(bench) as callers:
        # Whoever requests a freeze holds this lock; the group waits for it.
        frozen.execute("SELECT pg_advisory_xact_lock(1952541818, %s)", (bench.log.log_id,))
        callers.push(*entries(3))
        wait_until(lambda: bool(sql(bench.url, "SELECT 1 FROM pg_locks WHERE NOT granted")))
        terminate_doors(bench.url)
        answers = callers.await_answers(3)
        assert {type(answer) for answer in answers.values()} == {DatabaseUnavailableError}
        assert all("may be queued or not" in str(answer) for answer in answers.values())
        frozen.rollback()
    assert bench.seal_all() == 0


def terminate_doors(url: str) -> None:
    """End the sessions of doors."""
    ended = sql(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE pid <> pg_backend_pid() AND ({DOORS} OR query LIKE '%tree_size%')"
        " AND application_name = 'tallystick-session'",
    )
    assert ended


def test_a_head_that_nobody_told_of_is_found(bench: LogBench) -> None:
    """A lost notification costs a look of the door, not the answer."""
    with Callers(bench) as callers:
        callers.push(b"a")
        wait_until(lambda: count_waiting(bench) > 0)
        # The sealing commits; its notification is a transaction of its own and never comes.
        sequencer = bench.sequencer
        state = sequencer.state(bench.log.log_id)
        sequencer._seal(bench.log.log_id, state)
        assert callers.await_answers(1) == {b"a": 0}


def test_the_end_answers_everybody(bench: LogBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that stops queues what it has taken, answers it, and takes no more."""
    monkeypatch.setattr(door, "STOP_SECONDS", 0.5)
    callers = Callers(bench)
    callers.push(b"a")
    callers.door.start()
    callers.door.stop()
    assert type(callers.answers[b"a"]) is EntryPendingError
    with pytest.raises(DoorClosedError):
        callers.push(b"b")
    assert bench.seal_all() == 1


def test_the_end_waits_for_the_sequencer(bench: LogBench) -> None:
    """What is sealed while a door stops is answered by its index."""
    callers = Callers(bench)
    callers.push(*entries(20))
    with running_worker(bench):
        callers.door.start()
        callers.door.stop()
    assert callers.answers == {entry: index for index, entry in enumerate(entries(20))}


def test_a_process_holds_only_so_many(bench: LogBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A door that holds as many pushes as it takes refuses the next one; memory is bounded."""
    monkeypatch.setattr(door, "MAX_HELD", 2)
    callers = Callers(bench)
    callers.push(b"a", b"b")
    with pytest.raises(LogBusyError):
        callers.push(b"c")
    with callers:
        wait_until(lambda: count_waiting(bench) == 2)
        bench.seal_all()
        callers.await_answers(2)
        callers.push(b"c")
        wait_until(lambda: count_waiting(bench) == 1)
        bench.seal_all()
        callers.await_answers(3)


def test_groups_are_bounded_and_in_order() -> None:
    """Groups are of one log, at most 1,000 entries and 8 MB, and keep the order of their log."""
    pushes = [Push(n % 2, b"x" * (n % 7 * 9_000), False, n) for n in range(5_000)]
    groups = list(cut_groups(pushes))
    assert max(map(len, groups)) <= MAX_GROUP
    assert max(sum(len(push.data) for push in group) for group in groups) <= MAX_GROUP_BYTES
    assert all(len({push.log_id for push in group}) == 1 for group in groups)
    for log_id in (0, 1):
        order = [push.caller for group in groups for push in group if push.log_id == log_id]
        assert order == list(range(log_id, 5_000, 2))
    assert list(cut_groups([])) == []


def test_strangers_notifications_are_passed_over(bench: LogBench) -> None:
    """NOTIFY has no rights: whatever a stranger puts into a channel, the door goes on."""
    with psycopg.connect(bench.url, autocommit=True) as stranger, Callers(bench) as callers:
        callers.push(b"a")
        wait_until(lambda: count_waiting(bench) > 0)
        for payload in ("", "x", "1:", "٣:٣", f"1:{'9' * 5000}", f"{'9' * 5000}:1", "1:2:3"):
            stranger.execute("SELECT pg_notify('tally_checkpoint', %s)", (payload,))
        callers.push(b"b")
        wait_until(lambda: count_waiting(bench) > 1)
        bench.seal_all()
        assert callers.await_answers(2) == {b"a": 0, b"b": 1}


def test_a_log_that_is_not_open_yet_holds_up_nobody(bench: LogBench) -> None:
    """A log that plain SQL inserted has no checkpoint before it is opened; others are answered."""
    [(plain,)] = sql(
        bench.url,
        "INSERT INTO tally.verification_logs (log_name, accepts_entries) VALUES ('plain', true)"
        " RETURNING log_id",
    )
    with Callers(bench) as callers:
        callers.push(b"waits", log_id=plain)
        callers.push(b"a")
        wait_until(lambda: count_waiting(bench) > 0)
        bench.seal_all()
        assert callers.await_answers(1) == {b"a": 0}


def test_an_open_transaction_holds_up_its_log_alone(bench: LogBench, tmp_path: Path) -> None:
    """While a stranger's transaction holds one log, its pushes are busy and others' sealed."""
    held = make_bench(bench.url, tmp_path / "keys", "held", accepts_entries=True)
    with held.database.transaction() as tx, Callers(bench) as callers:
        append_entry(tx, "held", b"x", deduplicate=True)
        callers.push(b"same", log_id=held.log.log_id, deduplicate=True)
        callers.push(b"a")
        wait_until(lambda: count_waiting(bench) > 0)
        bench.seal_all()
        answers = callers.await_answers(2)
        assert (type(answers[b"same"]), answers[b"a"]) == (LogBusyError, 0)
        # For a moment nobody waits for it at all.
        callers.push(b"again", log_id=held.log.log_id)
        assert "nothing was queued" in str(callers.await_answers(3)[b"again"])
    held.database.close()


def test_a_process_holds_only_so_many_bytes(
    bench: LogBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries count until they are queued; then their bytes are let go, though they still wait."""
    monkeypatch.setattr(door, "MAX_HELD_BYTES", 100)
    callers = Callers(bench)
    callers.push(b"a" * 60, b"b" * 60)
    with pytest.raises(LogBusyError):
        callers.push(b"c")
    with callers:
        wait_until(lambda: count_waiting(bench) == 2)
        wait_until(lambda: not callers.door._held_bytes)
        callers.push(b"c")
        wait_until(lambda: count_waiting(bench) == 3)
        bench.seal_all()
        assert len(callers.await_answers(3)) == 3


def test_a_door_that_never_opened_leaves_nothing_behind(bench: LogBench) -> None:
    """A door that is made and not opened holds no socket, and closes without a thread."""
    closed = Callers(bench).door
    assert (closed._bell, closed._rope) == (None, None)
    closed.stop()
    with pytest.raises(DoorClosedError):
        closed.push(Push(bench.log.log_id, b"a", False, "nobody"))
