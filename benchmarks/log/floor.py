"""An empty look after millions of sealed rows, while an old snapshot keeps their index entries."""

from __future__ import annotations

import time

import psycopg

from benchmarks.ground import Ground, LogGround
from benchmarks.harness import Bound, Figure, measure
from tallystick.seal.sequencer import store
from tallystick.seal.sequencer.floor import BELOW_EVERY_SEQ, Seq

QUEUE = """
  INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)
  SELECT %s, 'A', 'a', '[]', int8send(g), tally.clock() FROM generate_series(1, %s::bigint) AS g
"""
FROM_ZERO = "the same look from below every seq"


def run(ground: Ground) -> list[Figure]:
    """Return how long a look takes that finds nothing, from the floor and from zero."""
    rows = ground.scale.pick(3_000_000, 100_000)
    with (
        ground.log(batch_size=1_000_000) as log,
        psycopg.connect(log.url) as old_snapshot,
    ):
        # Read-only, and open until the end: vacuum may not remove what it could still see.
        old_snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        old_snapshot.execute("SELECT count(*) FROM tally.verification_logs")
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute(QUEUE, (log.log.log_id, rows))
        sequencer = log.sequencer()
        assert log.seal_all(sequencer) == rows
        # A look after the last batch: its snapshot proves what the floor may pass over.
        sequencer.seal_once(log.log.log_id)
        floor = sequencer.state(log.log.log_id).floor.seq
        assert floor >= rows, "the floor stands behind every sealed row"
        sides = measure(
            {
                "floor": lambda: probe_ms(log, floor, looks=50),
                "zero": lambda: probe_ms(log, BELOW_EVERY_SEQ, looks=3),
            },
            rounds=ground.scale.rounds,
        )
    return [
        Figure(
            f"empty look, {rows:,} rows sealed under an open old snapshot",
            sides["floor"],
            "ms",
            "less",
            FROM_ZERO,
            sides["zero"],
            Bound(most=2.0),
        )
    ]


def probe_ms(log: LogGround, floor: Seq, *, looks: int) -> float:
    """Look *looks* times from *floor*, and return the milliseconds of one look."""
    seconds = 0.0
    for _ in range(looks):
        with log.database.transaction(read_only=True) as tx:
            began = time.monotonic()
            [answer] = store.probe(tx, {log.log.log_id: floor})
            seconds += time.monotonic() - began
        assert answer.oldest_captured_at is None, "nothing waits"
    return seconds / looks * 1000
