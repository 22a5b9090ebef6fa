"""The audit with 2 processes: the log alone, and the rows of its tables too."""

from __future__ import annotations

import hashlib
import time

import psycopg

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, measure
from benchmarks.log.payments import LargeLog, new_large_log
from tallystick.seal.audit import audit_log

PROCESSES = 2
BARE = "one process that reads and re-hashes the leaves, no more"


def run(ground: Ground) -> list[Figure]:
    """Return the leaves audited a second."""
    # A log of its own: an audit of the shared one would take minutes a round.
    with new_large_log(ground) as large:
        large.grow_to(ground.scale.pick(1_000_000, 30_000))
        ground.checkpoint()
        sides = measure(
            {
                "log": lambda: audited(large, with_rows=False),
                "rows": lambda: audited(large, with_rows=True),
                "bare": lambda: rehashed(large),
            },
            rounds=ground.scale.pick(3, 1),
        )
    return [
        Figure(
            f"audit of {large.rows:,} leaves, {PROCESSES} processes",
            sides["log"],
            "leaves/s",
            "more",
            BARE,
            sides["bare"],
            Bound(least=200_000),
            note="3 rounds, because one is long",
        ),
        Figure(
            f"audit of {large.rows:,} leaves with rows, {PROCESSES} processes",
            sides["rows"],
            "leaves/s",
            "more",
            BARE,
            sides["bare"],
            Bound(least=50_000),
        ),
    ]


def audited(large: LargeLog, *, with_rows: bool) -> float:
    """Audit the log, and return leaves a second."""
    began = time.monotonic()
    report = audit_log(
        large.log.database, large.log.log.log_name, processes=PROCESSES, with_rows=with_rows
    )
    assert report.is_clean, report.findings[:3]
    return report.leaves / (time.monotonic() - began)


def rehashed(large: LargeLog) -> float:
    """Read the leaves in blocks and hash each, and return leaves a second."""
    began, leaves = time.monotonic(), 0
    with (
        psycopg.connect(large.log.url) as connection,
        connection.cursor("leaves", binary=True) as cursor,
    ):
        cursor.itersize = 10_000
        cursor.execute(
            "SELECT leaf, leaf_hash FROM tally.merkle_log WHERE log_id = %s ORDER BY leaf_index",
            (large.log.log.log_id,),
        )
        for leaf, leaf_hash in cursor:
            assert hashlib.sha256(b"\x00" + leaf).digest() == leaf_hash
            leaves += 1
    return leaves / (time.monotonic() - began)
