"""
The application of the demo: a flight board over five tables.

It knows PostgreSQL and nothing of Tallystick: it loads its tables, its writers change them,
and somebody with too many rights falsifies a row.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg
from archive import TABLES
from psycopg import sql

SCHEMA_FILE = Path(__file__).with_name("flights.sql")
COPY_BLOCK_BYTES = 256 * 1024
SPARED_CARRIER = "HA"
"""Writers leave its flights alone, so that the story's flight is as the source has it."""
STORY_KEY = ("2013", "1", "9", "HA", "51", "JFK")
"""Honolulu, 9 January 2013: at 1,301 minutes the latest departure of the year."""
STORY_COLUMN = "arr_delay"
STORY_VALUE = "1272"

PAUSE_SECONDS = 0.002
"""Writers leave the machine to others now and then, as applications do."""

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
OUR_TRIGGERS = """
SELECT tgname FROM pg_trigger WHERE tgrelid = 'flights'::regclass AND NOT tgisinternal
"""

Changes = Counter[tuple[str, str]]
"""Committed changes by table and operation (I, U, D)."""
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


class Writers:
    """Threads that change the board, each with its own connection and its own transactions."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._counts: list[Changes] = []
        self._failures: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start writing."""
        with psycopg.connect(self._url) as connection:
            flights = connection.execute(SOME_FLIGHTS, [SPARED_CARRIER]).fetchall()
            planes = [tail for (tail,) in connection.execute("SELECT tailnum FROM planes")]
        duties = (
            lambda c, r: delay(c, r, flights),
            lambda c, r: reschedule(c, r, flights),
            lambda c, r: refit(c, r, planes),
        )
        for number, duty in enumerate(duties):
            counts: Changes = Counter()
            self._counts.append(counts)
            thread = threading.Thread(target=self._write, args=(number, duty, counts))
            self._threads.append(thread)
            thread.start()

    def stop(self) -> Changes:
        """Stop writing, and return what was committed; raise what a writer died of."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        return sum(self._counts, Counter())

    @property
    def count(self) -> int:
        """Rows changed so far."""
        return sum(sum(counts.values()) for counts in self._counts)

    def _write(
        self,
        number: int,
        duty: Callable[[psycopg.Connection, random.Random], Iterable[tuple[str, str, int]]],
        counts: Changes,
    ) -> None:
        chance = random.Random(number)
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute("SELECT set_config('tally.actor', 'user:dispatcher', false)")
                while not self._stop.wait(PAUSE_SECONDS):
                    try:
                        with connection.transaction():
                            done = list(duty(connection, chance))
                    except psycopg.errors.DeadlockDetected:
                        continue  # nothing of it was committed, so nothing is counted
                    for table, op, rows in done:
                        counts[table, op] += rows
        except BaseException as error:  # noqa: BLE001 (told by stop, in the thread that asks)
            self._failures.append(error)


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


def falsify(url: str) -> None:
    """Change the story's flight with the triggers disabled, and leave no trace in the catalogue."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute(OUR_TRIGGERS)]
        connection.execute("ALTER TABLE flights DISABLE TRIGGER USER")
        changed = connection.execute(FALSIFY).rowcount
        assert changed == 1, "the story has its flight"
        for name in names:
            enable = sql.SQL("ALTER TABLE flights ENABLE ALWAYS TRIGGER {}")
            connection.execute(enable.format(sql.Identifier(name)))
