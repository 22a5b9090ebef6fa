"""The SQL of asking witnesses; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.publish.witnesses.values import (
    Ask,
    Contradicted,
    Cosigned,
    Declined,
    Offer,
    Witness,
)
from tallystick.seal.logs import LogId, LogName
from tallystick.tlog import Hash, TreeSize, VerifierKey, parse_note


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    lock: Query
    due: Query
    published: Query
    store_cosignatures: Query
    witnesses_cosigned: Query
    witnesses_declined: Query
    notify: Query
    conflict: Query
    newest_size: Query
    log_vkeys: Query
    add_witness: Query
    remove_witness: Query
    clear_witness: Query
    witnesses: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Published:
    """A log and the size that it has published."""

    log_id: LogId
    log_name: LogName
    size: TreeSize


def lock(tx: Transaction) -> bool:
    """Return whether this session is the one that asks, until it ends."""
    return bool(tx.value(SQL.lock))


def due(tx: Transaction, log_name: str | None = None) -> list[Ask]:
    """Return who is to be asked for the newest checkpoint of his log; of one log, or of all."""
    return tx.rows(read_ask, SQL.due, {"log_name": log_name})


def read_ask(
    log_id: int,
    log_name: str,
    origin: str,
    quorum: int,
    size: int,
    root: bytes,
    note: str,
    name: str,
    vkey: str,
    url: str,
    last_size: int | None,
) -> Ask:
    """Return one row of `due`."""
    offer = Offer(
        LogId(log_id),
        LogName(log_name),
        origin,
        quorum,
        TreeSize(size),
        Hash(root),
        parse_note(note.encode()),
    )
    return Ask(offer, name, vkey, url, None if last_size is None else TreeSize(last_size))


def published(tx: Transaction, log_ids: Collection[LogId]) -> list[Published]:
    """Return the published sizes of some logs."""
    return tx.rows(Published, SQL.published, {"log_ids": sorted(log_ids)})


def store_cosigned(tx: Transaction, answers: Sequence[Cosigned]) -> None:
    """Store verified cosignatures, and how far their witnesses have come."""
    parameters = {
        "log_ids": [one.ask.offer.log_id for one in answers],
        "sizes": [one.ask.offer.size for one in answers],
        "names": [one.ask.name for one in answers],
    }
    lines = {"lines": [a.line for a in answers], "times": [a.time_seconds for a in answers]}
    tx.execute(SQL.store_cosignatures, parameters | lines)
    tx.execute(SQL.witnesses_cosigned, parameters)


def store_declined(tx: Transaction, answers: Sequence[Declined]) -> None:
    """Store why witnesses did not cosign."""
    tx.execute(
        SQL.witnesses_declined,
        {
            "log_ids": [one.ask.offer.log_id for one in answers],
            "names": [one.ask.name for one in answers],
            "messages": [one.message for one in answers],
            "seen": [one.seen for one in answers],
        },
    )


def store_conflict(tx: Transaction, answer: Contradicted, offered: str) -> bool:
    """Put a witness into conflict, with both sides; False: it was."""
    conflict = {
        "code": "witness_conflict",
        "message": answer.message,
        "told": answer.told,
        "offered": offered,
        "known": answer.known,
        "proven": answer.proven,
    }
    parameters = {"log_id": answer.ask.offer.log_id, "name": answer.ask.name}
    return bool(tx.value(SQL.conflict, parameters | {"conflict": Jsonb(conflict)}))


def notify(tx: Transaction, log_id: LogId, size: TreeSize) -> None:
    """Let publishers look when this transaction commits."""
    tx.execute(SQL.notify, {"log_id": log_id, "tree_size": size})


def newest_size(tx: Transaction, log_id: LogId) -> TreeSize:
    """Return the size of the log's head."""
    return TreeSize(tx.value(SQL.newest_size, {"log_id": log_id}))


def log_vkeys(tx: Transaction, log_id: LogId) -> list[str]:
    """Return every key that may have signed checkpoints of the log, the oldest first."""
    return tx.values(SQL.log_vkeys, {"log_id": log_id})


def add_witness(tx: Transaction, log_id: LogId, vkey: str, key: VerifierKey, url: str) -> None:
    """Add a witness, unless another of the log has its name or its key."""
    tx.execute(
        SQL.add_witness,
        {
            "log_id": log_id,
            "name": key.name,
            "vkey": vkey,
            "public_key": key.public_key,
            "key_id": key.key_id,
            "url": url,
        },
    )


def remove_witness(tx: Transaction, log_id: LogId, name: str) -> bool:
    """Ask a witness no more; False: there is none."""
    return bool(tx.value(SQL.remove_witness, {"log_id": log_id, "name": name}))


def clear_witness(tx: Transaction, log_id: LogId, name: str, *, actor: str, reason: str) -> bool:
    """End a conflict; False: no clean audit has begun since."""
    parameters = {"log_id": log_id, "name": name, "actor": actor, "reason": reason}
    return bool(tx.value(SQL.clear_witness, parameters))


def witnesses(tx: Transaction, log_id: LogId) -> list[Witness]:
    """Return the witnesses of a log by name."""
    return tx.rows(Witness, SQL.witnesses, {"log_id": log_id})
