"""The SQL of logs and their keys; every function runs in the caller's transaction."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs.keys import NewKey
from tallystick.seal.logs.log import Log, LogId, LogKey, LogSettings


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    create_log: Query
    open_log: Query
    logs: Query
    log_by_name: Query
    configure_log: Query
    request_freeze: Query
    fail_log: Query
    recover_log: Query
    unopened_logs: Query
    lock_unopened: Query
    log_keys: Query
    create_key: Query
    activate_key: Query
    retire_key: Query
    active_outbox_key: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class FirstKey:
    """What the database learns of a new log's first key, with the note of size 0 it signed."""

    origin: str
    key_id: bytes
    public_key: bytes
    vkey: str
    note: str


def create_log(tx: Transaction, log_name: str, settings: LogSettings, first: FirstKey) -> LogId:
    """Insert the log, its key, its checkpoint of size 0 and its genesis leaf; return its id."""
    fields = dataclasses.asdict(settings) | dataclasses.asdict(first)
    return LogId(tx.value(SQL.create_log, {"log_name": log_name, **fields}))


def open_log(tx: Transaction, log_id: LogId, first: FirstKey) -> None:
    """Give a plainly inserted log its origin, key, checkpoint and genesis leaf."""
    tx.execute(SQL.open_log, {"log_id": log_id, **dataclasses.asdict(first)})


def list_logs(tx: Transaction) -> list[Log]:
    """Return every log, by name."""
    return tx.rows(Log, SQL.logs)


def find_log(tx: Transaction, log_name: str) -> Log | None:
    """Return the log of this name; None where there is none."""
    return tx.row(Log, SQL.log_by_name, {"log_name": log_name})


def configure_log(tx: Transaction, log_name: str, fields: dict[str, Any]) -> None:
    """Change the given fields of a log."""
    tx.execute(SQL.configure_log, {"log_name": log_name, **fields})


def request_freeze(tx: Transaction, log_id: LogId) -> None:
    """Ask the sequencer to freeze the log once its queue is empty."""
    tx.execute(SQL.request_freeze, {"log_id": log_id})


def fail_log(tx: Transaction, log_id: LogId, failure: dict[str, Any]) -> bool:
    """Mark the log failed; return False where it was already."""
    return bool(tx.value(SQL.fail_log, {"log_id": log_id, "failure": Jsonb(failure)}))


def recover_log(tx: Transaction, log_id: LogId, *, actor: str, reason: str) -> str:
    """Take a failed log back and return its status."""
    return str(tx.value(SQL.recover_log, {"log_id": log_id, "actor": actor, "reason": reason}))


def unopened_logs(tx: Transaction) -> list[tuple[LogId, str]]:
    """Return the logs without a checkpoint."""
    return tx.rows(lambda log_id, name: (LogId(log_id), str(name)), SQL.unopened_logs)


def lock_unopened(tx: Transaction, log_id: LogId) -> bool:
    """Return whether the log still has no checkpoint and is this transaction's to open."""
    return tx.value(SQL.lock_unopened, {"log_id": log_id}) is not None


def log_keys(tx: Transaction, log_id: LogId) -> list[LogKey]:
    """Return the keys of the log, the oldest first."""
    return tx.rows(LogKey, SQL.log_keys, {"log_id": log_id})


def create_key(
    tx: Transaction, *, purpose: str, log_id: LogId | None, name: str, algorithm: int, key: NewKey
) -> None:
    """Make a key known; it does not sign yet."""
    tx.execute(
        SQL.create_key,
        {
            "purpose": purpose,
            "log_id": log_id,
            "name": name,
            "algorithm": algorithm,
            **dataclasses.asdict(key),
        },
    )


def activate_key(tx: Transaction, *, name: str, key_id: bytes) -> None:
    """Let a key sign, a log's from its next checkpoint on."""
    tx.execute(SQL.activate_key, {"name": name, "key_id": key_id})


def retire_key(tx: Transaction, *, name: str, key_id: bytes) -> None:
    """Let a key sign no more."""
    tx.execute(SQL.retire_key, {"name": name, "key_id": key_id})


def active_outbox_key(tx: Transaction) -> bytes | None:
    """Return the id of the key that signs webhooks; None where there is none."""
    key_id = tx.value(SQL.active_outbox_key)
    return None if key_id is None else bytes(key_id)
