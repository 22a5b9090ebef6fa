"""
Capture from the WAL: what a writer pays beside plain and beside triggers, and how fast it is read.

The reader runs all the while, on the same machine: what it takes of the cores is in the writers'
figures. Reading is measured alone, over changes that wait.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

import psycopg
from psycopg import sql

from benchmarks.ground import Ground, LogGround
from benchmarks.harness import Better, Bound, Figure, Samples, measure
from benchmarks.log.capture_bulk import update_payments
from benchmarks.log.capture_clients import CLIENTS, IDS_A_CLIENT, insert_for, start_together
from benchmarks.log.capture_single import LOOP
from benchmarks.log.payments import PLAIN, attach, create_payments, insert_payments
from tallystick.seal.sources import add_source, run_backfills
from tallystick.seal.wal import WalReader

TABLES: Final = ("plain", "triggers", "wal")
TRIGGERS: Final = "captured by triggers"
QUIET_LOOK_SECONDS: Final = 1.0


def run(ground: Ground) -> list[Figure]:
    """Return writers' figures with the reader running, and the reader's own rate."""
    with ground.log() as log:
        with psycopg.connect(log.url, autocommit=True) as connection:
            for table in TABLES:
                create_payments(connection, table)
        attach(log.database, log.log.log_name, "triggers")
        with log.database.transaction() as tx:
            add_source(tx, log.log.log_name, "wal", capture="wal", on_truncate="ignore")
        with WalReader(log.url) as reader:
            run_backfills(log.database, from_wal=True)
            read = read_rate(ground, log, reader)
            with reading(reader):
                figures = [*single(ground, log), *clients(ground, log), *bulk(ground, log)]
        return [*figures, read]


@contextlib.contextmanager
def reading(reader: WalReader) -> Iterator[None]:
    """Read in a thread while the block lasts."""
    stop = threading.Event()
    thread = threading.Thread(target=reader.run, args=[stop])
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def single(ground: Ground, log: LogGround) -> list[Figure]:
    """Return what a one-row insert takes inside one transaction."""
    statements = ground.scale.pick(20_000, 2_000)
    last = dict.fromkeys(TABLES, 10**9)
    with psycopg.connect(log.url, autocommit=True) as connection:

        def insert_one_by_one(table: str) -> float:
            first = last[table] + 1
            last[table] += statements
            loop = sql.SQL(LOOP).format(first=first, last=last[table], table=sql.Identifier(table))
            began = time.monotonic()
            connection.execute(loop)
            return (time.monotonic() - began) / statements * 1e6

        for table in TABLES:
            insert_one_by_one(table)
        sides = in_turns(ground, insert_one_by_one)
    return versus("one-row statement, captured from the WAL", sides, "µs", "less", Bound(most=1.25))


def clients(ground: Ground, log: LogGround) -> list[Figure]:
    """Return one-row transactions a second of 8 clients."""
    seconds = ground.scale.pick(2.0, 0.4)
    context = multiprocessing.get_context("spawn")
    next_id = dict.fromkeys(TABLES, 10**13)
    with ProcessPoolExecutor(
        CLIENTS,
        mp_context=context,
        initializer=start_together,
        initargs=(context.Barrier(CLIENTS),),
    ) as pool:

        def round_of(table: str) -> float:
            ground.checkpoint()
            waiting = [
                pool.submit(
                    insert_for, log.url, table, seconds, client * IDS_A_CLIENT + next_id[table]
                )
                for client in range(CLIENTS)
            ]
            count = sum(len(client.result()) for client in waiting)
            next_id[table] += count
            return count / seconds

        for table in TABLES:
            round_of(table)
        sides = in_turns(ground, round_of)
    name = f"one-row inserts, {CLIENTS} clients, captured from the WAL"
    return versus(name, sides, "tx/s", "more", Bound(least=0.8))


def bulk(ground: Ground, log: LogGround) -> list[Figure]:
    """Return statements that insert and update many rows."""
    inserted = ground.scale.pick(500_000, 20_000)
    updated = ground.scale.pick(300_000, 12_000)
    updates: dict[str, list[float]] = {table: [] for table in TABLES}
    with psycopg.connect(log.url, autocommit=True) as connection:

        def round_of(table: str) -> float:
            truncate = sql.SQL("TRUNCATE {}, tally.capture").format(sql.Identifier(table))
            connection.execute(truncate)
            ground.checkpoint()
            seconds = insert_payments(connection, table, first=1, rows=inserted)
            updates[table].append(update_payments(connection, table, rows=updated))
            return seconds

        inserts = in_turns(ground, round_of)
    updated_sides = {table: Samples(tuple(values)) for table, values in updates.items()}
    insert_name = f"bulk insert of {inserted:,} rows, captured from the WAL"
    update_name = f"bulk update of {updated:,} rows, captured from the WAL"
    return [
        *versus(insert_name, inserts, "s", "less", Bound(most=2.0)),
        *versus(update_name, updated_sides, "s", "less", Bound(most=2.0)),
    ]


def read_rate(ground: Ground, log: LogGround, reader: WalReader) -> Figure:
    """Return how many changes a second become queue rows, and what the plain insert makes."""
    rows = ground.scale.pick(300_000, 12_000)
    first = [10**14]
    written: list[float] = []

    def read_waiting() -> float:
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute("TRUNCATE wal, tally.capture")
            seconds = insert_payments(connection, "wal", first=first[0], rows=rows)
        first[0] += rows
        written.append(rows / seconds)
        began, queued = time.monotonic(), 0
        while queued < rows:
            queued += reader.look(QUIET_LOOK_SECONDS).rows
        return rows / (time.monotonic() - began)

    read_waiting()
    written.clear()
    rates = measure({"read": read_waiting}, rounds=ground.scale.rounds)
    return Figure(
        "changes read from the WAL and queued",
        rates["read"],
        "rows/s",
        "more",
        "rows that one statement writes",
        Samples(tuple(written)),
        Bound(least=60_000),
    )


def in_turns(ground: Ground, side: object) -> dict[str, Samples]:
    """Return *side* of each table, in turns."""
    assert callable(side)
    return measure({table: partial(side, table) for table in TABLES}, rounds=ground.scale.rounds)


def versus(
    name: str, sides: dict[str, Samples], unit: str, better: Better, target: Bound
) -> list[Figure]:
    """Return the side that is read from the WAL against both others."""
    return [
        Figure(name, sides["wal"], unit, better, PLAIN, sides["plain"], ratio_target=target),
        Figure(f"{name}, and by triggers", sides["wal"], unit, better, TRIGGERS, sides["triggers"]),
    ]
