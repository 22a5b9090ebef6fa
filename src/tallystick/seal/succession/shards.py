"""
Shards: a family of logs in which each period has its own, the next continuing the last.

A family turns by `succeed_log`, so a shard's genesis and the freeze of the one before name each
other. The border lies in the order of changes, not in their times: what was committed before the
tables were locked is in the old shard. A period that passed while nobody worked has no shard.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from tallystick.errors import Error
from tallystick.seal.errors import LogExistsError, LogFailedError
from tallystick.seal.logs import get_log, has_log
from tallystick.seal.succession import store
from tallystick.seal.succession.period import check_family, parse_period, shard_name, turn_after
from tallystick.seal.succession.store import Family
from tallystick.seal.succession.succession import succeed_log

if TYPE_CHECKING:
    import datetime

    from tallystick.db import Database, Transaction
    from tallystick.seal.logs import KeyRing
    from tallystick.seal.succession.store import Due

LOGGER: Final = logging.getLogger(__name__)
TURN_PATIENCE_SECONDS: Final = 10.0
"""A family whose tables are locked for so long lets the other families go first."""
MAX_NAMES: Final = 100
"""Shards of one period, where operators continue them by hand or change the period."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A family that has a new shard, and when the one behind it is due."""

    family: str
    log_name: str
    successor: str
    next_at: datetime.datetime


def shard_log(
    tx: Transaction, log_name: str, family: str, *, period: str, enabled: bool = True
) -> Family:
    """
    Make a log the current shard of a family, which has the next one at the turn of *period*.

    For a family that is there, its period and whether it turns are changed.

    Raises:
        LogNotFoundError: There is no such log.
        LogExistsError: The family has another current shard, or its name is a log's; or the
            log is of another family.
        InvalidLogError: The family or the period is not of its form.
    """
    check_family(family)
    parse_period(period)
    log = get_log(tx, log_name)
    known = {one.family: one for one in store.list_families(tx)}
    current = known.get(family)
    if current is not None and current.log_id != log.log_id:
        raise LogExistsError(f"the current log of family {family} is {current.log_name}")
    if current is None and any(one.log_id == log.log_id for one in known.values()):
        raise LogExistsError(f"log {log_name} is of another family")
    next_at = turn_after(period, store.now(tx))
    store.shard_log(tx, family, log.log_id, period=period, next_at=next_at, enabled=enabled)
    return next(one for one in store.list_families(tx) if one.family == family)


def list_families(tx: Transaction) -> list[Family]:
    """Return every family with its current shard, by name."""
    return store.list_families(tx)


def turn_shards(database: Database, keys: KeyRing, *, origin_prefix: str) -> list[Turned]:
    """
    Make the next shard of every family that is due, and return what was made.

    Each family has its own transaction: what stops one stops no other, and is tried again by
    the next call. A failed shard is left to its operator.

    Raises:
        DatabaseUnavailableError: The database does not answer.
    """
    with database.transaction(read_only=True) as tx:
        due = store.due_families(tx)
    turned = (turn_alone(database, family, keys, origin_prefix=origin_prefix) for family in due)
    return [one for one in turned if one is not None]


def turn_alone(
    database: Database, family: str, keys: KeyRing, *, origin_prefix: str
) -> Turned | None:
    """Turn one family in a transaction of its own; None where it could not be, or was not due."""
    try:
        with database.transaction() as tx:
            due = store.lock_due_family(tx, family)
            return None if due is None else turn(tx, due, keys, origin_prefix=origin_prefix)
    except (Error, psycopg.Error) as refused:
        said = refused.message if isinstance(refused, Error) else type(refused).__name__
        LOGGER.warning("family %s does not turn: %s", family, said)
        return None


def turn(tx: Transaction, due: Due, keys: KeyRing, *, origin_prefix: str) -> Turned:
    """
    Continue the current shard of a family by that of the present period.

    Raises:
        LogFailedError: It has failed: whether to restore or to continue it is for an operator.
        LogFrozenError, SourceBusyError and others: As `succeed_log`.
    """
    if get_log(tx, due.log_name).status == "failed":
        raise LogFailedError(f"log {due.log_name} has failed; recover or succeed it first")
    name = free_name(tx, shard_name(due.family, due.period, due.now))
    next_at = turn_after(due.period, due.now)
    made = succeed_log(
        tx,
        due.log_name,
        name,
        keys=keys,
        origin_prefix=origin_prefix,
        patience_seconds=TURN_PATIENCE_SECONDS,
    )
    store.turn_shard(tx, due.family, next_at)
    return Turned(due.family, due.log_name, made.log_name, next_at)


def free_name(tx: Transaction, name: str) -> str:
    """
    Return *name*, or the first of `name_2`, `name_3` that no log has.

    Raises:
        LogExistsError: A hundred logs have them all.
    """
    for candidate in (name, *(f"{name}_{number}" for number in range(2, MAX_NAMES))):
        if not has_log(tx, candidate):
            return candidate
    raise LogExistsError(f"{name} and those after it are taken")
