"""
The outbox's worker: it numbers, delivers and deletes (log.md, section 2.9).

Any number of processes may run it; the one that holds the lock works, the others wait for
it to die. Each sink is delivered to by a thread of its own, so that a slow receiver holds
nobody up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.outbox import store
from tallystick.outbox.delivery import deliver_block
from tallystick.outbox.numbering import LOOK_SECONDS, Numbering, numbering_session
from tallystick.outbox.sinks import Sink, SinkSettings, make_sink

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 30.0
"""Between attempts while the database does not answer: doubling from the first to this."""
LOCK_LOOK_SECONDS: Final = 1.0
"""How soon a waiting worker takes over from one that died."""
SINK_LOOK_SECONDS: Final = 0.5
"""How late a sink is tried again that waits for its time; new events are tried at once."""
DELETE_LOOK_SECONDS: Final = 60.0
DELETE_BLOCK: Final = 10_000
SHUTDOWN_SECONDS: Final = 10.0
"""How long deliveries under way may take to end; those left come again after the next start."""

_log = structlog.get_logger("tallystick.outbox")


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """What the worker needs of the process."""

    retention_days: int = 7
    """Days that an event is kept after it was written, at least."""
    sinks: SinkSettings = field(default_factory=SinkSettings)


def run_outbox(database: Database, stop: threading.Event, settings: OutboxSettings) -> None:
    """
    Number, deliver and delete until *stop* is set; wait while another process does.

    Returns when deliveries under way have ended, or 10 s later. Whatever the database says
    is logged and tried again.
    """
    pause = FIRST_PAUSE_SECONDS
    while not stop.is_set():
        began = time.monotonic()
        try:
            with numbering_session(database) as numbering:
                if numbering is not None:
                    work(database, numbering, stop, settings)
                else:
                    stop.wait(LOCK_LOOK_SECONDS)
        except (Error, psycopg.Error) as raised:
            _log.warning("outbox_interrupted", error=type(raised).__name__)
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                # It worked until now: this is another trouble than the last one.
                pause = FIRST_PAUSE_SECONDS
            stop.wait(pause)
            pause = min(LONGEST_PAUSE_SECONDS, 2 * pause)


def work(
    database: Database, numbering: Numbering, stop: threading.Event, settings: OutboxSettings
) -> None:
    """
    Do everything that the holder of the lock does, until *stop* is set.

    Raises:
        DatabaseUnavailableError: The session of the lock is lost, and with it the lock.
    """
    courier = Courier(database, settings.sinks)
    next_delete = next_look = time.monotonic()
    try:
        while not stop.is_set():
            numbered = numbering.number()
            now = time.monotonic()
            if numbered or now >= next_look:
                next_look = now + SINK_LOOK_SECONDS
                courier.start_due()
            if now >= next_delete:
                deleted = delete_old_events(database, retention_days=settings.retention_days)
                next_delete = now if deleted == DELETE_BLOCK else now + DELETE_LOOK_SECONDS
            stop.wait(LOOK_SECONDS)
    finally:
        courier.close()


def delete_old_events(database: Database, *, retention_days: int) -> int:
    """
    Delete one block of events that are older than *retention_days* and that every sink got.

    Return how many: 10,000 means that there may be more. The newest event always stays.
    """
    with database.transaction() as tx:
        return store.delete_events(tx, retention_days=retention_days, limit=DELETE_BLOCK)


class Courier:
    """The threads that deliver, one for each sink that is due and not under way."""

    def __init__(self, database: Database, settings: SinkSettings) -> None:
        self._database = database
        self._settings = settings
        self._stop = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._kept: dict[str, KeptSink] = {}

    def start_due(self) -> None:
        """Start a thread for each sink that may be tried now and has none."""
        with self._database.transaction() as tx:
            due = store.due_sinks(tx)
        for sink in due:
            running = self._threads.get(sink)
            if running is not None and running.is_alive():
                continue
            kept = self._kept.setdefault(sink, KeptSink(self._database, self._settings))
            # A daemon: a receiver that never ends its answer must not keep the process alive.
            thread = threading.Thread(
                target=self._deliver, args=(sink, kept), name=f"outbox-{sink}", daemon=True
            )
            self._threads[sink] = thread
            thread.start()

    def close(self) -> None:
        """End deliveries after the event under way, and wait at most 10 s for them."""
        self._stop.set()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for sink, thread in self._threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            # What is still in use is left to its thread.
            if not thread.is_alive():
                self._kept[sink].close()

    def _deliver(self, sink: str, kept: KeptSink) -> None:
        try:
            while not self._stop.is_set():
                if not deliver_block(self._database, sink, kept, self._stop):
                    return
        except (Error, psycopg.Error) as raised:
            # Nothing was recorded: the next look starts again at the same event.
            _log.warning("delivery_interrupted", sink=sink, error=type(raised).__name__)


class KeptSink:
    """A sink that lives from run to run, and is made anew when its configuration changes."""

    def __init__(self, database: Database, settings: SinkSettings) -> None:
        self._database = database
        self._settings = settings
        self._made_of: tuple[str, Mapping[str, Any]] | None = None
        self._sink: Sink | None = None

    def __call__(self, cursor: store.Cursor) -> Sink:
        """
        Return the sink of *cursor*.

        Raises:
            InvalidSinkError, TargetRefusedError, SinkNotInstalledError: It cannot be made.
        """
        if self._sink is None or self._made_of != (cursor.kind, cursor.config):
            self.close()
            self._sink = make_sink(
                cursor.kind, cursor.config, database=self._database, settings=self._settings
            )
            self._made_of = (cursor.kind, cursor.config)
        return self._sink

    def close(self) -> None:
        """Close the sink; it is made anew when it is needed."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None
