"""Statements that change many rows: captured, plain, and with a hand-written trigger."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import psycopg
from psycopg import sql

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.payments import (
    PLAIN,
    TABLES,
    TO_JSONB,
    create_recorded_tables,
    insert_payments,
)

AT_MOST_PLAIN = Bound(most=2.8)
NOT_SLOWER = Bound(most=1.0)
RECORDED_IN: Final[Mapping[str, Sequence[tuple[str, ...]]]] = {
    "plain": (),
    "captured": (("tally", "capture"),),
    "to_jsonb": (("changes",),),
}


def run(ground: Ground) -> list[Figure]:
    """Return bulk insert and bulk update, each against plain and against to_jsonb."""
    inserted = ground.scale.pick(500_000, 20_000)
    updated = ground.scale.pick(300_000, 12_000)
    with (
        ground.log() as log,
        psycopg.connect(log.url, autocommit=True) as connection,
    ):
        create_recorded_tables(log)
        updates: dict[str, list[float]] = {table: [] for table in TABLES}

        def round_of(table: str) -> float:
            empty(connection, table)
            ground.checkpoint()
            seconds = insert_payments(connection, table, first=1, rows=inserted)
            updates[table].append(update_payments(connection, table, rows=updated))
            return seconds

        inserts = measure(
            {table: partial(round_of, table) for table in TABLES},
            rounds=ground.scale.rounds,
        )
    return [
        *compared(f"bulk insert of {inserted:,} rows, captured", inserts),
        *compared(
            f"bulk update of {updated:,} rows, captured",
            {table: Samples(tuple(seconds)) for table, seconds in updates.items()},
        ),
    ]


def compared(name: str, sides: dict[str, Samples]) -> list[Figure]:
    """Return the captured side against both others."""
    captured = sides["captured"]
    return [
        Figure(name, captured, "s", "less", PLAIN, sides["plain"], ratio_target=AT_MOST_PLAIN),
        Figure(
            f"{name}, and to_jsonb",
            captured,
            "s",
            "less",
            TO_JSONB,
            sides["to_jsonb"],
            ratio_target=NOT_SLOWER,
        ),
    ]


def empty(connection: psycopg.Connection, table: str) -> None:
    """Empty the table and what its changes were recorded in."""
    for name in ((table,), *RECORDED_IN[table]):
        connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(*name)))


def update_payments(connection: psycopg.Connection, table: str, *, rows: int) -> float:
    """Change the amount of the first *rows* payments in one statement; return the seconds."""
    statement = sql.SQL("UPDATE {} SET amount = amount + 1 WHERE id <= %s")
    began = time.monotonic()
    connection.execute(statement.format(sql.Identifier(table)), (rows,))
    return time.monotonic() - began
