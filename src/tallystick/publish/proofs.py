"""
Proofs from tiles: inclusion, growth and roots at any published size (log.md, sections 4.4, 6.2).

Nothing here is O(n): a proof takes at most 2 * ceil(log256 n) tiles, at any past size, and
those that are not in memory come by one statement.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from tallystick.publish.errors import LeafNotFoundError, SizeTooLargeError
from tallystick.publish.heads import PublishedHead
from tallystick.publish.tiles import TileRows, TileStore, edge_tiles, growth_tiles, proof_tiles
from tallystick.publish.values import GrowthProof, LeafProof
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.logs import LogId
from tallystick.tlog import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Hash,
    LeafIndex,
    Tile,
    TreeSize,
    edge_from_tiles,
    edge_root,
    prove_consistency,
    prove_inclusion,
)

MAX_PROOFS: Final = 100
"""Proofs in one answer: about 250 kB of JSON."""
PROVEN_AT_ONCE: Final = 1000
"""Where no two leaves are neighbours they have so many tiles, 8 MB."""
CACHE_SECONDS: Final = 60.0
CACHE_ENTRIES: Final = 10_000
"""About 20 MB of proofs; who asks for more different ones a minute has them made anew."""

ProofKey = tuple[LogId, LeafIndex, TreeSize]


def check_size(head: PublishedHead, size: int | None) -> TreeSize:
    """
    Return the size to answer for: *size*, or the published one where it is None.

    Raises:
        SizeTooLargeError: The log has not published a tree of *size* leaves.
        InvalidRequestError: *size* is negative.
    """
    if size is None:
        return head.size
    if size < 0:
        raise InvalidRequestError("a tree size is not negative")
    if size > head.size:
        raise SizeTooLargeError(f"log {head.log_name} has published {head.size} leaves, not {size}")
    return TreeSize(size)


def root_at(tiles: TileStore, head: PublishedHead, size: TreeSize) -> Hash:
    """Return the root of the tree of *size* leaves, which the log has published."""
    if size == head.size:
        return head.root
    if size == 0:
        return EMPTY_ROOT
    return edge_root(edge_from_tiles(tiles.fetch(head.log_id, list(edge_tiles(size))), size))


def prove_leaf(
    tiles: TileStore, head: PublishedHead, index: LeafIndex, size: TreeSize
) -> LeafProof:
    """
    Return the proof that the leaf at *index* is in the tree of *size*, which is published.

    Raises:
        LeafNotFoundError: The tree of *size* leaves has no leaf at *index*.
    """
    check_index(head, index, size)
    return prove_from(tiles.fetch(head.log_id, proof_tiles(index, size)), head, index, size)


def prove_leaves(
    tiles: TileStore, head: PublishedHead, indexes: Sequence[LeafIndex]
) -> Iterator[LeafProof]:
    """
    Yield the proofs of leaves in the published tree, a statement for each 1,000.

    Raises:
        LeafNotFoundError: It has no such leaf.
    """
    for start in range(0, len(indexes), PROVEN_AT_ONCE):
        some = indexes[start : start + PROVEN_AT_ONCE]
        for index in some:
            check_index(head, index, head.size)
        wanted = {tile: None for index in some for tile in proof_tiles(index, head.size)}
        rows = tiles.fetch(head.log_id, list(wanted))
        yield from (prove_from(rows, head, index, head.size) for index in some)


def prove_leaf_in_memory(
    tiles: TileStore, head: PublishedHead, index: LeafIndex, size: TreeSize
) -> LeafProof | None:
    """
    As `prove_leaf`, but None where a tile is not in memory.

    Raises:
        LeafNotFoundError: The tree of *size* leaves has no leaf at *index*.
    """
    check_index(head, index, size)
    rows = tiles.in_memory(head.log_id, proof_tiles(index, size))
    return None if rows is None else prove_from(rows, head, index, size)


def check_index(head: PublishedHead, index: LeafIndex, size: TreeSize) -> None:
    """
    Check that the tree of *size* leaves has one at *index*.

    Raises:
        LeafNotFoundError: It has none.
    """
    if not 0 <= index < size:
        raise LeafNotFoundError(
            f"log {head.log_name} has no leaf {index} in its tree of {size} leaves"
        )


def prove_from(rows: TileRows, head: PublishedHead, index: LeafIndex, size: TreeSize) -> LeafProof:
    """Return the proof of a leaf from *rows*, which hold its tiles."""
    place, offset = divmod(index, TILE_WIDTH)
    [row] = rows.read_tiles([Tile(0, place, offset + 1)])
    root = head.root if size == head.size else edge_root(edge_from_tiles(rows, size))
    return LeafProof(
        index=index,
        size=size,
        root=root,
        leaf_hash=Hash(row[-HASH_BYTES:]),
        hashes=tuple(prove_inclusion(rows, index=index, size=size)),
    )


def prove_growth(
    tiles: TileStore, head: PublishedHead, old_size: TreeSize, new_size: TreeSize
) -> GrowthProof:
    """
    Return the proof that the tree of *new_size*, which is published, extends that of *old_size*.

    From size 0, and between equal sizes, it is empty.

    Raises:
        InvalidRequestError: *old_size* is beyond *new_size*.
    """
    if old_size > new_size:
        raise InvalidRequestError(f"the old size {old_size} is beyond the new size {new_size}")
    rows = tiles.fetch(head.log_id, growth_tiles(old_size, new_size))
    return GrowthProof(
        old_size=old_size,
        old_root=edge_root(edge_from_tiles(rows, old_size)),
        new_size=new_size,
        new_root=head.root if new_size == head.size else edge_root(edge_from_tiles(rows, new_size)),
        hashes=tuple(prove_consistency(rows, old_size=old_size, new_size=new_size)),
    )


class ProofCache:
    """Proofs by log, index and size, each for 60 s: popular leaves are proven once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._proofs: OrderedDict[ProofKey, tuple[float, LeafProof]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: ProofKey) -> LeafProof | None:
        """Return the proof that was kept under *key* in the last 60 s."""
        with self._lock:
            kept = self._proofs.get(key)
        if kept is None or kept[0] < self._clock():
            return None
        return kept[1]

    def put(self, log_id: LogId, proof: LeafProof) -> None:
        """Keep *proof* for 60 s; what has expired, and what is too much, goes."""
        now = self._clock()
        with self._lock:
            # Every entry lives equally long, so the oldest stand in front.
            self._proofs.pop((log_id, proof.index, proof.size), None)
            self._proofs[log_id, proof.index, proof.size] = (now + CACHE_SECONDS, proof)
            while self._proofs:
                expires, _ = next(iter(self._proofs.values()))
                if expires >= now and len(self._proofs) <= CACHE_ENTRIES:
                    break
                self._proofs.popitem(last=False)
