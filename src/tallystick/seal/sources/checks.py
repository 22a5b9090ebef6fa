"""
Validation at work: sources are checked, refreshed, broken, installed, each on its own.

Follows log.md, sections 3.2 and 4.5. Validation runs at start, every 60 s and on request; a
broken source never stops another one, so each has its own transaction.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.db.sqlstate import without_values
from tallystick.errors import Error, Kind
from tallystick.seal.errors import SourceNotFoundError
from tallystick.seal.logs import get_log
from tallystick.seal.sources import store
from tallystick.seal.sources.operations import (
    find_table,
    get_source,
    install,
    install_poll,
    let_poller_read,
    queue_unkeyed_rows,
    require_source,
    wait_for_table,
)
from tallystick.seal.sources.planning import make_plan
from tallystick.seal.sources.source import (
    CheckedSource,
    Problem,
    Source,
    SourceNo,
    SourceSettings,
)
from tallystick.seal.sources.validation import (
    find_poll_problems,
    find_problems,
    new_members,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.db import Database, Transaction
    from tallystick.seal.sources.table import Table

    Reconcile = Callable[[Transaction, Source], None]
    """Reconciles a source in the transaction, which sets its `reconciled_at`."""

LOGGER = logging.getLogger(__name__)
READ_PROBLEMS: Final = frozenset({"wal_lost", "wal_truncated"})
"""What reading the WAL has broken stays written down so: the reader's worker looks for it."""
LOOK_PATIENCE_SECONDS: Final = 4.0
"""How long validation waits for a locked table: it comes again, and others wait for their turn."""


def check_source(
    tx: Transaction, source: Source, *, reconcile: Reconcile | None = None
) -> list[Problem]:
    """
    Validate a source, act on what is found, and return the problems that it has now.

    A source with a problem becomes broken, with a `gap` leaf where its triggers were off. One
    without has its functions refreshed after DDL, and its new partitions covered and queued;
    if it was broken it becomes active again, once *reconcile* has found and queued what
    changed meanwhile. `enabled = false` turns its triggers off, `true` turns them on again.

    Raises:
        SourceNotFoundError: The source is gone.
        SourceBusyError: Triggers must be made or switched, and the table stayed locked.
        PermissionDeniedError: They must be, and the caller does not own the table.
    """
    return inspect_source(tx, source.source_no, reconcile).problems


def inspect_source(
    tx: Transaction, source_no: SourceNo, reconcile: Reconcile | None
) -> CheckedSource:
    """As `check_source`, with all that was found and done."""
    store.lock_source(tx, source_no)
    source = require_source(tx, source_no)
    if source.status == "detached" or source.relation is None:
        return CheckedSource(source, [])
    if source.is_polled:
        return inspect_polled(tx, source, reconcile)
    named = store.find_relation(tx, source.source_table)
    table = store.read_table(tx, source.relation)
    if table is not None:
        follow_switch(tx, source, table)
    triggers = store.read_triggers(tx, source_no)
    problems = find_problems(source, named=named, table=table, triggers=triggers)
    if source.is_from_wal and table is not None:
        problems += store.wal_problems(tx, source_no)
    if problems and store.break_source(tx, source_no, problems):
        LOGGER.warning("source %s is broken: %s", source.source_table, problems[0].message)
    if problems or table is None:
        return CheckedSource(require_source(tx, source_no), problems)
    refreshed = table.fingerprint != source.schema_fingerprint and store.refresh_source(
        tx, source_no
    )
    covered = cover_partitions(tx, source, table)
    problems = leave_broken(tx, source, reconcile)
    store.mark_checked(tx, source_no)
    return CheckedSource(require_source(tx, source_no), problems, refreshed, covered)


def inspect_polled(tx: Transaction, source: Source, reconcile: Reconcile | None) -> CheckedSource:
    """As `inspect_source`, for a source that is polled: its table is looked at, never locked."""
    assert source.relation is not None, "it was installed"
    table = store.read_table(tx, source.relation)
    problems = find_poll_problems(
        source,
        named=store.find_relation(tx, source.source_table),
        table=table,
        may_poll=table is not None and store.may_poll(tx, source.relation),
    )
    if problems and store.break_source(tx, source.source_no, problems):
        LOGGER.warning("source %s is broken: %s", source.source_table, problems[0].message)
    if problems or table is None:
        return CheckedSource(require_source(tx, source.source_no), problems)
    refreshed = table.fingerprint != source.schema_fingerprint and store.refresh_source(
        tx, source.source_no
    )
    problems = leave_broken(tx, source, reconcile)
    store.mark_checked(tx, source.source_no)
    return CheckedSource(require_source(tx, source.source_no), problems, refreshed)


def switch_source(tx: Transaction, log: str, table: str, *, enabled: bool) -> Source:
    """
    Turn the capture of a source off or on, triggers and all, and return the source.

    Off, it becomes broken with a `gap` leaf. On again, its changes are captured from the commit
    on; it stays broken until a reconcile has queued what changed meanwhile.

    Raises:
        LogNotFoundError: There is no such log.
        SourceNotFoundError: The table does not feed the log, or was detached from it.
        SourceBusyError: The table stayed locked.
        PermissionDeniedError: The caller does not own the table.
    """
    source = get_source(tx, log, table)
    store.lock_source(tx, source.source_no)
    if require_source(tx, source.source_no).status == "detached":
        raise SourceNotFoundError(f"{source.source_table} was detached from log {log}")
    store.set_enabled(tx, source.source_no, enabled=enabled)
    return inspect_source(tx, source.source_no, None).source


def follow_switch(tx: Transaction, source: Source, table: Table) -> None:
    """
    Turn the triggers as `enabled` says; triggers that somebody else turned off stay off.

    Raises:
        SourceBusyError: The table stayed locked for a minute.
    """
    was_switched_off = source.problem is not None and source.problem["code"] == "disabled"
    if source.enabled and not was_switched_off:
        return
    standing = [trigger for trigger in store.read_triggers(tx, source.source_no) if trigger.stands]
    if any(trigger.is_enabled != source.enabled for trigger in standing):
        wait_for_table(tx, table, exclusively=False, patience_seconds=LOOK_PATIENCE_SECONDS)
        store.switch_capture_triggers(tx, source.source_no, enabled=source.enabled)


def cover_partitions(tx: Transaction, source: Source, table: Table) -> tuple[str, ...]:
    """Make the triggers of new partitions, so that their rows are queued; return their names."""
    members = new_members(source, table)
    if members:
        wait_for_table(tx, table, exclusively=False, patience_seconds=LOOK_PATIENCE_SECONDS)
        for member in members:
            store.grant_reading(tx, member.relation, source.key_columns or [])
        store.create_capture_triggers(tx, source.source_no)
        if source.is_from_wal:
            store.attach_wal(tx, source.source_no)
        elif source.is_keyed_by_full_row:
            queue_unkeyed_rows(tx, source.source_no)
    return tuple(member.name for member in members)


def leave_broken(tx: Transaction, source: Source, reconcile: Reconcile | None) -> list[Problem]:
    """Make a broken source without problems active; what it then still lacks is returned."""
    if source.status != "broken":
        return []
    if reconcile is None:
        waiting = Problem("unreconciled", "it is whole again and waits to be reconciled")
        if source.problem is None or source.problem["code"] not in READ_PROBLEMS:
            store.break_source(tx, source.source_no, [waiting])
        return [waiting]
    reconcile(tx, source)
    store.source_ready(tx, source.source_no)
    return []


def refresh_source(tx: Transaction, source: Source) -> Source:
    """
    Make a source whole again on request: its functions are generated anew, triggers that are
    missing are made and all are turned on. A changed column set becomes a `schema` leaf. A table
    that a restored dump made anew is taken for the one that was sealed, if it carries the
    source's own triggers.

    What was broken stays so until a reconcile has found what changed meanwhile.

    Raises:
        SourceNotFoundError: The source or its table is gone.
        SourceBusyError: The table stayed locked for a minute.
    """
    store.lock_source(tx, source.source_no)
    table = None if source.relation is None else store.read_table(tx, source.relation)
    if table is None:
        table = restored_table(tx, source)
    store.refresh_source(tx, source.source_no)
    if source.is_polled:
        return require_source(tx, source.source_no)
    wait_for_table(tx, table, exclusively=False, patience_seconds=LOOK_PATIENCE_SECONDS)
    store.create_capture_triggers(tx, source.source_no)
    if source.is_from_wal:
        store.attach_wal(tx, source.source_no)
    store.switch_capture_triggers(tx, source.source_no, enabled=source.enabled)
    return require_source(tx, source.source_no)


def restored_table(tx: Transaction, source: Source) -> Table:
    """
    Bind a source whose table is gone to the one that a restored dump made of it.

    Raises:
        SourceNotFoundError: No table of that name carries the source's triggers.
    """
    # What it was bound to is missed first: only a broken source is bound anew.
    inspect_source(tx, source.source_no, None)
    named = store.find_relation(tx, source.source_table)
    if named is None or not store.rebind_source(tx, source.source_no, named):
        raise SourceNotFoundError(f"the table of {source.source_table} is gone")
    table = store.read_table(tx, named)
    assert table is not None, "it was found by its name in this transaction"
    return table


def check_sources(database: Database, *, reconcile: Reconcile | None = None) -> list[CheckedSource]:
    """
    Install the sources that were plainly inserted, validate all, and return what was found.

    Each source has its own transaction: what stops one, even its lock, stops no other.
    """
    install_new_sources(database)
    with database.transaction(read_only=True) as tx:
        sources = [s for s in store.list_sources(tx) if s.status != "detached"]
    return [check_alone(database, source, reconcile) for source in sources]


def check_alone(database: Database, source: Source, reconcile: Reconcile | None) -> CheckedSource:
    """Validate one source in a transaction of its own; an error is told, not raised."""
    try:
        return database.run(lambda tx: inspect_source(tx, source.source_no, reconcile))
    except (Error, psycopg.Error) as raised:
        problem = Problem("refused", in_words(raised))
        LOGGER.warning("source %s cannot be checked: %s", source.source_table, problem.message)
        return CheckedSource(source, [problem])


def in_words(raised: Error | psycopg.Error) -> str:
    """Return what went wrong in one line, without anything in which the server may quote rows."""
    if isinstance(raised, Error):
        return raised.message
    return without_values(raised)


def install_new_sources(database: Database) -> list[CheckedSource]:
    """
    Validate and install the sources that wait for it; one that is refused becomes broken.

    Plain INSERT into `verification_sources` and `add_source_v1` only write a source down.
    """
    with database.transaction() as tx:
        waiting = store.new_sources(tx)
    return [install_alone(database, source_no) for source_no in waiting]


def follow_switches(database: Database) -> list[CheckedSource]:
    """Validate the sources whose `enabled` plain SQL has changed, so that capture follows it."""
    with database.transaction(read_only=True) as tx:
        switched = [require_source(tx, source_no) for source_no in store.switched_sources(tx)]
    return [check_alone(database, source, None) for source in switched]


def install_alone(database: Database, source_no: SourceNo) -> CheckedSource:
    """
    Install one source in a transaction of its own, or mark it broken with the reason.

    One whose table is locked just now is left for the next look.
    """
    try:
        return database.run(lambda tx: install_one(tx, source_no))
    except (Error, psycopg.Error) as raised:
        problem = Problem("refused", in_words(raised))
        passes = (
            raised.kind is Kind.UNAVAILABLE
            if isinstance(raised, Error)
            else isinstance(raised, psycopg.OperationalError)
        )
        with database.transaction() as tx:
            if not passes:
                store.break_source(tx, source_no, [problem])
            return CheckedSource(require_source(tx, source_no), [problem])


def install_one(tx: Transaction, source_no: SourceNo) -> CheckedSource:
    """Install one source that was written down, under its table's lock."""
    store.lock_source(tx, source_no)
    source = require_source(tx, source_no)
    if source.relation is not None or source.status != "backfilling":
        return CheckedSource(source, [])  # another process was quicker
    log = get_log(tx, source.log_name)
    settings = written_settings(source)
    table = find_table(tx, source.source_table)
    plan = make_plan(table, settings, log)
    if settings.is_polled:
        let_poller_read(tx, table)
        install_poll(tx, source_no, table, plan)
        return CheckedSource(require_source(tx, source_no), [])
    locked = wait_for_table(tx, table, exclusively=False, patience_seconds=LOOK_PATIENCE_SECONDS)
    install(tx, source_no, locked, make_plan(locked, settings, log))
    return CheckedSource(require_source(tx, source_no), [])


def written_settings(source: Source) -> SourceSettings:
    """Return the settings that a row which was plainly inserted asks for."""
    key = source.key_columns
    return SourceSettings(
        key=tuple(key) if key else None,
        key_full_row=key == [],
        include=None if source.include_columns is None else tuple(source.include_columns),
        exclude=None if source.exclude_columns is None else tuple(source.exclude_columns),
        private=tuple(source.private_columns),
        leaf_form=source.leaf_form,
        hash_column=source.hash_column,
        on_update=source.on_update,
        on_delete=source.on_delete,
        # The column's default is one leaf, which a partitioned table cannot have.
        on_truncate=None if source.on_truncate == "record" else source.on_truncate,
        capture=source.capture,
        order_column=source.order_column,
        timestamp_column=source.timestamp_column,
        poll_lookback=source.poll_lookback,
        reconcile_interval_seconds=source.reconcile_interval_seconds,
    )
