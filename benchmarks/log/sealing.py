"""
Sealing: rows of a backlog a second, one log and two, beside the copy loop (log.md, section 8).

No checkpoint is forced between rounds: the server makes one when its WAL says so, as in use.
Right after one each touched page of the index over hashes is written to the WAL in full.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.ground import ORIGIN_PREFIX, Ground, LogGround
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.copy_loop import copy_all, create_copy_tables
from benchmarks.log.payments import attach, create_payments, insert_payments, large_log
from tallystick.db import connect
from tallystick.seal.logs import KeyRing, LogId, LogSettings, create_log
from tallystick.seal.sequencer import Sequencer

COPY_LOOP = "earlier copy loop: hashes only, unsigned"
KEEPING_LOOP = "the copy loop, keeping the leaf bytes as sealing does"


def run(ground: Ground) -> list[Figure]:
    """Return one log and two logs against the copy loop, and how sealing slows as a log grows."""
    one_rows = ground.scale.pick(1_000_000, 30_000)
    two_rows = ground.scale.pick(400_000, 20_000)
    copied_rows = ground.scale.pick(300_000, 20_000)
    with (
        two_logs(ground) as pair,
        copied_table(ground, keeps_leaves=False) as copied,
        copied_table(ground, keeps_leaves=True) as kept,
    ):
        sides = measure(
            {
                "one": lambda: one_log(ground, one_rows),
                "two": lambda: pair.seal_rate(two_rows),
                "copy": lambda: copied.copy_rate(copied_rows),
                "keep": lambda: kept.copy_rate(copied_rows),
            },
            rounds=ground.scale.rounds,
        )
    one, two, copy = sides["one"], sides["two"], sides["copy"]
    rounds = ground.scale.rounds
    leaf = f"leaves of {large_log(ground).leaf_bytes():.0f} bytes"
    return [
        Figure(
            f"sealing, one log, {rounds} x {one_rows:,} rows",
            one,
            "rows/s",
            "more",
            COPY_LOOP,
            copy,
            Bound(least=50_000),
            Bound(least=1.3),
            leaf,
        ),
        Figure(
            "sealing, one log, and a loop that does as much",
            one,
            "rows/s",
            "more",
            KEEPING_LOOP,
            sides["keep"],
        ),
        Figure(
            f"sealing, two logs, {rounds} x {two_rows:,} rows",
            two,
            "rows/s",
            "more",
            COPY_LOOP,
            copy,
            Bound(least=70_000),
        ),
        Figure(
            f"sealing, time a row: the last {one_rows:,} of a log",
            Samples((1e6 / one.values[-1],)),
            "µs",
            "less",
            f"the first {one_rows:,}",
            Samples((1e6 / one.values[0],)),
            ratio_target=Bound(most=1.3),
        ),
    ]


def one_log(ground: Ground, rows: int) -> float:
    """Capture *rows* more into the large log, and return at what rate they are sealed."""
    large = large_log(ground)
    large.capture(rows)
    began = time.monotonic()
    sealed = large.seal()
    seconds = time.monotonic() - began
    assert sealed == rows, "everything that was captured is sealed"
    return sealed / seconds


@dataclass(slots=True)
class TwoLogs:
    """Two logs of one database, each with a table and a sealing process of its own."""

    first: LogGround
    log_ids: Sequence[LogId]
    pool: ProcessPoolExecutor
    rows: int = 0

    def seal_rate(self, rows: int) -> float:
        """Capture *rows*, half of them for each log, and return at what rate both seal them."""
        half = rows // 2
        with psycopg.connect(self.first.url, autocommit=True) as connection:
            for table in ("left_payment", "right_payment"):
                insert_payments(connection, table, first=self.rows + 1, rows=half)
        self.rows += half
        place = str(self.first.keys.directory)
        starts = [
            self.pool.submit(seal_in_process, self.first.url, place, log_id)
            for log_id in self.log_ids
        ]
        ended = [start.result() for start in starts]
        assert sum(sealed for sealed, _, _ in ended) == 2 * half
        began = min(began for _, began, _ in ended)
        return 2 * half / (max(end for _, _, end in ended) - began)


@contextlib.contextmanager
def two_logs(ground: Ground) -> Iterator[TwoLogs]:
    """Yield two logs with two processes that wait for rows to seal."""
    context = multiprocessing.get_context("spawn")
    with ground.log("left_log") as first, ProcessPoolExecutor(2, mp_context=context) as pool:
        with first.database.transaction() as tx:
            second = create_log(
                tx,
                "right_log",
                keys=first.keys,
                origin_prefix=ORIGIN_PREFIX,
                settings=LogSettings(control_leaves=False),
            )
        with psycopg.connect(first.url, autocommit=True) as connection:
            for table in ("left_payment", "right_payment"):
                create_payments(connection, table)
        attach(first.database, "left_log", "left_payment")
        attach(first.database, "right_log", "right_payment")
        # Both processes exist and have imported everything before the first round.
        both = (first.log.log_id, second.log_id)
        place = str(first.keys.directory)
        list(pool.map(seal_in_process, [first.url] * 2, [place] * 2, both))
        yield TwoLogs(first, both, pool)


def seal_in_process(url: str, key_directory: str, log_id: LogId) -> tuple[int, float, float]:
    """Seal what waits; return the rows, and the monotonic times of beginning and end."""
    with connect(url) as database:
        sequencer, rows = Sequencer(database, KeyRing(Path(key_directory))), 0
        began = time.monotonic()
        while (sealed := sequencer.seal_once(log_id)) is not None and sealed.rows:
            rows += sealed.rows
        return rows, began, time.monotonic()


@dataclass(slots=True)
class CopiedTable:
    """A table of payments that the copy loop follows."""

    url: str
    keeps_leaves: bool
    rows: int = 0

    def copy_rate(self, rows: int) -> float:
        """Insert *rows*, and return at what rate the loop copies them."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            insert_payments(connection, "payment", first=self.rows + 1, rows=rows)
        self.rows += rows
        copied, seconds = copy_all(self.url, "payment", keeps_leaves=self.keeps_leaves)
        assert copied == rows, "everything that was inserted is copied"
        return copied / seconds


@contextlib.contextmanager
def copied_table(ground: Ground, *, keeps_leaves: bool) -> Iterator[CopiedTable]:
    """Yield an empty table of payments in a database of its own."""
    with ground.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            create_payments(connection, "payment")
            create_copy_tables(connection)
        yield CopiedTable(url, keeps_leaves)
