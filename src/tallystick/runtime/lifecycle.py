"""
The worker's thread for logs that follow one another: shards turn, and moves are tidied up.

Any number of workers may run: a family is turned by the one that holds its row.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.logs import KeyRing
from tallystick.seal.succession import drop_moved_triggers, turn_shards

LOOK_SECONDS: Final = 1.0
TIDY_SECONDS: Final = 60.0
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def run_lifecycle(
    database: Database, keys: KeyRing, stop: threading.Event, *, origin_prefix: str
) -> None:
    """Turn families of logs and drop what moves left, until *stop* is set."""
    tidy_at = 0.0
    failures = 0
    while not stop.is_set():
        try:
            for turned in turn_shards(database, keys, origin_prefix=origin_prefix):
                logger.info("log.turned", log=turned.log_name, successor=turned.successor)
            if time.monotonic() >= tidy_at:
                drop_moved_triggers(database)
                tidy_at = time.monotonic() + TIDY_SECONDS
            failures = 0
            stop.wait(LOOK_SECONDS)
        except (Error, psycopg.Error) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.error("lifecycle.failed", error=code)  # noqa: TRY400 (no traceback in logs)
            stop.wait(min(LOOK_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
