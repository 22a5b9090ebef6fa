"""
The sequencer's worker: looks at every log in its turn, the oldest backlog first.

Idle logs share one probe statement a look. A log that fails is tried again on its own, after
0.1 s doubling to 30 s; it never holds up another. Any number of processes may run. Follows
log.md, section 5.5.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.logs.keys import KeyRing
from tallystick.seal.logs.log import LogId
from tallystick.seal.logs.operations import open_new_logs
from tallystick.seal.sequencer import store
from tallystick.seal.sequencer.sequencer import SealResult, Sequencer
from tallystick.seal.sequencer.wake import PushListener

REFRESH_SECONDS = 1.0
"""How long a new or changed log may wait to be seen."""
FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 30.0
SHORTEST_WAIT_SECONDS = 0.005
"""The scheduler never spins, whatever the intervals of the logs."""
PUSHES_AN_INTERVAL = 50
"""A log that is pushed into is looked at so much more often: each 10 ms at the default of 500."""
LONGEST_PUSH_PAUSE_SECONDS = 1.0
"""Whoever pushes waits for the answer; what is captured can wait for the longest interval."""

logger = structlog.get_logger(__name__)


@dataclass(slots=True)
class Turn:
    """When a log is looked at next, and how its last look went."""

    log: store.Sealable
    due_at: float = 0.0
    busy: bool = False
    failures: int = 0
    look_seconds: float = 0.0
    looked_at: float = 0.0
    pushed: bool = False

    def hear_push(self) -> None:
        """Be due earlier than the interval says, unless sealing this log fails just now."""
        self.pushed = True
        if not self.failures:
            self.due_at = min(self.due_at, self.looked_at + push_pause_seconds(self.log))


@dataclass(slots=True)
class SealObserver:
    """What the worker tells others: metrics and tests listen."""

    sealed: Callable[[SealResult], None] = field(default=lambda _: None)
    failed: Callable[[str, BaseException], None] = field(default=lambda _log, _error: None)


class SequencerWorker:
    """Runs sealing for all logs of a database until it is told to stop."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        *,
        origin_prefix: str,
        threads: int,
        observer: SealObserver | None = None,
    ) -> None:
        self._database = database
        self._keys = keys
        self._origin_prefix = origin_prefix
        self._threads = threads
        self._observer = observer or SealObserver()
        self._sequencer = Sequencer(database, keys)
        self._turns: dict[LogId, Turn] = {}
        self._wake = threading.Event()
        self._pushed: deque[LogId] = deque()
        self._sealing: store.Sealing | None = None
        self._refresh_at = 0.0
        self._failures = 0

    def run(self, stop: threading.Event) -> None:
        """Seal until *stop* is set; the sealing transactions in flight are finished."""
        with (
            PushListener(self._database, self.pushed),
            ThreadPoolExecutor(self._threads, thread_name_prefix="seal") as pool,
        ):
            while not stop.is_set():
                try:
                    self._look(pool)
                    self._failures = 0
                except Exception as error:  # noqa: BLE001 (the process's edge: it must go on)
                    self._failures += 1
                    self._report("-", error)
                    self._refresh_at = 0.0
                    stop.wait(retry_seconds(self._failures))
                    continue
                self._wake.wait(self._pause_seconds())
                self._wake.clear()
                self._hear_pushes()

    def pushed(self, log_ids: Sequence[LogId]) -> None:
        """Hear, in any thread, that entries were pushed into these logs."""
        self._pushed.extend(log_ids)
        self._wake.set()

    def _hear_pushes(self) -> None:
        """Let the turns of pushed logs be due."""
        while self._pushed:
            turn = self._turns.get(self._pushed.popleft())
            if turn is not None:
                turn.hear_push()

    def _look(self, pool: ThreadPoolExecutor) -> None:
        """Refresh the list of logs if it is due, probe those whose turn it is, submit looks."""
        now = time.monotonic()
        if now >= self._refresh_at:
            self._refresh()
            self._refresh_at = now + REFRESH_SECONDS
        due = [turn for turn in self._turns.values() if not turn.busy and turn.due_at <= now]
        if not due:
            return
        runs = self._sealing is not None and self._sealing.status == "running"
        told: list[Turn] = []
        asked: list[Turn] = []
        for turn in due:
            # Whoever pushed has said that rows wait: nobody needs to look for them.
            (told if turn.pushed and runs else asked).append(turn)
            # What is pushed from here on this look may miss.
            turn.pushed = False
            turn.looked_at = now
        for turn in told:
            self._submit(pool, turn)
        if not asked:
            return
        waiting = self._probe(asked)
        backlog: list[tuple[datetime.datetime, Turn]] = []
        for turn in asked:
            oldest = waiting.get(turn.log.log_id)
            if oldest is not None and self._sealing is not None and self._sealing.admits(oldest):
                backlog.append((oldest, turn))
            elif oldest is None and turn.log.freeze_requested:
                backlog.append((datetime.datetime.max.replace(tzinfo=datetime.UTC), turn))
            else:
                turn.due_at = now + turn.log.batch_interval_ms / 1000
        for _, turn in sorted(backlog, key=lambda pair: pair[0]):
            self._submit(pool, turn)

    def _submit(self, pool: ThreadPoolExecutor, turn: Turn) -> None:
        turn.busy = True
        pool.submit(self._take_turn, turn)

    def _refresh(self) -> None:
        """Open logs that were plainly inserted, and read the list of logs again."""
        open_new_logs(self._database, self._keys, origin_prefix=self._origin_prefix)
        with self._database.transaction(read_only=True) as tx:
            self._sealing = store.sealing_status(tx)
            logs = {log.log_id: log for log in store.sealable_logs(tx)}
        for log_id, log in logs.items():
            turn = self._turns.setdefault(log_id, Turn(log))
            if log.batch_interval_ms < turn.log.batch_interval_ms:
                turn.due_at = 0.0
            turn.log = log
        for log_id in self._turns.keys() - logs.keys():
            del self._turns[log_id]

    def _probe(self, due: list[Turn]) -> dict[LogId, datetime.datetime]:
        """Return the due logs that have rows waiting, with the time of the oldest."""
        now = time.monotonic()
        floors = {
            turn.log.log_id: self._sequencer.state(turn.log.log_id).floor.start(now=now)
            for turn in due
        }
        with self._database.transaction(read_only=True) as tx:
            answers = store.probe(tx, floors)
        stands = [self._sequencer.state(a.log_id).floor.stands_in(a.place) for a in answers]
        if not all(stands):
            # Another database answered than the floors are of; they start again below every seq.
            return self._probe(due)
        found: dict[LogId, datetime.datetime] = {}
        for answer in answers:
            if answer.oldest_captured_at is not None:
                found[answer.log_id] = answer.oldest_captured_at
            else:
                # An empty probe is a look like any other: what it proves lets the floor rise.
                self._sequencer.state(answer.log_id).floor.rise(xmin=answer.xmin)
        return found

    def _take_turn(self, turn: Turn) -> None:
        """Seal one batch of one log, in a thread of the pool."""
        began = time.monotonic()
        try:
            result = self._sequencer.seal_once(turn.log.log_id)
        except Exception as error:  # noqa: BLE001 (one log's failure stays its own)
            turn.failures += 1
            turn.due_at = time.monotonic() + retry_seconds(turn.failures)
            self._report(turn.log.log_name, error)
        else:
            turn.failures = 0
            look_seconds = time.monotonic() - began
            full = result is not None and result.batch_was_full
            # Never shorter than the last look took: a slow database is not asked faster.
            pause = 0.0 if full else max(turn.log.batch_interval_ms / 1000, look_seconds)
            turn.due_at = began + look_seconds + pause
            if turn.pushed:
                turn.hear_push()
            if result is not None:
                self._observer.sealed(result)
        finally:
            turn.busy = False
            self._wake.set()

    def _pause_seconds(self) -> float:
        """Return how long nothing is due."""
        due = [turn.due_at for turn in self._turns.values() if not turn.busy]
        until = min([self._refresh_at, *due])
        return max(SHORTEST_WAIT_SECONDS, until - time.monotonic())

    def _report(self, log_name: str, error: BaseException) -> None:
        code = type(error).code() if isinstance(error, Error) else type(error).__name__
        logger.error("seal.failed", log=log_name, error=code, message=str(error)[:200])
        self._observer.failed(log_name, error)


def push_pause_seconds(log: store.Sealable) -> float:
    """Return the least time from one look at a log that is pushed into to the next."""
    pause = log.batch_interval_ms / 1000 / PUSHES_AN_INTERVAL
    return min(pause, LONGEST_PUSH_PAUSE_SECONDS)


def retry_seconds(failures: int) -> float:
    """Return the pause after so many failures in a row: 0.1 s doubling to 30 s."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LAST_RETRY_SECONDS)
