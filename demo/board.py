"""
The application of the demo: a flight board over five tables.

It knows PostgreSQL and nothing of logs: it loads its tables, its writers change them, and
somebody with too many rights falsifies a row.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg
from archive import TABLES
from psycopg import sql

from tallystick.db import Transaction
from tallystick.runtime.demo.writers import Duty

SCHEMA_FILE = Path(__file__).with_name("flights.sql")
COPY_BLOCK_BYTES = 256 * 1024
SPARED_CARRIER = "HA"
"""Writers leave its flights alone, so that the story's flight is as the source has it."""
STORY_KEY = ("2013", "1", "9", "HA", "51", "JFK")
"""Honolulu, 9 January 2013: at 1,301 minutes the latest departure of the year."""
STORY_COLUMN = "arr_delay"
STORY_VALUE = "1272"

DELAY_ONE = """
UPDATE flights SET dep_delay = coalesce(dep_delay, 0) + 1
WHERE (year, month, day, carrier, flight, origin) = (%s, %s, %s, %s, %s, %s)
"""
DELAY_MANY = """
UPDATE flights SET arr_delay = coalesce(arr_delay, 0) + 5
WHERE year = %s AND month = %s AND day = %s AND carrier = %s AND origin = %s
"""
CANCEL = """
DELETE FROM flights
WHERE (year, month, day, carrier, flight, origin) = (%s, %s, %s, %s, %s, %s)
"""
SCHEDULE = """
INSERT INTO flights (
  year, month, day, sched_dep_time, sched_arr_time, carrier, flight, tailnum, origin, dest,
  distance, hour, minute, time_hour)
SELECT
  2014, month, day, sched_dep_time, sched_arr_time, carrier, flight, tailnum, origin, dest,
  distance, hour, minute, time_hour + interval '365 days'
FROM flights WHERE year = 2013 AND month = %s AND day = %s AND carrier = %s AND origin = %s
ON CONFLICT DO NOTHING
"""
REFIT = "UPDATE planes SET seats = seats + 1 WHERE tailnum = %s"
SOME_FLIGHTS = """
SELECT year, month, day, carrier, flight, origin FROM flights TABLESAMPLE SYSTEM (4) REPEATABLE (1)
WHERE carrier <> %s
"""
FALSIFY = """
UPDATE flights SET arr_delay = 0
WHERE (year, month, day, carrier, flight, origin) = (2013, 1, 9, 'HA', 51, 'JFK')
"""
FlightKey = tuple[int, int, int, str, int, str]


def create_tables(url: str) -> None:
    """Create the five tables."""
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA_FILE.read_bytes())


def load_tables(
    url: str, files: dict[str, bytes], told: Callable[[int, int], None]
) -> dict[str, int]:
    """Copy the CSV files into their tables and return the rows of each; *told* hears of bytes."""
    total, done, rows = sum(map(len, files.values())), 0, {}
    with psycopg.connect(url) as connection:
        for table in TABLES:
            # `match`: a file with other columns than the table's is refused.
            statement = sql.SQL("COPY {} FROM STDIN (FORMAT csv, HEADER match, NULL 'NA')")
            with connection.cursor() as cursor:
                with cursor.copy(statement.format(sql.Identifier(table))) as copy:
                    for start in range(0, len(files[table]), COPY_BLOCK_BYTES):
                        block = files[table][start : start + COPY_BLOCK_BYTES]
                        copy.write(block)
                        done += len(block)
                        told(done, total)
                rows[table] = cursor.rowcount
    return rows


def duties(url: str) -> tuple[Duty, ...]:
    """Return what three writers do to the board, each in transactions of its own."""
    with psycopg.connect(url) as connection:
        flights = connection.execute(SOME_FLIGHTS, [SPARED_CARRIER]).fetchall()
        planes = [tail for (tail,) in connection.execute("SELECT tailnum FROM planes")]
    return (
        lambda tx, chance: delay(tx.connection, chance, flights),
        lambda tx, chance: reschedule(tx.connection, chance, flights),
        lambda tx, chance: refit(tx.connection, chance, planes),
    )


def delay(
    connection: psycopg.Connection, chance: random.Random, flights: list[FlightKey]
) -> Iterable[tuple[str, str, int]]:
    """Delay one flight, or now and then all of a carrier's at one airport on one day."""
    key = chance.choice(flights)
    if chance.random() < 0.05:
        year, month, day, carrier, _, origin = key
        done = connection.execute(DELAY_MANY, [year, month, day, carrier, origin])
    else:
        done = connection.execute(DELAY_ONE, key)
    yield "flights", "U", done.rowcount


def reschedule(
    connection: psycopg.Connection, chance: random.Random, flights: list[FlightKey]
) -> Iterable[tuple[str, str, int]]:
    """Cancel a flight, or schedule a day's flights for the year after."""
    key = chance.choice(flights)
    if chance.random() < 0.5:
        yield "flights", "D", connection.execute(CANCEL, key).rowcount
    else:
        _, month, day, carrier, _, origin = key
        done = connection.execute(SCHEDULE, [month, day, carrier, origin])
        yield "flights", "I", done.rowcount


def refit(
    connection: psycopg.Connection, chance: random.Random, planes: list[str]
) -> Iterable[tuple[str, str, int]]:
    """Give a plane one more seat."""
    yield "planes", "U", connection.execute(REFIT, [chance.choice(planes)]).rowcount


def falsify(tx: Transaction) -> int:
    """Falsify the story's flight, and return how many rows that changed."""
    return tx.connection.execute(FALSIFY).rowcount
