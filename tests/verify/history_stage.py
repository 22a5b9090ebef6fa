"""A log in memory with a map of its keys, whose operator may lie; and the file that it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tallystick.record import Change, format_record
from tallystick.record.history import HistoryFile, ShownBucket, ShownLeaf, format_history
from tallystick.record.key_index import index_key
from tallystick.tlog import (
    HASH_BYTES,
    TILE_WIDTH,
    Hash,
    LeafIndex,
    Tile,
    TreeSize,
    format_note,
    hash_leaf,
    prove_inclusion,
    tree_root,
)
from tests.seal.index.naive import BUCKETS, naive_entry, naive_lists
from tests.support.sealed import SealedLog, payment

AT = "2026-01-02T03:04:05.000006Z"
TABLE = "public.payment"
BUCKET_TAG = b"tallystick/seal-index-bucket/v1\n\x00"


def control(op: str, detail: dict[str, object], *, table: str | None = None) -> bytes:
    """The leaf of a control record."""
    return format_record(
        Change("payments", table, op, "control", [], AT, "748", "tally", detail=detail)
    )


def truncate() -> bytes:
    """The leaf of a truncate of the table."""
    return format_record(Change("payments", TABLE, "truncate", "trigger", [], AT, "749", "shop"))


GENESIS = control("genesis", {"origin": "log.example/old", "size": 3, "root": "ab" * 32})


@dataclass
class MapStage:
    """A map over *lists*, the indexes of each key's leaves by its hash: as they are, or a lie."""

    lists: dict[bytes, list[int]]
    _rows: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        level0 = b"".join(hash_leaf(BUCKET_TAG + self.entries(bucket)) for bucket in self._hashed())
        row = bytearray(hash_leaf(BUCKET_TAG) * BUCKETS)
        for place, bucket in enumerate(self._hashed()):
            row[bucket * 32 : bucket * 32 + 32] = level0[place * 32 : place * 32 + 32]
        width = TILE_WIDTH * HASH_BYTES
        tiles = [bytes(row[start : start + width]) for start in range(0, len(row), width)]
        self._rows = {(0, number): tile for number, tile in enumerate(tiles)}
        self._rows[1, 0] = b"".join(tree_root([tile]) for tile in tiles)

    def _hashed(self) -> list[int]:
        return sorted({key[0] * 256 + key[1] for key in self.lists})

    def entries(self, bucket: int) -> bytes:
        """The entries of a bucket."""
        found = sorted(key for key in self.lists if key[0] * 256 + key[1] == bucket)
        return b"".join(key + naive_entry(key, self.lists[key]) for key in found)

    @property
    def root(self) -> Hash:
        """The root of the map."""
        return tree_root([self._rows[1, 0]])

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """The rows of tiles."""
        return [self._rows[tile.level, tile.index] for tile in tiles]

    def bucket(self, key_hash: bytes) -> ShownBucket:
        """The bucket of a key, with its path."""
        number = key_hash[0] * 256 + key_hash[1]
        path = prove_inclusion(self, index=LeafIndex(number), size=TreeSize(BUCKETS))
        return ShownBucket(self.entries(number), tuple(path))


@dataclass
class HistoryStage:
    """A log over *leaves* behind its genesis, then its map's leaf; *lie* changes what is mapped."""

    leaves: list[bytes]
    lie: dict[bytes, list[int]] = field(default_factory=dict)
    detail: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.covered = [GENESIS, *self.leaves]
        lists = {**naive_lists(self.covered), **self.lie}
        self.map = MapStage({key: found for key, found in lists.items() if found})
        detail = {"size": len(self.covered), "buckets": BUCKETS, "root": self.map.root.hex()}
        sealed = control("index", {**detail, **self.detail})
        self.log = SealedLog([*self.covered, sealed, format_record(payment(999))])

    def shown(self, index: int) -> ShownLeaf:
        """A leaf with its path."""
        path = prove_inclusion(self.log, index=LeafIndex(index), size=self.log.size)
        return ShownLeaf(LeafIndex(index), self.log.leaves[index], tuple(path))

    def file(self, key: tuple[str, ...], table: str = TABLE, **members: object) -> HistoryFile:
        """What an honest server shows of a key; *members* are changed."""
        lists = naive_lists(self.covered)
        key_hash, table_hash = index_key(table, key), index_key(table, ())
        honest = {
            "table": table,
            "key": key,
            "note": format_note(self.log.note()).decode(),
            "map": self.shown(len(self.covered)),
            "genesis": self.shown(0),
            "key_bucket": self.map.bucket(key_hash),
            "table_bucket": self.map.bucket(table_hash),
            "versions": tuple(map(self.shown, lists.get(key_hash, []))),
            "table_leaves": tuple(map(self.shown, lists.get(table_hash, []))),
        }
        return HistoryFile(**(honest | members))  # type: ignore[arg-type]

    def history(self, *key: str, **members: object) -> bytes:
        """The bytes of `file`."""
        return format_history(self.file(key, **members))
