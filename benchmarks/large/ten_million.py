"""
Two logs of ten million leaves, sealed side by side: rate and memory as they grow, then the audit.

Rows are put into the queue as capture does, a million at a time, and sealed by two processes.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.ground import ORIGIN_PREFIX, Ground, LogGround, value
from benchmarks.harness import Bound, Figure, Samples
from tallystick.db import connect
from tallystick.publish import Publisher
from tallystick.seal.audit import audit_log
from tallystick.seal.logs import KeyRing, LogId, LogSettings, create_log
from tallystick.seal.sequencer import Sequencer
from tallystick.tlog import LeafIndex, check_inclusion

PROCESSES: Final = 2
QUEUE: Final = """
  INSERT INTO tally.capture (log_id, op, via, source_key, source_id, leaf, captured_at)
  SELECT %s, 'I', 't', '["' || g || '"]', g,
    convert_to('row ' || g || repeat(' of a payment', 21), 'UTF8'), tally.clock()
  FROM generate_series(%s::bigint, %s::bigint) AS g
"""
"""Leaves of about 285 bytes, with keys as a table's have them."""


@dataclass(slots=True)
class Growing:
    """Two logs of one database as they grow, with what each step took."""

    ground: LogGround
    log_ids: tuple[LogId, LogId]
    pool: ProcessPoolExecutor
    rows: int = 0
    rates: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)

    def grow(self, rows: int) -> None:
        """Queue *rows* more for each log, and seal them in two processes."""
        with psycopg.connect(self.ground.url, autocommit=True) as connection:
            for log_id in self.log_ids:
                connection.execute(QUEUE, (log_id, self.rows + 1, self.rows + rows))
        self.rows += rows
        place = str(self.ground.keys.directory)
        starts = [
            self.pool.submit(seal_in_process, self.ground.url, place, log_id)
            for log_id in self.log_ids
        ]
        ended = [start.result() for start in starts]
        assert sum(part[0] for part in ended) == 2 * rows
        seconds = max(part[2] for part in ended) - min(part[1] for part in ended)
        self.rates.append(2 * rows / seconds)
        self.memory_mb.append(max(part[3] for part in ended))


def run(ground: Ground) -> list[Figure]:
    """Return the rate at the end beside the beginning's, memory, storage and the audit."""
    step = ground.scale.pick(1_000_000, 10_000)
    steps = ground.scale.pick(10, 3)
    with two_logs(ground) as growing:
        for _ in range(steps):
            growing.grow(step)
        ground.checkpoint()
        audited = [audit(growing, name) for name in ("left_log", "right_log")]
        proofs = prove(growing)
        storage = stored_bytes(growing)
    leaves = f"two logs of {growing.rows:,} leaves"
    return [
        Figure(f"sealing {leaves}", Samples(tuple(growing.rates)), "rows/s", "more"),
        Figure(
            f"sealing {leaves}, time a row: the last step",
            Samples((1e6 / growing.rates[-1],)),
            "µs",
            "less",
            "the first step",
            Samples((1e6 / growing.rates[0],)),
            ratio_target=Bound(most=1.3),
        ),
        Figure(
            f"memory of a sealing process, {leaves}: the last step",
            Samples((growing.memory_mb[-1],)),
            "MB",
            "less",
            "the first step",
            Samples((growing.memory_mb[0],)),
            ratio_target=Bound(most=1.3),
            note="the largest that it ever was",
        ),
        Figure(
            f"audit, {leaves}, {PROCESSES} processes",
            Samples(tuple(audited)),
            "leaves/s",
            "more",
            target=Bound(least=200_000),
        ),
        Figure(f"proofs, {leaves}, one thread, no HTTP", Samples((proofs,)), "proofs/s", "more"),
        Figure(f"storage a leaf beyond its bytes, {leaves}", Samples((storage,)), "bytes", "less"),
    ]


@contextlib.contextmanager
def two_logs(ground: Ground) -> Iterator[Growing]:
    """Yield two empty logs with a sealing process for each."""
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
        yield Growing(first, (first.log.log_id, second.log_id), pool)


def seal_in_process(url: str, key_directory: str, log_id: LogId) -> tuple[int, float, float, float]:
    """Seal what waits; return rows, the times of beginning and end, and the peak of memory."""
    with connect(url) as database:
        sequencer, rows = Sequencer(database, KeyRing(Path(key_directory))), 0
        began = time.monotonic()
        while (sealed := sequencer.seal_once(log_id)) is not None and sealed.rows:
            rows += sealed.rows
        ended = time.monotonic()
    return rows, began, ended, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def audit(growing: Growing, log_name: str) -> float:
    """Audit one of the logs, and return leaves a second."""
    report = audit_log(growing.ground.database, log_name, processes=PROCESSES)
    assert report.is_clean, report.findings[:3]
    assert report.leaves == growing.rows
    return report.leaves / report.seconds


def prove(growing: Growing, count: int = 2000) -> float:
    """Prove and check leaves from all over a log, and return proofs a second."""
    publisher = Publisher(growing.ground.database)
    publisher.refresh()
    head = publisher.published_head("left_log")
    began = time.monotonic()
    for number in range(count):
        index = LeafIndex(number * 7919 * 104_729 % head.size)
        proof = publisher.prove_index(head, index)
        check_inclusion(
            proof.hashes, leaf=proof.leaf_hash, index=index, size=head.size, root=head.root
        )
    return count / (time.monotonic() - began)


def stored_bytes(growing: Growing) -> float:
    """Return the bytes on disk a leaf, beyond the leaf's own."""
    total = value(
        growing.ground.url,
        "SELECT pg_total_relation_size('tally.merkle_log')"
        " + pg_total_relation_size('tally.log_tiles')",
    )
    leaf = value(
        growing.ground.url,
        "SELECT avg(octet_length(leaf)) FROM (SELECT leaf FROM tally.merkle_log LIMIT 1000) AS l",
    )
    return float(total) / (2 * growing.rows) - float(leaf)
