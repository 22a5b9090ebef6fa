"""The SQL of the runtime: what status and doctor look at; nothing here writes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from tallystick.db import Query, Transaction, load_queries


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    database_exists: Query
    schema_exists: Query
    logs: Query
    sealing_state: Query
    outbox_lag: Query
    server_facts: Query
    missing_rights: Query
    active_keys: Query
    failed_logs: Query
    source_facts: Query
    queue_facts: Query
    empty_look: Query
    long_transactions: Query
    source_place: Query
    is_backfilling: Query
    last_waiting: Query
    is_waiting: Query
    wal_facts: Query
    purposes: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class LogState:
    """One log as an operator sees it; *lag_seconds* is the age of the oldest unsealed change."""

    log_name: str
    origin: str | None
    status: str
    enabled: bool
    mode: str
    visibility: str
    size: int
    root: str | None
    last_checkpoint: datetime.datetime | None
    rows_waiting: int
    lag_seconds: float | None
    sources: int
    broken_sources: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class OutboxLag:
    """Events without a position, counted to 100,000, and the age of the oldest."""

    unnumbered: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """The server and our session on it."""

    role: str
    version: str
    is_durable: bool
    is_replica: bool
    clock: datetime.datetime
    has_test_clock: bool
    sequence_cache: int


@dataclass(frozen=True, slots=True)
class ActiveKey:
    """A key that signs now."""

    name: str
    key_id: bytes
    public_key: bytes


@dataclass(frozen=True, slots=True)
class FailedLog:
    """A log that signs nothing any more, and the code of the reason."""

    log_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """A source, and what stands on its table."""

    log_name: str
    source_table: str
    capture: str
    status: str
    enabled: bool
    problem: dict[str, Any] | None
    same_table: bool
    triggers: int
    silenced: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """The queue as the server's statistics show it."""

    live_rows: int
    dead_rows: int
    index_bytes: int
    vacuumed_at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class LongTransaction:
    """An open transaction and who holds it."""

    pid: int | None
    role: str | None
    application: str | None
    state: str | None
    prepared: str | None
    has_written: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class WalFacts:
    """What reading the WAL needs of the server and of our role."""

    wal_level: str
    role: str
    may_replicate: bool
    is_published: bool
    keeps_all: bool


def wal_facts(tx: Transaction) -> WalFacts:
    """Return what reading the WAL needs."""
    facts = tx.row(WalFacts, SQL.wal_facts)
    assert facts is not None, "our role has a row"
    return facts


def create_database(tx: Transaction, name: str) -> bool:
    """Make the database *name* if there is none, on an autocommit connection; return whether."""
    if tx.value(SQL.database_exists, {"name": name}):
        return False
    tx.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return True


def schema_exists(tx: Transaction) -> bool:
    """Return whether the database was ever migrated."""
    return bool(tx.value(SQL.schema_exists))


def logs(tx: Transaction) -> list[LogState]:
    """Return every log, by name."""
    return tx.rows(LogState, SQL.logs)


def sealing_state(tx: Transaction) -> str:
    """Return `running`, `paused` or `stopping`."""
    return str(tx.value(SQL.sealing_state))


def outbox_lag(tx: Transaction) -> OutboxLag:
    """Return what the outbox has still to number."""
    return tx.row(OutboxLag, SQL.outbox_lag) or OutboxLag(0, 0.0)


def server_facts(tx: Transaction) -> ServerFacts:
    """Return what the server says of itself."""
    facts = tx.row(ServerFacts, SQL.server_facts)
    assert facts is not None, "a SELECT without FROM has one row"
    return facts


def missing_rights(tx: Transaction) -> list[str]:
    """Return the rights that a worker needs and this role lacks, in words."""
    return [str(right) for right in tx.values(SQL.missing_rights)]


def active_keys(tx: Transaction) -> list[ActiveKey]:
    """Return the keys that sign now."""
    return tx.rows(ActiveKey, SQL.active_keys)


def failed_logs(tx: Transaction) -> list[FailedLog]:
    """Return the logs that failed."""
    return tx.rows(FailedLog, SQL.failed_logs)


def source_facts(tx: Transaction) -> list[SourceFacts]:
    """Return every source that is not detached."""
    return tx.rows(SourceFacts, SQL.source_facts)


def queue_facts(tx: Transaction) -> QueueFacts | None:
    """Return the queue's statistics; None until the server has any."""
    return tx.row(QueueFacts, SQL.queue_facts)


def look_at_queue(tx: Transaction) -> None:
    """Look for rows of a log that does not exist; how long that takes is the answer."""
    tx.value(SQL.empty_look)


def long_transactions(tx: Transaction, *, seconds: float) -> list[LongTransaction]:
    """Return the transactions that have been open for longer, the oldest first."""
    return tx.rows(LongTransaction, SQL.long_transactions, {"seconds": seconds})


def present_row(
    tx: Transaction, log_name: str, source_table: str, key: Sequence[str]
) -> dict[str, Any] | None:
    """Return the row of this key as the table has it now; None where there is none, or no key."""
    where = {"log_name": log_name, "source_table": source_table}
    place = tx.row(lambda *columns: columns, SQL.source_place, where)
    if place is None or len(place[2]) != len(key):
        return None
    schema, table, key_columns = place
    is_key = [
        sql.SQL("t.{}::text = {}").format(sql.Identifier(c), sql.Literal(value))
        for c, value in zip(key_columns, key, strict=True)
    ]
    statement = sql.SQL("SELECT to_jsonb(t.*) FROM {} AS t WHERE {} LIMIT 1").format(
        sql.Identifier(schema, table), sql.SQL(" AND ").join(is_key)
    )
    row: dict[str, Any] | None = tx.value(statement)
    return row


def is_backfilling(tx: Transaction, log_name: str) -> bool:
    """Return whether rows that were there before their triggers are still to be queued."""
    return bool(tx.value(SQL.is_backfilling, {"log_name": log_name}))


def last_waiting(tx: Transaction, log_name: str) -> int | None:
    """Return the highest seq in the log's queue, as this snapshot sees it."""
    seq = tx.value(SQL.last_waiting, {"log_name": log_name})
    return None if seq is None else int(seq)


def is_waiting(tx: Transaction, log_name: str, *, seq: int) -> bool:
    """Return whether anything of the log's queue up to *seq* is still unsealed."""
    return bool(tx.value(SQL.is_waiting, {"log_name": log_name, "seq": seq}))


def read_purposes(tx: Transaction) -> list[str]:
    """Return what accounts of networks are for, sorted."""
    return tx.values(SQL.purposes)
