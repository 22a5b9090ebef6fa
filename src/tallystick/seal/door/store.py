"""The SQL of the push door; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.door.entry import EntryTicket
from tallystick.seal.logs.log import LogId
from tallystick.seal.sequencer.floor import Seq
from tallystick.tlog import LeafIndex, TreeSize


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    append_entries: Query
    log_id: Query
    find_sealed: Query
    ask_for_sealing: Query
    wait_shortly: Query
    listen: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A leaf that was waited for, or, without *seq*, that a log has none of them up to *size*."""

    log_id: LogId
    size: TreeSize
    seq: Seq | None
    index: LeafIndex | None


def append_entries(
    tx: Transaction,
    log_id: LogId,
    entries: Sequence[bytes],
    deduplicate: Sequence[bool],
    *,
    max_backlog: int,
) -> list[EntryTicket]:
    """
    Queue *entries* in their order, and return the ticket of each.

    Raises:
        LogFrozenError, LogFailedError, EntriesNotAcceptedError: The log takes none.
        LogBusyError: *max_backlog* rows wait.
    """
    [(size, seqs, indexes)] = tx.rows(
        lambda *columns: columns,
        SQL.append_entries,
        {
            "log_id": log_id,
            "entries": list(entries),
            "deduplicate": list(deduplicate),
            "max_backlog": max_backlog,
        },
        binary=True,
    )
    return [EntryTicket(log_id, seq, size, index) for seq, index in zip(seqs, indexes, strict=True)]


def find_log(tx: Transaction, log_name: str) -> LogId | None:
    """Return the number of a log; None where there is none of this name."""
    log_id = tx.value(SQL.log_id, {"log_name": log_name})
    return None if log_id is None else LogId(log_id)


def find_sealed(
    tx: Transaction, sizes: Mapping[LogId, TreeSize], seqs: Sequence[Seq]
) -> list[Sealed]:
    """Return which of *seqs* are leaves now, looking in each log from its size in *sizes* on."""
    parameters = {
        "log_ids": list(sizes),
        "sizes": [int(size) for size in sizes.values()],
        "seqs": [int(seq) for seq in seqs],
    }
    return tx.rows(Sealed, SQL.find_sealed, parameters, binary=True)


def ask_for_sealing(tx: Transaction, log_ids: Sequence[LogId]) -> None:
    """Let sequencers look at these logs before their intervals are over."""
    tx.execute(SQL.ask_for_sealing, {"log_ids": list(log_ids)})


def wait_shortly(tx: Transaction, milliseconds: int) -> None:
    """Give up statements of this session that wait so long for a lock."""
    tx.execute(SQL.wait_shortly, {"milliseconds": milliseconds})


def listen(tx: Transaction) -> None:
    """Hear of new heads from now on."""
    tx.execute(SQL.listen)
