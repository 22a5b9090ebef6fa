"""
The worker's thread for witnesses: it asks them whenever a head is new (log.md, section 5.8).

One worker of a database asks, the one that holds an advisory lock; the others look each second
whether it has gone. The session of the lock also hears of new heads: when it is lost, both are.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import psycopg
import structlog

from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.publish.store import listen
from tallystick.publish.witnesses import ask_until, lock_witnesses

LOOK_SECONDS: Final = 1.0
"""What a lost notification costs, and how soon a waiting worker takes over."""
SHORTEST_PAUSE_SECONDS: Final = 0.02
"""Thousands of logs may notify a thousand times a second; one look serves them all."""
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def run_witnesses(database: Database, stop: threading.Event) -> None:
    """Ask witnesses until *stop* is set, whatever the database does."""
    failures = 0
    while not stop.is_set():
        try:
            with database.session() as connection:
                session = Transaction(connection)
                if lock_witnesses(session):
                    listen(session)
                    failures = 0
                    ask_until(database, stop, lambda: wait_for_news(connection, stop))
                else:
                    stop.wait(LOOK_SECONDS)
        except (Error, psycopg.Error) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.warning("witnesses.interrupted", error=code)
            stop.wait(min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS))


def wait_for_news(connection: psycopg.Connection[Any], stop: threading.Event) -> None:
    """
    Return when a head may be new, or after a second.

    Raises:
        psycopg.OperationalError: The session is lost, and with it the lock.
    """
    if list(connection.notifies(timeout=LOOK_SECONDS, stop_after=1)):
        stop.wait(SHORTEST_PAUSE_SECONDS)
        # What came in the same breath needs no look of its own.
        list(connection.notifies(timeout=0))
