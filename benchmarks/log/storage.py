"""What a leaf takes beyond its own bytes, with all indexes and tiles."""

from __future__ import annotations

import psycopg

from benchmarks.ground import Ground, value
from benchmarks.harness import Bound, Figure, Samples
from benchmarks.log.copy_loop import copy_all, create_copy_tables
from benchmarks.log.payments import create_payments, insert_payments, large_log

EARLIER = "earlier copy loop's table; its tree took about 211 bytes of memory a leaf besides"


def run(ground: Ground) -> list[Figure]:
    """Return the bytes on disk a leaf, beyond the leaf, beside the copy loop's."""
    large = large_log(ground, rows=ground.scale.pick(1_000_000, 50_000))
    log_bytes = value(
        large.log.url,
        "SELECT pg_total_relation_size('tally.merkle_log')"
        " + pg_total_relation_size('tally.log_tiles') + pg_total_relation_size('tally.checkpoints')"
        " + pg_total_relation_size('tally.leaf_records')",
    )
    leaf = large.leaf_bytes()
    own = Samples((log_bytes / large.log.size() - leaf,))
    copied = Samples((copied_bytes(ground, ground.scale.pick(200_000, 20_000)),))
    return [
        Figure(
            f"storage a leaf, beyond its {leaf:.0f} bytes",
            own,
            "bytes",
            "less",
            EARLIER,
            copied,
            Bound(most=350),
        )
    ]


def copied_bytes(ground: Ground, rows: int) -> float:
    """Return what the copy loop's table takes a leaf, with its indexes."""
    with ground.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            create_payments(connection, "payment")
            create_copy_tables(connection)
            insert_payments(connection, "payment", first=1, rows=rows)
        copy_all(url, "payment")
        return int(value(url, "SELECT pg_total_relation_size('copied_leaves')")) / rows
