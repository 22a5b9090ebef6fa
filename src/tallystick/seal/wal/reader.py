"""
The reader: changes from the WAL into the queue, in the order of their commits, exactly once.

A batch is cut at the end of a commit. Its rows and the position behind it are written in one
transaction, and only then is the position confirmed to the server:

1. read messages until the stream has no more, or the batch is full;
2. queue them, a statement for each table, source and kind of change;
3. move the position to the end of the last commit, COMMIT. *Crash before*: nothing has
   happened, the server sends it all again. *Crash here*: the server sends again what is queued,
   and each transaction that ended at or before the position is left out;
4. confirm the position: the server may forget the WAL before it.

A transaction too large for a batch is queued in several pieces, still in one transaction of
ours. Follows docs/adr/0016.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg

from tallystick.db import Transaction
from tallystick.db.database import raise_translated, session_settings
from tallystick.errors import Error
from tallystick.pauses import pause_point
from tallystick.seal.errors import BusyReaderError, WalUnavailableError
from tallystick.seal.wal import store
from tallystick.seal.wal.arrays import register
from tallystick.seal.wal.batch import Batch, Changes, Group
from tallystick.seal.wal.messages import DELETE, Lsn
from tallystick.seal.wal.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOGGER = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_BATCH_PLACES: Final = 50_000
"""Of one statement's parameters: large enough that planning it does not count."""
IDLE_SECONDS: Final = 1.0
QUIET_BYTES: Final = 16 * 1024 * 1024
"""So much WAL of others may pass before the position is moved for it alone."""
XID_BITS: Final = 32


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What a look queued, and how far the WAL is read now."""

    rows: int
    position: Lsn


class WalReader:
    """The one reader of a database: holds the lock, the stream, and the place in it."""

    def __init__(self, url: str) -> None:
        """
        Become the reader, making the slot where there is none.

        Raises:
            BusyReaderError: Another process reads.
            WalUnavailableError: A setting of the server or a right is missing.
        """
        self._statements: dict[tuple[Any, ...], str | None] = {}
        self._has_open_work = False
        self.rows = 0
        settings = session_settings("tallystick-wal-reader")
        settings["options"] += (
            " -c idle_in_transaction_session_timeout=0 -c statement_timeout=0 -c jit=off"
        )
        try:
            self._connection = psycopg.connect(url, **settings)
            register(self._connection)
        except psycopg.Error as raised:
            raise_translated(raised)
        self._tx = Transaction(self._connection)
        try:
            if not store.lock_reader(self._tx):
                raise BusyReaderError
            self._connection.commit()
            position = self._open_slot()
            state = store.server_state(self._tx)
            self._connection.commit()
            self._stream = Stream(url, state.slot, position)
        except BaseException:
            self._connection.close()
            raise
        self._batch = Batch(position)
        self.position = position

    def _open_slot(self) -> Lsn:
        """Return where to begin; a slot that is missing or lost is made anew, with a new epoch."""
        state = store.server_state(self._tx)
        self._connection.rollback()
        check_server(state)
        reason = lost_because(state)
        if reason is None and state.position is not None:
            store.adopt_wal(self._tx)
            self._connection.commit()
            return state.position
        self._connection.autocommit = True
        try:
            if state.has_slot:
                store.drop_slot(self._tx)
            position = store.create_slot(self._tx)
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.ConfigurationLimitExceeded,
        ) as raised:
            words = raised.diag.message_primary or "no slot can be made"
            raise WalUnavailableError(words) from raised
        finally:
            self._connection.autocommit = False
        store.open_wal(
            self._tx, system=state.system, position=position, reason=reason or "the slot was made"
        )
        # Crash before this commit: the slot is there without its note, and is made anew.
        self._connection.commit()
        return position

    def look(self, seconds: float = 0.0) -> ReadResult:
        """
        Queue what has come, waiting up to *seconds* for the first of it.

        Raises:
            WalLostError: The slot cannot go on; the next reader makes a new one.
            DatabaseUnavailableError: A connection is gone.
        """
        self.rows = 0
        try:
            self._take(seconds)
        except psycopg.Error as raised:
            raise_translated(raised)
        return ReadResult(self.rows, self.position)

    def _take(self, seconds: float) -> None:
        batch = self._batch
        self._stream.wait(seconds)
        while True:
            for message in self._stream.messages():
                batch.add(message)
                if batch.places >= MAX_BATCH_PLACES or batch.bytes >= MAX_BATCH_BYTES:
                    self._queue()
                    if batch.is_whole:
                        self._commit()
            if batch.is_whole:
                break
            # The middle of a transaction: the rest of it is on its way.
            self._stream.wait(IDLE_SECONDS)
        passed = Lsn(max(batch.end, self._stream.seen))
        if not batch.is_empty or self._has_open_work:
            self._queue()
            self._commit()
        elif batch.has_marks or passed - self.position > QUIET_BYTES:
            batch.end = passed
            self._commit()

    def _queue(self) -> None:
        """Queue the messages of the batch, in our open transaction."""
        batch = self._batch
        self._has_open_work = True
        if not batch.is_empty:
            # One more than are used: an update's second place may be the last of all.
            own_xid, seqs = store.draw(self._tx, batch.places + 1)
            xids = [full_xid(facts.xid, own_xid) for facts in batch.transactions]
            plan = Plan(self._tx, batch, xids, seqs, self._statements)
            self.rows += plan.run()
        batch.clear()

    def _commit(self) -> None:
        batch = self._batch
        store.move_position(self._tx, batch.end)
        pause_point("wal-before-commit")
        self._connection.commit()
        pause_point("wal-before-confirm")
        batch.has_marks = False
        self._has_open_work = False
        self.position = batch.end
        self._stream.confirm(batch.end)

    def adopt(self) -> None:
        """Serve the sources that were added since the slot was made."""
        try:
            if store.adopt_wal(self._tx):
                LOGGER.info("new sources are read from the WAL")
            self._connection.commit()
        except psycopg.Error as raised:
            raise_translated(raised)

    def read_past(self, place: Lsn, *, deadline: float) -> bool:
        """Read until *place* is behind us; False: *deadline* of the monotonic clock came first."""
        while self.position < place:
            if time.monotonic() > deadline:
                return False
            self._stream.confirm(self.position, ask=True)
            self.look(0.05)
        return True

    def run(
        self, stop: threading.Event, observe: Callable[[ReadResult], None] | None = None
    ) -> None:
        """Read until *stop* is set."""
        adopt_at = 0.0
        while not stop.is_set():
            if time.monotonic() >= adopt_at:
                self.adopt()
                adopt_at = time.monotonic() + IDLE_SECONDS
            result = self.look(IDLE_SECONDS / 4)
            if observe is not None and result.rows:
                observe(result)

    def close(self) -> None:
        """Give the lock back; what was not committed is read again by the next reader."""
        self._stream.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Plan:
    """One batch, and where each of its messages goes."""

    def __init__(
        self,
        tx: Transaction,
        batch: Batch,
        xids: Sequence[str],
        seqs: Sequence[int],
        statements: dict[tuple[Any, ...], str | None],
    ) -> None:
        self._tx = tx
        self._batch = batch
        self._xids = xids
        self._seqs = seqs
        self._statements = statements
        # Read now, in this transaction: whoever installs a source does it under a lock that
        # keeps its table's writers out, so no commit that was read here is older than that.
        self._sources: dict[int, list[store.WalSource]] = {}
        for source in store.wal_sources(tx):
            self._sources.setdefault(source.member, []).append(source)

    def run(self) -> int:
        """Queue everything, and return how many rows that were."""
        queued = 0
        used: set[tuple[int, int]] = set()
        for group in self._batch.groups:
            for source in self._sources.get(group.relation.relation, ()):
                # Two sources of one log would give one place twice.
                is_second = (group.relation.relation, source.log_id) in used
                used.add((group.relation.relation, source.log_id))
                queued += self._queue_group(group, source, is_second=is_second)
        for emptied in self._batch.truncates:
            for source in self._emptied_sources(emptied.relations):
                queued += self._queue_truncate(
                    source, emptied.relations, emptied.transaction, emptied.place
                )
        return queued

    def _queue_group(self, group: Group, source: store.WalSource, *, is_second: bool) -> int:
        queued = 0
        seqs = self._seqs
        for changes, is_update in ((group.rows, False), (group.updates, True)):
            chosen = self._chosen(changes, source, is_update=is_update)
            if not chosen.messages:
                continue
            if is_second:
                seqs = store.draw(self._tx, len(self._seqs))[1]
            text = self._statement(source, group, is_update=is_update)
            if text is not None:
                queued += store.queue_changes(
                    self._tx,
                    text,
                    chosen,
                    facts=self._batch.transactions,
                    xids=self._xids,
                    seqs=seqs,
                )
        return queued

    def _chosen(self, changes: Changes, source: store.WalSource, *, is_update: bool) -> Changes:
        """Return those of *changes* that the source records."""
        if is_update and source.on_update == "ignore":
            return Changes()
        drops_deletes = not is_update and source.on_delete == "ignore"
        if not drops_deletes and not source.wal_from and source.wal_until is None:
            return changes
        facts = self._batch.transactions
        chosen = Changes()
        for message, number, place in zip(
            changes.messages, changes.transactions, changes.places, strict=True
        ):
            is_dropped = drops_deletes and message[0] == DELETE
            if not is_dropped and source.serves(facts[number - 1].commit_at):
                chosen.add(message, number, place)
        return chosen

    def _statement(self, source: store.WalSource, group: Group, *, is_update: bool) -> str | None:
        """Return the generated statement; None where the source lacks a column, and is broken."""
        relation = group.relation
        key = (source.source_no, source.version, relation, is_update)
        if key not in self._statements:
            try:
                with self._tx.savepoint():
                    self._statements[key] = store.statement(
                        self._tx,
                        source.source_no,
                        relation.names,
                        relation.types,
                        is_update=is_update,
                    )
            except Error as refused:
                LOGGER.warning("source %s is broken: %s", source.source_table, refused.message)
                self._statements[key] = None
        if self._statements[key] is None:
            message = f"{source.source_table} lacks a column that its records need"
            store.break_source(self._tx, source.source_no, code="column_missing", message=message)
        return self._statements[key]

    def _emptied_sources(self, relations: frozenset[int]) -> list[store.WalSource]:
        """Return each source of which one of *relations* is a table, once."""
        found = {
            source.source_no: source
            for relation in relations
            for source in self._sources.get(relation, ())
        }
        return [source for source in found.values() if source.on_truncate != "ignore"]

    def _queue_truncate(
        self, source: store.WalSource, relations: frozenset[int], transaction: int, place: int
    ) -> int:
        facts = self._batch.transactions[transaction - 1]
        if not source.serves(facts.commit_at):
            return 0
        members = {
            member
            for member, sources in self._sources.items()
            for other in sources
            if other.source_no == source.source_no and other.relkind == "r"
        }
        if not members <= relations:
            # Its rows are gone, and the WAL does not say which they were: a reconcile does.
            message = f"a part of {source.source_table} was emptied by TRUNCATE"
            store.break_source(self._tx, source.source_no, code="wal_truncated", message=message)
            return 0
        xid = self._xids[transaction - 1]
        seq = self._seqs[place]
        store.queue_truncate(self._tx, source.source_no, seq=seq, facts=facts, xid=xid)
        return 1


def check_server(state: store.ServerState) -> None:
    """
    Check that the server can serve a slot.

    Raises:
        WalUnavailableError: `wal_level` is too low.
    """
    if state.wal_level != "logical":
        raise WalUnavailableError(
            f"wal_level is {state.wal_level}; set it to logical and restart the server"
        )


def lost_because(state: store.ServerState) -> str | None:
    """Return why the slot cannot go on where it was, in words; None where it can."""
    if state.position is None:
        return None
    if state.system != state.noted_system:
        return "the database was moved to another server, which has no such slot"
    if not state.has_slot:
        return "the replication slot is gone"
    if state.is_lost:
        return "the server gave up the WAL that the replication slot had still to read"
    if not state.is_ours:
        return "the replication slot was made anew by somebody else"
    if state.confirmed is not None and state.confirmed > state.position:
        return "the replication slot was moved by somebody else"
    if not state.is_published:
        return "the publication tally is gone"
    return None


def full_xid(xid: int, own: int) -> str:
    """Return the xid8 of a transaction that began before ours, whose own is *own*."""
    epoch = own >> XID_BITS
    full = epoch << XID_BITS | xid
    return str(full if full <= own else full - (1 << XID_BITS))
