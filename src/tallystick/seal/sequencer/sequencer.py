"""
The sealing transaction: a batch leaves the queue and becomes leaves, tiles and a signed head.

All of it happens in one READ COMMITTED transaction, and the rows are taken, written and
deleted by one statement, hence one snapshot. Progress is the deletion of queue rows, never a
high-water mark: a late commit is simply sealed in a later batch. Follows log.md, section 5.5;
a sentence at each pause point says what a crash right there leaves and who repairs it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tallystick.db import Database, Transaction
from tallystick.outbox import emit
from tallystick.pauses import pause_point
from tallystick.seal.errors import DamagedLogError, EdgeMismatchError, RollbackError
from tallystick.seal.logs.guard import check_guard, guard_path, write_guard
from tallystick.seal.logs.keys import KeyRing
from tallystick.seal.logs.log import LogId, LogName
from tallystick.seal.logs.operations import fail_log
from tallystick.seal.sequencer import store
from tallystick.seal.sequencer.floor import Floor, Seq
from tallystick.tlog import (
    Checkpoint,
    Edge,
    Hash,
    TileWrite,
    TreeSize,
    edge_from_tiles,
    edge_root,
    extend_edge,
    format_checkpoint,
    format_note,
    sign_note,
)

CAPTURE_SEQ_CACHE = 1
"""Another CACHE lets sessions draw numbers ahead: versions of one row would change places."""


@dataclass(frozen=True, slots=True)
class SealResult:
    """What one look at a log's queue did; times in seconds."""

    log_id: LogId
    log_name: LogName
    size: TreeSize
    rows: int
    quarantined: int
    batch_was_full: bool
    frozen: bool = False
    oldest_captured_at_seconds: float | None = None
    phases: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class LogState:
    """What a process remembers of one log between looks; all of it may be lost."""

    edge: Edge | None = None
    floor: Floor = field(default_factory=Floor)


class Stopwatch:
    """Splits one look into its phases."""

    def __init__(self) -> None:
        self.began = self._last = time.monotonic()
        self.phases: dict[str, float] = {}

    def lap(self, phase: str) -> None:
        """Say that *phase* ends here."""
        now = time.monotonic()
        self.phases[phase] = now - self._last
        self._last = now

    @property
    def elapsed_ms(self) -> int:
        """Milliseconds since the look began."""
        return round((time.monotonic() - self.began) * 1000)


class Sequencer:
    """Seals logs of one database with the keys of one directory; a log at a time a thread."""

    def __init__(self, database: Database, keys: KeyRing) -> None:
        self._database = database
        self._keys = keys
        self._states: dict[LogId, LogState] = {}

    def state(self, log_id: LogId) -> LogState:
        """Return what this process remembers of the log."""
        return self._states.setdefault(log_id, LogState())

    def seal_once(self, log_id: LogId) -> SealResult | None:
        """
        Take one batch of the log's queue and commit its head; None where there is nothing to do,
        the log is not to be sealed, or another sequencer has it.

        Raises:
            EdgeMismatchError, RollbackError: The log contradicts itself; it is `failed` now.
            KeyPermissionsError and other errors of keys: Its key cannot be used.
            DatabaseUnavailableError: The database does not answer; nothing is lost.
        """
        state = self.state(log_id)
        try:
            sealed = self._seal(log_id, state)
        except DamagedLogError as damage:
            state.edge = None
            with self._database.transaction() as tx:
                fail_log(tx, log_id, damage)
            raise
        except BaseException:
            # What the transaction left behind is unknown here; the next look reads the tiles.
            state.edge = None
            raise
        if sealed is None or sealed.rows == 0:
            return sealed
        # Readers learn of the head from this, or from their look each second.
        with self._database.transaction() as tx:
            store.notify(tx, log_id, tree_size=sealed.size)
        pause_point("seal.notified")
        return sealed

    def _seal(self, log_id: LogId, state: LogState) -> SealResult | None:
        watch = Stopwatch()
        with self._database.transaction() as tx:
            # 1. The lock saves work. Without it the row locks of DELETE and the primary key of
            #    merkle_log still admit one of two.
            if not store.lock_log(tx, log_id):
                return None
            # 2. The head, compared with the edge in memory and with the guard.
            head = store.read_head(tx, log_id)
            if head is None or head.status != "active" or not head.enabled:
                return None
            if head.sequence_cache != CAPTURE_SEQ_CACHE:
                raise EdgeMismatchError(
                    "tally.capture_seq must have CACHE 1: with another the order is lost"
                )
            if not self._is_last(tx, log_id, head):
                return None
            edge = self._edge(tx, log_id, state, head)
            state.floor.stands_in(head.place)
            start = state.floor.start(now=watch.began)
            pause_point("seal.locked")  # A crash leaves nothing: nothing was written.
            # 3. One statement takes the rows and writes the leaves.
            batch, frozen = self._take(tx, log_id, head, start)
            watch.lap("take")
            pause_point("seal.taken")  # A crash rolls the rows back into the queue.
            note = head.note
            if batch.placed:
                # 4. Edge, tiles, signature, checkpoint.
                edge, writes = extend_edge(edge, batch.leaf_hashes)
                note = self._write_head(tx, log_id, head, batch, edge, writes, watch)
            # A crash here leaves a signature that never left the process.
            pause_point("seal.signed")
        # 5. COMMIT happened. A crash here or later: the head is committed, the guard is behind,
        #    which is legal, and readers find the head at their next look.
        watch.lap("commit")
        pause_point("seal.committed")
        state.edge = edge
        remember_floor(state.floor, batch, head)
        if batch.placed:
            # 6. The guard.
            write_guard(guard_path(self._keys.directory, head.log_name), note)
            pause_point("seal.guarded")
        oldest = batch.oldest_captured_at
        return SealResult(
            log_id=log_id,
            log_name=head.log_name,
            size=edge.size,
            rows=batch.placed,
            quarantined=batch.quarantined,
            batch_was_full=batch.taken >= head.batch_size,
            frozen=frozen,
            oldest_captured_at_seconds=oldest.timestamp() if oldest else None,
            phases=watch.phases,
        )

    def _is_last(self, tx: Transaction, log_id: LogId, head: store.Head) -> bool:
        """
        Return whether *head* is still the log's; without the lock another may have committed one.

        Raises:
            RollbackError: The guard knows a head that the database does not have.
        """
        path = guard_path(self._keys.directory, head.log_name)
        try:
            check_guard(path, size=head.size, root=head.root, note=head.note)
        except RollbackError:
            # A guard is written after its commit, so a head that is read after it is as late.
            later = store.read_head(tx, log_id)
            if later is None or later.size == head.size:
                raise
            check_guard(path, size=later.size, root=later.root, note=later.note)
            return False
        return True

    def _edge(self, tx: Transaction, log_id: LogId, state: LogState, head: store.Head) -> Edge:
        """Return the edge of the head's tree, from memory where it agrees, else from tiles."""
        if state.edge is not None and state.edge.size == head.size:
            edge = state.edge
        else:
            edge = edge_from_tiles(store.TileReader(tx, log_id), TreeSize(head.size))
        if edge_root(edge) != head.root:
            raise EdgeMismatchError(
                f"the tiles of {head.log_name} do not lead to the root at size {head.size}",
                expected=head.root.hex(),
                actual=edge_root(edge).hex(),
            )
        return edge

    def _take(
        self, tx: Transaction, log_id: LogId, head: store.Head, start: Seq
    ) -> tuple[store.Batch, bool]:
        """Take a batch; where nothing waits and a freeze was asked for, take the freeze leaf."""

        def take() -> store.Batch:
            return store.take_batch(
                tx,
                log_id,
                log_name=head.log_name,
                floor=start,
                batch_size=head.batch_size,
                tree_size=head.size,
            )

        # Asked before: what was queued until then is in the batch.
        may_freeze = head.freeze_requested and not store.attached_sources(tx, log_id)
        batch = take()
        if batch.taken or not may_freeze:
            return batch, False
        store.queue_freeze_leaf(tx, log_id)
        batch = take()
        store.freeze_log(tx, log_id)
        return batch, True

    def _write_head(
        self,
        tx: Transaction,
        log_id: LogId,
        head: store.Head,
        batch: store.Batch,
        edge: Edge,
        writes: Sequence[TileWrite],
        watch: Stopwatch,
    ) -> str:
        """Write tiles, checkpoint and event of the new head, and return its signed note."""
        assert len(batch.leaf_hashes) == 32 * batch.placed, "every leaf of the batch has its hash"
        store.write_tiles(tx, log_id, writes)
        watch.lap("tiles")
        root = edge_root(edge)
        note = self._sign(tx, log_id, Checkpoint(head.origin, edge.size, Hash(root)))
        watch.lap("sign")
        store.insert_checkpoint(
            tx,
            log_id,
            tree_size=edge.size,
            root=root,
            note=note,
            batch_rows=batch.placed,
            seal_ms=watch.elapsed_ms,
        )
        emit(
            tx,
            "log.checkpoint",
            key=head.log_name,
            payload={"log": head.log_name, "size": edge.size, "root": root.hex()},
        )
        return note

    def _sign(self, tx: Transaction, log_id: LogId, checkpoint: Checkpoint) -> str:
        """Return the note over *checkpoint*, signed by every active key of the log."""
        signers = [self._keys.signer(key_id) for key_id in store.active_key_ids(tx, log_id)]
        assert signers, "a log keeps an active key"
        return format_note(sign_note(format_checkpoint(checkpoint), signers)).decode()


def remember_floor(floor: Floor, batch: store.Batch, head: store.Head) -> None:
    """Let a committed look raise the floor, and remember what it proves for later ones."""
    full = batch.taken >= head.batch_size
    floor.rise(xmin=batch.xmin, at_most=batch.highest if full else None)
    if batch.taken:
        floor.took(drawn=head.drawn, own=batch.own)
