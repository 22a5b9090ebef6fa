"""No row is lost and none sealed twice, whatever commits late or is cut (laws 1, 2 and 4)."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db import Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.seal.logs import configure_log
from tallystick.seal.logs.guard import guard_path, read_guard, write_guard
from tests.seal.laws.stage import (
    WORKER,
    Writers,
    assert_whole,
    attach,
    count_waiting,
    drained,
    leaves_of,
    sql,
    wait_until,
    worker_process,
)
from tests.support.logs import LogBench, make_bench, queue_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TABLE = "CREATE TABLE payment (id bigint PRIMARY KEY, version integer NOT NULL)"


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log without control leaves, whose batches are small."""
    return make_bench(
        database_url, tmp_path / "keys", batch_size=7, batch_interval_ms=20, control_leaves=False
    )


def test_prepared_transaction_is_sealed_when_it_commits(bench):
    """log 3: rows of a transaction prepared before ten batches are sealed once it commits."""
    sql(bench.url, TABLE)
    attach(bench, "payment")
    sequencer = bench.sequencer
    with psycopg.connect(bench.url, autocommit=True) as writer:
        for key, gid in enumerate(("kept", "undone"), 1):
            writer.execute("BEGIN")
            writer.execute("INSERT INTO payment VALUES (%s, 1)", (key,))
            writer.execute(f"PREPARE TRANSACTION '{gid}'")
    for number in range(100, 110):
        sql(bench.url, "INSERT INTO payment VALUES (%s, 1)", (number,))
        assert sequencer.seal_once(bench.log.log_id).rows == 1
    names = "SELECT prepared, has_written FROM tally.long_transactions WHERE prepared IS NOT NULL"
    assert sorted(sql(bench.url, names)) == [("kept", True), ("undone", True)]
    sql(bench.url, "COMMIT PREPARED 'kept'")
    sql(bench.url, "ROLLBACK PREPARED 'undone'")
    assert sequencer.seal_once(bench.log.log_id).rows == 1
    keys = "SELECT source_key FROM tally.merkle_log ORDER BY leaf_index"
    assert [key for (key,) in sql(bench.url, keys)] == [
        *(f'["{number}"]' for number in range(100, 110)),
        '["1"]',
    ]
    assert_whole(bench, size=11)


def late_commits(bench: LogBench, *, rounds: int, seed: int) -> int:
    """Queue rows in transactions that end in another order than they began; return how many."""
    drawn = random.Random(seed)
    open_ones: list[psycopg.Connection] = []
    committed = 0
    for number in range(rounds):
        writer = psycopg.connect(bench.url)
        queue_leaf(writer, bench.log.log_id, b"leaf %d" % number)
        open_ones.append(writer)
        while len(open_ones) > drawn.randrange(12):
            with open_ones.pop(drawn.randrange(len(open_ones))) as ending:
                if drawn.random() < 0.2:
                    ending.rollback()
                else:
                    ending.commit()
                    committed += 1
    for writer in open_ones:
        with writer:
            committed += 1
    return committed


@pytest.mark.parametrize("words", [(), ("unlocked",)], ids=["locked", "unlocked"])
def test_two_processes_share_a_log(bench, words):
    """log 3: two sequencer processes, with and without the lock, leave no gap, double or fork."""
    with worker_process(bench, *words), worker_process(bench, *words):
        committed = late_commits(bench, rounds=300, seed=1)
        drained(bench)
    assert_whole(bench, size=committed)
    assert len(set(leaves_of(bench))) == committed


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("unlocked",)], ids=["locked", "unlocked"])
def test_two_processes_share_a_log_under_load(bench, words):
    """log 3: so they do for 30 seconds with eight writers."""
    with bench.database.transaction() as tx:
        configure_log(tx, bench.log.log_name, batch_size=500)
    sql(bench.url, TABLE)
    attach(bench, "payment")

    def write(connection: psycopg.Connection, number: int, turn: int) -> int:
        first = number * 10_000_000 + turn * 5
        values = [(first + place, turn) for place in range(5)]
        connection.cursor().executemany("INSERT INTO payment VALUES (%s, %s)", values)
        return 5

    writers = Writers(bench.url, write)
    with worker_process(bench, *words), worker_process(bench, *words):
        with writers.running(8):
            time.sleep(30)
        drained(bench)
    assert_whole(bench, size=writers.committed)


class Cutter:
    """Cuts a transaction's connection before or after the n-th statement that it counts."""

    def __init__(self, url: str, *, at: int, after: bool) -> None:
        self._url = url
        self._at = at
        self._after = after
        self.statements = 0

    def wrap(self, run):
        """Return *run* of a transaction, counted and perhaps cut."""

        def counted(tx: Transaction, *arguments):
            self.statements += 1
            is_it = self.statements == self._at
            if is_it and not self._after:
                self._cut(tx)
            result = run(tx, *arguments)
            if is_it and self._after:
                self._cut(tx)
            return result

        return counted

    def _cut(self, tx: Transaction) -> None:
        pid = tx.connection.info.backend_pid
        assert sql(self._url, "SELECT pg_terminate_backend(%s, 5000)", (pid,)) == [(True,)]


@contextlib.contextmanager
def cut_statements(url: str, *, at: int, after: bool) -> Iterator[Cutter]:
    """Cut the connection of whoever runs the n-th statement within the block."""
    cutter = Cutter(url, at=at, after=after)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute", "row", "rows", "value", "values"):
            patch.setattr(Transaction, name, cutter.wrap(getattr(Transaction, name)))
        yield cutter


def test_connection_cut_at_each_statement(bench):
    """log 3: a connection cut before or after any statement leaves all of a batch or none."""
    sequencer = bench.sequencer
    bench.push(*(b"before %d" % number for number in range(300)))
    bench.seal_all()
    size = 300
    outcomes: list[int] = []
    for at, after in ((place, after) for place in itertools.count(1) for after in (False, True)):
        bench.push(b"one", b"two", b"three")
        with cut_statements(bench.url, at=at, after=after) as cutter:
            # A fresh one reads its edge from tiles, which is a statement too.
            is_cut = fails(functools.partial(bench.sequencer.seal_once, bench.log.log_id))
            if is_cut:
                outcomes.append(bench.size() - size)
        assert is_cut == (cutter.statements >= at)
        if bench.size() == size:
            assert sequencer.seal_once(bench.log.log_id).rows == 3
        size += 3
        assert bench.size() == size
        if not is_cut:
            break
    # Nothing is committed up to the last statement; what follows only tells of the new head.
    assert outcomes == [0] * (len(outcomes) - 2) + [3, 3]
    assert len(outcomes) >= 2 * 9
    assert_whole(bench, size=size)


def fails(act) -> bool:
    """Whether *act* finds the database unavailable."""
    try:
        act()
    except DatabaseUnavailableError:
        return True
    return False


@contextlib.contextmanager
def paused_process(bench: LogBench, point: str, marker: Path) -> Iterator[None]:
    """Run a sealing process that stands still at *point* for the block."""
    process = subprocess.Popen(
        [sys.executable, WORKER, bench.url, bench.keys.directory, "1"],
        env={**os.environ, "TALLY_PAUSE_AT": point, "TALLY_PAUSE_FILE": str(marker)},
    )
    try:
        wait_until(marker.exists, point)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("point", ["seal.locked", "seal.taken", "seal.signed"])
def test_a_process_that_stands_still_is_passed_once_cut(bench, tmp_path, point):
    """log 3: while a process stands still within its batch nobody takes it; once cut, anybody."""
    bench.push(*(b"leaf %d" % number for number in range(5)))
    with paused_process(bench, point, tmp_path / "paused"):
        assert bench.sequencer.seal_once(bench.log.log_id) is None
        assert bench.size() == 0
        sql(
            bench.url,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name = 'tallystick' AND state LIKE 'idle in transaction%%'",
            (),
        )
        wait_until(lambda: bench.sequencer.seal_once(bench.log.log_id) is not None)
        assert bench.size() == 5
    assert_whole(bench, size=5)


def test_guard_never_goes_back(bench):
    """log 3: a process that is late with its guard does not make the guard forget a later head."""
    path = guard_path(bench.keys.directory, bench.log.log_name)
    bench.push(b"one")
    bench.seal_all()
    early = path.read_text()
    bench.push(b"two")
    bench.seal_all()
    write_guard(path, early)
    guard = read_guard(path)
    assert guard is not None
    assert guard[0].size == 2


def test_a_head_committed_meanwhile_is_no_rollback(bench, monkeypatch):
    """log 3: without the lock, a guard written after the head was read does not fail the log."""
    bench.push(b"one")
    slow, quick = bench.sequencer, bench.sequencer
    from tallystick.seal.sequencer import sequencer as module

    check = module.check_guard
    overtaken = []

    def check_late(*arguments, **named):
        if not overtaken:
            overtaken.append(True)
            assert quick.seal_once(bench.log.log_id).size == 1
        check(*arguments, **named)

    monkeypatch.setattr(module, "check_guard", check_late)
    monkeypatch.setattr(module.store, "lock_log", lambda _tx, _log_id: True)
    assert slow.seal_once(bench.log.log_id) is None
    bench.push(b"two")
    assert slow.seal_once(bench.log.log_id).size == 2
    assert_whole(bench, size=2)


def test_full_batches_of_unordered_commits_lose_nothing(bench):
    """log 3: batches cut by seq, of rows that commit in any order, progress past no row (law 4)."""
    sequencer = bench.sequencer
    drawn = random.Random(3)
    open_ones: list[psycopg.Connection] = []
    queued = 0
    for _ in range(40):
        for _ in range(drawn.randrange(6)):
            writer = psycopg.connect(bench.url)
            for _ in range(drawn.randrange(1, 5)):
                queue_leaf(writer, bench.log.log_id, b"leaf %d" % queued)
                queued += 1
            open_ones.append(writer)
        drawn.shuffle(open_ones)
        for _ in range(drawn.randrange(6)):
            if open_ones:
                with open_ones.pop():
                    pass
        sequencer.seal_once(bench.log.log_id)
    for writer in open_ones:
        with writer:
            pass
    while sequencer.seal_once(bench.log.log_id).rows:
        pass
    assert count_waiting(bench) == 0
    assert_whole(bench, size=queued)
