"""
A crowd of writers that change the same few rows in every way that could disorder their leaves.

`make_tables` makes the tables (seal them before the writers run), `run_writers` lets 8 writers
loose, `check_chains` checks that in a list of leaves each continues its predecessor and that the
last one is the row. The list may come from the queue or from the log (log.md, sections 5.4, 7.3).
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

WRITERS = 8
ROWS = 12
KEYS = {"account": ["id"], "entry": ["id"], "place": ["id", "region"]}
"""The tables of the workload, each with its key."""
TAG = b"tallystick/seal-record/v1\n"

SCHEMA = """
CREATE SEQUENCE version;
CREATE TABLE account (
  id int PRIMARY KEY, parent int REFERENCES account ON UPDATE CASCADE ON DELETE SET NULL,
  balance int NOT NULL, version bigint);
CREATE TABLE entry (
  id int PRIMARY KEY, account int NOT NULL REFERENCES account ON UPDATE CASCADE ON DELETE CASCADE,
  amount int NOT NULL, version bigint);
CREATE TABLE place (id int NOT NULL, region int NOT NULL, name text, version bigint,
  PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE place_0 PARTITION OF place FOR VALUES IN (0);
CREATE TABLE place_1 PARTITION OF place FOR VALUES IN (1);

-- Each version of a row has a number of its own, drawn under the row's lock by updates.
CREATE FUNCTION number_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := nextval('version');
  RETURN NEW;
END $$;
CREATE TRIGGER number_version BEFORE INSERT OR UPDATE ON account
  FOR EACH ROW EXECUTE FUNCTION number_version();
CREATE TRIGGER number_version BEFORE INSERT OR UPDATE ON entry
  FOR EACH ROW EXECUTE FUNCTION number_version();
CREATE TRIGGER number_version BEFORE INSERT OR UPDATE ON place
  FOR EACH ROW EXECUTE FUNCTION number_version();

-- Row triggers that change the row of their own statement, or others, or delete and make it anew.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_trigger_depth() > 3 THEN
    RETURN NULL;
  ELSIF NEW.balance % 11 = 0 THEN
    UPDATE account SET balance = balance + 1 WHERE id = NEW.id;
  ELSIF NEW.balance % 11 = 1 THEN
    UPDATE entry SET amount = amount + 1 WHERE account = NEW.id;
  ELSIF NEW.balance % 11 = 2 THEN
    DELETE FROM account WHERE id = NEW.id;
  ELSIF NEW.balance % 11 = 3 THEN
    DELETE FROM account WHERE id = NEW.id;
    INSERT INTO account VALUES (NEW.id, NULL, 4) ON CONFLICT DO NOTHING;
  ELSIF NEW.balance % 11 = 4 THEN
    BEGIN
      UPDATE account SET balance = 5 WHERE id = NEW.id;
      RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
      NULL;
    END;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER INSERT OR UPDATE ON account FOR EACH ROW EXECUTE FUNCTION meddle();

-- A function that changes the rows of the statement that calls it.
CREATE FUNCTION touch(p_id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
  UPDATE account SET balance = balance + 7 WHERE id = p_id;
  UPDATE entry SET amount = amount + 1 WHERE id = p_id;
  RETURN p_id;
END $$;
"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the chain check needs of a leaf; *op* is its letter."""

    table: str
    key: str
    op: str
    row: Mapping[str, str | None] | None


def make_tables(connection: psycopg.Connection[Any]) -> None:
    """Make the tables of the workload, empty."""
    connection.execute(SCHEMA.encode())


def run_writers(url: str, *, seconds: float, seed: int = 0, writers: int = WRITERS) -> int:
    """Let so many writers change the tables for so long; return the transactions committed."""
    stop = time.monotonic() + seconds
    committed: list[int] = []
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            committed.append(write_until(url, stop, random.Random(f"{seed}/{number}")))
        except BaseException as raised:  # noqa: BLE001 -- reported by the caller's thread
            failures.append(raised)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(committed)


# What writers do to each other, and what rolls a transaction back without any harm.
EXPECTED = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.TriggeredDataChangeViolation,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.LockNotAvailable,
)


def write_until(url: str, stop: float, chance: random.Random) -> int:
    """Run random transactions until *stop*; return how many were committed."""
    committed = 0
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET deadlock_timeout = '20ms'")
        connection.execute("SET lock_timeout = '2s'")
        while time.monotonic() < stop:
            connection.isolation_level = chance.choice(
                [None, None, None, psycopg.IsolationLevel.REPEATABLE_READ]
            )
            with contextlib.suppress(*EXPECTED), connection.transaction():
                for _ in range(chance.randint(1, 4)):
                    change(connection, chance)
                if chance.random() < 0.1:
                    raise psycopg.Rollback
                committed += 1
    return committed


def change(connection: psycopg.Connection[Any], chance: random.Random) -> None:
    """Run one random statement, sometimes in a savepoint that is rolled back."""
    statement, parameters = chance.choice(STATEMENTS)(chance)
    if chance.random() < 0.2:
        with contextlib.suppress(*EXPECTED), connection.transaction():
            connection.execute(statement.encode(), parameters)
            if chance.random() < 0.5:
                raise psycopg.Rollback
    else:
        connection.execute(statement.encode(), parameters)


def some_key(chance: random.Random) -> int:
    """One of the few keys that everybody changes."""
    return chance.randint(1, ROWS)


def upsert(statement: str) -> Callable[[random.Random], tuple[str, dict[str, int]]]:
    """Return a maker of *statement* with random keys a, b, c and a random value v."""

    def make(chance: random.Random) -> tuple[str, dict[str, int]]:
        return statement, {
            "a": some_key(chance), "b": some_key(chance), "c": some_key(chance),
            "v": chance.randint(0, 1000), "r": chance.randint(0, 1),
        }  # fmt: skip

    return make


STATEMENTS = [
    upsert(text)
    for text in (
        "INSERT INTO account VALUES (%(a)s, NULL, %(v)s)"
        " ON CONFLICT (id) DO UPDATE SET balance = %(v)s",
        "INSERT INTO account SELECT k, NULL, %(v)s + k"
        " FROM unnest(ARRAY[%(a)s, %(b)s, %(c)s]) AS u (k)"
        " GROUP BY k ON CONFLICT (id) DO UPDATE SET balance = excluded.balance",
        "UPDATE account SET balance = balance + %(v)s WHERE id IN (%(a)s, %(b)s)",
        "UPDATE account SET parent = (SELECT id FROM account WHERE id = %(b)s) WHERE id = %(a)s",
        "UPDATE account SET id = %(b)s, balance = %(v)s WHERE id = %(a)s",
        "UPDATE account SET id = id + 100 WHERE id = %(a)s",
        "UPDATE account SET id = id - 100 WHERE id = %(a)s + 100",
        "DELETE FROM account WHERE id = %(a)s",
        "INSERT INTO account SELECT touch(%(a)s), NULL, %(v)s"
        " ON CONFLICT (id) DO UPDATE SET balance = %(v)s",
        "UPDATE entry SET amount = touch(account) WHERE id = %(a)s + 1000",
        "MERGE INTO account AS t USING (VALUES (%(a)s), (%(b)s + 0)) AS v (id) ON t.id = v.id"
        " WHEN MATCHED AND t.balance %% 3 = 0 THEN DELETE"
        " WHEN MATCHED THEN UPDATE SET balance = %(v)s"
        " WHEN NOT MATCHED AND v.id <> %(a)s OR %(a)s <> %(b)s"
        " THEN INSERT VALUES (v.id, NULL, %(v)s)",
        "WITH gone AS (DELETE FROM account WHERE id = %(a)s RETURNING balance),"
        " moved AS (UPDATE account SET balance = %(v)s WHERE id = %(b)s)"
        " INSERT INTO account SELECT %(c)s, NULL, %(v)s ON CONFLICT DO NOTHING",
        "INSERT INTO entry SELECT %(a)s + 1000, id, %(v)s FROM account WHERE id = %(b)s"
        " ON CONFLICT (id) DO UPDATE SET amount = %(v)s, account = excluded.account",
        "DELETE FROM entry WHERE account = %(a)s",
        "INSERT INTO place VALUES (%(a)s, %(r)s, 'x')"
        " ON CONFLICT (id, region) DO UPDATE SET name = 'y'",
        "UPDATE place SET region = 1 - region WHERE id = %(a)s",
        "UPDATE place SET region = 1 - region, id = %(b)s WHERE id = %(a)s AND region = %(r)s",
        "UPDATE place_0 SET name = name || 'z' WHERE id = %(a)s",
        "DELETE FROM place WHERE id = %(a)s",
    )
]


def leaves_of_queue(connection: psycopg.Connection[Any]) -> list[Leaf]:
    """The queue's rows in the order of seq."""
    rows = connection.execute(
        "SELECT s.source_table, c.source_key, c.op::text, c.leaf FROM tally.capture AS c"
        " JOIN tally.verification_sources AS s USING (source_no) ORDER BY c.seq"
    ).fetchall()
    return [read_leaf(*row) for row in rows]


def leaves_of_log(connection: psycopg.Connection[Any], log_id: int) -> list[Leaf]:
    """The leaves of the workload's tables in a log, in the order of their index."""
    rows = connection.execute(
        "SELECT source_table, source_key, op::text, leaf FROM tally.merkle_log"
        " WHERE log_id = %s AND source_table = ANY (%s) AND op IN ('I', 'U', 'D', 'T')"
        " ORDER BY leaf_index",
        (log_id, list(KEYS)),
    ).fetchall()
    return [read_leaf(*row) for row in rows]


def read_leaf(table: str, key: str, op: str, leaf: bytes) -> Leaf:
    """Return a leaf with the row of its record."""
    return Leaf(table, key, op, json.loads(leaf.removeprefix(TAG))["row"])


def check_chains(connection: psycopg.Connection[Any], leaves: Iterable[Leaf]) -> None:
    """Check that each leaf of a key continues its predecessor, and that the last one is the row."""
    chains: dict[tuple[str, str], list[Leaf]] = defaultdict(list)
    for leaf in leaves:
        chains[leaf.table, leaf.key].append(leaf)
    for chain in chains.values():
        for before, leaf in zip([None, *chain], chain, strict=False):
            check_step(before, leaf)
    last = {where: chain[-1].row for where, chain in chains.items() if chain[-1].op != "D"}
    assert present_rows(connection) == last


def check_step(before: Leaf | None, leaf: Leaf) -> None:
    """Check one step of a chain: existence alternates, and versions follow each other."""
    was_there = before is not None and before.op != "D"
    assert was_there == (leaf.op != "I"), f"{leaf} after {before}"
    if was_there:
        assert before is not None
        earlier, later = version_of(before), version_of(leaf)
        # A delete shows the last version; what its own statement did before may not have a leaf.
        follows = later > earlier if leaf.op == "U" else later >= earlier
        assert follows, f"{leaf} after {before}"


def version_of(leaf: Leaf) -> int:
    """The number of the version that a leaf shows."""
    assert leaf.row is not None
    return int(leaf.row["version"] or 0)


def present_rows(
    connection: psycopg.Connection[Any],
) -> dict[tuple[str, str], dict[str, str | None]]:
    """The rows of the workload's tables, every value as text."""
    found: dict[tuple[str, str], dict[str, str | None]] = {}
    for table, key_columns in KEYS.items():
        cursor = connection.execute(f"SELECT * FROM {table}".encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        for row in cursor.fetchall():
            values = {
                name: None if value is None else str(value)
                for name, value in zip(names, row, strict=True)
            }
            key = [values[name] for name in key_columns]
            found[table, json.dumps(key, separators=(",", ":"))] = values
    return found
