"""
The worker's duties for capture from the WAL: reading it, and bringing sources up to it.

One worker reads, whoever has the lock; the others stand by. A reader that loses its slot ends,
and the next one makes a new slot: the sources that it served break with a `gap` leaf, and are
reconciled here. Follows docs/adr/0016 and log.md, section 4.5.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import psycopg
import structlog

from tallystick import metrics
from tallystick.db import Database
from tallystick.errors import Error
from tallystick.seal.audit.repair import reconcile_and_mend
from tallystick.seal.errors import BusyReaderError
from tallystick.seal.sources import run_backfills
from tallystick.seal.sources.store import mendable_wal_sources
from tallystick.seal.wal import (
    ReadResult,
    WalLag,
    WalReader,
    drop_unneeded_slot,
    is_needed,
    lag,
)

LOOK_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 30.0

logger = structlog.get_logger(__name__)


def read_wal(database: Database, stop: threading.Event, *, limit_bytes: int) -> None:
    """Read the WAL while a source needs it, until *stop* is set, whatever the database does."""
    persist(stop, "wal.failed", lambda: read_if_needed(database, stop, limit_bytes=limit_bytes))


def read_if_needed(database: Database, stop: threading.Event, *, limit_bytes: int) -> None:
    """Read until *stop* or an error, if a source is captured from the WAL and nobody reads yet."""
    with database.transaction(read_only=True) as tx:
        needed = is_needed(tx)
        tell_lag(lag(tx) if needed else None, limit_bytes)
    if not needed:
        if drop_unneeded_slot(database.url):
            logger.info("wal.ended", process="worker")
        return
    try:
        reader = WalReader(database.url)
    except BusyReaderError:
        return
    with reader:
        logger.info("wal.reading", process="worker")
        reader.run(stop, count_rows)


def count_rows(result: ReadResult) -> None:
    """Tell the log of what a look queued, at level debug: there are many."""
    logger.debug("wal.read", rows=result.rows)


def tend_wal_sources(database: Database, stop: threading.Event, *, limit_bytes: int) -> None:
    """Backfill and mend the sources that are captured from the WAL, until *stop* is set."""
    persist(stop, "wal_sources.failed", lambda: tend_once(database, stop, limit_bytes=limit_bytes))


def tend_once(database: Database, stop: threading.Event, *, limit_bytes: int) -> None:
    """Queue rows from before a slot served their source, and reconcile what a gap has broken."""
    with database.transaction(read_only=True) as tx:
        if not is_needed(tx):
            return
        tell_lag(lag(tx), limit_bytes)
    for result in run_backfills(database, stop, from_wal=True):
        logger.info("source.backfilled", source_no=result.source_no, rows=result.rows_queued)
    with database.transaction(read_only=True) as tx:
        broken = mendable_wal_sources(tx)
    for log_name, source_table in broken:
        if stop.is_set():
            break
        mended = reconcile_and_mend(database, log_name, source_table, repair=True)
        logger.info("source.mended", log=log_name, rows=mended.report.queued)


def tell_lag(behind: WalLag | None, limit_bytes: int) -> None:
    """Set the measure, and warn where the slot keeps more WAL than it may."""
    if behind is None:
        metrics.WAL_LAG_BYTES.set(0)
        return
    metrics.WAL_LAG_BYTES.set(behind.bytes)
    if behind.bytes > limit_bytes:
        logger.warning("wal.behind", bytes=behind.bytes)


def persist(stop: threading.Event, event: str, attempt: Callable[[], None]) -> None:
    """Do *attempt* again and again until *stop*; after a failure the pause doubles."""
    failures = 0
    while not stop.is_set():
        try:
            attempt()
            failures = 0
            stop.wait(LOOK_SECONDS)
        except (Error, psycopg.Error) as error:
            failures += 1
            code = error.code() if isinstance(error, Error) else type(error).__name__
            logger.error(event, error=code)  # noqa: TRY400 (no traceback in logs)
            stop.wait(min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10), LONGEST_PAUSE_SECONDS))
