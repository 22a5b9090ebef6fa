"""
Moving a table from one log to another, so that each change is in exactly one of them.

Follows log.md, sections 3.1 and 4.4. SHARE ROW EXCLUSIVE on the table: when it is granted, all
writers have ended and their rows are in the old log's queue (what is captured from the WAL is read
up to there first); those who come after fire the new
source's triggers. Readers go on, which is why the old triggers are only turned off: dropping them
would wait for readers too, and is done later (`drop_moved_triggers`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.errors import Error
from tallystick.seal.errors import SourceNotFoundError
from tallystick.seal.logs import get_log
from tallystick.seal.sources import get_source
from tallystick.seal.sources import store as sources
from tallystick.seal.sources.checks import written_settings
from tallystick.seal.sources.operations import install, require_source, wait_for_table
from tallystick.seal.sources.planning import make_plan
from tallystick.seal.sources.validation import new_members
from tallystick.seal.succession import store
from tallystick.seal.wal import wait_until_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.db import Database, Transaction
    from tallystick.seal.logs import Log
    from tallystick.seal.sources import Source, SourceNo
    from tallystick.seal.sources.table import Table

LOGGER: Final = logging.getLogger(__name__)


def move_source(tx: Transaction, table: str, *, source_log: str, to: str) -> Source:
    """
    Let *table* feed the log *to* from now on, in place of *source_log*; return the new source.

    Where *to* continues *source_log*, what that one said of the keys stays known, and nothing
    is queued anew; else the rows are queued for *to* by `run_backfill`.

    Raises:
        LogNotFoundError, SourceNotFoundError: There is no such log, or the table does not feed it.
        LogFrozenError, LogFailedError: *to* takes no more sources.
        SourceExistsError: The table feeds *to* already, or was detached from it.
        SourceBusyError: The table stayed locked for a minute.
        WalBehindError: It is captured from the WAL, and nobody reads that.
        InvalidSourceError and others of `add_source`: The settings do not fit *to*.
    """
    target = get_log(tx, to)
    source = get_source(tx, source_log, table)
    # Everybody locks the source's row first and its table then, so nobody waits in a circle.
    sources.lock_source(tx, source.source_no)
    source = require_source(tx, source.source_no)
    if source.status == "detached":
        raise SourceNotFoundError(f"{source.source_table} was detached from log {source_log}")
    stands = None
    if source.relation is not None and not source.is_polled:
        stands = sources.read_table(tx, source.relation)
    if stands is not None:
        stands = wait_for_table(tx, stands, exclusively=False)
    read_what_was_written(tx, [source.source_no])
    if store.continues(tx, from_id=source.log_id, to_id=target.log_id):
        return continue_source(tx, source, stands, target)
    return replant_source(tx, source, stands, target)


def read_what_was_written(tx: Transaction, source_nos: Sequence[SourceNo]) -> None:
    """
    Wait until the old log's queue holds what was written so far; the tables are locked.

    Of tables with triggers it does already. Those of the WAL are read with a delay, and a reader
    that had begun would still queue for a log that may be frozen by then.

    Raises:
        WalBehindError: Nobody reads the WAL.
    """
    if store.are_read_from_wal(tx, source_nos):
        wait_until_read(tx)


def continue_source(tx: Transaction, source: Source, table: Table | None, target: Log) -> Source:
    """Continue *source*, whose table is locked, in a log that continues its own."""
    assert sources.is_read_committed(tx), "a statement after the lock sees what the lock waited for"
    source_no = store.move_source(tx, source.source_no, target.log_id)
    if table is not None and source.capture == "trigger":
        for member in new_members(source, table):
            sources.grant_reading(tx, member.relation, source.key_columns or [])
        sources.create_capture(tx, source_no)
        sources.create_capture_triggers(tx, source_no)
        if not source.enabled:
            sources.switch_capture_triggers(tx, source_no, enabled=False)
        sources.switch_capture_triggers(tx, source.source_no, enabled=False)
    return require_source(tx, source_no)


def replant_source(tx: Transaction, source: Source, table: Table | None, target: Log) -> Source:
    """End *source*, whose table is locked, and add the table to a log that knows nothing of it."""
    if table is None or source.capture == "poll":
        raise SourceNotFoundError(
            f"{source.source_table} cannot be queued anew for log {target.log_name}"
        )
    plan = make_plan(table, written_settings(source), target)
    source_no = sources.add_source(tx, target.log_name, table.name, plan)
    install(tx, source_no, table, plan)
    sources.switch_capture_triggers(tx, source.source_no, enabled=False)
    sources.detach_source(tx, source.source_no)
    if source.is_from_wal:
        sources.detach_wal(tx, source.source_no)
    return require_source(tx, source_no)


def drop_moved_triggers(database: Database) -> list[SourceNo]:
    """
    Drop triggers that moves have turned off, where nobody reads the table just now.

    Returns the sources whose triggers are gone. The others are tried again by the next call; to
    leave them costs nothing.
    """
    with database.transaction(read_only=True) as tx:
        left = store.moved_triggers(tx)
    return [source_no for source_no in left if drop_alone(database, source_no)]


def drop_alone(database: Database, source_no: SourceNo) -> bool:
    """Drop one source's triggers in a transaction of its own; False where others are in the way."""
    try:
        with database.transaction() as tx:
            store.give_way(tx)
            sources.drop_capture_triggers(tx, source_no)
    except (Error, psycopg.Error) as refused:
        LOGGER.debug("triggers of source %s stay for now: %s", source_no, type(refused).__name__)
        return False
    return True
