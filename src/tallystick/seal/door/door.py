"""
The door of one server process: concurrent pushes become one statement, and one look finds all.

One thread and one session do all of it. What comes while a group is committed is the next
group, so that groups grow with the load and nobody waits for a full one. After each group a
NOTIFY wakes the sequencer, whose NOTIFY of the new head has this thread look, by one statement,
for every entry that waits. Follows log.md, sections 4.4 and 6.2; docs/adr/0013.

What a failure leaves: a group whose statement broke is answered as unknown, since it may have
committed; entries that were queued are looked for again over the next connection.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import psycopg
import structlog

from tallystick.db import Database, Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.db.sqlstate import translate
from tallystick.errors import Error
from tallystick.pauses import pause_point
from tallystick.seal.door import store
from tallystick.seal.door.entry import EntryTicket
from tallystick.seal.door.hearing import HeadEar
from tallystick.seal.door.operations import pending
from tallystick.seal.errors import DoorClosedError, EntryPendingError, LogBusyError
from tallystick.seal.logs.log import LogId
from tallystick.seal.sequencer.floor import Seq
from tallystick.tlog import LeafIndex, TreeSize

PATIENCE_SECONDS: Final = 8.0
"""The client waits 10 s (log.md, 4.4); before it gives up it should hear what is known."""
LOOK_SECONDS: Final = 1.0
"""A notification may be lost; a look each second is not."""
LINGER_SECONDS: Final = 0.004
"""What a group waits for those who were just answered: clients that push again do so at once."""
LINGER_STEP_SECONDS: Final = 0.0005
RECONNECT_SECONDS: Final = 0.5
STOP_LOOK_SECONDS: Final = 0.1
STOP_SECONDS: Final = 5.0
"""What is queued at the end may be sealed in this time; a server ends within 20 s."""
MAX_HELD: Final = 20_000
"""Pushes of one process that wait: more clients than a server has."""
MAX_HELD_BYTES: Final = 256_000_000
"""Their entries: thousands of the longest."""
LOCK_TIMEOUT_MILLISECONDS: Final = 500
"""A freeze, or a door with the same bytes, is done sooner; an open transaction may never be."""
LOCKED_SECONDS: Final = 1.0
"""How long a log that another transaction held is left alone, so that others do not wait for it."""
MAX_GROUP: Final = 1_000
MAX_GROUP_BYTES: Final = 8_000_000
"""One statement's parameters; a group that is larger is several."""

logger = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Push:
    """One entry on its way; *caller* is whom the answer is for."""

    log_id: LogId
    data: bytes
    deduplicate: bool
    caller: Any
    deadline_seconds: float = 0.0


Answer: TypeAlias = tuple[Push, LeafIndex | Error]


@dataclass(slots=True)
class Waiting:
    """The queued entries of one log, and up to which size they were looked for."""

    size: TreeSize
    pushes: dict[Seq, list[Push]] = field(default_factory=dict)


class Door:
    """
    Takes pushes from any thread and gives their answers to *deliver*, many at a time, in its
    own thread.
    """

    def __init__(
        self,
        database: Database,
        deliver: Callable[[Sequence[Answer]], None],
        *,
        max_backlog: int,
    ) -> None:
        self._database = database
        self._deliver = deliver
        self._max_backlog = max_backlog
        self._pending: deque[Push] = deque()
        self._groups: deque[list[Push]] = deque()
        self._waiting: dict[LogId, Waiting] = {}
        self._locked_until: dict[LogId, float] = {}
        self._held = 0
        self._held_bytes = 0
        self._counting = threading.Lock()
        self._returning = 0
        self._look_at = 0.0
        self._stop_at: float | None = None
        self._is_woken = False
        self._bell: socket.socket | None = None
        self._rope: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)

    def start(self) -> None:
        """Open the door."""
        self._bell, self._rope = socket.socketpair()
        self._bell.setblocking(False)
        self._rope.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """
        Take no more pushes, and return when every one that was taken has its answer.

        What is not sealed within 5 s is answered as pending: it is queued and will be sealed.
        """
        with self._counting:
            self._stop_at = time.monotonic() + STOP_SECONDS
        if self._bell is None or self._rope is None:
            return
        self._wake()
        self._thread.join(2 * STOP_SECONDS)
        if not self._thread.is_alive():
            self._bell.close()
            self._rope.close()

    def push(self, push: Push) -> None:
        """
        Take an entry that was checked; its answer is delivered within 8 s.

        Raises:
            DoorClosedError: The process is stopping; nothing was queued.
            LogBusyError: This process holds as many pushes as it takes.
        """
        push.deadline_seconds = time.monotonic() + PATIENCE_SECONDS
        with self._counting:
            # The thread ends once it is told to stop and nothing is left: what is put in under
            # the same lock as the word to stop is never left behind.
            if self._stop_at is not None:
                raise DoorClosedError
            if self._held >= MAX_HELD or self._held_bytes >= MAX_HELD_BYTES:
                raise LogBusyError("this server holds as many entries as it takes; try again later")
            self._held += 1
            self._held_bytes += len(push.data)
            self._pending.append(push)
        if not self._is_woken:
            self._wake()

    def _wake(self) -> None:
        if self._rope is None:
            return  # Not open yet: what came before is taken first.
        self._is_woken = True
        # It is full: then it rings already. Or closed, and the thread has ended.
        with contextlib.suppress(OSError):
            self._rope.send(b"\0")

    # The thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_done():
            try:
                with self._database.session() as connection:
                    self._serve(connection)
            except Exception as error:  # noqa: BLE001 (the thread's edge: it must go on)
                logger.warning("door.disconnected", error=type(error).__name__)
                # None of these was handed over: the connection was not there.
                refusal = DatabaseUnavailableError("the database does not answer")
                self._answer([(push, refusal) for push in self._take_pending()])
                self._expire()
                time.sleep(RECONNECT_SECONDS)
                self._hear_bell()

    def _is_done(self) -> bool:
        # In this order: what is put in before the door is told to stop is seen.
        is_told = self._stop_at is not None
        return is_told and not (self._pending or self._groups or self._waiting)

    def _serve(self, connection: psycopg.Connection[Any]) -> None:
        """Queue, look and answer over one session, until the door is closed and empty."""
        assert self._bell is not None, "the door is open"
        tx = Transaction(connection)
        store.wait_shortly(tx, LOCK_TIMEOUT_MILLISECONDS)
        ear = HeadEar(connection)
        self._look_at = 0.0
        while not self._is_done():
            if self._pending:
                self._linger()
                self._queue_all(tx)
            heads = ear.take()
            is_due = time.monotonic() >= self._look_at or self._stop_at is not None
            if self._waiting and (is_due or self._concerns(heads)):
                self._look(tx)
            if is_due:
                self._expire()
                self._look_at = time.monotonic() + LOOK_SECONDS
            if not self._pending and not self._is_done():
                until_look = self._look_at - time.monotonic()
                ear.wait(until_look if self._stop_at is None else STOP_LOOK_SECONDS, self._bell)
                self._hear_bell()

    def _hear_bell(self) -> None:
        """Silence the bell."""
        assert self._bell is not None, "the door is open"
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(4096)
        # Cleared before the pushes are taken: whoever comes later rings again.
        self._is_woken = False

    def _linger(self) -> None:
        """
        Wait for as many pushes as were answered last, but not for long.

        A batch costs the same for one entry as for dozens. Whoever comes alone waits for nobody.
        """
        deadline = time.monotonic() + LINGER_SECONDS
        while len(self._pending) < self._returning and time.monotonic() < deadline:
            time.sleep(LINGER_STEP_SECONDS)
        self._returning = 0

    def _queue_all(self, tx: Transaction) -> None:
        """Queue what has come, and let sequencers know."""
        self._groups.extend(cut_groups(self._take_pending()))
        asked = set()
        while self._groups:
            log_id = self._queue(tx, self._groups.popleft())
            if log_id is not None:
                asked.add(log_id)
        if asked:
            store.ask_for_sealing(tx, list(asked))

    def _take_pending(self) -> list[Push]:
        """Return all that has come and was not handed over, in its order."""
        left = [push for group in self._groups for push in group]
        self._groups.clear()
        return left + [self._pending.popleft() for _ in range(len(self._pending))]

    def _queue(self, tx: Transaction, group: Sequence[Push]) -> LogId | None:
        """Queue the entries of one log in one transaction; return it where some wait now."""
        log_id = group[0].log_id
        if time.monotonic() < self._locked_until.get(log_id, 0.0):
            self._answer([(push, LogBusyError(LOCKED)) for push in group])
            return None
        try:
            tickets = store.append_entries(
                tx,
                log_id,
                [push.data for push in group],
                [push.deduplicate for push in group],
                max_backlog=self._max_backlog,
            )
        except psycopg.errors.LockNotAvailable:
            # Other logs' pushes would wait as well, for as long as that transaction is open.
            self._locked_until[log_id] = time.monotonic() + LOCKED_SECONDS
            self._answer([(push, LogBusyError(LOCKED)) for push in group])
            return None
        except psycopg.Error as raised:
            refusal = translate(raised)
            if refusal is None or isinstance(refusal, DatabaseUnavailableError):
                self._answer([(push, DatabaseUnavailableError(UNKNOWN)) for push in group])
                raise
            self._answer([(push, refusal) for push in group])
            return None
        pause_point("door.queued")  # A crash here loses answers, and no entry.
        return self._hold(group, tickets)

    def _hold(self, group: Sequence[Push], tickets: Sequence[EntryTicket]) -> LogId | None:
        """Answer the entries that are leaves already, and wait for the others."""
        self._answer(
            [
                (push, ticket.index)
                for push, ticket in zip(group, tickets, strict=True)
                if ticket.index is not None
            ]
        )
        self._let_go(group)
        waits = None
        for push, ticket in zip(group, tickets, strict=True):
            if ticket.seq is None:
                continue
            waits = push.log_id
            waiting = self._waiting.setdefault(push.log_id, Waiting(ticket.size))
            waiting.size = min(waiting.size, ticket.size)
            waiting.pushes.setdefault(ticket.seq, []).append(push)
        return waits

    def _concerns(self, heads: dict[LogId, int]) -> bool:
        """Return whether one of these heads may hold an entry that waits."""
        return any(
            size > self._waiting[log_id].size
            for log_id, size in heads.items()
            if log_id in self._waiting
        )

    def _look(self, tx: Transaction) -> None:
        """Find the indexes of all that wait, by one statement."""
        sizes = {log_id: waiting.size for log_id, waiting in self._waiting.items()}
        seqs = [seq for waiting in self._waiting.values() for seq in waiting.pushes]
        answers: list[Answer] = []
        for found in store.find_sealed(tx, sizes, seqs):
            waiting = self._waiting[found.log_id]
            waiting.size = max(waiting.size, found.size)
            if found.seq is not None and found.index is not None:
                index = found.index
                answers += [(push, index) for push in waiting.pushes.pop(found.seq, ())]
        self._waiting = {log: waiting for log, waiting in self._waiting.items() if waiting.pushes}
        self._returning = len(answers)
        self._answer(answers)

    def _expire(self) -> None:
        """Answer those that have waited long enough with what is known: they are queued."""
        now = time.monotonic()
        is_over = self._stop_at is not None and now >= self._stop_at
        answers: list[Answer] = []
        for waiting in self._waiting.values():
            # Places come in the order of their deadlines, but for entries found again.
            late = [
                seq
                for seq, pushes in waiting.pushes.items()
                if is_over or pushes[0].deadline_seconds <= now
            ]
            for seq in late:
                told = EntryPendingError(pending(seq))
                answers += [(push, told) for push in waiting.pushes.pop(seq)]
        if answers:
            self._waiting = {log: kept for log, kept in self._waiting.items() if kept.pushes}
            self._answer(answers)

    def _answer(self, answers: Sequence[Answer]) -> None:
        if answers:
            self._let_go([push for push, _ in answers])
            with self._counting:
                self._held -= len(answers)
            self._deliver(answers)

    def _let_go(self, pushes: Sequence[Push]) -> None:
        """Hold the entries of *pushes* no longer: they are queued, or nobody will queue them."""
        count = sum(len(push.data) for push in pushes)
        for push in pushes:
            push.data = b""
        with self._counting:
            self._held_bytes -= count


UNKNOWN: Final = (
    "the database stopped answering while the entry was handed over: it may be queued or not;"
    " push the same bytes with deduplicate"
)


LOCKED: Final = (
    "another transaction holds the log, such as an open one that pushed with deduplicate;"
    " nothing was queued, try again later"
)


def cut_groups(pushes: Iterable[Push]) -> Iterator[list[Push]]:
    """Yield *pushes* by log, in their order, in groups that one statement takes."""
    groups: dict[LogId, list[Push]] = {}
    lengths: dict[LogId, int] = {}
    for push in pushes:
        group = groups.setdefault(push.log_id, [])
        length = lengths.get(push.log_id, 0) + len(push.data)
        if group and (len(group) == MAX_GROUP or length > MAX_GROUP_BYTES):
            yield group
            groups[push.log_id] = group = []
            length = len(push.data)
        group.append(push)
        lengths[push.log_id] = length
    yield from groups.values()
