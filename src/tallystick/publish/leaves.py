"""
Leaves of a published tree by index, key and content; and why one is not there.

Each function reads in the caller's transaction. A leaf that is not stored was pruned: of what a
pruned log lacks nobody can say that it never was. Follows log.md, sections 4.6 and 6.2.
"""

from __future__ import annotations

from typing import Final

from tallystick.db import Transaction
from tallystick.publish import store
from tallystick.publish.errors import LeafNotFoundError, PrunedError
from tallystick.publish.heads import PublishedHead
from tallystick.publish.proofs import MAX_PROOFS
from tallystick.publish.values import RowKey, SearchFilter, SearchPage
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import TILE_WIDTH, LeafIndex, Tile, TreeSize, format_entry_bundle

MAX_SEARCHED_LEAVES: Final = 10_000
"""Leaves that one page of a search reads, so that it ends whatever is asked."""
MAX_PAGE_BYTES: Final = 8_000_000
"""Leaf bytes in one page of entries; 1,000 leaves of the greatest length would be 65 MB."""


def read_bundle(tx: Transaction, head: PublishedHead, tile: Tile) -> bytes:
    """
    Return the entry bundle beside *tile*, which is of level 0 and in the tree.

    Raises:
        PrunedError: Some of its leaves were pruned.
    """
    first = tile.index * TILE_WIDTH
    if first < head.minimum_index:
        raise pruned(head)
    found = store.read_leaves(tx, head.log_id, first=first, end=first + tile.width)
    if len(found) != tile.width:
        # Leaves only ever go by pruning, which this head may not know of yet.
        raise pruned(head)
    return format_entry_bundle(found)


def read_entries(
    tx: Transaction, head: PublishedHead, *, first: int, limit: int
) -> list[store.Entry]:
    """
    Return the leaves from *first* on, at most *limit*, and no more than 8 MB of them.

    Raises:
        PrunedError: The leaf at *first* was pruned.
    """
    if first < head.minimum_index:
        raise pruned(head)
    if first >= head.size:
        return []
    found = store.read_entries(
        tx,
        head.log_id,
        first=first,
        end=min(head.size, first + limit),
        limit=limit,
        max_bytes=MAX_PAGE_BYTES,
    )
    if not found or found[0].index != first:
        raise pruned(head)
    return found


def search(
    tx: Transaction, head: PublishedHead, wanted: SearchFilter, *, before: int | None, limit: int
) -> SearchPage:
    """Return the leaves below index *before* that match, the newest first; reads 10,000 at most."""
    upper = head.size if before is None else max(0, min(before, head.size))
    first = max(head.minimum_index, upper - MAX_SEARCHED_LEAVES)
    found = store.search(tx, head.log_id, wanted, first=first, before=upper, limit=limit)
    reached = found[-1].index if len(found) == limit else first
    at_end = reached <= head.minimum_index
    return SearchPage(tuple(found), None if at_end else LeafIndex(reached))


def indexes_of_row(
    tx: Transaction, head: PublishedHead, key: RowKey, *, version: str | LeafIndex, size: TreeSize
) -> list[LeafIndex]:
    """
    Return the indexes of a row's leaves that *version* names, none where there are none.

    Raises:
        InvalidRequestError: *version* is not last, first, all or an index.
    """
    match version:
        case "last":
            last = store.last_index_of_key(tx, head.log_id, key, size=size)
            return [] if last is None else [last]
        case "first" | "all":
            limit = 1 if version == "first" else MAX_PROOFS
            return store.indexes_of_key(tx, head.log_id, key, size=size, limit=limit)
        case int():
            return [version] if store.is_index_of_key(tx, head.log_id, key, version) else []
        case _:
            raise InvalidRequestError("version is last, first, all or an index")


def unknown_leaf(head: PublishedHead, what: str) -> LeafNotFoundError | PrunedError:
    """Return that the log has no such leaf; of a pruned log nobody can say that."""
    if head.minimum_index:
        return PrunedError(
            f"log {head.log_name} keeps no {what}, and has pruned entries below"
            f" {head.minimum_index}"
        )
    return LeafNotFoundError(f"log {head.log_name} has no {what}")


def pruned(head: PublishedHead) -> PrunedError:
    """Return the error that says from which index on the log still has its entries."""
    return PrunedError(f"log {head.log_name} has pruned entries below {head.minimum_index}")
