"""The flush of 10,000 buckets that requests have charged since the last."""

from __future__ import annotations

import time
from typing import Final

import psycopg

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, measure
from benchmarks.identity.filling import people
from tallystick.identity import APIKeyRepository

BUCKETS: Final = 10_000
CHARGE: Final = """
  INSERT INTO tally.rate_limits AS b (bucket, tat, day, used, seen_at)
  SELECT 'k:' || k.id, tally.clock(), (tally.clock() AT TIME ZONE 'UTC')::date, 1, tally.clock()
  FROM (SELECT i.id FROM tally.api_keys AS i ORDER BY i.id LIMIT %(buckets)s) AS k
  ON CONFLICT (bucket) DO UPDATE SET used = b.used + 1, seen_at = excluded.seen_at
"""


def run(ground: Ground) -> list[Figure]:
    """Return the seconds of a flush."""
    there = people(ground)
    buckets = min(BUCKETS, there.rows)

    def flush() -> float:
        with psycopg.connect(there.url, autocommit=True) as connection:
            connection.execute(CHARGE, {"buckets": buckets})
        ground.checkpoint()
        began = time.perf_counter()
        with there.database.transaction() as tx:
            flushed = APIKeyRepository(tx).flush_usage()
        took = time.perf_counter() - began
        assert flushed >= buckets, "each bucket was written down"
        return took

    flush()
    seconds = measure({"flush": flush}, rounds=ground.scale.rounds)["flush"]
    name = f"flush of {buckets} dirty buckets"
    return [Figure(name, seconds, "s", "less", target=Bound(most=1.0))]
