"""
Continuing a log: a successor takes over its tables, and the two name each other.

Follows log.md, sections 3.1 and 5.7. In one transaction, under the locks of all tables: the
successor is made, whose genesis names the predecessor's head of that moment; all sources move;
the predecessor is asked to freeze. It seals what was captured before, and its `freeze` leaf
names the successor's head, which has the genesis in it by then. A failed log seals nothing more:
its queue goes to the successor, and the genesis names the fork.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg

from tallystick.outbox import emit
from tallystick.seal.errors import (
    InvalidLogError,
    LogExistsError,
    LogFrozenError,
    SourceBusyError,
)
from tallystick.seal.logs import (
    HOUSE_LOGS,
    LogSettings,
    create_log,
    freeze_log,
    get_log,
    has_log,
    list_keys,
)
from tallystick.seal.logs.log import check_log
from tallystick.seal.sources import store as sources
from tallystick.seal.sources.operations import (
    LOCK_PATIENCE_SECONDS,
    LOCK_PAUSE_SECONDS,
    require_source,
)
from tallystick.seal.succession import store
from tallystick.seal.succession.moving import continue_source, read_what_was_written
from tallystick.verify import HEADS_LOG

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.db import Transaction
    from tallystick.seal.logs import KeyRing, Log
    from tallystick.seal.sources.source import RelationId
    from tallystick.seal.succession.store import Attached


class _SourcesChanged(Exception):  # noqa: N818 (never leaves this module)
    """A source came or went while the tables were being locked."""


def succeed_log(
    tx: Transaction,
    log_name: str,
    successor: str,
    *,
    keys: KeyRing,
    origin_prefix: str,
    patience_seconds: float = LOCK_PATIENCE_SECONDS,
) -> Log:
    """
    Continue a log in a new one named *successor*, and return that.

    The same call again returns it as it is. A log that is active freezes once its queue is
    sealed; a failed one stays failed.

    Raises:
        LogNotFoundError: There is no such log.
        LogFrozenError: It is frozen: its last leaf names no successor.
        LogExistsError: Another log has the name, or continues this one already.
        InvalidLogError: The name cannot be a log's, or the log is one of the house's, or it was
            plainly inserted and no worker has opened it yet.
        SourceBusyError: A table of it stayed locked by others.
        WalBehindError: A table of it is captured from the WAL, and nobody reads that.
        KeyPermissionsError: The key directory is open to others.
        PermissionDeniedError: The caller does not own its tables.
    """
    log = get_log(tx, log_name)
    existing = find_successor(tx, log_name)
    if existing is not None and existing.log_name == successor:
        return existing
    check_succession(tx, log, successor, origin_prefix=origin_prefix)
    attached = hold_sources(tx, log, patience_seconds=patience_seconds)
    # Where two continue one log at once, the second finds the first's here.
    check_succession(tx, log, successor, origin_prefix=origin_prefix)
    read_what_was_written(tx, [one.source_no for one in attached])
    log = get_log(tx, log_name)
    made = create_log(
        tx, successor, keys=keys, origin_prefix=origin_prefix, settings=settings_of(log)
    )
    for one in attached:
        source = require_source(tx, one.source_no)
        table = None if one.relation is None else sources.read_table(tx, one.relation)
        continue_source(tx, source, table, made)
    end_predecessor(tx, log, made)
    return get_log(tx, successor)


def end_predecessor(tx: Transaction, log: Log, made: Log) -> None:
    """Ask *log* to freeze, or take over its queue if it failed; let others know of the turn."""
    if log.status == "failed":
        with sources.unhurried(tx):
            store.carry_queue(tx, from_id=log.log_id, to_id=made.log_id)
    else:
        freeze_log(tx, log.log_name)
    family = store.family_of(tx, log.log_id)
    if family is not None:
        store.turn_shard(tx, *family)
    emit(
        tx,
        "log.succeeded",
        key=log.log_name,
        payload={"log": log.log_name, "successor": made.log_name, "origin": made.origin},
    )


def find_successor(tx: Transaction, log_name: str) -> Log | None:
    """
    Return the log that continues this one; None where there is none.

    Raises:
        LogNotFoundError: There is no such log.
    """
    name = store.successor(tx, get_log(tx, log_name).log_id)
    return None if name is None else get_log(tx, name)


def check_succession(tx: Transaction, log: Log, successor: str, *, origin_prefix: str) -> None:
    """
    Check that *log* can be continued under the name *successor*.

    Raises:
        LogFrozenError, LogExistsError, InvalidLogError: As `succeed_log`.
    """
    if log.log_name in {*HOUSE_LOGS, HEADS_LOG}:
        raise InvalidLogError(f"{log.log_name} is a log of the house, which finds it by its name")
    check_log(successor, f"{origin_prefix}/{successor}", LogSettings())
    if not list_keys(tx, log.log_name):
        raise InvalidLogError(f"log {log.log_name} has no head yet: a worker opens it first")
    already = store.successor(tx, log.log_id)
    if already is not None:
        raise LogExistsError(
            f"log {log.log_name} is continued by {already} already",
            evidence={"log": log.log_name, "successor": already},
        )
    if get_log(tx, log.log_name).status == "frozen":
        raise LogFrozenError(
            f"log {log.log_name} is frozen, and its last leaf names no successor",
            evidence={"log": log.log_name},
        )
    if has_log(tx, successor):
        raise LogExistsError(
            f"log {successor} exists, and continues no other", evidence={"log": successor}
        )


def settings_of(log: Log) -> LogSettings:
    """Return what a log that continues *log* is made with."""
    return LogSettings(
        description=log.description,
        mode=log.mode,
        visibility=log.visibility,
        batch_size=log.batch_size,
        batch_interval_ms=log.batch_interval_ms,
        witness_quorum=log.witness_quorum,
        witness_patience_seconds=log.witness_patience_seconds,
        accepts_entries=log.accepts_entries,
        control_leaves=log.control_leaves,
        predecessor_log_id=log.log_id,
        retain_until=log.retain_until,
    )


def hold_sources(tx: Transaction, log: Log, *, patience_seconds: float) -> list[Attached]:
    """
    Lock the log's sources, their tables against writers, and the log, until the transaction ends.

    All or nothing at each try: while one table is waited for, no writer is kept from another
    for longer than half a second.

    Raises:
        SourceBusyError: A table stayed locked by others.
    """
    assert sources.is_read_committed(tx), "a statement after the lock sees what the lock waited for"
    deadline = time.monotonic() + patience_seconds
    tries = 0
    while True:
        try:
            with tx.savepoint():
                return try_to_hold(tx, log, tries)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable) as raised:
            if time.monotonic() > deadline:
                raise SourceBusyError(f"a table of {log.log_name} stayed locked") from raised
        except _SourcesChanged as changed:
            if time.monotonic() > deadline:
                raise SourceBusyError(f"sources of {log.log_name} come and go") from changed
        tries += 1
        time.sleep(LOCK_PAUSE_SECONDS)


def try_to_hold(tx: Transaction, log: Log, tries: int) -> list[Attached]:
    """
    Lock the sources' rows, then their tables, then the log: the order in which `add_source` does.

    Raises:
        psycopg.errors.LockNotAvailable: A table was not to be had in half a second.
    """
    attached = store.attached_sources(tx, log.log_id)
    for one in attached:
        sources.lock_source(tx, one.source_no)
    relations = [one.relation for one in attached if one.relation is not None]
    # Writers that take the tables in one order would be met by us in the same way each time.
    store.lock_tables(tx, rotated(relations, tries))
    store.hold_log(tx, log.log_id)
    if store.attached_sources(tx, log.log_id) != attached:
        raise _SourcesChanged
    return attached


def rotated(items: Sequence[RelationId], turns: int) -> list[RelationId]:
    """Return *items* in another order at each turn: from a later one on, and backwards."""
    if not items:
        return []
    start = turns // 2 % len(items)
    turned = [*items[start:], *items[:start]]
    return turned[::-1] if turns % 2 else turned
