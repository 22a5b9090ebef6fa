"""What the tests of succession stand on: a log over two tables, and what its leaves say."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.record import parse_record
from tallystick.seal.audit import audit_log
from tallystick.seal.logs import get_log
from tallystick.seal.sources import run_backfills
from tallystick.seal.succession import succeed_log
from tests.seal.laws.stage import attach, sql
from tests.support.logs import ORIGIN_PREFIX, LogBench, make_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tallystick.seal.logs import Log

TABLES = ("payment", "refund")


@dataclass
class Line:
    """A log over two tables, and those that continue it."""

    bench: LogBench

    def run(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own and return its rows."""
        return sql(self.bench.url, statement, parameters)

    def of(self, name: str) -> LogBench:
        """The bench of another log of the same database."""
        with self.bench.database.transaction() as tx:
            return dataclasses.replace(self.bench, log=get_log(tx, name))

    def succeed(self, log: str, successor: str) -> Log:
        """Continue a log in a transaction of its own."""
        with self.bench.database.transaction() as tx:
            return succeed_log(
                tx, log, successor, keys=self.bench.keys, origin_prefix=ORIGIN_PREFIX
            )

    def seal(self, *names: str) -> None:
        """Seal each log until nothing waits, twice, for a freeze waits for another log."""
        for name in (*names, *names):
            bench = self.of(name)
            sequencer = bench.sequencer
            for _ in range(100):
                sealed = sequencer.seal_once(bench.log.log_id)
                if sealed is None or sealed.rows == 0:
                    break

    def records(self, name: str) -> list[Any]:
        """The log's leaves as records, in order."""
        leaves = self.run(
            "SELECT m.leaf FROM tally.merkle_log AS m JOIN tally.verification_logs AS l"
            " ON l.log_id = m.log_id WHERE l.log_name = %s ORDER BY m.leaf_index",
            (name,),
        )
        return [parse_record(bytes(leaf)) for (leaf,) in leaves]

    def changes(self, *names: str) -> list[tuple[str, str, str, str]]:
        """What the logs say of rows, log by log: (log, table, op, key)."""
        return [
            (name, record.table, record.op, ",".join(record.key))
            for name in names
            for record in self.records(name)
            if record.detail is None
        ]

    def status(self, name: str) -> str:
        """The log's state."""
        return self.of(name).log.status

    def audit(self, *names: str) -> None:
        """Assert that audits of the logs find nothing."""
        for name in names:
            assert audit_log(self.bench.database, name).findings == ()

    def findings(self, name: str) -> list[tuple[str, str | None]]:
        """What an audit of the log finds: kind and key."""
        found = audit_log(self.bench.database, name).findings
        return [(one.kind, one.source_key) for one in found]

    def sources(self) -> list[tuple[str, str, str]]:
        """Every source: table, log and state."""
        return self.run(
            "SELECT source_table, log_name, status::text FROM tally.verification_sources"
            " ORDER BY source_no"
        )

    def backfill(self) -> int:
        """Run what is left of backfills, and return how many rows were queued."""
        return sum(result.rows_queued for result in run_backfills(self.bench.database))


@contextlib.contextmanager
def open_line(url: str, key_dir: Path, **settings: Any) -> Iterator[Line]:
    """Yield a line whose first log is `one`, over the tables payment and refund."""
    for table in TABLES:
        sql(url, f"CREATE TABLE {table} (id bigint PRIMARY KEY, note text)")
    bench = make_bench(url, key_dir, "one", batch_interval_ms=20, **settings)
    for table in TABLES:
        attach(bench, table)
    yield Line(bench)
    bench.database.close()


@pytest.fixture
def line(database_url: str, tmp_path: Path) -> Iterator[Line]:
    """A log `one` over two empty tables."""
    with open_line(database_url, tmp_path / "keys") as opened:
        yield opened


def as_json(leaf: bytes) -> dict[str, Any]:
    """The record of a leaf, as JSON."""
    return json.loads(leaf.partition(b"\n")[2])
