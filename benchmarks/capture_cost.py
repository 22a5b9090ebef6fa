"""
What capture costs the writer (log.md, section 8): plain, captured and a hand-written trigger.

All sides run in one server with fsync on, in turns, and medians are compared, so that what else
the machine does falls on all of them. Run with `python benchmarks/capture_cost.py [--rounds N]`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.db import migrate
from tallystick.runtime.binaries import find_binaries
from tallystick.runtime.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BULK_ROWS = 500_000
UPDATED_ROWS = 300_000
STATEMENTS = 20_000
CLIENTS = 8
CLIENT_SECONDS = 5
SIDES = ("plain", "captured", "to_jsonb")

SCHEMA = """
CREATE TABLE {side} (
  id bigint PRIMARY KEY, customer text NOT NULL, amount numeric(12, 2) NOT NULL, paid boolean NOT NULL,
  at timestamptz NOT NULL);
CREATE SEQUENCE {side}_id CACHE 1000;
"""
NAIVE = """
CREATE TABLE naive_log (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, op text, key text, record jsonb, xid xid8, at timestamptz);
CREATE FUNCTION naive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO naive_log (op, key, record, xid, at)
  SELECT TG_OP, n.id::text, to_jsonb(n), pg_current_xact_id(), clock_timestamp() FROM new_rows AS n;
  RETURN NULL;
END $$;
CREATE TRIGGER naive_insert AFTER INSERT ON to_jsonb REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION naive();
CREATE TRIGGER naive_update AFTER UPDATE ON to_jsonb REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION naive();
"""
SEAL = """
INSERT INTO tally.verification_logs (log_name, origin) VALUES ('payments', 'log.example/payments');
INSERT INTO tally.verification_sources (source_table, log_name, relation, key_columns)
  VALUES ('captured', 'payments', 'captured'::regclass, '{id}');
SELECT tally.create_capture(source_no), tally.create_capture_triggers(source_no) FROM tally.verification_sources;
"""
ROW = "'customer ' || {i} % 1000, ({i} % 100000) / 100.0, {i} % 3 = 0, '2026-01-02 03:04:05+00'::timestamptz"
LOOP = """
DO $$ BEGIN FOR i IN 1..{count} LOOP
  INSERT INTO {side} VALUES (i, {row});
END LOOP; END $$
"""
UPDATE_LOOP = """
DO $$ BEGIN FOR i IN 1..{count} LOOP
  UPDATE {side} SET amount = amount + 1 WHERE id = i;
END LOOP; END $$
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """The values of each side, one a round."""

    name: str
    unit: str
    values: dict[str, list[float]]

    def line(self) -> str:
        """Return the medians with their spread, and the ratios to plain of the same rounds."""
        parts = []
        for side, values in self.values.items():
            spread = f"{min(values):.1f}..{max(values):.1f}"
            ratio = statistics.median(
                value / plain for value, plain in zip(values, self.values["plain"], strict=True)
            )
            extra = statistics.median(
                value - plain for value, plain in zip(values, self.values["plain"], strict=True)
            )
            parts.append(
                f"{side} {statistics.median(values):.1f} {self.unit} ({spread})"
                + ("" if side == "plain" else f" x{ratio:.2f} {extra:+.1f}")
            )
        return f"{self.name}: " + "; ".join(parts)


@contextlib.contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """Yield a durable server in a directory that is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place:
        found = EmbeddedPostgres(Path(place) / "data", settings={"max_connections": "50"})
        with found:
            yield found


def prepare(url: str) -> None:
    """Make the tables of all sides."""
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for side in SIDES:
            run(connection, SCHEMA.format(side=side))
        run(connection, SEAL)
        run(connection, NAIVE)


def run(connection: psycopg.Connection[Any], statement: str) -> None:
    """Execute a statement of this script."""
    connection.execute(statement.encode())


def timed(connection: psycopg.Connection[Any], statement: str) -> float:
    """Return the milliseconds that a statement took."""
    began = time.perf_counter()
    run(connection, statement)
    return (time.perf_counter() - began) * 1000


def empty(connection: psycopg.Connection[Any], *, keep_rows: bool = False) -> None:
    """Start a round: empty queues, and tables unless their rows are kept; nothing to write back."""
    run(connection, "TRUNCATE tally.capture, naive_log")
    if not keep_rows:
        run(connection, "ALTER TABLE captured DISABLE TRIGGER ALL")
        run(connection, "TRUNCATE plain, captured, to_jsonb")
        for kind in ("begin", "insert", "update", "delete", "truncate"):
            run(connection, f"ALTER TABLE captured ENABLE ALWAYS TRIGGER tally_1_{kind}")
    run(connection, "CHECKPOINT")


def bulk_insert(connection: psycopg.Connection[Any], side: str) -> float:
    """One INSERT of many rows."""
    row = ROW.format(i="i")
    return timed(
        connection, f"INSERT INTO {side} SELECT i, {row} FROM generate_series(1, {BULK_ROWS}) AS i"
    )


def bulk_update(connection: psycopg.Connection[Any], side: str) -> float:
    """One UPDATE of many rows, of a column that no index holds."""
    run(connection, f"VACUUM {side}")
    return timed(connection, f"UPDATE {side} SET amount = amount + 1 WHERE id <= {UPDATED_ROWS}")


def one_row_inserts(connection: psycopg.Connection[Any], side: str) -> float:
    """Microseconds for an INSERT of one row, in one transaction."""
    statement = LOOP.format(side=side, row=ROW.format(i="i"), count=STATEMENTS)
    return timed(connection, statement) * 1000 / STATEMENTS


def one_row_updates(connection: psycopg.Connection[Any], side: str) -> float:
    """Microseconds for an UPDATE of one row, in one transaction."""
    return timed(connection, UPDATE_LOOP.format(side=side, count=STATEMENTS)) * 1000 / STATEMENTS


def measure(
    connection: psycopg.Connection[Any],
    name: str,
    unit: str,
    measurement: Callable[[psycopg.Connection[Any], str], float],
    *,
    rounds: int,
    keep_rows: bool = False,
) -> Measured:
    """Measure each side in turn, so many rounds."""
    values: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        empty(connection, keep_rows=keep_rows)
        for side in SIDES:
            values[side].append(measurement(connection, side))
            run(connection, "CHECKPOINT")
    return Measured(name, unit, values)


def clients(url: str, side: str) -> tuple[float, float]:
    """Return the inserts a second of many clients, a transaction each, and their p99 in ms."""
    script = (
        f"INSERT INTO {side} VALUES (nextval('{side}_id'), 'customer 17', 10.50, true, now());\n"
    )
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "insert.sql"
        file.write_text(script, "utf-8")
        output = subprocess.run(
            [
                find_binaries() / "pgbench", "-n", "-M", "prepared", "-f", file,
                "-c", str(CLIENTS), "-j", "2", "-T", str(CLIENT_SECONDS), "-l",
                "--log-prefix", Path(place) / "log", url,
            ],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        latencies = sorted(
            int(line.split()[2]) / 1000
            for log in Path(place).glob("log*")
            for line in log.read_text("utf-8").splitlines()
        )
    found = re.search(r"tps = ([0-9.]+)", output)
    assert found is not None
    return float(found[1]), latencies[int(len(latencies) * 0.99)]


def measure_clients(url: str, *, rounds: int) -> list[Measured]:
    """Measure the throughput and the tail of many clients on each side."""
    throughput: dict[str, list[float]] = {side: [] for side in SIDES}
    tails: dict[str, list[float]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        with psycopg.connect(url, autocommit=True) as connection:
            empty(connection)
        for side in SIDES:
            tps, p99 = clients(url, side)
            throughput[side].append(tps)
            tails[side].append(p99)
    return [
        Measured(f"one-row inserts, {CLIENTS} clients", "/s", throughput),
        Measured(f"their p99, {CLIENTS} clients", "ms", tails),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["bulk", "one", "clients"], default=None)
    chosen = parser.parse_args()
    with server() as found:
        url = found.url()
        prepare(url)
        with psycopg.connect(url, autocommit=True) as connection:
            rounds = chosen.rounds
            if chosen.only in (None, "one"):
                for name, statement in (
                    ("one-row insert in one transaction", one_row_inserts),
                    ("one-row update in one transaction", one_row_updates),
                ):
                    keep = statement is one_row_updates
                    print(
                        measure(
                            connection, name, "us", statement, rounds=rounds, keep_rows=keep
                        ).line(),
                        flush=True,
                    )
            if chosen.only in (None, "bulk"):
                print(
                    measure(
                        connection, f"insert of {BULK_ROWS} rows", "ms", bulk_insert, rounds=rounds
                    ).line(),
                    flush=True,
                )
                print(
                    measure(
                        connection, f"update of {UPDATED_ROWS} rows", "ms", bulk_update,
                        rounds=rounds, keep_rows=True,
                    ).line(),
                    flush=True,
                )  # fmt: skip
        if chosen.only in (None, "clients"):
            for measured in measure_clients(url, rounds=chosen.rounds):
                print(measured.line(), flush=True)


if __name__ == "__main__":
    main()
