"""
The worker's thread for sources: new ones installed, backfills driven, all checked each minute.

Follows log.md, sections 2.7 (plainly inserted sources are installed within 1 s), 3.2 and 4.5.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.sources import (
    check_sources,
    follow_switches,
    install_new_sources,
    run_backfills,
)

LOOK_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 60.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def run_sources(database: Database, stop: threading.Event) -> None:
    """Install, backfill and check sources until *stop* is set, whatever the database does."""
    check_at = 0.0
    failures = 0
    while not stop.is_set():
        try:
            now = time.monotonic()
            if now >= check_at:
                check_sources(database)
                check_at = now + CHECK_SECONDS
            else:
                install_new_sources(database)
                follow_switches(database)
            for result in run_backfills(database, stop):
                logger.info(
                    "source.backfilled", source_no=result.source_no, rows=result.rows_queued
                )
            failures = 0
            stop.wait(LOOK_SECONDS)
        except (Error, psycopg.Error) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.error("sources.failed", error=code)  # noqa: TRY400 (no traceback in logs)
            stop.wait(min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
