"""The SQL of the reader of the WAL; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.wal.arrays import pack_bytes, pack_int4, pack_int8, pack_times
from tallystick.seal.wal.messages import Lsn, format_lsn, parse_lsn, time_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.seal.wal.batch import Changes, Facts


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    lock_reader: Query
    server_state: Query
    create_slot: Query
    drop_slot: Query
    open_wal: Query
    adopt_wal: Query
    move_position: Query
    position: Query
    mark: Query
    wal_sources: Query
    statement: Query
    draw: Query
    queue_truncate: Query
    note_break: Query
    apply_breaks: Query
    is_same_publication: Query
    start_wal: Query
    is_needed: Query
    is_from_wal: Query
    lag: Query
    last_said: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class ServerState:
    """What reading depends on."""

    wal_level: str
    slot: str
    system: str
    has_slot: bool
    is_lost: bool
    is_ours: bool
    confirmed: Lsn | None
    epoch: int | None
    noted_system: str | None
    position: Lsn | None
    publication: int | None
    noted_publication: int | None


@dataclass(frozen=True, slots=True)
class WalSource:
    """One table that a source reads: the source's own, or a descendant."""

    source_no: int
    log_id: int
    source_table: str
    relation: int
    member: int
    on_update: str
    on_delete: str
    on_truncate: str
    wal_from: Lsn
    wal_until: Lsn | None
    relkind: str | None
    version: int

    def serves(self, commit_at: Lsn) -> bool:
        """Return whether changes that committed there are the source's to record."""
        is_before_the_end = self.wal_until is None or commit_at < self.wal_until
        return self.wal_from <= commit_at and is_before_the_end


@dataclass(frozen=True, slots=True)
class WalLag:
    """How far reading is behind the server's writing, in bytes, and how the slot stands."""

    bytes: int
    has_slot: bool
    is_active: bool
    wal_status: str
    safe_bytes: int | None


def lock_reader(tx: Transaction) -> bool:
    """Become the reader until the session ends; False: another one reads."""
    return bool(tx.value(SQL.lock_reader))


def server_state(tx: Transaction) -> ServerState:
    """Return what reading depends on."""
    state = tx.row(_server_state, SQL.server_state)
    assert state is not None, "a row that nothing filters"
    return state


def create_slot(tx: Transaction) -> Lsn:
    """Make the slot, on an autocommit connection; return where it begins."""
    return parse_lsn(tx.value(SQL.create_slot))


def drop_slot(tx: Transaction) -> bool:
    """Drop the slot, on an autocommit connection; False: there is none."""
    return bool(tx.values(SQL.drop_slot))


def open_wal(tx: Transaction, *, system: str, position: Lsn, reason: str) -> int:
    """Note a new slot and return how many there have been."""
    parameters = {"system": system, "position": format_lsn(position), "reason": reason}
    return int(tx.value(SQL.open_wal, parameters))


def adopt_wal(tx: Transaction) -> int:
    """Let the slot serve sources that were added since; return how many."""
    return int(tx.value(SQL.adopt_wal))


def move_position(tx: Transaction, position: Lsn) -> None:
    """Note that all up to *position* is queued."""
    tx.execute(SQL.move_position, {"position": format_lsn(position)})


def position(tx: Transaction) -> Lsn | None:
    """Return how far the WAL has been read; None where there was never a slot."""
    return _lsn(tx.value(SQL.position))


def mark(tx: Transaction) -> Lsn:
    """Write a mark, which the commit of *tx* makes readable, and return its place."""
    return parse_lsn(tx.value(SQL.mark))


def wal_sources(tx: Transaction) -> list[WalSource]:
    """Return every table that is read, for each source that reads it."""
    return tx.rows(_wal_source, SQL.wal_sources)


def statement(
    tx: Transaction,
    source_no: int,
    names: Sequence[str],
    types: Sequence[int],
    *,
    is_update: bool,
) -> str:
    """Return the statement that queues messages of one relation for a source."""
    parameters = {
        "source_no": source_no,
        "names": list(names),
        "types": list(types),
        "is_update": is_update,
    }
    return str(tx.value(SQL.statement, parameters))


def draw(tx: Transaction, count: int) -> tuple[int, list[int]]:
    """Return the transaction's id and *count* places in the queue, in their order."""
    with tx.connection.cursor(binary=True) as cursor:
        row = cursor.execute(SQL.draw, {"count": count}).fetchone()
    assert row is not None, "a row that nothing filters"
    return row[0], row[1] or []


def queue_changes(
    tx: Transaction,
    text: str,
    changes: Changes,
    *,
    facts: Sequence[Facts],
    xids: Sequence[int],
    seqs: Sequence[int],
) -> int:
    """Run a generated statement on *changes* and return how many rows were queued."""
    second = [seqs[place + 1] for place in changes.places] if seqs[-1:] else []
    parameters: list[Any] = [
        pack_bytes(changes.messages),
        pack_int4(changes.transactions),
        pack_int8([seqs[place] for place in changes.places]),
        pack_int8(second),
        pack_times([fact.microseconds for fact in facts]),
        pack_int8(xids),
        [fact.actor for fact in facts] if any(fact.actor for fact in facts) else None,
    ]
    with psycopg.RawCursor(tx.connection) as cursor:
        return cursor.execute(text.encode(), parameters).rowcount


def queue_truncate(tx: Transaction, source_no: int, *, seq: int, facts: Facts, xid: int) -> None:
    """Queue the leaf of a TRUNCATE."""
    parameters = {
        "source_no": source_no,
        "seq": seq,
        "at": time_of(facts.microseconds),
        "xid": str(xid),
        "actor": facts.actor,
    }
    tx.execute(SQL.queue_truncate, parameters)


def note_break(tx: Transaction, source_no: int, *, code: str, message: str) -> None:
    """
    Note that changes of a source were read and cannot be recorded.

    Whoever waits for the reader may hold the source's row, so that is for `apply_breaks`.
    """
    tx.execute(SQL.note_break, {"source_no": source_no, "code": code, "message": message})


def apply_breaks(tx: Transaction) -> int:
    """Mark what was noted, with gap leaves, where nobody holds the source; return how many."""
    return int(tx.value(SQL.apply_breaks))


def is_same_publication(tx: Transaction) -> bool:
    """Return whether changes are published as they were when the slot was opened."""
    return bool(tx.value(SQL.is_same_publication))


def start_wal(tx: Transaction, source_no: int, position: Lsn) -> None:
    """Read a source's changes from *position* on."""
    tx.execute(SQL.start_wal, {"source_no": source_no, "position": format_lsn(position)})


def is_needed(tx: Transaction) -> bool:
    """Return whether any source's changes are to be read from the WAL."""
    return bool(tx.value(SQL.is_needed))


def is_from_wal(tx: Transaction, source_no: int) -> bool:
    """Return whether a source's changes are read from the WAL."""
    return bool(tx.value(SQL.is_from_wal, {"source_no": source_no}))


def lag(tx: Transaction) -> WalLag | None:
    """Return how far reading is behind; None where nothing is read."""
    return tx.row(WalLag, SQL.lag)


def last_said(tx: Transaction, source_no: int, keys: Sequence[str]) -> dict[str, int | None]:
    """Return the last place of each key of a wal source; nothing for another source."""
    parameters = {"source_no": source_no, "keys": list(keys)}
    return dict(tx.rows(lambda key, seq: (key, seq), SQL.last_said, parameters))


def _lsn(text: str | None) -> Lsn | None:
    return None if text is None else parse_lsn(text)


def _server_state(*facts: Any) -> ServerState:
    parts: list[Any] = [*facts[:6], _lsn(facts[6]), *facts[7:9], _lsn(facts[9]), *facts[10:]]
    return ServerState(*parts)


def _wal_source(*facts: Any) -> WalSource:
    parts: list[Any] = [*facts[:8], parse_lsn(facts[8]), _lsn(facts[9]), *facts[10:]]
    return WalSource(*parts)
