"""
Reconciles that come by themselves: of polled sources each hour, of broken ones before they go on.

A polled source's differences are what its poll could not see, and are queued. A trigger
source's are findings first: an event tells of them, and a source that was broken stays so
until somebody has them repaired. Where nothing differs it is active again. Follows log.md,
sections 3.2, 4.5 and 4.7.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.errors import Error
from tallystick.seal.audit import store
from tallystick.seal.audit.reconcile import ReconcileReport, reconcile_source
from tallystick.seal.sources import check_source, get_source

if TYPE_CHECKING:
    import threading

    from tallystick.db import Database, Transaction
    from tallystick.seal.sources import Source

LOGGER = logging.getLogger(__name__)

FAILURE_PAUSE_SECONDS: Final = 60.0
"""A source that cannot be reconciled now is left alone so long: each try reads its whole table."""


class Upkeep:
    """Reconciles what is due; one process of all at a time does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._not_before: dict[int, float] = {}

    def run_once(self, stop: threading.Event | None = None) -> list[ReconcileReport]:
        """Reconcile each source that is due, and return what was found."""
        with self._database.transaction() as tx:
            store.lift_timeouts(tx)
            # Held until all are done; another process finds nothing to do meanwhile.
            if not store.lock_upkeep(tx):
                return []
            due = store.due_sources(tx)
            reports = [
                self._attend(one)
                for one in due
                if self._not_before.get(one.source_no, 0.0) <= time.monotonic()
                and not (stop is not None and stop.is_set())
            ]
        return [report for report in reports if report is not None]

    def _attend(self, due: store.DueSource) -> ReconcileReport | None:
        """Reconcile one source; what stops it stops no other."""
        try:
            if due.status == "broken":
                return mend_source(self._database, due.log_name, due.source_table)
            return reconcile_source(self._database, due.log_name, due.source_table)
        except (Error, psycopg.Error) as raised:
            said = raised.message if isinstance(raised, Error) else type(raised).__name__
            LOGGER.warning("source %s cannot be reconciled: %s", due.source_table, said)
            self._not_before[due.source_no] = time.monotonic() + FAILURE_PAUSE_SECONDS
            return None


def mend_source(database: Database, log: str, table: str) -> ReconcileReport | None:
    """
    Reconcile a broken source that is whole again, and make it active where nothing differs.

    None: it is not whole yet. Its triggers fire by the time that the reconcile begins, and they
    were turned on under a lock that waited for all who wrote without them: so whatever they
    missed is in the reconcile's snapshot, and whatever they saw is in the queue. No lock is
    needed.

    Raises:
        As `reconcile_source` and `check_source`.
    """
    with database.transaction() as tx:
        source = get_source(tx, log, table)
        problems = check_source(tx, source)
    if [problem.code for problem in problems] != ["unreconciled"]:
        return None
    report = reconcile_source(database, log, source.source_table)
    if not report.findings:
        with database.transaction() as tx:
            check_source(tx, source, reconcile=was_reconciled)
    return report


def was_reconciled(_tx: Transaction, _source: Source) -> None:
    """Do nothing: the reconcile is behind us, as `reconciled_at` says."""
