"""The worker's threads that poll sources and reconcile what is due (log.md, sections 4.5, 4.7)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.audit import Upkeep
from tallystick.seal.sources import Poller

LOOK_SECONDS: Final = 1.0
"""A new source is polled within so long."""
RECONCILE_LOOK_SECONDS: Final = 5.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def run_polls(database: Database, stop: threading.Event) -> None:
    """Poll sources until *stop* is set, whatever the database does."""
    poller = Poller(database)

    def look() -> float:
        for source_no, rows in poller.run_once(stop).items():
            if rows:
                logger.debug("source.polled", source_no=source_no, rows=rows)
        return poller.pause_seconds(at_most=LOOK_SECONDS)

    keep_looking("polls.failed", look, stop)


def run_reconciles(database: Database, stop: threading.Event) -> None:
    """Reconcile sources that are due until *stop* is set, whatever the database does."""
    upkeep = Upkeep(database)

    def look() -> float:
        for report in upkeep.run_once(stop):
            logger.info(
                "source.reconciled",
                log=report.log_name,
                table=report.source_table,
                rows=report.queued,
                findings=len(report.findings),
            )
        return RECONCILE_LOOK_SECONDS

    keep_looking("reconciles.failed", look, stop)


def keep_looking(failed: str, look: Callable[[], float], stop: threading.Event) -> None:
    """Call *look*, which returns how long to wait, until *stop*; after a failure wait longer."""
    failures = 0
    while not stop.is_set():
        try:
            pause = look()
            failures = 0
        except (Error, psycopg.Error) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.error(failed, error=code)  # noqa: TRY400 (no traceback in logs)
            pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS)
        stop.wait(pause)
