"""Leaves are found by the start of their hash (log.md, section 2.4; docs/adr/0017)."""

from __future__ import annotations

import itertools
import json

import psycopg

from tallystick.db import Query
from tallystick.publish import store
from tallystick.publish.store import START_BYTES
from tallystick.tlog import TreeSize, hash_leaf
from tests.support.logs import make_bench


def alike_entries() -> tuple[bytes, bytes]:
    """Two entries whose leaf hashes begin alike: as far as the index looks."""
    seen: dict[bytes, bytes] = {}
    for number in itertools.count():
        entry = b"entry %d" % number
        start = hash_leaf(entry)[:START_BYTES]
        if start in seen:
            return seen[start], entry
        seen[start] = entry
    raise AssertionError


def test_hashes_that_begin_alike_are_told_apart(database_url, tmp_path):
    """Of two leaves that the index cannot tell apart, a lookup gives the one that was asked for."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    entries = alike_entries()
    bench.push(b"before", *entries)
    bench.seal_all()
    with bench.database.transaction() as tx:
        found = [
            store.indexes_of_hash(
                tx, bench.log.log_id, hash_leaf(entry), size=TreeSize(3), limit=10
            )
            for entry in (*entries, b"before", b"absent")
        ]
    assert found == [[1], [2], [0], []]


def test_a_hash_is_looked_up_in_its_index(database_url, tmp_path):
    """Finding a leaf by its hash reads the narrow index, and of the leaves what begins alike."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    bench.push(*(b"entry %d" % number for number in range(500)))
    bench.seal_all()
    wanted = hash_leaf(b"entry 7")
    parameters = {
        "log_id": bench.log.log_id,
        "start": int.from_bytes(wanted[:START_BYTES], "big", signed=True),
        "leaf_hash": wanted,
        "tree_size": 500,
        "limit": 10,
    }
    explain = Query(b"EXPLAIN (ANALYZE, FORMAT JSON) " + bytes(store.SQL.indexes_of_hash))
    with psycopg.connect(database_url) as connection:
        connection.execute("ANALYZE tally.merkle_log")
        row = connection.execute(explain, parameters).fetchone()
    assert row is not None
    plan = json.dumps(row[0])
    assert '"merkle_log_by_hash"' in plan
    assert '"Rows Removed by Filter": 0' in plan
