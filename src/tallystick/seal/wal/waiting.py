"""
Waiting until the WAL is read: what was committed before now is then in the queue.

A mark is written and committed, and somebody reads past it: the reader that runs, or, where
none does, we ourselves. Who holds a lock on rows or a table meanwhile knows everything that
was committed on them. Follows docs/adr/0016.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import make_conninfo

from tallystick.db import Transaction
from tallystick.db.database import raise_translated, session_settings
from tallystick.seal.errors import BusyReaderError, WalBehindError, WalUnavailableError
from tallystick.seal.wal import store
from tallystick.seal.wal.reader import WalReader

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.seal.wal.messages import Lsn

PATIENCE_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.01


def write_mark(tx: Transaction) -> Lsn:
    """Write a mark in a transaction of its own, on a connection like that of *tx*; its place."""
    with beside(tx) as connection:
        return store.mark(Transaction(connection))


def wait_until_read(tx: Transaction, *, patience_seconds: float = PATIENCE_SECONDS) -> Lsn:
    """
    Return once all that was committed before now is queued, with the mark's place.

    A statement of *tx* that begins afterwards sees those rows, if it is READ COMMITTED.

    Raises:
        WalBehindError: Nobody has read so far in time, and we may not.
        WalLostError: The slot is gone; what was changed meanwhile is found by a reconcile.
    """
    deadline = time.monotonic() + patience_seconds
    try:
        with beside(tx) as connection:
            beside_tx = Transaction(connection)
            place = store.mark(beside_tx)
            while not has_read(beside_tx, place):
                if time.monotonic() > deadline:
                    raise WalBehindError
                if not read_ourselves(tx, place, deadline):
                    time.sleep(LOOK_SECONDS)
    except psycopg.Error as raised:
        raise_translated(raised)
    return place


def unchanged_keys(tx: Transaction, source_no: int, keys: Sequence[str]) -> set[str]:
    """
    Return those of *keys* of which log and queue say nothing newer than in the snapshot of *tx*.

    The table may be ahead of the queue by what is not read yet, so a difference proves something
    only if nothing of the key comes once all that the snapshot shows is read. For a source that
    is not captured from the WAL that is all keys, at once.

    Raises:
        WalBehindError: As `wait_until_read`.
    """
    said = store.last_said(tx, source_no, keys)
    if not said:
        return set(keys)
    wait_until_read(tx)
    with beside(tx) as connection:
        now = store.last_said(Transaction(connection), source_no, keys)
    return {key for key in keys if now.get(key) == said.get(key)}


def has_read(tx: Transaction, place: Lsn) -> bool:
    """Return whether the position has passed *place*."""
    position = store.position(tx)
    return position is not None and position >= place


def read_ourselves(tx: Transaction, place: Lsn, deadline: float) -> bool:
    """Read up to *place* if nobody else reads; return whether that was so."""
    try:
        with WalReader(url_of(tx)) as reader:
            return reader.read_past(place, deadline=deadline)
    except (BusyReaderError, WalUnavailableError):
        return False


def beside(tx: Transaction) -> psycopg.Connection[Any]:
    """Open a connection like that of *tx*, each statement a transaction of its own."""
    return psycopg.connect(url_of(tx), **{**session_settings("tallystick-wal"), "autocommit": True})


def url_of(tx: Transaction) -> str:
    """Return how the connection of *tx* was made."""
    info = tx.connection.info
    return make_conninfo(info.dsn, password=info.password or None, options="")
