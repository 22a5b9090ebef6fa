"""
Backfill: the rows that a table had before its triggers, queued page by page in key order.

Follows log.md, section 4.5. Each page is one READ COMMITTED transaction: its rows are locked
FOR SHARE, and a second statement, with its newer snapshot, queues those that have neither
leaf nor queue row. So no update draws its place in the queue between reading and queueing.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.errors import Error
from tallystick.seal.sources import store
from tallystick.seal.sources.operations import require_source, wait_for_table
from tallystick.seal.sources.source import BackfillResult, Source, SourceNo
from tallystick.seal.sources.wal import queue_wal_page

if TYPE_CHECKING:
    import threading

    from tallystick.db import Database, Transaction

LOGGER = logging.getLogger(__name__)

PAGE_ROWS: Final = 5_000
"""Rows of one page: their locks are held for a fraction of a second."""
ROW_LOCK_PATIENCE_SECONDS: Final = 60.0
"""How long rows that others hold are tried again before the backfill is left for a later run."""
ROW_LOCK_PAUSE_SECONDS: Final = 0.2


def run_backfill(
    database: Database, source: Source | SourceNo, stop: threading.Event | None = None
) -> BackfillResult:
    """
    Queue what is left of the source's rows, and make a source that was backfilling active.

    It goes on where the last run ended, ends between two pages when *stop* is set, and leaves
    the rest for a later run where others hold rows for a minute.

    Raises:
        SourceNotFoundError: There is no such source.
        NoKeyError: The unique index on the key was dropped.
    """
    source_no = source.source_no if isinstance(source, Source) else source
    rows_read = rows_queued = 0
    finished = False
    deadline = time.monotonic() + ROW_LOCK_PATIENCE_SECONDS
    while not finished and not (stop is not None and stop.is_set()):
        try:
            page = database.run(lambda tx: queue_page(tx, source_no))
        except psycopg.errors.LockNotAvailable:
            # The page's locks are given back, so that whoever waits for us can go on.
            if time.monotonic() > deadline:
                break
            time.sleep(ROW_LOCK_PAUSE_SECONDS)
            continue
        if page is None:
            break
        rows_read += page.rows_read
        rows_queued += page.rows_queued
        finished = page.finished
        deadline = time.monotonic() + ROW_LOCK_PATIENCE_SECONDS
    return BackfillResult(source_no, rows_read, rows_queued, finished)


def queue_page(tx: Transaction, source_no: SourceNo) -> BackfillResult | None:
    """
    Queue one page; after the last one a source that was backfilling is active.

    None: the source is broken or detached, or waits to be installed.
    """
    store.lock_source(tx, source_no)
    source = require_source(tx, source_no)
    if source.status not in {"backfilling", "active"} or source.relation is None:
        return None
    with store.unhurried(tx):
        if source.is_from_wal:
            lock_unkeyed(tx, source)
            page = queue_wal_page(tx, source, page_rows=PAGE_ROWS)
        else:
            page = store.backfill_page(tx, source_no, page_rows=PAGE_ROWS)
    if page.finished and source.status == "backfilling":
        store.source_ready(tx, source_no)
    return page


def lock_unkeyed(tx: Transaction, source: Source) -> None:
    """
    Keep writers out of a table whose rows have no key: they are queued all at once.

    Raises:
        SourceBusyError: It stayed locked by others.
    """
    table = None if source.relation is None else store.read_table(tx, source.relation)
    if source.is_keyed_by_full_row and table is not None:
        wait_for_table(tx, table, exclusively=False)


def run_backfills(
    database: Database, stop: threading.Event | None = None, *, from_wal: bool = False
) -> list[BackfillResult]:
    """
    Run every backfill that is not finished, one after the other, and return what was done.

    Those of sources that are captured from the WAL are run with *from_wal*, and no others: each
    of their pages waits until the WAL is read. One that cannot go on stops no other; it is
    tried again by the next call.
    """
    with database.transaction(read_only=True) as tx:
        waiting = store.unfinished_wal_backfills(tx) if from_wal else store.unfinished_backfills(tx)
    results = []
    for source_no in waiting:
        if stop is not None and stop.is_set():
            break
        try:
            results.append(run_backfill(database, source_no, stop))
        except Error as raised:
            LOGGER.warning("the backfill of source %s stopped: %s", source_no, raised.message)
    return results
