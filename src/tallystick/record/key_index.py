"""
The map from (table, key) to the indexes of a key's leaves: its bytes and its hashes.

Follows docs/adr/0015. A map of size N covers the leaves below N that are records of a table.
Each key has one *entry*: the hash of table and key, and a chain over the indexes of its leaves.
Entries lie in 65,536 *buckets* by the first 16 bits of the key's hash, and the buckets are the
leaves of an RFC 6962 tree. Whoever has a log's leaves can make its map; the log's server does so
in SQL (`seal/index`), and both must come to the same root.

A table's own entry, under the empty key, lists what concerns all of its rows: truncates, and
control leaves such as `schema` and `gap`.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tallystick.record.canonical import canonical
from tallystick.record.errors import MalformedMessageError
from tallystick.record.record import parse_record
from tallystick.record.tags import INDEX_BUCKET_TAG, INDEX_ENTRY_TAG, INDEX_KEY_TAG
from tallystick.tlog.tree import HASH_BYTES, Hash, hash_leaf, hash_pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BUCKETS: Final = 1 << 16
"""A constant of the format: a bucket of a log of ten million keys has about 150 entries."""
TABLE_KEY: Final[tuple[str, ...]] = ()
"""The key under which a table's own leaves stand."""
ENTRY_BYTES: Final = 2 * HASH_BYTES

_INDEX_BYTES: Final = 8


def index_key(table: str, key: Sequence[str]) -> bytes:
    """
    The 32 bytes that stand for *key* of *table*, as records name them (`schema.table`).

    Raises:
        UncanonicalValueError: A name or value is not Unicode text.
    """
    return hashlib.sha256(INDEX_KEY_TAG + canonical({"key": list(key), "table": table})).digest()


def bucket_of(key_hash: bytes) -> int:
    """The bucket in which the entry of *key_hash* lies: its first 16 bits."""
    return int.from_bytes(key_hash[:2], "big")


def extend_chain(link: bytes, index: int) -> bytes:
    """The link behind *link*, at first the key's hash, for the leaf at *index*."""
    place = index.to_bytes(_INDEX_BYTES, "big")
    return hashlib.sha256(INDEX_ENTRY_TAG + b"\x00" + link + place).digest()


def chain_indexes(key_hash: bytes, indexes: Iterable[int]) -> bytes:
    """The chain over *indexes*, which ascend; the key's hash itself where there are none."""
    link = key_hash
    for index in indexes:
        link = extend_chain(link, index)
    return link


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One key in a bucket: its hash, and the chain over the indexes of its leaves."""

    key_hash: bytes
    chain: bytes


def format_bucket(entries: Iterable[Entry]) -> bytes:
    """The entries of one bucket, which ascend by their keys' hashes, side by side."""
    return b"".join(entry.key_hash + entry.chain for entry in entries)


def parse_bucket(data: bytes, *, bucket: int) -> list[Entry]:
    """
    The entries in *data*, which must be those of *bucket* in their order, each key once.

    Raises:
        MalformedMessageError: They are not.
    """
    if len(data) % ENTRY_BYTES:
        raise MalformedMessageError("a bucket is not whole entries")
    entries = [
        Entry(data[start : start + HASH_BYTES], data[start + HASH_BYTES : start + ENTRY_BYTES])
        for start in range(0, len(data), ENTRY_BYTES)
    ]
    if any(bucket_of(entry.key_hash) != bucket for entry in entries):
        raise MalformedMessageError(f"an entry does not belong into bucket {bucket}")
    hashes = [entry.key_hash for entry in entries]
    if any(before >= after for before, after in itertools.pairwise(hashes)):
        raise MalformedMessageError("the entries of a bucket do not ascend")
    return entries


def hash_bucket(data: bytes) -> Hash:
    """The leaf hash of a bucket with the entries *data*, in the tree over the buckets."""
    return hash_leaf(INDEX_BUCKET_TAG + b"\x00" + data)


EMPTY_BUCKET: Final = hash_bucket(b"")
"""The leaf hash of a bucket without entries."""


@dataclass(slots=True)
class KeyIndex:
    """
    A map in memory, made from leaves: what an auditor with nothing but the leaves recomputes.

    It takes about 300 bytes a key. Leaves come in the order of their indexes.
    """

    size: int = 0
    _buckets: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    _touched: set[int] = field(default_factory=set)
    _row: bytearray = field(default_factory=lambda: bytearray(EMPTY_BUCKET * BUCKETS))

    def add_leaf(self, leaf: bytes) -> None:
        """
        Take the next leaf of the log; one that is no record of a table changes nothing.

        Raises:
            MalformedRecordError: It begins like a record and is none.
        """
        record = parse_record(leaf)
        if record is not None and record.table is not None:
            self.add_key(index_key(record.table, record.key), self.size)
        self.size += 1

    def add_key(self, key_hash: bytes, index: int) -> None:
        """Say that the leaf at *index* is of the key; `size` is the caller's to keep then."""
        bucket = bucket_of(key_hash)
        entries = self._buckets.setdefault(bucket, {})
        entries[key_hash] = extend_chain(entries.get(key_hash, key_hash), index)
        self._touched.add(bucket)

    def root(self) -> Hash:
        """The root of the map; only buckets that were touched since the last time are hashed."""
        for bucket in self._touched:
            entries = sorted(self._buckets[bucket].items())
            data = b"".join(key_hash + chain for key_hash, chain in entries)
            self._row[bucket * HASH_BYTES : (bucket + 1) * HASH_BYTES] = hash_bucket(data)
        self._touched.clear()
        row = bytes(self._row)
        while len(row) > HASH_BYTES:
            row = hash_pairs(row)
        return Hash(row)
