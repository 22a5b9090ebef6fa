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
from tallystick.pauses import pause_point
from tallystick.seal.errors import BusyReaderError, WalLostError, WalUnavailableError
from tallystick.seal.wal import store
from tallystick.seal.wal.arrays import register
from tallystick.seal.wal.batch import Batch
from tallystick.seal.wal.messages import Lsn
from tallystick.seal.wal.queueing import Plan, full_xid
from tallystick.seal.wal.stream import KEEPALIVES, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

LOGGER = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
MAX_BATCH_PLACES: Final = 50_000
"""Of one statement's parameters: large enough that planning it does not count."""
IDLE_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.05
"""What a change waits for others to come with it; a sequencer looks less often than that."""
FEW_ROWS: Final = 5_000
QUIET_BYTES: Final = 16 * 1024 * 1024
"""So much WAL of others may pass before the position is moved for it alone."""
UNHURRIED: Final = " -c idle_in_transaction_session_timeout=0 -c statement_timeout=0 -c jit=off"
"""A transaction of millions of rows is queued in one of ours."""
REFUSALS: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ConfigurationLimitExceeded,
)


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
        self._has_breaks = False
        self._is_behind = False
        self._stop = threading.Event()
        self.rows = 0
        settings = session_settings("tallystick-wal-reader")
        settings["options"] += UNHURRIED + KEEPALIVES
        try:
            self._connection = psycopg.connect(url, **settings)
            register(self._connection)
        except psycopg.Error as raised:
            raise_translated(raised)
        self._tx = Transaction(self._connection)
        try:
            self._lock()
            position = self._open_slot()
            state = store.server_state(self._tx)
            self._connection.commit()
            self._stream = Stream(url, state.slot, position)
        except BaseException:
            self._connection.close()
            raise
        self._batch = Batch(position)
        self.position = position

    def _lock(self) -> None:
        is_reader = store.lock_reader(self._tx)
        self._connection.commit()
        if not is_reader:
            raise BusyReaderError

    def _open_slot(self) -> Lsn:
        """Return where to begin; a slot that is missing or lost is made anew, with a new epoch."""
        state = store.server_state(self._tx)
        self._connection.rollback()
        check_server(state)
        reason = lost_because(state)
        if reason is None and state.position is not None:
            store.adopt_wal(self._tx)
            store.apply_breaks(self._tx)
            self._connection.commit()
            check_publication(state)
            return state.position
        self._connection.autocommit = True
        try:
            if state.has_slot:
                store.drop_slot(self._tx)
            position = store.create_slot(self._tx)
        except REFUSALS as raised:
            words = raised.diag.message_primary or "no slot can be made"
            raise WalUnavailableError(words) from raised
        finally:
            self._connection.autocommit = False
        store.open_wal(
            self._tx, system=state.system, position=position, reason=reason or "the slot was made"
        )
        # Crash before this commit: the slot is there without its note, and is made anew.
        self._connection.commit()
        check_publication(state)
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
        if not self._is_behind:
            self._stream.wait(seconds)
        self._is_behind = False
        while not self._stop.is_set():
            for message in self._stream.messages():
                batch.add(message)
                is_full = batch.places >= MAX_BATCH_PLACES or batch.bytes >= MAX_BATCH_BYTES
                if batch.is_whole and (is_full or self._has_open_work):
                    # Writers may be ahead of us for hours: what is whole is theirs to see.
                    self._queue()
                    self._commit()
                    self._is_behind = True
                    return
                if is_full:
                    self._queue()
            if batch.is_whole:
                break
            # The middle of a transaction: the rest of it is on its way.
            self._stream.wait(IDLE_SECONDS)
        else:
            return  # what is not committed is read again
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
            self._has_breaks |= plan.has_breaks
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
        if self._has_breaks:
            store.apply_breaks(self._tx)
            self._connection.commit()
            self._has_breaks = False

    def adopt(self) -> bool:
        """
        Serve the sources that were added since, and break those that lost changes.

        False: there is nothing to be read any more.

        Raises:
            WalLostError: The publication was dropped, or made anew; changes between are lost.
            DatabaseUnavailableError: A connection is gone.
        """
        try:
            if store.adopt_wal(self._tx):
                LOGGER.info("new sources are read from the WAL")
            store.apply_breaks(self._tx)
            is_published = store.is_same_publication(self._tx)
            is_needed = store.is_needed(self._tx)
            self._connection.commit()
        except psycopg.Error as raised:
            raise_translated(raised)
        if not is_published:
            raise WalLostError("the publication tally is not the one that was read")
        return is_needed

    def read_past(self, place: Lsn, *, deadline: float) -> bool:
        """Read until *place* is behind us; False: *deadline* of the monotonic clock came first."""
        while self.position < place:
            if time.monotonic() > deadline:
                return False
            self._stream.confirm(self.position, ask=True)
            self.look(0.05)
        return True

    def run(
        self, stop: threading.Event, observe: Callable[[ReadResult], None] = lambda _result: None
    ) -> None:
        """
        Read until *stop* is set or nothing is left to be read.

        *observe* is told of each look that queued anything.
        """
        self._stop = stop
        adopt_at = 0.0
        while not stop.is_set():
            if time.monotonic() >= adopt_at:
                if not self.adopt():
                    break
                adopt_at = time.monotonic() + IDLE_SECONDS
            result = self.look(IDLE_SECONDS / 4)
            if result.rows:
                observe(result)
            if 0 < result.rows < FEW_ROWS:
                # A statement for each commit would take a core; writers may need it.
                stop.wait(GATHER_SECONDS)

    def close(self) -> None:
        """Give the lock back; what was not committed is read again by the next reader."""
        self._stream.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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


def check_publication(state: store.ServerState) -> None:
    """
    Check that there is something to be read through.

    Raises:
        WalUnavailableError: The publication is gone; its sources are broken already.
    """
    if state.publication is None:
        raise WalUnavailableError("the publication tally is gone; refresh the source to make it")


def drop_unneeded_slot(url: str) -> bool:
    """
    Drop the slot if nothing is to be read: it would keep the server's WAL for ever.

    Raises:
        DatabaseUnavailableError: No connection.
    """
    try:
        with psycopg.connect(url, **session_settings("tallystick-wal-reader")) as connection:
            tx = Transaction(connection)
            is_ours = store.lock_reader(tx) and not store.is_needed(tx)
            connection.rollback()
            connection.autocommit = True
            return is_ours and store.drop_slot(tx)
    except psycopg.errors.ObjectInUse:
        return False  # its last reader's connection is still going
    except psycopg.Error as raised:
        raise_translated(raised)
        raise


def lost_because(state: store.ServerState) -> str | None:
    """Return why the slot cannot go on where it was, in words; None where it can."""
    if state.position is None:
        return None
    was_moved = state.confirmed is not None and state.confirmed > state.position
    reasons = (
        (
            state.system != state.noted_system,
            "the database was moved to another server, which has no such slot",
        ),
        (
            state.publication != state.noted_publication,
            "the publication tally is gone, or was made anew",
        ),
        (not state.has_slot, "the replication slot is gone"),
        (state.is_lost, "the server gave up the WAL that the replication slot had still to read"),
        (not state.is_ours, "the replication slot was made anew by somebody else"),
        (was_moved, "the replication slot was moved by somebody else"),
    )
    return next((reason for applies, reason in reasons if applies), None)
