"""
The listener: one thread that has the heads read again when there is a new one.

It listens to the sequencer's notifications and looks once a second besides, so that a lost
connection or notification costs a second and no more (log.md, section 5.5, step 5).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.publish import store

LOOK_SECONDS: Final = 1.0
SHORTEST_PAUSE_SECONDS: Final = 0.01
"""Thousands of logs may notify a thousand times a second; one look serves them all."""

logger = structlog.get_logger(__name__)


class HeadListener:
    """Calls *refresh* on every notification and once a second, until it is stopped."""

    def __init__(self, database: Database, refresh: Callable[[], object]) -> None:
        self._database = database
        self._refresh = refresh
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publish-heads", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; returns when the thread has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except (Error, psycopg.Error) as error:
                logger.warning("publish.listening_failed", error=type(error).__name__)
                self._look()
                self._stopped.wait(LOOK_SECONDS)

    def _listen(self) -> None:
        with self._database.session() as connection:
            store.listen(Transaction(connection))
            while not self._stopped.is_set():
                self._stopped.wait(max(SHORTEST_PAUSE_SECONDS, self._look()))
                if list(connection.notifies(timeout=LOOK_SECONDS, stop_after=1)):
                    # What came in the same breath needs no look of its own.
                    list(connection.notifies(timeout=0))

    def _look(self) -> float:
        """Refresh, and return how long it took: the next look waits as long, at least."""
        began = time.monotonic()
        try:
            self._refresh()
        except (Error, psycopg.Error) as error:
            logger.warning("publish.refresh_failed", error=type(error).__name__)
        return time.monotonic() - began
