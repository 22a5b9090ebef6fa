"""
Keys in turn: a log gets a new key, signs with old and new, and lets the old one rest.

Follows log.md, sections 3.2 and 5.8. A key's period is the sizes whose checkpoints it signed, so
it changes only while no batch is in flight: both operations hold the sequencer's own lock until
their transaction ends. Batches are looked at again after their pause; nobody else waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.seal.errors import InvalidLogError, LogKeyNotFoundError
from tallystick.seal.logs import store
from tallystick.seal.logs.operations import get_log
from tallystick.tlog import ALGORITHM_ED25519

if TYPE_CHECKING:
    from tallystick.db import Transaction
    from tallystick.seal.logs.keys import KeyRing
    from tallystick.seal.logs.log import LogKey


def create_key(tx: Transaction, log_name: str, *, keys: KeyRing) -> LogKey:
    """
    Make another key for a log, and return it; it is pending and signs nothing yet.

    Its private half is a file of *keys*, which every worker of the log must have before the
    key is activated.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidLogError: It was plainly inserted, and no worker has opened it yet.
        KeyPermissionsError: The key directory is open to others.
    """
    log = get_log(tx, log_name)
    if log.origin is None or not store.log_keys(tx, log.log_id):
        raise InvalidLogError(f"log {log_name} has no head yet: a worker opens it first")
    made = keys.create(log.origin)
    store.create_key(
        tx,
        purpose="log",
        log_id=log.log_id,
        name=log.origin,
        algorithm=ALGORITHM_ED25519,
        key=made,
    )
    return find_key(tx, log_name, made.key_id)


def activate_key(tx: Transaction, log_name: str, key_id: bytes, *, keys: KeyRing) -> LogKey:
    """
    Let a key sign from the log's next checkpoint on, beside those that sign already.

    Raises:
        LogNotFoundError, LogKeyNotFoundError: There is no such log, or no such key of it.
        KeyNotFoundError, KeyPermissionsError, MalformedKeyError: Its file is not to be used.
        IllegalTransitionError: It was retired.
    """
    key = find_key(tx, log_name, key_id)
    # A key whose file nobody can use would stop the log.
    keys.load(key_id)
    store.activate_key(tx, name=key.name, key_id=key_id)
    return find_key(tx, log_name, key_id)


def retire_key(tx: Transaction, log_name: str, key_id: bytes) -> LogKey:
    """
    Let a key sign no more; its period ends with the last checkpoint that it signed.

    Raises:
        LogNotFoundError, LogKeyNotFoundError: There is no such log, or no such key of it.
        LastKeyError: No other key of the log is active.
        IllegalTransitionError: It was never activated.
    """
    key = find_key(tx, log_name, key_id)
    store.retire_key(tx, name=key.name, key_id=key_id)
    return find_key(tx, log_name, key_id)


def find_key(tx: Transaction, log_name: str, key_id: bytes) -> LogKey:
    """
    Return the key of a log by its id.

    Raises:
        LogNotFoundError, LogKeyNotFoundError: There is no such log, or no such key of it.
    """
    for key in store.log_keys(tx, get_log(tx, log_name).log_id):
        if key.key_id == key_id:
            return key
    raise LogKeyNotFoundError(f"log {log_name} has no key {key_id.hex()}")
