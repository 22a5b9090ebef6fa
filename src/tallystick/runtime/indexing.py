"""
The worker's thread for maps: each log's, at the log's interval (docs/adr/0015).

Any number of workers may run: a lock of the log lets one of them compute, the others pass on.
"""

from __future__ import annotations

import threading
from typing import Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.index import due_indexes, index_log

LOOK_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def run_indexes(database: Database, stop: threading.Event) -> None:
    """Compute the maps that are due until *stop* is set, whatever the database does."""
    failures = 0
    while not stop.is_set():
        try:
            with database.transaction(read_only=True) as tx:
                due = due_indexes(tx)
            failed = [name for name in due if not stop.is_set() and not try_log(database, name)]
            failures = failures + 1 if failed else 0
        except (Error, psycopg.Error) as error:
            failures += 1
            tell(error, log=None)
        stop.wait(pause_seconds(failures))


def try_log(database: Database, log_name: str) -> bool:
    """Compute the map of one log; False where that failed, which stops no other log's."""
    try:
        done = index_log(database, log_name, wait=False)
    except (Error, psycopg.Error) as error:
        tell(error, log=log_name)
        return False
    if done.outcome == "queued":
        logger.info(
            "index.queued",
            log=log_name,
            size=done.tree_size,
            rows=done.leaves,
            duration_ms=round(1000 * done.seconds),
        )
    return True


def tell(error: Error | psycopg.Error, *, log: str | None) -> None:
    """Say in the process's log what went wrong."""
    code = error.code() if isinstance(error, Error) else type(error).__name__
    logger.error("index.failed", log=log, error=code)


def pause_seconds(failures: int) -> float:
    """Return the pause after so many looks in a row that failed."""
    if not failures:
        return LOOK_SECONDS
    return min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS)
