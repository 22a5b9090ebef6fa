"""Functions in parallel plans: what a large log's reader may get, on every version."""

from __future__ import annotations

import psycopg
import pytest

FORCED = """
    SET min_parallel_table_scan_size = 0;
    SET parallel_setup_cost = 0;
    SET parallel_tuple_cost = 0;
    SET max_parallel_workers_per_gather = 2;
    CREATE TABLE leaf AS
      SELECT convert_to(E'tallystick/seal-record/v1\\n{"row":{"a":"1"}}', 'UTF8') AS leaf
      FROM generate_series(1, 20000);
    ANALYZE leaf"""


@pytest.mark.parametrize(
    "call", ["tally.leaf_record(leaf) ->> 'row' IS NOT NULL", "tally.record_members(leaf) IS NULL"]
)
def test_records_are_read_whatever_the_plan(database_url: str, call: str) -> None:
    """A plan with parallel workers reads records as any other does, none is refused."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(FORCED.encode())
        row = connection.execute(f"SELECT count(*) FROM leaf WHERE {call}".encode()).fetchone()
    assert row is not None
    assert row[0] in {0, 20000}
