"""
What capture adds to a statement that changes one row, inside one transaction.

The loop runs in the server, so that no client and no commit is in the figure.
"""

from __future__ import annotations

import time
from functools import partial

import psycopg
from psycopg import sql

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, measure
from benchmarks.log.payments import TABLES, TO_JSONB, create_recorded_tables

LOOP = """
  DO $$
  BEGIN
    FOR g IN {first} .. {last} LOOP
      INSERT INTO {table} VALUES (g, g % 1000, g % 10000 / 100.0, '2026-01-02', g);
    END LOOP;
  END $$
"""


def run(ground: Ground) -> list[Figure]:
    """Return the microseconds that capture adds to a one-row insert, and what to_jsonb adds."""
    statements = ground.scale.pick(20_000, 2_000)
    with ground.log() as log, psycopg.connect(log.url, autocommit=True) as connection:
        create_recorded_tables(log)
        last: dict[str, int] = dict.fromkeys(TABLES, 0)

        def insert_one_by_one(table: str) -> float:
            first = last[table] + 1
            last[table] += statements
            loop = sql.SQL(LOOP).format(
                first=first,
                last=last[table],
                table=sql.Identifier(table),
            )
            began = time.monotonic()
            connection.execute(loop)
            return (time.monotonic() - began) / statements * 1e6

        # Once unmeasured: the first call of a session plans each function.
        for table in TABLES:
            insert_one_by_one(table)
        sides = measure(
            {table: partial(insert_one_by_one, table) for table in TABLES},
            rounds=ground.scale.rounds,
        )
    plain = sides["plain"]
    added = {
        table: sides[table].paired(plain, lambda own, without: own - without)
        for table in ("captured", "to_jsonb")
    }
    return [
        Figure(
            "one-row statement, what capture adds",
            added["captured"],
            "µs",
            "less",
            f"what the {TO_JSONB} adds",
            added["to_jsonb"],
            Bound(most=35),
            note=f"the plain statement takes {plain.median:.1f} µs; "
            "order, fingerprint and fixed output formats are the rest",
        )
    ]
