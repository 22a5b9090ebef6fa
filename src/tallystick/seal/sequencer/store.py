"""The SQL of the sequencer; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.logs.log import LogId, LogName
from tallystick.seal.sequencer.floor import Seq, TransactionId
from tallystick.tlog import Tile, TileWrite


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    lock_log: Query
    read_head: Query
    active_key_ids: Query
    read_tiles: Query
    take_batch: Query
    new_tiles: Query
    grown_tiles: Query
    insert_checkpoint: Query
    notify: Query
    attached_sources: Query
    queue_freeze_leaf: Query
    freeze_log: Query
    sealable_logs: Query
    probe: Query
    listen: Query
    sealing_status: Query
    set_sealing: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Head:
    """The log and its last checkpoint, as the sealing transaction finds them."""

    log_name: LogName
    origin: str
    status: str
    enabled: bool
    batch_size: int
    freeze_requested: bool
    size: int
    root: bytes
    note: str
    drawn: Seq
    sequence_cache: int
    place: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one statement took from the queue and wrote into the log."""

    taken: int
    placed: int
    highest: Seq | None
    oldest_captured_at: datetime.datetime | None
    leaf_hashes: bytes
    xmin: TransactionId
    own: TransactionId

    @property
    def quarantined(self) -> int:
        """Rows that could not be sealed."""
        return self.taken - self.placed


@dataclass(frozen=True, slots=True)
class Sealable:
    """A log that a sequencer looks at."""

    log_id: LogId
    log_name: LogName
    batch_interval_ms: int
    freeze_requested: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a probe saw of one log's queue."""

    log_id: LogId
    oldest_captured_at: datetime.datetime | None
    xmin: TransactionId
    place: str


@dataclass(frozen=True, slots=True)
class Sealing:
    """Whether sequencers seal: running, paused or stopping, and since when."""

    status: str
    changed_at: datetime.datetime

    def admits(self, captured_at: datetime.datetime) -> bool:
        """Return whether a row captured then is sealed now."""
        return self.status == "running" or (
            self.status == "stopping" and captured_at <= self.changed_at
        )


def lock_log(tx: Transaction, log_id: LogId) -> bool:
    """Return whether this transaction has the log to itself."""
    return bool(tx.value(SQL.lock_log, {"log_id": log_id}))


def read_head(tx: Transaction, log_id: LogId) -> Head | None:
    """Return the log's head; None where the log has no checkpoint."""
    return tx.row(Head, SQL.read_head, {"log_id": log_id})


def active_key_ids(tx: Transaction, log_id: LogId) -> list[bytes]:
    """Return the ids of the keys that sign the next checkpoint."""
    return tx.values(SQL.active_key_ids, {"log_id": log_id})


@dataclass(frozen=True, slots=True)
class TileReader:
    """Reads the tiles of one log in the caller's transaction (a `tlog.HashReader`)."""

    tx: Transaction
    log_id: LogId

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the row of each tile, in their order; empty where there is none."""
        found = self.tx.rows(
            lambda level, index, hashes: ((level, index), bytes(hashes)),
            SQL.read_tiles,
            {
                "log_id": self.log_id,
                "levels": [tile.level for tile in tiles],
                "indexes": [tile.index for tile in tiles],
                "widths": [tile.width for tile in tiles],
            },
        )
        rows = dict(found)
        return [rows.get((tile.level, tile.index), b"") for tile in tiles]


def take_batch(
    tx: Transaction, log_id: LogId, *, log_name: str, floor: Seq, batch_size: int, tree_size: int
) -> Batch:
    """Move up to *batch_size* rows from the queue into the log, from *tree_size* on."""
    batch = tx.row(
        Batch,
        SQL.take_batch,
        {
            "log_id": log_id,
            "log_name": log_name,
            "floor": floor,
            "batch_size": batch_size,
            "tree_size": tree_size,
        },
    )
    assert batch is not None, "an aggregate always has a row"
    return batch


def write_tiles(tx: Transaction, log_id: LogId, writes: Sequence[TileWrite]) -> None:
    """Write what the tiles gained; each grown tile must have had the width that *writes* says."""
    new = [write for write in writes if write.offset == 0]
    grown = [write for write in writes if write.offset > 0]
    inserted = tx.execute(SQL.new_tiles, tile_parameters(log_id, new)) if new else 0
    parameters = tile_parameters(log_id, grown) | {"offsets": [w.offset for w in grown]}
    updated = tx.execute(SQL.grown_tiles, parameters) if grown else 0
    assert (inserted, updated) == (len(new), len(grown)), "the edge and the tiles agree"


def tile_parameters(log_id: LogId, writes: Sequence[TileWrite]) -> dict[str, object]:
    """Return *writes* as the arrays that the statements unnest."""
    return {
        "log_id": log_id,
        "levels": [write.level for write in writes],
        "indexes": [write.index for write in writes],
        "hashes": [write.appended for write in writes],
    }


def insert_checkpoint(
    tx: Transaction,
    log_id: LogId,
    *,
    tree_size: int,
    root: bytes,
    note: str,
    batch_rows: int,
    seal_ms: int,
) -> datetime.datetime:
    """Write the new head and return when it was signed."""
    signed_at = tx.value(
        SQL.insert_checkpoint,
        {
            "log_id": log_id,
            "tree_size": tree_size,
            "root_hash": root,
            "note": note,
            "batch_rows": batch_rows,
            "seal_ms": seal_ms,
        },
    )
    assert isinstance(signed_at, datetime.datetime)
    return signed_at


def notify(tx: Transaction, log_id: LogId, *, tree_size: int) -> None:
    """Tell readers of a new head when this transaction commits."""
    tx.execute(SQL.notify, {"log_id": log_id, "tree_size": tree_size})


def attached_sources(tx: Transaction, log_id: LogId) -> int:
    """Return what the log's freeze waits for: its sources, and its successor's genesis."""
    return int(tx.value(SQL.attached_sources, {"log_id": log_id}))


def queue_freeze_leaf(tx: Transaction, log_id: LogId) -> None:
    """Queue the log's last leaf."""
    tx.execute(SQL.queue_freeze_leaf, {"log_id": log_id})


def freeze_log(tx: Transaction, log_id: LogId) -> None:
    """End the log."""
    tx.execute(SQL.freeze_log, {"log_id": log_id})


def sealable_logs(tx: Transaction) -> list[Sealable]:
    """Return the logs that a sequencer looks at."""
    return tx.rows(Sealable, SQL.sealable_logs)


def probe(tx: Transaction, floors: dict[LogId, Seq]) -> list[Waiting]:
    """Return for each log whether a row waits above its floor."""
    return tx.rows(
        Waiting, SQL.probe, {"log_ids": list(floors), "floors": [int(f) for f in floors.values()]}
    )


def listen(tx: Transaction) -> None:
    """Hear of pushes from now on."""
    tx.execute(SQL.listen)


def sealing_status(tx: Transaction) -> Sealing:
    """Return whether sequencers seal."""
    sealing = tx.row(Sealing, SQL.sealing_status)
    assert sealing is not None, "the schema comes with the row"
    return sealing


def set_sealing(tx: Transaction, status: str, *, actor: str) -> str:
    """Pause, resume or stop sealing in every process, and return the status."""
    return str(tx.value(SQL.set_sealing, {"status": status, "actor": actor}))
