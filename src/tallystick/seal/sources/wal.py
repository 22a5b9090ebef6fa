"""
Sources that are captured from the WAL: what they can be, and the rows that they had before.

Their tables get no trigger. They stand in the publication `tally`, with a full replica
identity, so that the WAL holds the whole old row. Follows log.md, 4.5, and docs/adr/0016.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from tallystick.seal.errors import UnsupportedSourceError
from tallystick.seal.sources import store
from tallystick.seal.sources.admission import plan_source
from tallystick.seal.sources.source import BackfillResult, Source, SourcePlan, SourceSettings
from tallystick.seal.wal import start_wal, wait_until_read, write_mark

if TYPE_CHECKING:
    from tallystick.db import Transaction
    from tallystick.seal.logs import Log
    from tallystick.seal.sources.table import Table


def plan_wal(table: Table, settings: SourceSettings, log: Log) -> SourcePlan:
    """
    Return the plan of a source that is captured from the WAL.

    Raises:
        UnsupportedSourceError: The WAL cannot do it: refuse a change, or say which rows a
            TRUNCATE removed.
        InvalidSourceError, PermissionDeniedError, UnknownColumnError, NoKeyError,
        HashColumnError: As `plan_source`.
    """
    rules = {settings.on_update, settings.on_delete, settings.on_truncate}
    for rule, reason in (
        ("refuse", "the WAL tells of changes that have happened: it can refuse none"),
        ("expand", "the WAL does not say which rows a TRUNCATE removed"),
    ):
        if rule in rules:
            raise UnsupportedSourceError(reason, evidence={"table": table.name, "reason": rule})
    # A partitioned table has one truncate leaf where all of it was emptied; a part is a gap.
    plan = plan_source(table, dataclasses.replace(settings, on_truncate="ignore"), log)
    return dataclasses.replace(plan, capture="wal", on_truncate=settings.on_truncate or "record")


def queue_wal_page(tx: Transaction, source: Source, *, page_rows: int) -> BackfillResult:
    """
    Queue the next page of a source's rows that the WAL has not told of.

    Its rows are locked, the WAL is read past that, and then what is still unknown is queued: so
    no row is queued twice, and none before a version that the WAL still holds. The caller holds
    the table's lock where its rows have no key.

    Raises:
        WalBehindError: Nobody reads the WAL.
    """
    if source.is_keyed_by_full_row:
        # Rows without a key are counted: what committed before this place is among them.
        start_wal(tx, source.source_no, write_mark(tx))
        return store.backfill_page(tx, source.source_no, page_rows=page_rows)
    last_key, keys = store.lock_page(tx, source.source_no, page_rows=page_rows)
    if keys:
        wait_until_read(tx)
    queued, finished = store.queue_page(tx, source.source_no, last_key, keys)
    return BackfillResult(source.source_no, len(keys), queued, finished)
