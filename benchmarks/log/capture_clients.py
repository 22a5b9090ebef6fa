"""One-row transactions of 8 clients: captured, plain, and with a hand-written trigger."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from typing import Final

import psycopg
from psycopg.pq import ExecStatus

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.payments import PLAIN, TABLES, TO_JSONB, create_recorded_tables

CLIENTS: Final = 8
IDS_A_CLIENT: Final = 10**9
"""Each client inserts ids of its own."""
START_PATIENCE_SECONDS: Final = 60.0
"""The clients begin together, once all have connected; whoever fails before must not hang them."""
PERCENT: Final = 99
INSERT: Final = """
  INSERT INTO {table}
  SELECT i, mod(i, 1000)::text, mod(i, 10000) / 100.0, date '2026-01-02', i::text
  FROM (SELECT $1::bigint AS i) AS one
"""
BARRIERS: list[Barrier] = []
"""In a client's process: what it waits at."""


def run(ground: Ground) -> list[Figure]:
    """Return transactions a second and the 99th percentile of their latency."""
    seconds = ground.scale.pick(2.0, 0.4)
    context = multiprocessing.get_context("spawn")
    pool_of_clients = ProcessPoolExecutor(
        CLIENTS,
        mp_context=context,
        initializer=start_together,
        initargs=(context.Barrier(CLIENTS),),
    )
    with ground.log() as log, pool_of_clients as pool:
        create_recorded_tables(log)
        next_id: dict[str, int] = dict.fromkeys(TABLES, 0)
        slowest: dict[str, list[float]] = {table: [] for table in TABLES}

        def round_of(table: str) -> float:
            ground.checkpoint()
            clients = [
                pool.submit(
                    insert_for,
                    log.url,
                    table,
                    seconds,
                    client * IDS_A_CLIENT + next_id[table],
                )
                for client in range(CLIENTS)
            ]
            latencies = [latency for client in clients for latency in client.result()]
            next_id[table] += len(latencies)
            slowest[table].append(percentile(latencies, PERCENT) * 1000)
            return len(latencies) / seconds

        # Once unmeasured: the clients' processes start, and caches fill.
        for table in TABLES:
            round_of(table)
            slowest[table].clear()
        rates = measure(
            {table: partial(round_of, table) for table in TABLES},
            rounds=ground.scale.rounds,
        )
    p99 = {table: Samples(tuple(values)) for table, values in slowest.items()}
    captured = rates["captured"]
    name = f"one-row inserts, {CLIENTS} clients, captured"
    added = p99["captured"].paired(p99["plain"], lambda own, without: own - without)
    return [
        Figure(
            name,
            captured,
            "tx/s",
            "more",
            PLAIN,
            rates["plain"],
            ratio_target=Bound(least=0.45),
        ),
        Figure(
            f"{name}, and to_jsonb",
            captured,
            "tx/s",
            "more",
            TO_JSONB,
            rates["to_jsonb"],
            ratio_target=Bound(least=0.65),
        ),
        Figure(
            f"one-row inserts, {CLIENTS} clients, what capture adds to the p99",
            added,
            "ms",
            "less",
            target=Bound(most=1.0),
            note=f"p99 is {p99['captured'].median:.2f} ms captured, {p99['plain'].median:.2f} ms"
            f" plain, {p99['to_jsonb'].median:.2f} ms with to_jsonb",
        ),
    ]


def start_together(barrier: Barrier) -> None:
    """Keep what this process waits at before it measures."""
    BARRIERS.append(barrier)


def insert_for(url: str, table: str, seconds: float, first: int) -> list[float]:
    """Insert one row a transaction for *seconds*, from when all are ready; return the latencies."""
    latencies = []
    with psycopg.connect(url, autocommit=True) as connection:
        raw = connection.pgconn
        raw.prepare(b"insert", INSERT.format(table=table).encode())
        BARRIERS[0].wait(START_PATIENCE_SECONDS)
        row_id, now = first, time.monotonic()
        end = now + seconds
        while now < end:
            row_id += 1
            result = raw.exec_prepared(b"insert", [b"%d" % row_id])
            assert result.status == ExecStatus.COMMAND_OK, result.error_message
            done = time.monotonic()
            latencies.append(done - now)
            now = done
    return latencies


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value below which *percent* of *values* lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
