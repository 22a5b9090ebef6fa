"""
History files: all versions of a key by the newest published map of the log (docs/adr/0015).

Everything about the map is read in one snapshot, because it may be computed anew meanwhile; what
is read is held against the map's root before it is shown, so that no file leaves here that its
reader would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from tallystick.db import Database, Transaction
from tallystick.publish import store
from tallystick.publish.errors import (
    DamagedMapError,
    HistoryTooLargeError,
    KeyNotCoveredError,
    MapNotFoundError,
    PrunedError,
)
from tallystick.publish.heads import PublishedHead
from tallystick.publish.publisher import Publisher
from tallystick.publish.values import PUBLIC_SCHEMA, LeafProof, RowKey
from tallystick.record import MalformedMessageError, is_table_name, parse_record
from tallystick.record.history import (
    MAX_HISTORY_BYTES,
    MAX_SHOWN_LEAVES,
    HistoryFile,
    ShownBucket,
    ShownLeaf,
    format_history,
)
from tallystick.record.key_index import (
    TABLE_KEY,
    Entry,
    bucket_of,
    chain_indexes,
    hash_bucket,
    index_key,
    parse_bucket,
)
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.index import MapTiles
from tallystick.tlog import TILE_WIDTH, Hash, InclusionError, LeafIndex, TreeSize, check_inclusion

GENESIS: Final = "genesis"
FIRST_LEAF: Final = LeafIndex(0)
MAP_BUCKETS: Final = TreeSize(TILE_WIDTH * TILE_WIDTH)
EMPTY_TABLE_KEY: Final = "[]"
MAX_LEAF_BYTES_SHOWN: Final = MAX_HISTORY_BYTES // 4 * 3
"""What a history holds in base64; more is not even read, since anybody may ask."""
HAS_SCHEMA: Final = re.compile(r'([^".]+|"([^"]|"")+")[.]')
"""A first word that a dot follows is a schema, as in `tally.record_table`."""

Prove = Callable[[Sequence[LeafIndex]], Iterable[LeafProof]]


@dataclass(frozen=True, slots=True)
class MappedKey:
    """What a map says of one key: its bucket with the path, and the leaves."""

    bucket: ShownBucket
    leaves: Sequence[store.Entry]


@dataclass(frozen=True, slots=True)
class MappedHistory:
    """What one snapshot says of a key, of its table, of the map, and of the log's beginning."""

    served: store.ServedMap
    map_leaf: store.Entry
    first_leaf: store.Entry | None
    of_key: MappedKey
    of_table: MappedKey


def read_history(database: Database, head: PublishedHead, key: RowKey, *, prove: Prove) -> bytes:
    """
    Return the history file of *key* by the newest map in the tree of *head*.

    A key that the log never held has one too: it shows that.

    Raises:
        MapNotFoundError: No map of the log is sealed and published.
        KeyNotCoveredError: The table's leaves are digests.
        HistoryTooLargeError: The key has too many versions for one file.
        PrunedError: Some of its leaves were pruned.
        DamagedMapError: What is kept for the map does not lead to its root.
        InvalidRequestError: *key* is the empty key, which is no row's, or its table has a name
            that no table has.
    """
    if not is_table_name(record_table(key.table)):
        raise InvalidRequestError("the table is not schema.table as PostgreSQL quotes it")
    if key.text == EMPTY_TABLE_KEY:
        raise InvalidRequestError("a history is of a key, and every key has a column")
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        found = find_history(tx, head, key)
    shown = [
        *show([found.map_leaf], prove),
        *show([found.first_leaf] if is_genesis(found.first_leaf) else [], prove),
    ]
    try:
        return format_history(
            HistoryFile(
                table=record_table(key.table),
                key=tuple(columns_of(key)),
                note=head.checkpoint.decode(),
                map=shown[0],
                genesis=shown[1] if len(shown) > 1 else None,
                key_bucket=found.of_key.bucket,
                table_bucket=found.of_table.bucket,
                versions=tuple(show(found.of_key.leaves, prove)),
                table_leaves=tuple(show(found.of_table.leaves, prove)),
            )
        )
    except MalformedMessageError as cause:
        raise HistoryTooLargeError(cause.message) from cause


def history_file(publisher: Publisher, head: PublishedHead, key: RowKey) -> bytes:
    """
    Return the history file of *key* in the log of *head*.

    Raises:
        MapNotFoundError, KeyNotCoveredError, HistoryTooLargeError, PrunedError,
        DamagedMapError, InvalidRequestError: As `read_history`.
    """

    def read(known: PublishedHead) -> bytes:
        return read_history(
            publisher.read_database,
            known,
            key,
            prove=lambda indexes: publisher.prove_all(known, indexes),
        )

    try:
        return read(head)
    except DamagedMapError:
        # The head in memory may be older than the map that is kept: one that was published since
        # has taken the place of the one that the head knows.
        publisher.refresh()
        return read(publisher.published_head(head.log_name))


def newest_map(publisher: Publisher, head: PublishedHead) -> store.ServedMap | None:
    """Return the newest map of the log's keys that *head* has published; None without one."""
    return publisher.read_database.read(
        lambda tx: store.map_served(tx, head.log_id, published=head.size)
    )


def find_history(tx: Transaction, head: PublishedHead, key: RowKey) -> MappedHistory:
    """Read all of a history that is not a path in the log's own tree, in one snapshot."""
    served = store.map_served(tx, head.log_id, published=head.size)
    if served is None:
        raise MapNotFoundError(f"log {head.log_name} has no sealed map of its keys")
    if store.map_excludes(tx, head.log_id, key, map_size=served.size):
        raise KeyNotCoveredError(f"leaves of {key.table} in log {head.log_name} are digests")
    table_key = RowKey(key.table, EMPTY_TABLE_KEY)
    hashes = {
        one: index_key(record_table(key.table), columns)
        for one, columns in ((key, columns_of(key)), (table_key, TABLE_KEY))
    }
    places = [(0, bucket_of(hashed) // TILE_WIDTH) for hashed in hashes.values()]
    tiles = store.map_tiles(tx, head.log_id, map_size=served.size, places=[*places, (1, 0)])
    of_key, of_table = (
        find_key(tx, head, served, one, hashed, tiles) for one, hashed in hashes.items()
    )
    return MappedHistory(
        served=served,
        map_leaf=one_leaf(tx, head, served.leaf_index),
        first_leaf=None if head.minimum_index else one_leaf(tx, head, FIRST_LEAF),
        of_key=of_key,
        of_table=of_table,
    )


def find_key(
    tx: Transaction,
    head: PublishedHead,
    served: store.ServedMap,
    key: RowKey,
    key_hash: bytes,
    tiles: MapTiles,
) -> MappedKey:
    """
    Read what the map says of one key, and hold it against the map's root and its entry.

    Raises:
        HistoryTooLargeError, PrunedError, DamagedMapError: As `read_history`.
    """
    bucket = bucket_of(key_hash)
    entries = store.map_entries(tx, head.log_id, map_size=served.size, bucket=bucket)
    path = tiles.prove(bucket)
    check_bucket(entries, path, bucket=bucket, root=served.root, log_name=head.log_name)
    leaves = store.key_leaves(
        tx,
        head.log_id,
        key,
        map_size=served.size,
        limit=MAX_SHOWN_LEAVES + 1,
        max_bytes=MAX_LEAF_BYTES_SHOWN,
    )
    if len(leaves) > MAX_SHOWN_LEAVES:
        raise HistoryTooLargeError(f"the key has over {MAX_SHOWN_LEAVES} versions")
    if sum(len(leaf.leaf) for leaf in leaves) > MAX_LEAF_BYTES_SHOWN:
        raise HistoryTooLargeError(f"its versions have over {MAX_LEAF_BYTES_SHOWN} bytes")
    listed = chain_of(parse_bucket(entries, bucket=bucket), key_hash)
    indexes = [leaf.index for leaf in leaves]
    if (listed or key_hash) != chain_indexes(key_hash, indexes):
        if head.minimum_index:
            raise PrunedError(f"log {head.log_name} has pruned leaves below {head.minimum_index}")
        raise DamagedMapError(f"the map of log {head.log_name} lists other leaves than it has")
    return MappedKey(ShownBucket(entries, path), leaves)


def check_bucket(
    entries: bytes, path: Sequence[Hash], *, bucket: int, root: Hash, log_name: str
) -> None:
    """
    Check that a bucket leads to the root that was sealed.

    Raises:
        DamagedMapError: It does not.
    """
    try:
        check_inclusion(
            path,
            leaf=hash_bucket(entries),
            index=LeafIndex(bucket),
            size=MAP_BUCKETS,
            root=root,
        )
    except InclusionError as cause:
        raise DamagedMapError(
            f"what is kept for the map of log {log_name} does not lead to its root"
        ) from cause


def chain_of(entries: Iterable[Entry], key_hash: bytes) -> bytes | None:
    """Return the chain that a bucket's entries have for a key; None where they have none."""
    return next((entry.chain for entry in entries if entry.key_hash == key_hash), None)


def one_leaf(tx: Transaction, head: PublishedHead, index: LeafIndex) -> store.Entry:
    """
    Return the leaf at *index*, which the published tree has.

    Raises:
        PrunedError: It was pruned.
    """
    found = store.read_entries(tx, head.log_id, first=index, end=index + 1, limit=1, max_bytes=1)
    if not found:
        raise PrunedError(f"log {head.log_name} has pruned leaf {index}")
    return found[0]


def is_genesis(entry: store.Entry | None) -> bool:
    """Return whether the leaf is the genesis of its log, which names what it continues."""
    record = None if entry is None else parse_record(entry.leaf)
    return record is not None and record.op == GENESIS


def show(entries: Iterable[store.Entry | None], prove: Prove) -> list[ShownLeaf]:
    """Return the leaves with their paths."""
    shown = [entry for entry in entries if entry is not None]
    paths = prove([entry.index for entry in shown])
    return [
        ShownLeaf(entry.index, entry.leaf, proof.hashes)
        for entry, proof in zip(shown, paths, strict=True)
    ]


def columns_of(key: RowKey) -> list[str]:
    """Return the texts of the key's columns."""
    return msgspec.json.decode(key.text, type=list[str])


def record_table(table: str) -> str:
    """Return the table as records name it: with its schema, `public` too."""
    return table if HAS_SCHEMA.match(table) else f"{PUBLIC_SCHEMA}{table}"
