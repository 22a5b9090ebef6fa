"""The SQL of events and sinks; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from psycopg.types.json import Jsonb

from tallystick.db import LOCK_CLASS, Query, Transaction, load_queries

LOCK_OBJECT: Final = -1
"""The outbox's object in the lock class of the log (log.md, section 2.8)."""

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    insert_event: Query
    insert_events: Query
    newest_position: Query
    read_events: Query
    take_lock: Query
    number_events: Query
    notify: Query
    listen: Query
    add_sink: Query
    pause_sink: Query
    sink_result: Query
    read_cursor: Query
    lock_cursor: Query
    due_sinks: Query
    skip_to: Query
    list_sinks: Query
    delete_events: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events to read; None is no restriction."""

    topics: Sequence[str] | None = None
    key: str | None = None
    user_id: str | None = None
    readable: Sequence[str] | None = None
    reader_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """A sink as the worker finds it."""

    sink: str
    kind: str
    config: Mapping[str, Any]
    topics: tuple[str, ...]
    position: int
    status: str
    is_due: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", tuple(self.topics))

    @property
    def selection(self) -> Selection:
        """The events that this sink wants; no topic named is every topic."""
        return Selection(topics=list(self.topics) or None)


@dataclass(frozen=True, slots=True)
class SinkState:
    """A sink as an operator sees it, with how far it is behind."""

    sink: str
    kind: str
    config: Mapping[str, Any]
    topics: tuple[str, ...]
    position: int
    status: str
    attempts: int
    next_try_at: datetime.datetime
    last_error: str | None
    created_at: datetime.datetime
    lag_events: int
    """Positions behind the newest, wanted or not."""
    lag_seconds: float
    """Age of the oldest event that it still has to get; 0 where there is none."""
    next_event_id: int | None
    """The event that it gets next, and that alone can be skipped."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", tuple(self.topics))


def insert_event(
    tx: Transaction, *, topic: str, key: str, user_id: str | None, payload: str
) -> int:
    """Write an event whose payload is the JSON *payload*; return its event_id."""
    values = {"topic": topic, "key": key, "user_id": user_id, "payload": payload}
    return int(tx.value(SQL.insert_event, values))


def insert_events(
    tx: Transaction,
    *,
    topics: Sequence[str],
    keys: Sequence[str],
    user_ids: Sequence[str | None],
    payloads: Sequence[str],
) -> None:
    """Write one event for each place of the sequences, whose payloads are JSON, in their order."""
    values = {
        "topics": list(topics),
        "keys": list(keys),
        "user_ids": list(user_ids),
        "payloads": list(payloads),
    }
    tx.execute(SQL.insert_events, values)


def newest_position(tx: Transaction) -> int:
    """Return the position that was given last, 0 before the first."""
    return int(tx.value(SQL.newest_position))


def read_events(
    tx: Transaction,
    row: Callable[..., Row],
    selection: Selection,
    *,
    after: int,
    through: int,
    limit: int,
) -> list[Row]:
    """Return selected events with positions above *after* and up to *through*, in order."""
    return tx.rows(
        row,
        SQL.read_events,
        {
            "topics": selection.topics,
            "key": selection.key,
            "user_id": selection.user_id,
            "readable": selection.readable,
            "reader_id": selection.reader_id,
            "after": after,
            "through": through,
            "limit": limit,
        },
    )


def take_lock(tx: Transaction) -> bool:
    """Take the outbox's lock for the session; False where another session holds it."""
    return bool(tx.value(SQL.take_lock, {"lock_class": LOCK_CLASS, "lock_object": LOCK_OBJECT}))


def number_events(tx: Transaction, *, limit: int) -> int:
    """Give positions to at most *limit* events that this statement sees; return how many."""
    return tx.execute(SQL.number_events, {"limit": limit})


def notify(tx: Transaction, *, channel: str, message: str) -> None:
    """Send *message* to the listeners of *channel* when the transaction commits."""
    tx.value(SQL.notify, {"channel": channel, "message": message})


def listen(tx: Transaction) -> None:
    """Make the session hear of new positions."""
    tx.execute(SQL.listen)


def add_sink(
    tx: Transaction,
    *,
    sink: str,
    kind: str,
    config: Mapping[str, Any],
    topics: Sequence[str],
    position: int | None,
) -> bool:
    """Add a sink; False where its name is taken."""
    values = {
        "sink": sink,
        "kind": kind,
        "config": Jsonb(dict(config)),
        "topics": list(topics),
        "position": position,
    }
    return bool(tx.value(SQL.add_sink, values))


def pause_sink(tx: Transaction, sink: str, *, pause: bool) -> bool:
    """Stop a sink or let it go on; False where there is none."""
    return bool(tx.value(SQL.pause_sink, {"sink": sink, "pause": pause}))


def record_result(
    tx: Transaction, sink: str, *, before: int, after: int, error: str | None
) -> bool:
    """Move a cursor from *before* to *after*; False where it no longer stands at *before*."""
    values = {"sink": sink, "before": before, "after": after, "error": error}
    return bool(tx.value(SQL.sink_result, values))


def read_cursor(tx: Transaction, sink: str) -> Cursor | None:
    """Return a sink, or None."""
    return tx.row(Cursor, SQL.read_cursor, {"sink": sink})


def lock_cursor(tx: Transaction, sink: str) -> Cursor | None:
    """Return a sink whose cursor nobody else moves until the transaction ends, or None."""
    return tx.row(Cursor, SQL.lock_cursor, {"sink": sink})


def due_sinks(tx: Transaction) -> list[str]:
    """Return the sinks that may be tried now and are behind the newest position."""
    return tx.values(SQL.due_sinks)


def skip_to(tx: Transaction, sink: str, *, position: int) -> None:
    """Put the cursor of *sink* on *position*, to be tried at once."""
    tx.execute(SQL.skip_to, {"sink": sink, "position": position})


def list_sinks(tx: Transaction) -> list[SinkState]:
    """Return every sink, by name."""
    return tx.rows(SinkState, SQL.list_sinks)


def delete_events(tx: Transaction, *, retention_days: int, limit: int) -> int:
    """Delete old events among the oldest *limit* that all cursors passed; return how many."""
    return tx.execute(SQL.delete_events, {"retention_days": retention_days, "limit": limit})
