"""A log over real tables, and what the map of its keys is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tallystick.publish import Publisher, RowKey, history_file
from tallystick.seal.index import IndexResult, index_log
from tallystick.seal.logs import list_keys
from tallystick.seal.sources import add_source, run_backfills
from tests.support.logs import LogBench, make_bench

TABLES = (
    "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric, note text)",
    "CREATE SCHEMA shop",
    'CREATE TABLE shop."Größe" (a text, b integer, c text, PRIMARY KEY (a, b))',
)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A log over two tables, whose map can be computed and asked."""

    bench: LogBench

    @property
    def log_id(self) -> int:
        """The log's number."""
        return int(self.bench.log.log_id)

    @property
    def name(self) -> str:
        """The log's name."""
        return self.bench.log.log_name

    def run(self, *statements: str) -> None:
        """Run statements as an application would, each in its own transaction."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str) -> list[tuple]:
        """The rows of a query."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()

    def tamper(self, *statements: str) -> None:
        """Run statements as a superuser whom no trigger stops."""
        with psycopg.connect(self.bench.url, autocommit=True) as connection:
            connection.execute("ALTER TABLE tally.merkle_log DISABLE TRIGGER USER")
            for statement in statements:
                connection.execute(statement.encode())

    def seal(self) -> int:
        """Seal what waits and return the size."""
        return self.bench.seal_all()

    def index(self) -> IndexResult:
        """Seal what waits, compute the map, and seal its root."""
        self.seal()
        done = index_log(self.bench.database, self.name)
        self.seal()
        return done

    def leaves(self, size: int | None = None) -> list[bytes]:
        """The log's first leaves."""
        found = self.rows("SELECT leaf FROM tally.merkle_log ORDER BY leaf_index")
        return [bytes(leaf) for (leaf,) in found][:size]

    def leaves_from(self, first: int) -> list[bytes]:
        """The leaves from *first* on, of a log that may be pruned below."""
        query = f"SELECT leaf FROM tally.merkle_log WHERE leaf_index >= {first} ORDER BY leaf_index"
        return [bytes(leaf) for (leaf,) in self.rows(query)]

    def history(self, table: str, *key: str) -> bytes:
        """The history file of a key."""
        publisher = Publisher(self.bench.database)
        publisher.refresh()
        return history_file(publisher, publisher.published_head(self.name), RowKey.of(table, key))

    def policy(self) -> bytes:
        """A policy that trusts the log."""
        with self.bench.database.transaction() as tx:
            keys = list_keys(tx, self.name)
        return "".join([*(f"log {key.vkey}\n" for key in keys), "quorum none\n"]).encode()


@contextlib.contextmanager
def mapped_log(url: str, key_dir: Path) -> Iterator[Mapped]:
    """A full log over two tables, one of them with a name to quote and a key of two columns."""
    bench = make_bench(url, key_dir)
    made = Mapped(bench)
    made.run(*TABLES)
    for table in ("payment", 'shop."Größe"'):
        with bench.database.transaction() as tx:
            add_source(tx, bench.log.log_name, table)
    run_backfills(bench.database)
    yield made
    bench.database.close()
