"""
The worker: one process that seals, checks sources and delivers events (log.md, sections 5.5, 6.4).

Each duty is a thread that goes on whatever the database does: it says what went wrong, waits
and tries again. Any number of workers may run over one database; advisory locks share the work.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from tallystick import metrics
from tallystick.config import Settings
from tallystick.db import Database
from tallystick.db.migrate import check_migrated
from tallystick.errors import Error
from tallystick.outbox import OutboxSettings, SinkSettings, run_outbox
from tallystick.runtime.chain import chain_connections, chain_duties
from tallystick.runtime.heads import run_heads
from tallystick.runtime.house import origin_prefix
from tallystick.runtime.identity import run_flushes, run_sweeps
from tallystick.runtime.indexing import run_indexes
from tallystick.runtime.lifecycle import run_lifecycle
from tallystick.runtime.place import database_url
from tallystick.runtime.polling import run_polls, run_reconciles
from tallystick.runtime.prices import price_duties
from tallystick.runtime.sourcing import run_sources
from tallystick.runtime.wal import read_wal, tend_wal_sources
from tallystick.runtime.witnessing import run_witnesses
from tallystick.seal.logs import KeyRing, outbox_signer
from tallystick.seal.sequencer import SealObserver, SealResult, SequencerWorker

STOP_SECONDS: Final = 18.0
"""What is in flight is finished within 20 s of the signal (log.md, section 6.4)."""
SPARE_CONNECTIONS: Final = 15
"""Besides those that seal: probe, sources, outbox and its deliveries, keys, and other duties."""
GIVEN_UP: Final = 5

logger = structlog.get_logger(__name__)


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """
    Seal, check sources and deliver events until *stop* is set; finish what is in flight.

    Raises:
        NoDatabaseError: No database is set.
        NotMigratedError, SchemaTooNewError, MigrationChecksumError: The schema is another
            program's; a database that does not answer is waited for.
    """
    url = database_url(settings)
    spare = SPARE_CONNECTIONS + chain_connections(settings)
    pool_size = max(settings.pool_size, settings.sequencers + spare)
    keys = KeyRing(settings.keys.absolute())
    with Database(
        url, pool_size=pool_size, application="tallystick-worker", cache_url=settings.cache_url
    ) as database:
        if not wait_for_database(database, stop):
            return
        with database.transaction(read_only=True) as tx:
            prefix = origin_prefix(tx, settings)
            signer = outbox_signer(tx, keys)
        sequencer = SequencerWorker(
            database,
            keys,
            origin_prefix=prefix,
            threads=settings.sequencers,
            observer=observe(),
        )
        outbox = OutboxSettings(
            retention_days=settings.outbox_retention_days,
            sinks=SinkSettings(webhook_hosts=settings.outbox_webhook_hosts, signer=signer),
        )
        wal_limit = settings.wal_lag_limit_mb * 10**6
        duties: dict[str, Callable[[], None]] = {
            "seal": lambda: sequencer.run(stop),
            "sources": lambda: run_sources(database, stop),
            "polls": lambda: run_polls(database, stop),
            "reconciles": lambda: run_reconciles(database, stop),
            "wal": lambda: read_wal(database, stop, limit_bytes=wal_limit),
            "wal sources": lambda: tend_wal_sources(database, stop, limit_bytes=wal_limit),
            "lifecycle": lambda: run_lifecycle(database, keys, stop, origin_prefix=prefix),
            "witnesses": lambda: run_witnesses(database, stop),
            "indexes": lambda: run_indexes(database, stop),
            "heads": lambda: run_heads(database, stop),
            "usage": lambda: run_flushes(database, stop),
            "challenges": lambda: run_sweeps(database, stop),
            "outbox": lambda: run_outbox(database, stop, outbox),
            **chain_duties(database, settings, stop),
            **price_duties(database, settings, stop),
        }
        logger.info("worker.started", pid=os.getpid(), process="worker")
        run_duties(duties, stop)
        logger.info("worker.stopped", pid=os.getpid(), process="worker")


def wait_for_database(database: Database, stop: threading.Event) -> bool:
    """Wait until the database answers, and check its schema; False: *stop* came first."""
    while not stop.is_set():
        try:
            with database.session() as connection:
                check_migrated(connection)
                return True
        except Error as error:
            if error.code() != "database_unavailable":
                raise
            logger.warning("worker.waiting", process="worker", error=error.code())
            stop.wait(1.0)
    return False


def run_duties(duties: dict[str, Callable[[], None]], stop: threading.Event) -> None:
    """
    Run each duty in a thread of its own until *stop*; one that ends before is a bug, and all end.

    A duty that does not come to its end in time is left behind: the process exits without it,
    which is safe, because whatever it has not committed has not happened.
    """
    failures: list[BaseException] = []

    def attend(duty: Callable[[], None]) -> None:
        try:
            duty()
        except BaseException as error:  # noqa: BLE001 (the process's edge: it ends, and says why)
            failures.append(error)
        finally:
            stop.set()

    threads = [
        threading.Thread(target=attend, args=(duty,), name=name, daemon=True)
        for name, duty in duties.items()
    ]
    for thread in threads:
        thread.start()
    stop.wait()
    deadline = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in threads):
        logger.error("worker.abandoned", process="worker", error="shutdown_timeout")
        sys.stderr.flush()
        os._exit(GIVEN_UP)
    if failures:
        raise failures[0]


def observe() -> SealObserver:
    """Return what counts each batch, and tells the log of it at level debug: there are many."""

    def sealed(result: SealResult) -> None:
        metrics.count_batch(
            result.log_name,
            rows=result.rows,
            phases=result.phases,
            oldest_captured_at_seconds=result.oldest_captured_at_seconds,
        )
        logger.debug(
            "seal.batch",
            log=result.log_name,
            size=result.size,
            rows=result.rows,
            duration_ms=round(1000 * sum(result.phases.values()), 1),
        )

    def failed(log_name: str, _error: BaseException) -> None:
        metrics.SEAL_ERRORS.labels(metrics.log_label(log_name)).inc()

    return SealObserver(sealed=sealed, failed=failed)
