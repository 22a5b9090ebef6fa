"""Operations on logs; each takes the caller's transaction (log.md, sections 3.1 and 4.4)."""

from __future__ import annotations

import datetime
import logging
from typing import Any, Final

import psycopg

from tallystick.db import Database, Transaction
from tallystick.errors import Error
from tallystick.record import Ed25519Signer, SigningKeyError
from tallystick.seal.errors import (
    DamagedLogError,
    InvalidLogError,
    LogExistsError,
    LogNotFoundError,
)
from tallystick.seal.logs import store
from tallystick.seal.logs.keys import KeyRing
from tallystick.seal.logs.log import (
    HOUSE_LOGS,
    Log,
    LogId,
    LogKey,
    LogSettings,
    Visibility,
    check_log,
)
from tallystick.tlog import (
    ALGORITHM_ED25519,
    EMPTY_ROOT,
    Checkpoint,
    Hash,
    MalformedError,
    TreeSize,
    format_checkpoint,
    format_note,
    parse_checkpoint,
    parse_note,
    sign_note,
)

LOGGER: Final = logging.getLogger(__name__)


def create_log(
    tx: Transaction,
    log_name: str,
    *,
    keys: KeyRing,
    origin_prefix: str,
    settings: LogSettings | None = None,
) -> Log:
    """
    Make a log with a new key and a signed checkpoint of size 0, and return it.

    A log of this name whose fields all agree is returned as it is.

    Raises:
        InvalidLogError: The name, the origin or a setting is out of its range.
        LogExistsError: A log of this name has other fields; the evidence names them.
        KeyPermissionsError: The key directory is open to others.
    """
    settings = settings or LogSettings()
    origin = f"{origin_prefix}/{log_name}"
    check_log(log_name, origin, settings)
    existing = store.find_log(tx, log_name)
    if existing is not None:
        differences = existing.differences(settings)
        if differences:
            raise LogExistsError(
                f"log {log_name} exists with other fields: {', '.join(differences)}",
                evidence={"log": log_name, "fields": differences},
            )
        return existing
    store.create_log(tx, log_name, settings, first_key(keys, origin))
    return get_log(tx, log_name)


def create_house_logs(tx: Transaction, *, keys: KeyRing, origin_prefix: str) -> list[Log]:
    """Make the logs of our own tables, where they are missing, and return them."""
    return [
        store.find_log(tx, name) or create_log(tx, name, keys=keys, origin_prefix=origin_prefix)
        for name in HOUSE_LOGS
    ]


def create_outbox_key(tx: Transaction, *, keys: KeyRing, origin_prefix: str) -> bytes:
    """
    Make the key that signs webhooks, where there is none, and return its id.

    Raises:
        KeyPermissionsError: The key directory is open to others.
    """
    existing = store.active_outbox_key(tx)
    if existing is not None:
        return existing
    name = f"{origin_prefix}/outbox"
    key = keys.create(name)
    store.create_key(
        tx, purpose="outbox", log_id=None, name=name, algorithm=ALGORITHM_ED25519, key=key
    )
    store.activate_key(tx, name=name, key_id=key.key_id)
    return key.key_id


def outbox_signer(tx: Transaction, keys: KeyRing) -> Ed25519Signer | None:
    """
    Return the signer of webhooks; None where no outbox key is active.

    Raises:
        KeyNotFoundError, KeyPermissionsError, MalformedKeyError: Its file is not to be used.
    """
    key_id = store.active_outbox_key(tx)
    return None if key_id is None else keys.signer(key_id)


def open_new_logs(database: Database, keys: KeyRing, *, origin_prefix: str) -> list[str]:
    """
    Open the logs that were plainly inserted, and return their names.

    The earlier log service's SQL inserts a row into `verification_logs` and no more; the
    sequencer's next look gives such a log its key and its checkpoint of size 0, and an origin
    if the row has none. One that cannot be opened becomes failed, with the reason: it stops no
    other. Where its key cannot be written the next look tries again.

    Raises:
        DatabaseUnavailableError: The database does not answer.
    """
    with database.transaction(read_only=True) as tx:
        unopened = store.unopened_logs(tx)
    return [
        log_name
        for log_id, log_name in unopened
        if open_log(database, keys, log_id, log_name, origin_prefix=origin_prefix)
    ]


def open_log(
    database: Database, keys: KeyRing, log_id: LogId, log_name: str, *, origin_prefix: str
) -> bool:
    """Open one log that was plainly inserted; False where another process does, or it fails."""
    try:
        with database.transaction() as tx:
            if not store.lock_unopened(tx, log_id):
                return False
            origin = get_log(tx, log_name).origin or f"{origin_prefix}/{log_name}"
            check_log(log_name, origin, LogSettings())
            store.open_log(tx, log_id, first_key(keys, origin))
    except (InvalidLogError, psycopg.IntegrityError) as refused:
        code = refused.code() if isinstance(refused, Error) else "origin_taken"
        message = refused.message if isinstance(refused, Error) else "another log has its origin"
        with database.transaction() as tx:
            store.fail_log(tx, log_id, {"code": code, "message": message})
    except SigningKeyError as unusable:
        # Of the key directory: what mends it is outside of the database.
        LOGGER.warning("log %s has no key yet: %s", log_name, unusable.message)
    else:
        return True
    return False


def first_key(keys: KeyRing, origin: str) -> store.FirstKey:
    """Make a log's first key and sign its checkpoint of size 0."""
    key = keys.create(origin)
    text = format_checkpoint(Checkpoint(origin, TreeSize(0), Hash(EMPTY_ROOT)))
    note = format_note(sign_note(text, [keys.signer(key.key_id)])).decode()
    return store.FirstKey(origin, key.key_id, key.public_key, key.vkey, note)


def configure_log(
    tx: Transaction,
    log_name: str,
    *,
    description: str | None = None,
    enabled: bool | None = None,
    visibility: Visibility | None = None,
    batch_size: int | None = None,
    batch_interval_ms: int | None = None,
    witness_quorum: int | None = None,
    witness_patience_seconds: int | None = None,
    accepts_entries: bool | None = None,
    retain_until: datetime.datetime | None = None,
) -> Log:
    """
    Change what may change of a log and return it; None leaves a field as it is.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidLogError: A value is out of its range, or *retain_until* is before what was
            promised: it only grows.
    """
    fields: dict[str, Any] = {
        "description": description,
        "enabled": enabled,
        "visibility": visibility,
        "batch_size": batch_size,
        "batch_interval_ms": batch_interval_ms,
        "witness_quorum": witness_quorum,
        "witness_patience_seconds": witness_patience_seconds,
        "accepts_entries": accepts_entries,
        "retain_until": retain_until,
    }
    log = get_log(tx, log_name)
    settings = LogSettings(
        visibility=visibility or log.visibility,
        batch_size=log.batch_size if batch_size is None else batch_size,
        batch_interval_ms=log.batch_interval_ms if batch_interval_ms is None else batch_interval_ms,
        witness_quorum=log.witness_quorum if witness_quorum is None else witness_quorum,
    )
    check_log(log_name, log.origin or log_name, settings)
    promised = log.retain_until
    if retain_until is not None and promised is not None and retain_until < promised:
        raise InvalidLogError(f"{log_name} is retained until {promised}: that only grows")
    store.configure_log(tx, log_name, fields)
    return get_log(tx, log_name)


def get_log(tx: Transaction, log_name: str) -> Log:
    """
    Return the log of this name.

    Raises:
        LogNotFoundError: There is none.
    """
    log = store.find_log(tx, log_name)
    if log is None:
        raise LogNotFoundError(f"there is no log {log_name!r}")
    return log


def has_log(tx: Transaction, log_name: str) -> bool:
    """Return whether there is a log of this name."""
    return store.find_log(tx, log_name) is not None


def list_logs(tx: Transaction) -> list[Log]:
    """Return every log, by name."""
    return store.list_logs(tx)


def list_keys(tx: Transaction, log_name: str) -> list[LogKey]:
    """
    Return the public keys of a log, the oldest first.

    Raises:
        LogNotFoundError: There is no such log.
    """
    return store.log_keys(tx, get_log(tx, log_name).log_id)


def freeze_log(tx: Transaction, log_name: str) -> Log:
    """
    Ask for the end of a log: pushes are refused from now on, and once no source is attached
    and its queue is empty the sequencer seals the `freeze` leaf and the last checkpoint.

    Raises:
        LogNotFoundError: There is no such log.
    """
    store.request_freeze(tx, get_log(tx, log_name).log_id)
    return get_log(tx, log_name)


def fail_log(tx: Transaction, log_id: int, damage: DamagedLogError) -> bool:
    """Stop a log that contradicts itself, with both sides of the contradiction; False: it was."""
    failure = {
        "code": damage.code(),
        "message": damage.message,
        "expected": damage.expected,
        "actual": damage.actual,
        "fork": forked_head(damage.expected),
    }
    return store.fail_log(tx, LogId(log_id), failure)


def forked_head(note: str) -> dict[str, Any] | None:
    """Return size and root of the head that somebody outside knows; None where *note* is none."""
    try:
        head = parse_checkpoint(parse_note(note.encode()).text)
    except MalformedError:
        return None
    return {"size": head.size, "root": head.root.hex()}


def recover_log(tx: Transaction, log_name: str, *, actor: str, reason: str) -> Log:
    """
    Take a failed log back to where it was, after an audit begun since was clean.

    Raises:
        LogNotFoundError: There is no such log.
        LogFailedError: No clean audit has begun since the failure, or another log continues it.
    """
    store.recover_log(tx, get_log(tx, log_name).log_id, actor=actor, reason=reason)
    return get_log(tx, log_name)
