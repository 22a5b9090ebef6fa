"""The SQL of maps; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.index.decision import IndexState, Step
from tallystick.seal.index.tiles import MapTiles, Place


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    lock_index: Query
    index_state: Query
    extend_entries: Query
    touched_buckets: Query
    hash_buckets: Query
    read_tiles: Query
    write_tiles: Query
    set_covered: Query
    place_map: Query
    seal_map: Query
    due_logs: Query
    set_interval: Query
    forget_entries: Query
    forget_tiles: Query
    forget_index: Query
    forget_maps: Query
    sealed_maps: Query
    recompute_buckets: Query
    kept_buckets: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class SealedMap:
    """A control leaf that names the root of a map."""

    leaf_index: int
    leaf: bytes


def lock_index(tx: Transaction, log_id: int, *, wait: bool) -> bool:
    """Return whether this transaction has the log's map to itself; with *wait* it waits for it."""
    return bool(tx.value(SQL.lock_index, {"log_id": log_id, "wait": wait}))


def index_state(tx: Transaction, log_name: str) -> IndexState | None:
    """Return how far the log's map has come; None where there is no such log."""
    return tx.row(IndexState, SQL.index_state, {"log_name": log_name})


def extend_entries(tx: Transaction, log_id: int, step: Step) -> list[int]:
    """Put the leaves of *step* into their keys' chains, and return the buckets that changed."""
    return tx.values(
        SQL.extend_entries,
        {"log_id": log_id, "first": step.first, "end": step.end, "served": step.served},
    )


def touched_buckets(tx: Transaction, log_id: int, *, since: int) -> list[int]:
    """Return the buckets that changed since the map of a size."""
    return tx.values(SQL.touched_buckets, {"log_id": log_id, "since": since})


def hash_buckets(tx: Transaction, log_id: int, buckets: Sequence[int]) -> dict[int, bytes]:
    """Return the leaf hashes of *buckets*."""
    found = tx.rows(
        lambda bucket, hashed: (int(bucket), bytes(hashed)),
        SQL.hash_buckets,
        {"log_id": log_id, "buckets": list(buckets)},
    )
    return dict(found)


def read_tiles(tx: Transaction, log_id: int, places: Sequence[Place]) -> MapTiles:
    """Return the tiles at *places*, as far as they are stored."""
    found = tx.rows(
        lambda level, index, hashes: ((int(level), int(index)), bytes(hashes)),
        SQL.read_tiles,
        {
            "log_id": log_id,
            "levels": [level for level, _ in places],
            "indexes": [index for _, index in places],
        },
    )
    return MapTiles(dict(found))


def write_tiles(tx: Transaction, log_id: int, step: Step, tiles: Mapping[Place, bytes]) -> None:
    """Replace *tiles*."""
    tx.execute(
        SQL.write_tiles,
        {
            "log_id": log_id,
            "levels": [level for level, _ in tiles],
            "indexes": [index for _, index in tiles],
            "hashes": list(tiles.values()),
            "end": step.end,
            "served": step.served,
        },
    )


def set_covered(tx: Transaction, log_id: int, size: int) -> None:
    """Say that entries and tiles cover the leaves below *size*."""
    tx.execute(SQL.set_covered, {"log_id": log_id, "end": size})


def place_map(tx: Transaction, state: IndexState) -> None:
    """Remember where the newest map's leaf was sealed."""
    tx.execute(
        SQL.place_map,
        {"log_id": state.log_id, "tree_size": state.map_size, "leaf_index": state.map_index},
    )


def seal_map(tx: Transaction, log_id: int, *, size: int, root: bytes) -> None:
    """Queue the root of the map of *size* leaves."""
    tx.execute(SQL.seal_map, {"log_id": log_id, "tree_size": size, "root": root})


def due_logs(tx: Transaction) -> list[str]:
    """Return the logs whose map is to be computed now."""
    return tx.values(SQL.due_logs)


def set_interval(tx: Transaction, log_name: str, seconds: int | None) -> None:
    """Set how often the map of the log is computed."""
    tx.execute(SQL.set_interval, {"log_name": log_name, "seconds": seconds})


def forget(tx: Transaction, log_id: int) -> None:
    """Delete everything that was derived for the log's map; its sealed leaves stay."""
    for query in (SQL.forget_entries, SQL.forget_tiles, SQL.forget_index, SQL.forget_maps):
        tx.execute(query, {"log_id": log_id})


def sealed_maps(tx: Transaction, log_id: int, *, size: int, limit: int) -> list[SealedMap]:
    """Return the control leaves below *size* that name roots of maps, the newest first."""
    parameters = {"log_id": log_id, "size": size, "limit": limit}
    return tx.rows(
        lambda index, leaf: SealedMap(int(index), bytes(leaf)), SQL.sealed_maps, parameters
    )


def recompute_buckets(tx: Transaction, log_id: int, size: int) -> dict[int, bytes]:
    """Return the hash of each bucket that is not empty, made from the leaves below *size*."""
    return _buckets(tx, SQL.recompute_buckets, log_id, size)


def kept_buckets(tx: Transaction, log_id: int, size: int) -> dict[int, bytes]:
    """Return the hash of each bucket that is not empty, made from the entries kept for *size*."""
    return _buckets(tx, SQL.kept_buckets, log_id, size)


def _buckets(tx: Transaction, query: Query, log_id: int, size: int) -> dict[int, bytes]:
    found = tx.rows(
        lambda bucket, hashed: (int(bucket), bytes(hashed)),
        query,
        {"log_id": log_id, "size": size},
    )
    return dict(found)
