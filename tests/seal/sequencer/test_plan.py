"""How the sealing statement reads the queue (log.md, sections 5.5 and 5.6)."""

from __future__ import annotations

import json

import psycopg

from tallystick.db import Query
from tallystick.seal.sequencer import store
from tests.support.logs import make_bench

BATCH = {"log_name": "payments", "floor": 0, "batch_size": 1000, "tree_size": 0}
QUEUE = """
  INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)
  SELECT %s, 'A', 'a', '[]', convert_to('leaf ' || g, 'UTF8'), tally.clock()
  FROM generate_series(1, 20000) AS g
"""


def nodes(plan: dict) -> list[dict]:
    """Every node of a plan."""
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def test_a_batch_never_reads_more_of_the_queue_than_it_takes(database_url, tmp_path):
    """Statistics that say the queue is empty do not make a batch read all that waits behind it."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    with psycopg.connect(database_url) as connection:
        connection.execute("ANALYZE tally.capture")
        connection.execute(QUEUE, (bench.log.log_id,))
        connection.commit()
        log_id = {"log_id": bench.log.log_id}
        connection.execute(store.SQL.lock_log, log_id)
        explain = Query(b"EXPLAIN (ANALYZE, FORMAT JSON) " + bytes(store.SQL.take_batch))
        row = connection.execute(explain, {**log_id, **BATCH}).fetchone()
    [answer] = row[0] if isinstance(row[0], list) else json.loads(row[0])
    reads = [
        node
        for node in nodes(answer["Plan"])
        if node.get("Relation Name") == "capture" and "Scan" in node["Node Type"]
    ]
    assert len(reads) == 2, "one scan chooses the rows, one deletes them"
    assert all(node["Actual Rows"] <= BATCH["batch_size"] for node in reads)
