"""
Transactions that scanning does not find: mined before they were observed, or before watching.

A transaction of ours is signed before it can be mined, so the blocks to come show it. One that
a client names may be mined already, and a database that was restored may have been away: so
what is not mined is asked for by its hashes, new observed ones at once and all that have waited
for a minute once a minute. Observed ones that no node has known for a day are dropped
(chain.md, sections 3.1 and 4.5).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.chain.node.blocks import Header, Receipt
from tallystick.chain.values import TransactionId
from tallystick.chain.watcher import store
from tallystick.chain.watcher.reading import BlockReader
from tallystick.chain.watcher.store import Awaited, Position
from tallystick.db import Database
from tallystick.record import TransactionHash

ROUND_SECONDS: Final = 60.0
AGED_SECONDS: Final = 60.0
"""A transaction that was sent so long ago is younger than no block that scanning has to read."""
DROPPED_SECONDS: Final = 86_400.0
MAX_ASKED: Final = 1_000
"""Transactions of one look; a round over more takes several looks."""


@dataclass(frozen=True, slots=True)
class Found:
    """Receipts of blocks at or below the position, and headers that are not recorded."""

    receipts: list[Receipt] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)


class Stragglers:
    """Looks for the transactions of one network that scanning does not find."""

    def __init__(self, database: Database, reader: BlockReader) -> None:
        self._database = database
        self._reader = reader
        self._newest = 0
        self._next_round = time.monotonic()
        self._round_after = 0
        self._is_first_round = True
        """At a start whatever waits is asked for: it may be mined where watching began."""
        self._known_at: dict[TransactionId, float] = {}

    def begin_again(self) -> None:
        """Ask for everything once more: what was found last was not recorded."""
        self._newest = self._round_after = 0
        self._next_round = time.monotonic()
        self._is_first_round = True

    def find(self, position: Position) -> Found:
        """
        Return what of the transactions that wait is mined at or below *position*.

        Raises:
            NodeUnavailableError, NodeRefusedError: The node does not answer.
        """
        asked = self._due(position)
        hashes = [each for row in asked for each in row.hashes]
        receipts = self._reader.receipts(hashes) if hashes else []
        self._drop_unseen(asked, {receipt.transaction_hash for receipt in receipts})
        assert position.scanned_block is not None
        return self._placed(
            position, [each for each in receipts if each.block_number <= position.scanned_block]
        )

    def _due(self, position: Position) -> list[Awaited]:
        """Return whom to ask for now: observed ones that are new, and a part of the round."""
        new = self._read(position, after=self._newest)
        if new:
            self._newest = max(row.id for row in new)
        due = {row.id: row for row in new if row.origin == "observed"}
        if time.monotonic() >= self._next_round:
            rows = self._read(position, after=self._round_after)
            due |= {
                row.id: row
                for row in rows
                if self._is_first_round or row.is_aged or row.origin == "observed"
            }
            is_through = len(rows) < MAX_ASKED
            self._round_after = 0 if is_through else max(row.id for row in rows)
            if is_through:
                self._is_first_round = False
                self._next_round = time.monotonic() + ROUND_SECONDS
        return list(due.values())

    def _read(self, position: Position, *, after: int) -> list[Awaited]:
        return self._database.read(
            lambda tx: store.read_awaited(
                tx,
                position.chain_id,
                after=after,
                aged_seconds=AGED_SECONDS,
                limit=MAX_ASKED,
            )
        )

    def _placed(self, position: Position, receipts: Sequence[Receipt]) -> Found:
        """Keep the receipts whose block is recorded, or lies below all that ever was."""
        if not receipts:
            return Found()
        numbers = sorted({receipt.block_number for receipt in receipts})
        recorded = {
            block.number: block.hash
            for block in self._database.read(
                lambda tx: store.read_blocks_at(tx, position.chain_id, numbers)
            )
        }
        final = -1 if position.finalized_block is None else position.finalized_block
        below = [number for number in numbers if number not in recorded and number <= final]
        headers = {header.hash: header for header in self._reader.headers_at(below)}
        canonical = {*recorded.values(), *headers}
        found = [receipt for receipt in receipts if receipt.block_hash in canonical]
        named = {receipt.block_hash for receipt in found}
        return Found(found, [headers[each] for each in named if each in headers])

    def _drop_unseen(self, asked: Sequence[Awaited], mined: set[TransactionHash]) -> None:
        """Drop the observed ones that the node does not know, and has not known for a day."""
        waiting = [
            row
            for row in asked
            if row.origin == "observed" and row.state == "broadcast" and not mined & {*row.hashes}
        ]
        known = self._reader.are_known([row.hashes[0] for row in waiting])
        now = time.monotonic()
        # What is older than a day says as little as nothing.
        self._known_at = {k: v for k, v in self._known_at.items() if now - v < DROPPED_SECONDS}
        unseen = []
        for row, is_known in zip(waiting, known, strict=True):
            if is_known:
                self._known_at[row.id] = now
            # After a start it counts from the submission: what is dropped too early comes back.
            elif row.id not in self._known_at:
                unseen.append(row.id)
        if unseen:
            with self._database.transaction() as tx:
                store.drop_unseen(tx, unseen)
