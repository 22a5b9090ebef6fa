"""The SQL of our own witness; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Ed25519Signer
from tallystick.tlog import Checkpoint, Hash, TreeSize, format_verifier_key


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    watched: Query
    watched_locked: Query
    watched_by_hash: Query
    all_watched: Query
    some_watched: Query
    now_seconds: Query
    remember: Query
    watch: Query
    active_key: Query
    create_key: Query
    activate_key: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class WatchedLog:
    """What our witness knows of a log; *root* and *note* are None before its first cosignature."""

    origin: str
    vkeys: tuple[str, ...]
    size: TreeSize
    root: Hash | None
    note: str | None
    cosigned_at: datetime.datetime | None
    enabled: bool
    contact: str | None


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """The key that our witness signs with."""

    key_id: bytes
    name: str
    vkey: str


def watched(tx: Transaction, origin: str) -> WatchedLog | None:
    """Return what is known of a log; None where it is not watched."""
    return tx.row(read_watched, SQL.watched, {"origin": origin})


def watched_locked(tx: Transaction, origin: str) -> WatchedLog | None:
    """As `watched`, and keep everybody else from cosigning it until this transaction ends."""
    return tx.row(read_watched, SQL.watched_locked, {"origin": origin})


def all_watched(tx: Transaction) -> list[WatchedLog]:
    """Return every watched log, by origin."""
    return tx.rows(read_watched, SQL.all_watched)


def some_watched(
    tx: Transaction, *, after: str, without: Sequence[str], limit: int
) -> list[WatchedLog]:
    """Return watched logs by origin, those behind *after*, none of *without*."""
    parameters = {"after": after, "without": list(without), "limit": limit}
    return tx.rows(read_watched, SQL.some_watched, parameters)


def read_watched(
    origin: str,
    vkeys: list[str],
    size: int,
    root: bytes | None,
    note: str | None,
    cosigned_at: datetime.datetime | None,
    enabled: bool,  # noqa: FBT001 (a column)
    contact: str | None,
) -> WatchedLog:
    """Return one row of `witnessed_logs`."""
    known = None if root is None else Hash(bytes(root))
    watch = (origin, tuple(vkeys), TreeSize(size), known, note, cosigned_at, enabled, contact)
    return WatchedLog(*watch)


def cosigned_note(tx: Transaction, origin_hash: bytes) -> str | None:
    """Return the checkpoint that was cosigned last, by the hash of its origin."""
    note: str | None = tx.value(SQL.watched_by_hash, {"origin_hash": origin_hash})
    return note


def now_seconds(tx: Transaction) -> int:
    """Return the time in seconds since 1970."""
    return int(tx.value(SQL.now_seconds))


def remember(tx: Transaction, checkpoint: Checkpoint, note: str) -> None:
    """Remember what is cosigned."""
    parameters = {
        "origin": checkpoint.origin,
        "tree_size": checkpoint.size,
        "root_hash": checkpoint.root,
        "note": note,
    }
    touched = tx.execute(SQL.remember, parameters)
    assert touched == 1, "the row is locked"


def watch(
    tx: Transaction, origin: str, vkeys: list[str], *, contact: str | None, enabled: bool
) -> None:
    """Watch a log, or change how."""
    parameters = {"origin": origin, "vkeys": vkeys, "contact": contact, "enabled": enabled}
    tx.execute(SQL.watch, parameters)


def active_key(tx: Transaction, name: str | None = None) -> WitnessKey | None:
    """Return the newest key that may sign, of *name* or of any; None where there is none."""
    return tx.row(WitnessKey, SQL.active_key, {"name": name})


def add_key(tx: Transaction, signer: Ed25519Signer) -> WitnessKey:
    """Make a key known and let it sign."""
    vkey = format_verifier_key(signer.verifier_key)
    parameters = {
        "name": signer.name,
        "key_id": signer.key_id,
        "public_key": signer.public_key,
        "vkey": vkey,
    }
    tx.execute(SQL.create_key, parameters)
    tx.execute(SQL.activate_key, {"name": signer.name, "key_id": signer.key_id})
    return WitnessKey(signer.key_id, signer.name, vkey)
