"""
The table of the figures: payments, 5 columns, whose records are leaves of about 280 bytes.

Also the large log, which several figures share, and the ways in which a table is recorded by
other means: nothing, and the trigger that people write by hand.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg import sql

from benchmarks.ground import Ground, LogGround, value
from tallystick.db import Database
from tallystick.seal.sequencer import Sequencer
from tallystick.seal.sources import add_source

COLUMNS: Final = """
  id bigint PRIMARY KEY,
  payer text NOT NULL,
  amount numeric(12, 2) NOT NULL,
  paid_on date NOT NULL,
  note text
"""
ROWS: Final = """
  SELECT g, mod(g, 1000)::text, mod(g, 10000) / 100.0, date '2026-01-02' + mod(g, 28)::integer,
    g::text
  FROM generate_series(%s::bigint, %s::bigint) AS g
"""

HAND_WRITTEN: Final = """
  CREATE TABLE {changes} (
    change_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name text NOT NULL, operation text NOT NULL, row_data jsonb NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp());
  CREATE FUNCTION {record}() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN
    INSERT INTO {changes} (table_name, operation, row_data)
    SELECT TG_TABLE_NAME, TG_OP, to_jsonb(n) FROM new_rows AS n;
    RETURN NULL;
  END $$;
  CREATE TRIGGER record_insert AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION {record}();
  CREATE TRIGGER record_update AFTER UPDATE ON {table} REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION {record}();
"""
"""The usual audit trigger: it records new rows; no order, no fingerprint, no fixed formats."""

TABLES: Final = ("plain", "captured", "to_jsonb")
"""Each way of recording, and the table that is recorded so."""
TO_JSONB: Final = "hand-written to_jsonb trigger"
PLAIN: Final = "the same without capture"


def create_payments(connection: psycopg.Connection, table: str) -> None:
    """Create an empty table of payments."""
    statement = sql.SQL("CREATE TABLE {} (" + COLUMNS + ")")
    connection.execute(statement.format(sql.Identifier(table)))


def insert_payments(connection: psycopg.Connection, table: str, *, first: int, rows: int) -> float:
    """Insert payments from id *first* on in one statement, and return the seconds it took."""
    statement = sql.SQL("INSERT INTO {} " + ROWS).format(sql.Identifier(table))
    began = time.monotonic()
    connection.execute(statement, (first, first + rows - 1))
    return time.monotonic() - began


def create_recorded_tables(log: LogGround) -> None:
    """Create one table of payments for each way of recording, each under its name."""
    with psycopg.connect(log.url, autocommit=True) as connection:
        for table in TABLES:
            create_payments(connection, table)
        connection.execute(
            sql.SQL(HAND_WRITTEN).format(
                table=sql.Identifier("to_jsonb"),
                changes=sql.Identifier("changes"),
                record=sql.Identifier("record_changes"),
            )
        )
    attach(log.database, log.log.log_name, "captured")


def attach(database: Database, log_name: str, table: str) -> None:
    """Let *table* feed the log; truncating it between rounds leaves no leaf."""
    with database.transaction() as tx:
        add_source(tx, log_name, table, on_truncate="ignore")


@dataclass(slots=True)
class LargeLog:
    """A log that grows by payments captured from a real table; its database holds nothing else."""

    log: LogGround
    sequencer: Sequencer
    table: str = "payment"
    rows: int = 0
    sealing_seconds: list[float] = field(default_factory=list)

    def capture(self, rows: int) -> None:
        """Insert payments; their records wait in the queue afterwards."""
        with psycopg.connect(self.log.url, autocommit=True) as connection:
            insert_payments(connection, self.table, first=self.rows + 1, rows=rows)
        self.rows += rows

    def seal(self) -> int:
        """Seal what waits, and return how many rows that were."""
        return self.log.seal_all(self.sequencer)

    def grow_to(self, rows: int) -> None:
        """Capture and seal what is missing to *rows* leaves."""
        if rows > self.rows:
            self.capture(rows - self.rows)
            self.seal()

    def leaf_bytes(self) -> float:
        """Return the mean length of a leaf, of a thousand from all over the log."""
        size = self.log.size()
        mean = value(
            self.log.url,
            "SELECT avg(octet_length(m.leaf))"
            " FROM generate_series(0, %s, %s) AS wanted (leaf_index)"
            " INNER JOIN tally.merkle_log AS m"
            " ON m.log_id = %s AND m.leaf_index = wanted.leaf_index",
            size - 1,
            max(size // 1000, 1),
            self.log.log.log_id,
        )
        return float(mean)


@contextlib.contextmanager
def new_large_log(ground: Ground) -> Iterator[LargeLog]:
    """Yield an empty log that grows by a table of payments; anybody may read it."""
    with ground.log(visibility="public") as log:
        large = LargeLog(log, log.sequencer())
        with psycopg.connect(log.url, autocommit=True) as connection:
            create_payments(connection, large.table)
        attach(log.database, log.log.log_name, large.table)
        yield large


def large_log(ground: Ground, *, rows: int = 0) -> LargeLog:
    """Return the log that figures share, with at least *rows* leaves."""
    large = ground.shared("large log", lambda: new_large_log(ground))
    assert isinstance(large, LargeLog)
    large.grow_to(rows)
    return large
