"""
Waiting for events: one thread listens, any number of stream handlers wait.

Follows log.md, section 6.2: the stream of events reads by position, so all that a handler
must learn is that there is a newer one. The worker notifies; whoever missed that learns of it
by the look that is taken each second.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Final

import psycopg

from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.outbox import store
from tallystick.outbox.events import Position

LOOK_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 1.0


class EventNotifier:
    """
    The newest position as this process knows it, and those who wait for a newer one.

    `start` it once; `stop` it when the server ends, which wakes everybody.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._newest = Position(0)
        self._waiting: set[_Waiter] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-notifier", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def begin_to_stop(self) -> None:
        """Wake whoever waits, so that streams end; returns at once, for a signal's handler."""
        self._stopped.set()
        self._announce(self._newest)

    def stop(self) -> None:
        """Stop listening and wake whoever waits; returns when the thread has ended."""
        self.begin_to_stop()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def is_stopped(self) -> bool:
        """Whether the server ends; streams end then too."""
        return self._stopped.is_set()

    @property
    def newest(self) -> Position:
        """The newest position that this process knows of."""
        return self._newest

    def wait(self, after: Position, *, timeout_seconds: float) -> bool:
        """Wait until there is a position behind *after*; False where time ran out before."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest > after or self._stopped.is_set(), timeout_seconds
            )
            return self._newest > after

    async def wait_for_events(self, after: Position, *, timeout_seconds: float) -> bool:
        """
        As `wait`, for a coroutine: False where there is nothing behind *after* in time.

        A stream calls it with 15 s and writes its comment line when it gets False.
        """
        deadline = time.monotonic() + timeout_seconds
        waiter = _Waiter(asyncio.get_running_loop())
        with self._changed:
            self._waiting.add(waiter)
        try:
            while self._newest <= after and not self._stopped.is_set():
                waiter.woken.clear()
                # Looked at again after clearing: between the two it may have been announced.
                if self._newest > after:
                    break
                async with asyncio.timeout(deadline - time.monotonic()):
                    await waiter.woken.wait()
        except TimeoutError:
            pass
        finally:
            with self._changed:
                self._waiting.discard(waiter)
        return self._newest > after

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (Error, psycopg.Error):
                self._stopped.wait(RETRY_SECONDS)

    def _listen(self) -> None:
        with self._database.session() as connection:
            session = Transaction(connection)
            store.listen(session)
            while not self._stopped.is_set():
                self._announce(Position(store.newest_position(session)))
                for _ in connection.notifies(timeout=LOOK_SECONDS, stop_after=1):
                    pass

    def _announce(self, newest: Position) -> None:
        with self._changed:
            if newest <= self._newest and not self._stopped.is_set():
                return
            self._newest = max(newest, self._newest)
            self._changed.notify_all()
            for waiter in self._waiting:
                waiter.wake()


class _Waiter:
    """A coroutine that waits, woken from the thread that listens."""

    __slots__ = ("_loop", "woken")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.woken = asyncio.Event()

    def wake(self) -> None:
        # A loop that was closed has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.woken.set)
