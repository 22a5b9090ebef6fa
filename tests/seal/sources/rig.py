"""What the tests of sources stand on: a log, tables made of plain SQL, and a look at the queue."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.db import Database, connect
from tallystick.seal.sources import Source, add_source, check_source, get_source
from tallystick.seal.sources.store import find_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.seal.sources import Problem

TAG = b"tallystick/seal-record/v1\n"


class Rig:
    """A database with the log `payments`, seen as its owner."""

    def __init__(self, database: Database, url: str) -> None:
        self.database = database
        self.url = url

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def sql_named(self, statement: str) -> None:
        """Run one statement as the program does, so that what the database refuses has its name."""
        with self.database.transaction() as tx:
            tx.connection.execute(statement.encode())

    @contextlib.contextmanager
    def session(self) -> Iterator[psycopg.Connection[Any]]:
        """A second connection, in a transaction that stays open for the block."""
        with psycopg.connect(self.url) as connection:
            yield connection

    def add(self, table: str, log: str = "payments", **settings: Any) -> Source:
        """Add a source in a transaction of its own."""
        with self.database.transaction() as tx:
            return add_source(tx, log, table, **settings)

    def get(self, table: str) -> Source:
        """The source of a table."""
        with self.database.transaction() as tx:
            return get_source(tx, "payments", table)

    def check(self, table: str, **hooks: Any) -> list[Problem]:
        """Validate the source of a table in a transaction of its own."""
        source = self.get(table)
        with self.database.transaction() as tx:
            return check_source(tx, source, **hooks)

    def reload(self, source: Source) -> Source:
        """The source as it is now."""
        with self.database.transaction() as tx:
            found = find_source(tx, source.source_no)
        assert found is not None
        return found

    def queue(self, source: Source) -> list[tuple[str, str, str]]:
        """The (op, via, key) of the source's queue rows, in order."""
        return self.sql(
            "SELECT op::text, via::text, source_key FROM tally.capture WHERE source_no = %s"
            " ORDER BY seq",
            (source.source_no,),
        )

    def records(self, source: Source) -> list[dict[str, Any]]:
        """The records of the source's queue rows, in order."""
        leaves = self.sql(
            "SELECT leaf FROM tally.capture WHERE source_no = %s ORDER BY seq",
            (source.source_no,),
        )
        return [json.loads(leaf.removeprefix(TAG)) for (leaf,) in leaves]

    def controls(self, source: Source, op: str) -> list[dict[str, Any]]:
        """The details of the source's control records of one operation, in order."""
        return [record["detail"] for record in self.records(source) if record["op"] == op]

    def key_at(self, table: str, key: str, offset: int) -> list[str]:
        """The key texts of a row, counted in key order."""
        order = f"SELECT {key} FROM {table} ORDER BY {key} OFFSET {offset} LIMIT 1"
        return [str(value) for value in self.sql(order)[0]]

    def seal(self) -> None:
        """Move the queue into the log and quarantine, as a sealing transaction does."""
        self.sql("""
            WITH taken AS (DELETE FROM tally.capture RETURNING *), placed AS (
              INSERT INTO tally.merkle_log (
                log_id, leaf_index, log_name, source_table, source_id, source_key, op, via, seq,
                leaf, leaf_hash, processed_at)
              SELECT t.log_id, m.size + row_number() OVER (ORDER BY t.seq), 'payments',
                     s.source_table, t.source_id, t.source_key, t.op, t.via, t.seq, t.leaf,
                     tally.leaf_hash(t.leaf), tally.clock()
              FROM (SELECT count(*) AS size FROM tally.merkle_log) AS m CROSS JOIN taken AS t
              LEFT JOIN tally.verification_sources AS s ON s.source_no = t.source_no
              WHERE t.problem IS NULL)
            INSERT INTO tally.capture_quarantine (
              log_id, xid, seq, source_no, op, via, source_key, problem, captured_at)
            SELECT log_id, xid, seq, source_no, op, via, source_key, problem, captured_at
            FROM taken WHERE problem IS NOT NULL""")


@contextlib.contextmanager
def open_rig(url: str) -> Iterator[Rig]:
    """Yield a rig on the database."""
    with connect(url) as database:
        rig = Rig(database, url)
        rig.sql("INSERT INTO tally.verification_logs (log_name) VALUES ('payments')")
        rig.sql("INSERT INTO tally.verification_logs (log_name, mode) VALUES ('hashes', 'digest')")
        yield rig
