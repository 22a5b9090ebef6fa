"""The SQL of publishing: reads by key, none of them of anything that sealing locks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.publish.heads import PublishedHead
from tallystick.publish.values import (
    Health,
    LeafVersion,
    LogGauges,
    RowKey,
    SearchFilter,
    ServerGauges,
    SignedCheckpoint,
    WaitedFor,
    WitnessState,
)
from tallystick.seal.index import MapTiles
from tallystick.seal.logs import LogId
from tallystick.tlog import Hash, LeafIndex, Tile, TreeSize

START_BYTES = 4
"""How much of a leaf hash the index holds: `tally.hash_start`."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    listen: Query
    changed_heads: Query
    tiles: Query
    leaves: Query
    entries: Query
    checkpoint_from: Query
    checkpoints: Query
    cosignature_lines: Query
    size_of_root: Query
    indexes_of_hash: Query
    indexes_of_key: Query
    last_index_of_key: Query
    is_index_of_key: Query
    row_history: Query
    row_at: Query
    search: Query
    map_served: Query
    map_entries: Query
    map_tiles: Query
    map_excludes: Query
    key_leaves: Query
    witnesses: Query
    health: Query
    waited_for: Query
    log_gauges: Query
    server_gauges: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One leaf as it is stored."""

    index: LeafIndex
    leaf: bytes
    leaf_hash: Hash


@dataclass(frozen=True, slots=True)
class ServedMap:
    """A sealed map of a log's keys: what it covers, its root, and where its leaf stands."""

    size: TreeSize
    root: Hash
    leaf_index: LeafIndex


def listen(tx: Transaction) -> None:
    """Hear of new heads from now on."""
    tx.execute(SQL.listen)


def changed_heads(tx: Transaction, known: Iterable[PublishedHead]) -> list[PublishedHead]:
    """Return the published head of every log that differs from *known*."""
    heads = list(known)
    return tx.rows(
        PublishedHead,
        SQL.changed_heads,
        {
            "log_ids": [head.log_id for head in heads],
            "sizes": [head.size for head in heads],
            "cosignatures": [head.cosignature_count for head in heads],
            "versions": [head.version for head in heads],
        },
    )


def read_tiles(
    tx: Transaction, wanted: Sequence[tuple[LogId, Tile]]
) -> dict[tuple[LogId, int, int], bytes]:
    """Return the stored rows of *wanted*, by log, level and index; whole, whatever the width."""
    found = tx.rows(
        lambda log_id, level, index, hashes: ((LogId(log_id), level, index), bytes(hashes)),
        SQL.tiles,
        {
            "log_ids": [log_id for log_id, _ in wanted],
            "levels": [tile.level for _, tile in wanted],
            "indexes": [tile.index for _, tile in wanted],
        },
        binary=True,
    )
    return dict(found)


def read_leaves(tx: Transaction, log_id: LogId, *, first: int, end: int) -> list[bytes]:
    """Return the bytes of the leaves from *first* up to *end*, as far as they are stored."""
    return [bytes(leaf) for leaf in tx.values(SQL.leaves, _span(log_id, first=first, end=end))]


def read_entries(
    tx: Transaction, log_id: LogId, *, first: int, end: int, limit: int, max_bytes: int
) -> list[Entry]:
    """Return leaves from *first* on: at most *limit*, and no further once *max_bytes* are full."""
    parameters = {**_span(log_id, first=first, end=end), "limit": limit, "max_bytes": max_bytes}
    return tx.rows(Entry, SQL.entries, parameters)


def checkpoint_from(
    tx: Transaction, log_id: LogId, *, at_least: int, published: TreeSize
) -> SignedCheckpoint | None:
    """Return the smallest signed checkpoint of *at_least* leaves that is published."""
    return tx.row(
        SignedCheckpoint,
        SQL.checkpoint_from,
        {"log_id": log_id, "at_least": at_least, "published": published},
    )


def checkpoints(
    tx: Transaction, log_id: LogId, *, at_most: int, limit: int
) -> list[SignedCheckpoint]:
    """Return signed checkpoints from size *at_most* downwards."""
    parameters = {"log_id": log_id, "at_most": at_most, "limit": limit}
    return tx.rows(SignedCheckpoint, SQL.checkpoints, parameters)


def cosignature_lines(tx: Transaction, log_id: LogId, size: TreeSize) -> list[str]:
    """Return the newest cosignature of each witness under the checkpoint of *size*."""
    return tx.values(SQL.cosignature_lines, {"log_id": log_id, "tree_size": size})


def size_of_root(
    tx: Transaction, log_id: LogId, root: bytes, *, published: TreeSize
) -> TreeSize | None:
    """Return the size at which *root* was signed; None where it never was."""
    parameters = {"log_id": log_id, "root_hash": root, "published": published}
    size = tx.value(SQL.size_of_root, parameters)
    return None if size is None else TreeSize(size)


def indexes_of_hash(
    tx: Transaction, log_id: LogId, leaf_hash: bytes, *, size: TreeSize, limit: int
) -> list[LeafIndex]:
    """Return the indexes of the leaves with *leaf_hash*, at most *limit*."""
    return tx.values(
        SQL.indexes_of_hash,
        {
            "log_id": log_id,
            "leaf_hash": leaf_hash,
            "start": int.from_bytes(leaf_hash[:START_BYTES], "big", signed=True),
            "tree_size": size,
            "limit": limit,
        },
    )


def indexes_of_key(
    tx: Transaction, log_id: LogId, key: RowKey, *, size: TreeSize, limit: int
) -> list[LeafIndex]:
    """Return the indexes of the leaves of *key*, the oldest first, at most *limit*."""
    return tx.values(SQL.indexes_of_key, {**_key(log_id, key), "tree_size": size, "limit": limit})


def last_index_of_key(
    tx: Transaction, log_id: LogId, key: RowKey, *, size: TreeSize
) -> LeafIndex | None:
    """Return the index of the newest leaf of *key*."""
    index = tx.value(SQL.last_index_of_key, {**_key(log_id, key), "tree_size": size})
    return None if index is None else LeafIndex(index)


def is_index_of_key(tx: Transaction, log_id: LogId, key: RowKey, index: LeafIndex) -> bool:
    """Return whether the leaf at *index* is one of *key*."""
    return bool(tx.value(SQL.is_index_of_key, {**_key(log_id, key), "leaf_index": index}))


def row_history(
    tx: Transaction,
    chain: Sequence[PublishedHead],
    afters: Sequence[int],
    key: RowKey,
    *,
    limit: int,
) -> list[LeafVersion]:
    """Return versions of *key* in the logs of *chain*, in each behind its index in *afters*."""
    return tx.rows(
        LeafVersion,
        SQL.row_history,
        {
            "log_ids": [head.log_id for head in chain],
            "sizes": [head.size for head in chain],
            "afters": list(afters),
            "source_table": key.table,
            "source_key": key.text,
            "limit": limit,
        },
    )


def row_at(tx: Transaction, log_id: LogId, key: RowKey, *, size: TreeSize) -> LeafVersion | None:
    """Return the newest leaf of *key*, or a truncate of its table behind that."""
    return tx.row(LeafVersion, SQL.row_at, {**_key(log_id, key), "tree_size": size})


def search(
    tx: Transaction, log_id: LogId, wanted: SearchFilter, *, first: int, before: int, limit: int
) -> list[LeafVersion]:
    """Return the leaves of `[first, before)` that match, the newest first, at most *limit*."""
    return tx.rows(
        LeafVersion,
        SQL.search,
        {
            "log_id": log_id,
            "first": first,
            "before": before,
            "source_table": wanted.table,
            "op": wanted.op_letter,
            "control": wanted.control_op,
            "role": wanted.role,
            "actor": wanted.actor,
            "at_from": wanted.at_from,
            "at_to": wanted.at_to,
            "columns": Jsonb(dict(wanted.columns)) if wanted.columns else None,
            "reads_record": wanted.reads_record,
            "limit": limit,
        },
    )


def map_served(tx: Transaction, log_id: LogId, *, published: TreeSize) -> ServedMap | None:
    """Return the newest map whose leaf is among the *published*; None where there is none."""
    return tx.row(ServedMap, SQL.map_served, {"log_id": log_id, "published": published})


def map_entries(tx: Transaction, log_id: LogId, *, map_size: int, bucket: int) -> bytes:
    """Return the entries of one bucket of a map, side by side."""
    parameters = {"log_id": log_id, "map_size": map_size, "bucket": bucket}
    return bytes(tx.value(SQL.map_entries, parameters))


def map_tiles(
    tx: Transaction, log_id: LogId, *, map_size: int, places: Sequence[tuple[int, int]]
) -> MapTiles:
    """Return tiles of the tree over a map's buckets, by level and index, as far as stored."""
    found = tx.rows(
        lambda level, index, hashes: ((int(level), int(index)), bytes(hashes)),
        SQL.map_tiles,
        {
            "log_id": log_id,
            "map_size": map_size,
            "levels": [level for level, _ in places],
            "indexes": [index for _, index in places],
        },
    )
    return MapTiles(dict(found))


def map_excludes(tx: Transaction, log_id: LogId, key: RowKey, *, map_size: int) -> bool:
    """Return whether leaves of the key, or of its table, are digests."""
    return bool(tx.value(SQL.map_excludes, {**_key(log_id, key), "map_size": map_size}))


def key_leaves(
    tx: Transaction, log_id: LogId, key: RowKey, *, map_size: int, limit: int, max_bytes: int
) -> list[Entry]:
    """
    Return the leaves of *key* that a map covers, the oldest first, at most *limit*, and none
    behind the one with which they have over *max_bytes*.
    """
    parameters = {
        **_key(log_id, key),
        "map_size": map_size,
        "limit": limit,
        "max_bytes": max_bytes,
    }
    return tx.rows(Entry, SQL.key_leaves, parameters)


def witnesses(tx: Transaction, log_id: LogId, *, after: str, limit: int) -> list[WitnessState]:
    """Return the witnesses of a log by name, behind *after*."""
    parameters = {"log_id": log_id, "after": after, "limit": limit}
    return tx.rows(WitnessState, SQL.witnesses, parameters)


def health(tx: Transaction) -> Health:
    """Return how the whole system does."""
    found = tx.row(Health, SQL.health)
    assert found is not None, "a SELECT without FROM has one row"
    return found


def waited_for(tx: Transaction, *, limit: int) -> list[WaitedFor]:
    """Return the witnesses for which heads wait, by log and name."""
    return tx.rows(WaitedFor, SQL.waited_for, {"limit": limit})


def log_gauges(tx: Transaction) -> list[LogGauges]:
    """Return the measures of every log."""
    return tx.rows(LogGauges, SQL.log_gauges)


def server_gauges(tx: Transaction) -> ServerGauges:
    """Return the measures that belong to no log."""
    found = tx.row(ServerGauges, SQL.server_gauges)
    assert found is not None, "a SELECT without FROM has one row"
    return found


def _span(log_id: LogId, *, first: int, end: int) -> Mapping[str, object]:
    return {"log_id": log_id, "first": first, "end": end}


def _key(log_id: LogId, key: RowKey) -> Mapping[str, object]:
    return {"log_id": log_id, "source_table": key.table, "source_key": key.text}
