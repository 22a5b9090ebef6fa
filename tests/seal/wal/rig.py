"""What the tests of capture from the WAL stand on: a log, tables, and a reader at hand."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.seal.audit import audit_log
from tallystick.seal.errors import BusyReaderError
from tallystick.seal.sources import Source, add_source, check_source, get_source, run_backfills
from tallystick.seal.wal import WalReader, wait_until_read
from tests.seal.capture.rig import TAG, Queued
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE_SECONDS = 60.0


class WalRig:
    """A log and its tables; whatever is asked of the queue is read from the WAL first."""

    def __init__(self, bench: LogBench) -> None:
        self.bench = bench
        self.url = bench.url
        self.database = bench.database

    def sql(self, statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run statements in a connection of their own and return the rows of the last."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        """Return the first value of a statement's first row."""
        return self.sql(statement, parameters)[0][0]

    def add(self, table: str, log: str = "payments", **settings: Any) -> Source:
        """Add a source from the WAL, and queue the rows that its table has."""
        with self.database.transaction() as tx:
            add_source(tx, log, table, **{"capture": "wal", **settings})
        self.adopt()
        run_backfills(self.database, from_wal=True)
        return self.get(table, log)

    def get(self, table: str, log: str = "payments") -> Source:
        """Return the source of a table."""
        with self.database.transaction() as tx:
            return get_source(tx, log, table)

    @contextlib.contextmanager
    def reader(self) -> Iterator[WalReader]:
        """A reader; one whose process has just ended may hold the slot for a moment."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                reader = WalReader(self.url)
                break
            except (psycopg.OperationalError, BusyReaderError):
                assert time.monotonic() < deadline, "the slot never came free"
                time.sleep(0.05)
        with reader:
            yield reader

    def adopt(self) -> None:
        """Let a reader begin, so that the slot is there and serves every source."""
        with self.reader():
            pass

    def catch_up(self) -> None:
        """Read all that was committed until now."""
        with self.database.transaction() as tx:
            wait_until_read(tx)

    def queue(self, source: Source | None = None) -> list[Queued]:
        """The queue's rows in order, of one source or of all, once the WAL is read."""
        self.catch_up()
        source_no = None if source is None else source.source_no
        rows = self.sql(
            "SELECT op::text, via::text, source_key, source_id, leaf, salt, record,"
            " problem, xid::text FROM tally.capture"
            " WHERE op <> 'C' AND (source_no = %s OR %s::integer IS NULL) ORDER BY seq",
            (source_no, source_no),
        )
        return [Queued(*row) for row in rows]

    def take(self, source: Source | None = None) -> list[str]:
        """The queue's rows in short, as in `I 42`, `U 1,2` or `T`; they are gone afterwards."""
        found = [f"{row.op} {','.join(json.loads(row.key))}".strip() for row in self.queue(source)]
        self.sql("DELETE FROM tally.capture WHERE op <> 'C'")
        return found

    def controls(self, op: str) -> list[dict[str, Any]]:
        """The details of the queued control records of one operation, in order."""
        leaves = self.sql("SELECT leaf FROM tally.capture WHERE op = 'C' ORDER BY seq")
        records = [json.loads(bytes(leaf).removeprefix(TAG)) for (leaf,) in leaves]
        return [record["detail"] for record in records if record["op"] == op]

    def check(self, table: str) -> list[str]:
        """Validate the source of a table; the codes of its problems."""
        source = self.get(table)
        with self.database.transaction() as tx:
            return [problem.code for problem in check_source(tx, source)]

    def audit(self) -> list[str]:
        """Seal what waits and audit; the kinds of the findings, with their keys."""
        self.catch_up()
        self.bench.seal_all()
        report = audit_log(self.database, "payments", processes=1)
        return [f"{finding.kind} {finding.source_key or ''}".strip() for finding in report.findings]


@contextlib.contextmanager
def open_rig(url: str, keys: Path) -> Iterator[WalRig]:
    """Yield a rig on the database; its slot is dropped at the end, before the database is."""
    bench = make_bench(url, keys)
    with bench.database:
        rig = WalRig(bench)
        try:
            yield rig
        finally:
            drop_slot(rig)


def drop_slot(rig: WalRig) -> None:
    """Drop the slot once nobody reads it: an active one keeps its database from being dropped."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while rig.value(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = tally.wal_slot() AND active"
    ):
        assert time.monotonic() < deadline, "the slot never came free"
        time.sleep(0.02)
    rig.sql(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
        " WHERE slot_name = tally.wal_slot()"
    )
