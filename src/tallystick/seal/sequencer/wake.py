"""
Wakes the sequencer for those who wait: pushes are not left to the interval (docs/adr/0013).

The push door notifies `tally_push` with the number of a log once entries are committed. A
notification that is lost costs no more than the interval.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Final, Self

import structlog

from tallystick.db import Database, Transaction
from tallystick.seal.logs.log import LogId
from tallystick.seal.sequencer import store

HEAR_SECONDS: Final = 0.5
"""How long the end of the worker may wait for this thread."""
RECONNECT_SECONDS: Final = 1.0
LOG_ID: Final = re.compile(r"[0-9]{1,9}")
"""Whoever may connect may notify: anything else is a stranger's, and is passed over."""

logger = structlog.get_logger(__name__)


class PushListener:
    """Calls *wake* with the logs into which entries were pushed, until it is stopped."""

    def __init__(self, database: Database, wake: Callable[[Sequence[LogId]], None]) -> None:
        self._database = database
        self._wake = wake
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seal-pushes", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001 (the thread's edge: it must go on)
                logger.warning("seal.listening_failed", error=type(error).__name__)
                self._stopped.wait(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with self._database.session() as connection:
            store.listen(Transaction(connection))
            while not self._stopped.is_set():
                heard = list(connection.notifies(timeout=HEAR_SECONDS, stop_after=1))
                logs = {n.payload for n in heard if LOG_ID.fullmatch(n.payload)}
                if logs:
                    self._wake([LogId(int(log)) for log in logs])
