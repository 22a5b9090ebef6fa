"""
The audit of maps: their roots made anew from the leaves (docs/adr/0015).

It runs in the audit's snapshot, behind the steps that show that each record's table and key are
those of its columns, so that the columns stand for the leaves here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tallystick.db import Transaction
from tallystick.record import MalformedRecordError, Record, parse_record
from tallystick.record.key_index import BUCKETS
from tallystick.seal.index import store
from tallystick.seal.index.tiles import MapTiles, change_tiles
from tallystick.tlog import Hash

MAPS_AUDITED: Final = 1
"""The newest map covers what all before it covered; those are recomputed when asked for."""


@dataclass(frozen=True, slots=True)
class MapFinding:
    """A sealed root that is not the one of its map; *expected* is what the leaves make."""

    leaf_index: int
    expected: bytes | None
    actual: bytes | None
    detail: str


def check_maps(
    tx: Transaction, log_id: int, *, size: int, minimum_index: int = 0, limit: int = MAPS_AUDITED
) -> Iterator[MapFinding]:
    """
    Yield what is wrong with the newest *limit* maps that are sealed below *size*.

    Where leaves below *minimum_index* were pruned a map cannot be made from them any more; the
    newest one is compared with the entries that are kept for it, which audits before that bore out.
    """
    for sealed in store.sealed_maps(tx, log_id, size=size, limit=1 if minimum_index else limit):
        record = read_record(sealed.leaf)
        detail = None if record is None else record.detail
        if detail is None or detail["buckets"] != BUCKETS or detail["size"] > sealed.leaf_index:
            yield MapFinding(sealed.leaf_index, None, None, "it names no map of the log")
            continue
        read = store.kept_buckets if minimum_index else store.recompute_buckets
        actual = bytes.fromhex(detail["root"])
        expected = root_of(read(tx, log_id, detail["size"]))
        if expected != actual:
            words = f"the map of {detail['size']} leaves has another root"
            yield MapFinding(sealed.leaf_index, expected, actual, words)


def root_of(buckets: dict[int, bytes]) -> Hash:
    """Return the root of the map whose buckets have these hashes, the others being empty."""
    return change_tiles(MapTiles(), buckets).root


def read_record(leaf: bytes) -> Record | None:
    """Return the record in *leaf*; None where it is none."""
    try:
        return parse_record(leaf)
    except MalformedRecordError:
        return None
