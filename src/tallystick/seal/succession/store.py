"""The SQL of succession; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs import LogId
from tallystick.seal.sources import SourceNo
from tallystick.seal.sources.source import RelationId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    successor: Query
    continues: Query
    attached_sources: Query
    read_from_wal: Query
    lock_tables: Query
    hold_pushes: Query
    lock_log: Query
    move_source: Query
    carry_queue: Query
    moved_triggers: Query
    give_way: Query
    families: Query
    due_families: Query
    lock_due_family: Query
    family_of: Query
    now: Query
    shard_log: Query
    turn_shard: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Attached:
    """A source that feeds a log, and its table; None where that is gone, or only polled."""

    source_no: SourceNo
    relation: RelationId | None


@dataclass(frozen=True, slots=True)
class Family:
    """A family of logs: its current shard, and when the next one begins."""

    family: str
    log_id: LogId
    log_name: str
    period: str
    next_at: datetime.datetime
    enabled: bool
    created_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Due:
    """A family whose next shard is due, at what the time is."""

    family: str
    log_id: LogId
    log_name: str
    period: str
    now: datetime.datetime


def successor(tx: Transaction, log_id: LogId) -> str | None:
    """Return the name of the log that continues this one; None where there is none."""
    return tx.value(SQL.successor, {"log_id": log_id})  # type: ignore[no-any-return]


def continues(tx: Transaction, *, from_id: int, to_id: int) -> bool:
    """Return whether one log continues the other, at whatever distance."""
    return bool(tx.value(SQL.continues, {"from_id": from_id, "to_id": to_id}))


def attached_sources(tx: Transaction, log_id: LogId) -> list[Attached]:
    """Return the sources that feed the log, in the order in which they are locked."""
    return tx.rows(Attached, SQL.attached_sources, {"log_id": log_id})


def are_read_from_wal(tx: Transaction, source_nos: Sequence[SourceNo]) -> bool:
    """Return whether some of these sources are served by the WAL's slot."""
    return bool(tx.value(SQL.read_from_wal, {"source_nos": list(source_nos)}))


def lock_tables(tx: Transaction, relations: Sequence[RelationId]) -> None:
    """Hold the writers of *relations* back; wait half a second for each."""
    tx.execute(SQL.lock_tables, {"relations": list(relations)})


def hold_log(tx: Transaction, log_id: LogId) -> str:
    """Keep pushes, sources and sequencers from changing what the log is; return its status."""
    # Pushes take these in the same order.
    tx.execute(SQL.hold_pushes, {"log_id": log_id})
    return str(tx.value(SQL.lock_log, {"log_id": log_id}))


def move_source(tx: Transaction, source_no: SourceNo, log_id: int) -> SourceNo:
    """Continue a source in another log, and return the number that it has there."""
    return SourceNo(tx.value(SQL.move_source, {"source_no": source_no, "log_id": log_id}))


def carry_queue(tx: Transaction, *, from_id: LogId, to_id: LogId) -> int:
    """Hand a failed log's queue to its successor, and return how many rows that is."""
    return int(tx.value(SQL.carry_queue, {"from_id": from_id, "to_id": to_id}))


def moved_triggers(tx: Transaction) -> list[SourceNo]:
    """Return the sources that ended and still have triggers."""
    return tx.values(SQL.moved_triggers)


def give_way(tx: Transaction) -> None:
    """Wait for no lock longer than others would notice, until the transaction ends."""
    tx.execute(SQL.give_way)


def list_families(tx: Transaction) -> list[Family]:
    """Return every family, by name."""
    return tx.rows(Family, SQL.families)


def due_families(tx: Transaction) -> list[str]:
    """Return the families whose next shard is due."""
    return tx.values(SQL.due_families)


def lock_due_family(tx: Transaction, family: str) -> Due | None:
    """Hold a family that is due; None where it is not, or another process turns it."""
    return tx.row(Due, SQL.lock_due_family, {"family": family})


def family_of(tx: Transaction, log_id: LogId) -> tuple[str, datetime.datetime] | None:
    """Return the family whose current shard the log is, and when its next one is due."""
    return tx.row(lambda family, at: (str(family), at), SQL.family_of, {"log_id": log_id})


def now(tx: Transaction) -> datetime.datetime:
    """Return what the time is."""
    moment = tx.value(SQL.now)
    assert isinstance(moment, datetime.datetime)
    return moment


def shard_log(
    tx: Transaction,
    family: str,
    log_id: LogId,
    *,
    period: str,
    next_at: datetime.datetime,
    enabled: bool,
) -> None:
    """Make a log the first shard of a family, or give the family another period."""
    parameters = {"family": family, "log_id": log_id, "period": period}
    tx.execute(SQL.shard_log, {**parameters, "next_at": next_at, "enabled": enabled})


def turn_shard(tx: Transaction, family: str, next_at: datetime.datetime) -> None:
    """Let a family know its newest shard, and when the next one is due."""
    tx.execute(SQL.turn_shard, {"family": family, "next_at": next_at})
