"""
The publisher: everything that may be read of logs, up to their published heads.

It reads published heads, tiles and leaves, from memory or by key from the read pool; it never
touches what sealing locks, so neither waits for the other. Follows log.md, sections 4.4, 4.6
and 6.2. Who may read what is decided above, by whoever serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import structlog

from tallystick.db import Database
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.publish import leaves, proofs, store
from tallystick.publish.errors import (
    CheckpointNotFoundError,
    LeafNotFoundError,
    RootNotFoundError,
    TileNotFoundError,
)
from tallystick.publish.heads import Heads, PublishedHead, with_cosignatures
from tallystick.publish.listener import HeadListener
from tallystick.publish.proofs import MAX_PROOFS
from tallystick.publish.tiles import TileCache, TileStore, edge_tiles, is_in_tree
from tallystick.publish.values import (
    TRUNCATE_LETTER,
    FoundLeaf,
    GrowthProof,
    Health,
    LeafProof,
    LeafVersion,
    LogGauges,
    RowKey,
    RowState,
    SearchFilter,
    SearchPage,
    ServerGauges,
    SignedCheckpoint,
    WaitedFor,
    WitnessState,
)
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import (
    Hash,
    LeafIndex,
    Tile,
    TlogProof,
    TreeSize,
    check_consistency,
    format_tlog_proof,
    parse_note,
)

MEGABYTE: Final = 1_000_000
MAX_EQUAL_LEAVES: Final = 10_000
"""How far equal leaves are counted; beyond it the count stays there."""
MAX_WAITED_FOR: Final = 100
"""Witnesses that health names; whoever has more of them behind knows enough."""
DELETE_LETTER: Final = "D"

logger = structlog.get_logger(__name__)


class Publisher:
    """Reads of all logs of one database, for as many threads as like."""

    def __init__(
        self,
        database: Database,
        *,
        read_database: Database | None = None,
        tile_cache_mb: int = 64,
    ) -> None:
        self._database = read_database or database
        self._tiles = TileStore(self._database, TileCache(tile_cache_mb * MEGABYTE))
        self._proofs = proofs.ProofCache()
        self._heads = Heads()
        self._refreshing = threading.Lock()
        self._is_loaded = False
        # A replica sends no notifications: those are heard where the sequencer writes.
        self._listener = HeadListener(database, self.refresh)

    def start(self) -> None:
        """Read the heads once, and keep them fresh from now on."""
        try:
            self.refresh()
        except DatabaseUnavailableError as error:
            logger.warning("publish.refresh_failed", error=error.code())
        self._listener.start()

    def stop(self) -> None:
        """Stop keeping the heads fresh."""
        self._listener.stop()

    def refresh(self) -> list[PublishedHead]:
        """
        Read what changed since the last time and return it, the right edges of its trees too.

        Two statements at most, whatever the number and the size of the logs.
        """
        with self._refreshing:
            changed = self._database.read(
                lambda tx: store.changed_heads(tx, self._heads.by_id.values())
            )
            heads = self._heads.with_changes(changed)
            edges = [
                (found.log_id, tile)
                for found in changed
                for tile in edge_tiles(heads.by_id[found.log_id].size)
                if self._tiles.cached(found.log_id, tile) is None
            ]
            if edges:
                self._tiles.warm(edges)
            if changed:
                self._heads = heads
            self._is_loaded = True
        return changed

    # Heads ---------------------------------------------------------------------------------

    @property
    def read_database(self) -> Database:
        """Where everything is read: a replica, or the database itself."""
        return self._database

    @property
    def is_loaded(self) -> bool:
        """Whether the heads were read at least once."""
        return self._is_loaded

    @property
    def heads(self) -> Heads:
        """The published heads as they are known now."""
        return self._heads

    def published_head(self, log_name: str) -> PublishedHead:
        """
        Return the published head of a log.

        Raises:
            LogNotFoundError: There is no log of this name.
        """
        return self._heads.get(log_name)

    def checkpoint_at(self, head: PublishedHead, size: int | None = None) -> SignedCheckpoint:
        """
        Return the signed checkpoint of *size*.

        Raises:
            SizeTooLargeError: It is beyond the published head.
            CheckpointNotFoundError: No checkpoint of this size was signed.
        """
        wanted = proofs.check_size(head, size)
        checkpoint = self.checkpoint_from(head, wanted)
        if checkpoint.size != wanted:
            raise CheckpointNotFoundError(
                f"log {head.log_name} signed no checkpoint of size {wanted}"
            )
        return checkpoint

    def checkpoint_from(self, head: PublishedHead, at_least: int) -> SignedCheckpoint:
        """
        Return the smallest signed checkpoint of *at_least* leaves.

        Raises:
            SizeTooLargeError: The published head is smaller.
        """
        wanted = proofs.check_size(head, at_least)
        found = self._database.read(
            lambda tx: store.checkpoint_from(tx, head.log_id, at_least=wanted, published=head.size)
        )
        assert found is not None, "the head itself is a signed checkpoint"
        return found

    def checkpoints(
        self, head: PublishedHead, *, at_most: int | None = None, limit: int
    ) -> list[SignedCheckpoint]:
        """Return signed checkpoints from size *at_most*, or the published one, downwards."""
        upper = head.size if at_most is None else min(at_most, head.size)
        return self._database.read(
            lambda tx: store.checkpoints(tx, head.log_id, at_most=upper, limit=limit)
        )

    def cosignature_lines(self, head: PublishedHead, size: TreeSize) -> list[str]:
        """Return the newest cosignature of each witness under the checkpoint of *size*."""
        if size == head.size:
            return head.cosignature_lines
        return self._database.read(lambda tx: store.cosignature_lines(tx, head.log_id, size))

    def witnesses(self, head: PublishedHead, *, after: str = "", limit: int) -> list[WitnessState]:
        """Return the log's witnesses by name, those behind *after*."""
        return self._database.read(
            lambda tx: store.witnesses(tx, head.log_id, after=after, limit=limit)
        )

    # The static tree (C2SP tlog-tiles) -------------------------------------------------------

    def cached_tile(self, head: PublishedHead, tile: Tile) -> bytes | None:
        """
        Return the hashes of *tile* from memory; None where `read_tile` must fetch them.

        Raises:
            TileNotFoundError: The published tree has not all of it.
        """
        self._check_tile(head, tile)
        return self._tiles.cached(head.log_id, tile)

    def read_tile(self, head: PublishedHead, tile: Tile) -> bytes:
        """
        Return the hashes of *tile*, `32 * width` bytes.

        Raises:
            TileNotFoundError: The published tree has not all of it.
        """
        self._check_tile(head, tile)
        [row] = self._tiles.fetch(head.log_id, [tile]).read_tiles([tile])
        return row

    def read_bundle(self, head: PublishedHead, tile: Tile) -> bytes:
        """
        Return the entry bundle beside *tile*, which is of level 0.

        Raises:
            TileNotFoundError: The published tree has not all of its leaves.
            PrunedError: Some of them were pruned.
        """
        assert tile.level == 0
        self._check_tile(head, tile)
        return self._database.read(lambda tx: leaves.read_bundle(tx, head, tile))

    def _check_tile(self, head: PublishedHead, tile: Tile) -> None:
        if not is_in_tree(tile, head.size):
            raise TileNotFoundError(
                f"log {head.log_name} has no such tile in its tree of {head.size} leaves"
            )

    # The whole system --------------------------------------------------------------------------

    def health(self) -> Health:
        """Return how the whole system does."""
        return self._database.read(store.health)

    def waited_for(self) -> list[WaitedFor]:
        """Return the witnesses for which heads wait, by log and name, at most 100."""
        return self._database.read(partial(store.waited_for, limit=MAX_WAITED_FOR))

    def log_gauges(self) -> list[LogGauges]:
        """Return the measures of every log."""
        return self._database.read(store.log_gauges)

    def server_gauges(self) -> ServerGauges:
        """Return the measures that belong to no log."""
        return self._database.read(store.server_gauges)

    # Proofs ------------------------------------------------------------------------------------

    def root_at(self, head: PublishedHead, size: int | None = None) -> Hash:
        """
        Return the root of the tree of *size* leaves, whether it was signed or not.

        Raises:
            SizeTooLargeError: It is beyond the published head.
        """
        return proofs.root_at(self._tiles, head, proofs.check_size(head, size))

    def prove_index(
        self, head: PublishedHead, index: LeafIndex, size: int | None = None
    ) -> LeafProof:
        """
        Return the proof of the leaf at *index* in the tree of *size* leaves.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: That tree has no leaf at *index*.
        """
        of_size = proofs.check_size(head, size)
        proof = self._proofs.get((head.log_id, index, of_size))
        if proof is None:
            proof = proofs.prove_leaf(self._tiles, head, index, of_size)
            self._proofs.put(head.log_id, proof)
        return proof

    def cached_proof(
        self, head: PublishedHead, index: LeafIndex, size: int | None = None
    ) -> LeafProof | None:
        """
        Return the proof of the leaf at *index* from memory; None where `prove_index` must fetch.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: That tree has no leaf at *index*.
        """
        of_size = proofs.check_size(head, size)
        proof = self._proofs.get((head.log_id, index, of_size))
        if proof is None:
            proof = proofs.prove_leaf_in_memory(self._tiles, head, index, of_size)
            if proof is not None:
                self._proofs.put(head.log_id, proof)
        return proof

    def prove_indexes(
        self, head: PublishedHead, indexes: Sequence[LeafIndex], size: int | None = None
    ) -> list[LeafProof]:
        """
        Return proofs of the leaves at *indexes*, at most 100.

        Raises:
            InvalidRequestError: There are more.
            SizeTooLargeError, LeafNotFoundError: As `prove_index`.
        """
        if len(indexes) > MAX_PROOFS:
            raise InvalidRequestError(f"one answer has at most {MAX_PROOFS} proofs")
        return [self.prove_index(head, index, size) for index in indexes]

    def prove_all(self, head: PublishedHead, indexes: Sequence[LeafIndex]) -> Iterator[LeafProof]:
        """
        Yield the proofs of any number of leaves in the published tree, in the order asked for.

        Raises:
            LeafNotFoundError: It has no such leaf.
        """
        return proofs.prove_leaves(self._tiles, head, indexes)

    def prove_hash(
        self, head: PublishedHead, leaf_hash: bytes, size: int | None = None
    ) -> FoundLeaf:
        """
        Return the proof of the first leaf with *leaf_hash*, and which others equal it.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: That tree has no such leaf.
            PrunedError: It has none that is kept; what was pruned is known by its index alone.
        """
        of_size = proofs.check_size(head, size)
        indexes = self._database.read(
            lambda tx: store.indexes_of_hash(
                tx, head.log_id, leaf_hash, size=of_size, limit=MAX_EQUAL_LEAVES
            )
        )
        if not indexes:
            raise leaves.unknown_leaf(head, f"leaf of this hash in its tree of {of_size} leaves")
        return FoundLeaf(
            proof=self.prove_index(head, indexes[0], of_size),
            count=len(indexes),
            equal_indexes=tuple(indexes[:MAX_PROOFS]),
        )

    def prove_row(
        self, head: PublishedHead, key: RowKey, version: str | LeafIndex, size: int | None = None
    ) -> list[LeafProof]:
        """
        Return proofs of leaves of *key*: the `last`, the `first`, `all` (at most 100, the
        oldest first), or the one at an index.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: That tree has no such leaf of the key.
            PrunedError: It has none that is kept.
            InvalidRequestError: *version* is none of these.
        """
        of_size = proofs.check_size(head, size)
        found = self._database.read(
            lambda tx: leaves.indexes_of_row(tx, head, key, version=version, size=of_size)
        )
        if not found:
            raise leaves.unknown_leaf(
                head, f"such leaf of this key in its tree of {of_size} leaves"
            )
        return self.prove_indexes(head, found, of_size)

    def log_of_row(
        self,
        head: PublishedHead,
        key: RowKey,
        version: str | LeafIndex = "last",
        *,
        may_follow: Callable[[PublishedHead], bool] = lambda _: True,
    ) -> PublishedHead:
        """
        Return the log that `prove_row` finds the *version* of a row in: this one, or where it has
        no leaf of the row the next older one that it continues; for `first` the oldest that has.

        It is *head* where none has any, and where *version* is an index.
        """
        chain = self._readable_chain(head, may_follow)
        if isinstance(version, int) or len(chain) == 1:
            return head
        for log in chain if version == "first" else reversed(chain):
            look = partial(store.last_index_of_key, log_id=log.log_id, key=key, size=log.size)
            if self._database.read(look) is not None:
                return log
        return head

    def prove_growth(
        self, head: PublishedHead, old: int | Hash, new: int | Hash | None = None
    ) -> GrowthProof:
        """
        Return the proof that one published tree extends another, each given by its size or
        its signed root; the new one defaults to the published head.

        Raises:
            SizeTooLargeError: A size is beyond the published head.
            RootNotFoundError: A root was not signed.
            InvalidRequestError: The old tree is larger than the new one.
        """
        new_size = head.size if new is None else self._size_of(head, new)
        return proofs.prove_growth(self._tiles, head, self._size_of(head, old), new_size)

    def verify_growth(self, head: PublishedHead, old: GrowthProof) -> None:
        """
        Check a growth proof that somebody holds, and that its new root is this log's.

        Raises:
            MalformedProofError, ConsistencyError: The proof is wrong.
            SizeTooLargeError: Its new tree is beyond the published head.
            RootNotFoundError: Its new root is not the root of this log at that size.
        """
        check_consistency(
            old.hashes,
            old_size=old.old_size,
            new_size=old.new_size,
            old_root=old.old_root,
            new_root=old.new_root,
        )
        if self.root_at(head, old.new_size) != old.new_root:
            raise RootNotFoundError(f"log {head.log_name} has another root at size {old.new_size}")

    def find_leaf(self, head: PublishedHead, leaf_hash: bytes) -> bool:
        """
        Return whether the published tree has a leaf of this hash.

        Raises:
            PrunedError: It has none that is kept; what was pruned is known by its index alone.
        """
        is_found = bool(
            self._database.read(
                lambda tx: store.indexes_of_hash(
                    tx, head.log_id, leaf_hash, size=head.size, limit=1
                )
            )
        )
        if not is_found and head.minimum_index:
            raise leaves.unknown_leaf(head, "leaf of this hash")
        return is_found

    def find_root(self, head: PublishedHead, root: bytes) -> TreeSize | None:
        """Return the size at which *root* was signed; None where it never was."""
        return self._database.read(
            lambda tx: store.size_of_root(tx, head.log_id, root, published=head.size)
        )

    def proof_file(self, head: PublishedHead, index: LeafIndex, size: int | None = None) -> bytes:
        """
        Return the `.tlog-proof` of the leaf at *index*, under the published checkpoint, or
        under the smallest signed one of at least *size* leaves.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: That tree has no leaf at *index*.
        """
        note, of_size = head.checkpoint, head.size
        if size is not None and size != head.size:
            checkpoint = self.checkpoint_from(head, size)
            lines = self.cosignature_lines(head, checkpoint.size)
            note, of_size = with_cosignatures(checkpoint.note, lines), checkpoint.size
        proof = self.prove_index(head, index, of_size)
        return format_tlog_proof(TlogProof(index, proof.hashes, parse_note(note)))

    def _size_of(self, head: PublishedHead, tree: int | Hash) -> TreeSize:
        if isinstance(tree, int):
            return proofs.check_size(head, tree)
        size = self.find_root(head, tree)
        if size is None:
            raise RootNotFoundError(f"log {head.log_name} signed no checkpoint with this root")
        return size

    # Leaves and rows ---------------------------------------------------------------------------

    def entries(self, head: PublishedHead, *, first: int = 0, limit: int) -> list[store.Entry]:
        """
        Return the leaves from *first* on, at most *limit*, and no more than 8 MB of them.

        Raises:
            PrunedError: The leaf at *first* was pruned.
        """
        return self._database.read(
            lambda tx: leaves.read_entries(tx, head, first=first, limit=limit)
        )

    def entry(self, head: PublishedHead, index: int) -> store.Entry:
        """
        Return the leaf at *index*.

        Raises:
            LeafNotFoundError: The published tree has no leaf there.
            PrunedError: It was pruned.
        """
        if not 0 <= index < head.size:
            raise LeafNotFoundError(f"log {head.log_name} has no leaf {index}")
        return self.entries(head, first=index, limit=1)[0]

    def row_history(
        self,
        head: PublishedHead,
        key: RowKey,
        *,
        after: tuple[int, int] = (0, -1),
        limit: int,
        may_follow: Callable[[PublishedHead], bool] = lambda _: True,
    ) -> list[LeafVersion]:
        """
        Return the versions of *key*, the oldest first, over the logs that this one continues.

        *after* is the place and index of the last version that is known. A predecessor that
        *may_follow* refuses hides itself and those before it.
        """
        chain = self._readable_chain(head, may_follow)
        place, index = after
        afters = [
            head.size if number < place else (index if number == place else -1)
            for number, head in enumerate(chain, start=1)
        ]
        return self._database.read(
            lambda tx: store.row_history(tx, chain, afters, key, limit=limit)
        )

    def row_at(
        self,
        head: PublishedHead,
        key: RowKey,
        size: int | None = None,
        *,
        may_follow: Callable[[PublishedHead], bool] = lambda _: True,
    ) -> RowState:
        """
        Return the row as the tree of *size* leaves knew it, with the proof.

        Where that tree says nothing, the logs that this one continues are asked, at their
        published sizes. A truncate of the table, if later, is what the tree says of the row.

        Raises:
            SizeTooLargeError: *size* is beyond the published head.
            LeafNotFoundError: No leaf of the key is known by then.
            PrunedError: None that is kept; one that was replaced before then may be pruned.
        """
        of_size = proofs.check_size(head, size)
        for log in reversed(self._readable_chain(head, may_follow)):
            log_size = of_size if log is head else log.size
            look = partial(store.row_at, log_id=log.log_id, key=key, size=log_size)
            version = self._database.read(look)
            if version is not None:
                return RowState(
                    version=version,
                    exists=version.op not in {DELETE_LETTER, TRUNCATE_LETTER},
                    proof=self.prove_index(log, version.index, log_size),
                )
            if log.minimum_index:
                # What it said of the row may be pruned, so an older log's word is not the last.
                raise leaves.unknown_leaf(log, f"leaf of this key in its tree of {log_size} leaves")
        raise LeafNotFoundError(f"log {head.log_name} knows no row of this key at size {of_size}")

    def search(
        self,
        head: PublishedHead,
        wanted: SearchFilter,
        *,
        before: int | None = None,
        limit: int,
    ) -> SearchPage:
        """
        Return the leaves below index *before* that match, the newest first.

        At most 10,000 leaves are read for one page: it may be empty and yet not the last.
        """
        return self._database.read(
            lambda tx: leaves.search(tx, head, wanted, before=before, limit=limit)
        )

    def _readable_chain(
        self, head: PublishedHead, may_follow: Callable[[PublishedHead], bool]
    ) -> list[PublishedHead]:
        chain = [head]
        for before in reversed(self._heads.chain(head)[:-1]):
            if not may_follow(before):
                break
            chain.insert(0, before)
        return chain
