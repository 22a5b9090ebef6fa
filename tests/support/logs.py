"""Logs for tests: a database, a key directory, a log, and rows in its queue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psycopg

from tallystick.db import Database, connect
from tallystick.seal.logs import KeyRing, Log, LogSettings, create_log
from tallystick.seal.sequencer import Sequencer

ORIGIN_PREFIX = "log.example"


@dataclass(frozen=True, slots=True)
class LogBench:
    """One log with what is needed to seal it and to look at it."""

    url: str
    database: Database
    keys: KeyRing
    log: Log

    @property
    def sequencer(self) -> Sequencer:
        """A sequencer that remembers nothing, as after a restart."""
        return Sequencer(self.database, self.keys)

    def push(self, *leaves: bytes) -> None:
        """Queue leaves, each in its own transaction."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for leaf in leaves:
                queue_leaf(connection, self.log.log_id, leaf)

    def seal_all(self) -> int:
        """Seal until nothing waits; return the size."""
        sequencer = self.sequencer
        while (sealed := sequencer.seal_once(self.log.log_id)) is not None and sealed.rows:
            pass
        return self.size()

    def size(self) -> int:
        """The tree size of the head."""
        return int(self.value("SELECT max(tree_size) FROM tally.checkpoints WHERE log_id = %s"))

    def value(self, query: str) -> object:
        """The first value of a query whose one parameter is the log's id."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query, (self.log.log_id,)).fetchone()
        assert row is not None
        return row[0]


def queue_leaf(connection: psycopg.Connection, log_id: int, leaf: bytes) -> None:
    """Queue one pushed leaf in the connection's transaction."""
    connection.execute(
        "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
        " VALUES (%s, 'A', 'a', '[]', %s, tally.clock())",
        (log_id, leaf),
    )


def make_bench(url: str, key_dir: Path, name: str = "payments", **settings: object) -> LogBench:
    """Make a log in the database at *url*."""
    database = connect(url)
    keys = KeyRing(key_dir)
    with database.transaction() as tx:
        log = create_log(
            tx, name, keys=keys, origin_prefix=ORIGIN_PREFIX, settings=LogSettings(**settings)
        )
    return LogBench(url, database, keys, log)
