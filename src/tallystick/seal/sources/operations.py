"""Operations on sources; each takes the caller's transaction (log.md, 3.2, 4.4, 4.5)."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tallystick.db.errors import PermissionDeniedError
from tallystick.db.sqlstate import without_values
from tallystick.seal.errors import (
    InvalidSourceError,
    SourceBusyError,
    SourceExistsError,
    SourceNotFoundError,
    UnsupportedSourceError,
)
from tallystick.seal.logs import Log, get_log
from tallystick.seal.sources import store
from tallystick.seal.sources.personal import with_warning
from tallystick.seal.sources.planning import make_plan
from tallystick.seal.sources.source import (
    DRY_RUN,
    Capture,
    CaptureRule,
    LeafForm,
    RequeueResult,
    Source,
    SourceNo,
    SourcePlan,
    SourceSettings,
    TruncateRule,
)
from tallystick.seal.wal import wait_until_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.db import Transaction
    from tallystick.seal.sources.table import Table

LOCK_PATIENCE_SECONDS: Final = 60.0
"""How long a locked table is tried again, 2 seconds at a time: its writers never queue longer."""
LOCK_PAUSE_SECONDS: Final = 0.2
"""Between two tries: whoever waited behind ours goes first."""
FIRST_PAGE_ROWS: Final = 1_000
"""A small table that is polled is sealed as it is added; a larger one shows that it can be read."""


def add_source(
    tx: Transaction,
    log: str,
    table: str,
    *,
    key: Sequence[str] | None = None,
    key_full_row: bool = False,
    include: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    private: Sequence[str] = (),
    leaf_form: LeafForm | None = None,
    hash_column: str | None = None,
    on_update: CaptureRule = "record",
    on_delete: CaptureRule = "record",
    on_truncate: TruncateRule | None = None,
    capture: Capture | None = None,
    order_column: str | None = None,
    timestamp_column: str | None = None,
    poll_lookback: int | None = None,
    reconcile_interval_seconds: int | None = None,
    dry_run: bool = False,
) -> Source:
    """
    Let *table* feed *log*: from the commit on each change is captured. Return the source.

    With capture `poll`, which an order or timestamp column means too, nothing is done to the
    table: it is read, and needs no owner here but a role that may let `tally_poller` read it.

    The caller owns the table. Its triggers are made under a lock that waits for running
    writers; rows that it has already are queued by `run_backfill`, and the source is active
    once they are; an empty table is active at once. `note` of the result says which columns
    stand in clear. A source with the same settings is returned as it is. With *dry_run*
    everything is checked and nothing is done.

    Raises:
        LogNotFoundError: There is no such log.
        SourceNotFoundError: There is no such table.
        LogFrozenError, LogFailedError: The log takes no more sources.
        SourceExistsError: The table feeds the log with other settings, or was detached from it.
        SourceBusyError: The table stayed locked for a minute.
        InvalidSourceError, UnsupportedSourceError, UnknownColumnError, NoKeyError,
        HashColumnError, PermissionDeniedError: As `make_plan`; a table that is to be polled and
            cannot be read is unsupported too.
    """
    settings = SourceSettings(
        key=optional_tuple(key),
        key_full_row=key_full_row,
        include=optional_tuple(include),
        exclude=optional_tuple(exclude),
        private=tuple(private),
        leaf_form=leaf_form,
        hash_column=hash_column,
        on_update=on_update,
        on_delete=on_delete,
        on_truncate=on_truncate,
        capture=capture,
        order_column=order_column,
        timestamp_column=timestamp_column,
        poll_lookback=poll_lookback,
        reconcile_interval_seconds=reconcile_interval_seconds,
    )
    return attach_table(tx, log, table, settings, dry_run=dry_run)


def attach_table(
    tx: Transaction, log: str, table: str, settings: SourceSettings, *, dry_run: bool
) -> Source:
    """
    Make the source that *settings* say, or return it as it is.

    Raises:
        As `add_source`.
    """
    found_log = get_log(tx, log)
    found = find_table(tx, table)
    plan = make_plan(found, settings, found_log)
    existing = find_source(tx, log, found)
    if existing is not None:
        return same_source(existing, plan, found)
    if dry_run:
        return imagine_source(found_log, found, plan)
    if settings.is_polled:
        let_poller_read(tx, found)
        source_no = store.add_source(tx, log, found.name, plan)
        install_poll(tx, source_no, found, plan)
        return with_warning(require_source(tx, source_no), found)
    locked = wait_for_table(tx, found, exclusively=False)
    plan = make_plan(locked, settings, found_log)
    source_no = store.add_source(tx, log, locked.name, plan)
    install(tx, source_no, locked, plan)
    return with_warning(require_source(tx, source_no), locked)


def install(tx: Transaction, source_no: SourceNo, table: Table, plan: SourcePlan) -> None:
    """
    Bind the source to its locked table and make its triggers.

    It is ready at once where the table is empty, and where it is keyed by full row: its rows
    cannot be told apart, so they are queued here and now, while the lock keeps writers out.
    """
    assert store.is_read_committed(tx), "a statement after the lock sees what the lock waited for"
    store.grant_reading(tx, table.relation, plan.key_columns)
    if plan.capture == "wal":
        store.choose_wal(tx, source_no)
    store.install_source(tx, source_no, table.relation, plan)
    store.create_capture_triggers(tx, source_no)
    if plan.capture == "wal":
        # Even an empty table is not ready before a slot reads its changes.
        store.attach_wal(tx, source_no)
        return
    if not plan.key_columns:
        queue_unkeyed_rows(tx, source_no)
    if not plan.key_columns or not store.has_rows(tx, table):
        store.source_ready(tx, source_no)


def let_poller_read(tx: Transaction, table: Table) -> None:
    """
    Let `tally_poller` read *table*, unless it may already.

    Raises:
        PermissionDeniedError: The caller may not grant it.
    """
    # In a savepoint: the server's refusal says nothing of what the table's owner has to do.
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege), tx.savepoint():
        if store.may_poll(tx, table.relation) or store.grant_polling(tx, table.relation):
            return
    raise PermissionDeniedError(
        f"tally_poller may not read {table.name}: its owner can GRANT SELECT on it TO tally_poller"
    )


def install_poll(tx: Transaction, source_no: SourceNo, table: Table, plan: SourcePlan) -> None:
    """
    Bind the source to its table and queue a first page of it; nothing is done to the table.

    It is ready at once where that page was all.

    Raises:
        UnsupportedSourceError: The server refuses to read it, or to order it.
        SourceBusyError: Whoever holds its rows does not answer.
    """
    assert store.is_read_committed(tx), "a statement after the poller's lock sees what it queued"
    store.install_poll(tx, source_no, table.relation, plan)
    try:
        with tx.savepoint():
            page = store.poll_page(tx, source_no, after=None, page_rows=FIRST_PAGE_ROWS)
    except psycopg.Error as raised:
        said = without_values(raised)
        if isinstance(raised, psycopg.OperationalError):
            raise SourceBusyError(f"{table.name} does not answer: {said}") from raised
        raise UnsupportedSourceError(
            f"{table.name} cannot be polled: {said}",
            evidence={"table": table.name, "reason": said},
        ) from raised
    if page is not None and page.finished:
        store.source_ready(tx, source_no)


def queue_unkeyed_rows(tx: Transaction, source_no: SourceNo) -> None:
    """Queue all rows of a source keyed by full row that are still to be queued, under the lock."""
    with store.unhurried(tx):
        while not store.backfill_page(tx, source_no, page_rows=1).finished:
            pass


def wait_for_table(
    tx: Transaction,
    table: Table,
    *,
    exclusively: bool,
    patience_seconds: float | None = None,
) -> Table:
    """
    Lock *table* until the transaction ends and return it as it is then.

    Raises:
        SourceBusyError: It stayed locked by others.
        SourceNotFoundError: It was dropped meanwhile.
    """
    patience = LOCK_PATIENCE_SECONDS if patience_seconds is None else patience_seconds
    deadline = time.monotonic() + patience
    while True:
        try:
            with tx.savepoint():
                store.lock_table(tx, table, exclusively=exclusively)
            break
        except psycopg.errors.LockNotAvailable as raised:
            if time.monotonic() > deadline:
                raise SourceBusyError(f"{table.name} stayed locked by others") from raised
            time.sleep(LOCK_PAUSE_SECONDS)
        except psycopg.errors.UndefinedTable as raised:
            raise SourceNotFoundError(f"{table.name} was dropped") from raised
    locked = store.read_table(tx, table.relation)
    if locked is None:
        raise SourceNotFoundError(f"{table.name} was dropped")
    return locked


def same_source(existing: Source, plan: SourcePlan, table: Table) -> Source:
    """
    Return *existing* if it is what *plan* asks for.

    Raises:
        SourceExistsError: It differs, or it was detached; the evidence names the fields.
    """
    where = f"{existing.source_table} feeds log {existing.log_name}"
    evidence: dict[str, Any] = {"table": existing.source_table, "log": existing.log_name}
    if existing.status == "detached":
        raise SourceExistsError(
            f"{existing.source_table} was detached from log {existing.log_name}, which is final",
            evidence={**evidence, "fields": ["status"]},
        )
    differences = existing.differences(plan)
    if existing.relation not in {None, table.relation}:
        differences = ["relation"]  # another table stands under the name: never accepted silently
    if differences:
        raise SourceExistsError(
            f"{where} already, with other fields: {', '.join(differences)}",
            evidence={**evidence, "fields": differences},
        )
    return with_warning(existing, table)


def imagine_source(log: Log, table: Table, plan: SourcePlan) -> Source:
    """Return the source that *plan* would make, with the number 0."""
    fields = store.as_parameters(plan)
    source = Source(
        source_table=table.name,
        log_name=log.log_name,
        log_id=log.log_id,
        source_no=DRY_RUN,
        relation=table.relation,
        enabled=True,
        status="backfilling",
        problem=None,
        poll_cursor=None,
        covered_relations=[member.relation for member in table.members],
        backfill_relations=[] if plan.capture == "poll" else [table.relation],
        backfill_after=None,
        schema_fingerprint=table.fingerprint,
        created_at=log.created_at,
        checked_at=None,
        reconciled_at=None,
        **fields,
    )
    return with_warning(source, table)


def optional_tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return *names* as a tuple; None stays None."""
    return None if names is None else tuple(names)


def list_sources(tx: Transaction, log: str | None = None) -> list[Source]:
    """
    Return the sources of *log*, or of every log, by log and table; detached ones too.

    Raises:
        LogNotFoundError: There is no such log.
    """
    return store.list_sources(tx, None if log is None else get_log(tx, log).log_name)


def get_source(tx: Transaction, log: str, table: str) -> Source:
    """
    Return the source that *table* is of *log*; a table that was dropped is found by its old name.

    Raises:
        LogNotFoundError: There is no such log.
        SourceNotFoundError: The table does not feed the log.
    """
    sources = list_sources(tx, log)
    by_name = next((source for source in sources if source.source_table == table), None)
    if by_name is not None:
        return by_name
    meant = store.find_table(tx, table)
    by_table = None if meant is None else find_source(tx, log, meant)
    if by_table is None:
        raise SourceNotFoundError(f"{table} does not feed log {log}")
    return by_table


def find_source(tx: Transaction, log: str, table: Table) -> Source | None:
    """Return the source of *log* that has the name of *table*; None where there is none."""
    sources = store.list_sources(tx, log)
    return next((source for source in sources if source.source_table == table.name), None)


def require_source(tx: Transaction, source_no: SourceNo) -> Source:
    """
    Return the source of this number.

    Raises:
        SourceNotFoundError: There is none.
    """
    source = store.find_source(tx, source_no)
    if source is None:
        raise SourceNotFoundError(f"there is no source {source_no}")
    return source


def find_table(tx: Transaction, name: str) -> Table:
    """
    Return the table that *name* means, in schema public where it names none.

    Raises:
        SourceNotFoundError: There is none.
    """
    table = store.find_table(tx, name)
    if table is None:
        raise SourceNotFoundError(f"there is no table {name}")
    return table


def detach_source(tx: Transaction, log: str, table: str) -> Source:
    """
    End a source: its triggers are dropped, its row and its leaves stay. It is final.

    Raises:
        LogNotFoundError, SourceNotFoundError: As `get_source`.
        SourceBusyError: The table stayed locked for a minute.
    """
    source = get_source(tx, log, table)
    # Everybody locks the source's row first and its table then, so nobody waits in a circle.
    store.lock_source(tx, source.source_no)
    stands = None
    if source.relation is not None and not source.is_polled:
        stands = store.read_table(tx, source.relation)
    if stands is not None and source.status != "detached":
        wait_for_table(tx, stands, exclusively=True)
        store.drop_capture_triggers(tx, source.source_no)
    store.detach_source(tx, source.source_no)
    if stands is not None and source.is_from_wal:
        store.detach_wal(tx, source.source_no)
    return require_source(tx, source.source_no)


def requeue(tx: Transaction, log: str, table: str) -> RequeueResult:
    """
    Queue the present state of the keys whose changes stand in quarantine.

    An old version is not put back: what is queued is the row as it is now, under its lock.
    Rows that cannot be sealed even now stay in quarantine.

    Raises:
        LogNotFoundError, SourceNotFoundError: As `get_source`, or the source was detached.
        InvalidSourceError: The source is keyed by full row; such a source is reconciled.
        SourceBusyError: Others hold one of the rows.
    """
    source = get_source(tx, log, table)
    if source.is_keyed_by_full_row:
        raise InvalidSourceError(f"{source.source_table} is keyed by full row: reconcile it")
    if not source.is_polled:
        # A poll's own lock comes before its row, and its function looks behind them.
        store.lock_source(tx, source.source_no)
    if require_source(tx, source.source_no).status == "detached":
        raise SourceNotFoundError(f"{source.source_table} was detached from log {log}")
    try:
        with tx.savepoint():
            if source.is_from_wal:
                # What is queued now must stand behind every change that was committed before.
                wait_for_table(tx, find_table(tx, source.source_table), exclusively=False)
                wait_until_read(tx)
            return store.requeue(tx, source)
    except psycopg.errors.LockNotAvailable as raised:
        raise SourceBusyError(f"rows of {source.source_table} are held by others") from raised
