"""
One look at one network: what is new on the chain is read, decided, recorded and told.

Follows chain.md, sections 3 and 4.4. Every question to a node is asked before the transaction,
so no connection waits for a network while it holds locks (section 7.9). A crash before the
commit leaves nothing, and the next look reads the same blocks again; after it everything that
belongs to those blocks is recorded, and every follower has done its part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from tallystick import metrics
from tallystick.chain.contracts.reasons import explain_revert
from tallystick.chain.errors import PriceUnavailableError, WrongChainError
from tallystick.chain.followers import registered_followers
from tallystick.chain.node import Node
from tallystick.chain.node.blocks import BlockId, Header, Receipt
from tallystick.chain.values import ChainBlock
from tallystick.chain.watcher import store
from tallystick.chain.watcher.decision import (
    WINDOW_BLOCKS,
    Behind,
    Parts,
    are_agreed,
    candidates,
    decide,
    final_block,
    find_ancestor,
    first_block,
)
from tallystick.chain.watcher.delivery import (
    FollowerFailed,
    PreparingFollower,
    deliver_advance,
    deliver_reorganisation,
)
from tallystick.chain.watcher.events import EventReader
from tallystick.chain.watcher.reading import BlockReader
from tallystick.chain.watcher.store import Inclusion, Position, Window
from tallystick.chain.watcher.stragglers import Stragglers
from tallystick.db import Database
from tallystick.pauses import pause_point
from tallystick.record import BlockHash, ChainId

WALK_BLOCKS: Final = 64
"""How many hashes are compared at a time on the way back to the common ancestor."""

logger = structlog.get_logger(__name__)


class ChainMoved(Exception):  # noqa: N818 (never leaves the watcher: the next look reads anew)
    """The chain changed, or endpoints differ, between two questions of one look."""


class Watcher:
    """Follows one network; one at a time, which its worker's lock sees to."""

    def __init__(self, database: Database, node: Node, chain_id: ChainId) -> None:
        self._database = database
        self._chain_id = chain_id
        self._reader = BlockReader(node)
        self._events = EventReader(database, self._reader)
        self._stragglers = Stragglers(database, self._reader)
        self._window = WINDOW_BLOCKS

    def position(self) -> Position | None:
        """Return where the network stands; None where there is no such network."""
        return self._database.read(lambda tx: store.read_position(tx, self._chain_id))

    def look(self) -> bool:
        """
        Record what is new, at most 64 blocks; return whether there is more to record at once.

        Raises:
            FollowerFailed: A follower raised: nothing was recorded, and the next look takes one
                block alone, so that those before the one at fault are not held up.
            ChainMoved: The node contradicted itself: nothing was recorded.
            NodeUnavailableError, NodeRefusedError: The node does not answer.
            PriceUnavailableError: An inclusion cannot be priced.
        """
        position = self.position()
        if position is None or position.status == "halted":
            return False
        is_recorded = False
        try:
            is_behind = self._look(position)
            is_recorded = True
        except WrongChainError as wrong:
            self._halt(f"the endpoints serve chain {wrong.actual}, not {position.chain_id}")
            return False
        except FollowerFailed:
            self._window = 1
            raise
        finally:
            if not is_recorded:
                # What was found beside the blocks is not recorded either: it is looked for again.
                self._stragglers.begin_again()
        return is_behind

    def _look(self, position: Position) -> bool:
        scanned = position.scanned
        if scanned is None:
            return self._begin(position)
        head, same = self._reader.look(scanned.number)
        above: list[Header] = []
        if same == scanned.hash and head > scanned.number:
            last = min(head, scanned.number + self._window)
            above = self._reader.headers(scanned.number + 1, last)
        match decide(scanned, same, above):
            case Behind() if self._agrees_at(head):
                return False
            case Behind() | Parts():
                return self._take_back(position, scanned, head=head)
            case follows:
                if above and not follows.headers:
                    raise ChainMoved("the blocks do not fit together")
                return self._advance(position, scanned, follows.headers, head=head)

    # Forward --------------------------------------------------------------------------------

    def _begin(self, position: Position) -> bool:
        """Record the block at which watching begins: the newest final one."""
        head = self._reader.head()
        agreed: int | None = None
        if position.finality_mode == "tag":
            numbers = candidates(self._reader.finalized_tags(), position.finality_quorum)
            if not numbers:
                return False
            agreed = numbers[0]
        number = first_block(head=head, confirmations=position.confirmations, agreed=agreed)
        headers = self._reader.headers(number, number)
        if not headers:
            return False
        if agreed is not None:
            answers = self._reader.hashes_of_each(number)
            if not are_agreed(answers, headers[0].hash, position.finality_quorum):
                return False
        self._record(position, Window(headers=headers, final_block=number))
        return True

    def _advance(
        self, position: Position, scanned: BlockId, headers: tuple[Header, ...], *, head: int
    ) -> bool:
        receipts = self._receipts(headers)
        late = self._stragglers.find(position)
        events = self._events.read(position, headers, head=head)
        if events is None:
            raise ChainMoved("the logs are of other blocks")
        newest = headers[-1].number if headers else scanned.number
        final = self._final_block(position, headers, scanned=newest)
        window = Window(
            headers=[*merged(late.headers, events.headers), *headers],
            inclusions=self._inclusions(position, [*receipts, *late.receipts]),
            events=events.events,
            followed=events.followed,
            final_block=final,
        )
        is_moved = final is not None and final != position.finalized_block
        self._prepare(window)
        if not window.is_empty or is_moved:
            self._record(position, window)
        # A head that the node names and does not give yet is waited for.
        return bool(headers and newest < head) or is_moved or events.is_behind

    def _receipts(self, headers: Sequence[Header]) -> list[Receipt]:
        """Return the receipts of the transactions of ours in *headers*."""
        # The blocks were read first: whatever of ours they hold was committed before it was sent.
        hashes = [each for header in headers for each in header.transactions]
        if not hashes:
            return []
        awaited = self._database.read(lambda tx: store.awaited_of(tx, self._chain_id, hashes))
        receipts = self._reader.receipts(awaited)
        blocks = {header.id for header in headers}
        if len(receipts) < len(awaited) or any(each.block not in blocks for each in receipts):
            raise ChainMoved("a receipt is of another block")
        return receipts

    def _inclusions(self, position: Position, receipts: Sequence[Receipt]) -> list[Inclusion]:
        if receipts and not position.is_priced:
            raise PriceUnavailableError(f"chain {self._chain_id}: nobody has recorded a price")
        reverted = [receipt for receipt in receipts if receipt.status == 0]
        reasons = self._reader.reverts(reverted) if reverted else {}
        return [
            make_inclusion(receipt, reasons.get(receipt.transaction_hash))
            for receipt in {receipt.transaction_hash: receipt for receipt in receipts}.values()
        ]

    def _prepare(self, window: Window) -> None:
        """Let followers that ask a node do so now, because in the transaction nobody may."""
        made = [each.contract_address for each in window.inclusions]
        created = {address for address in made if address is not None}
        for follower in registered_followers():
            if isinstance(follower, PreparingFollower):
                follower.prepare(self._chain_id, created, self._reader.code)

    def _final_block(
        self, position: Position, headers: Sequence[Header], *, scanned: int
    ) -> int | None:
        """Return the newest final block once *headers* are recorded (section 3.3)."""
        agreed = position.finalized_block
        deep = min(
            scanned - position.confirmations + 1, (position.finalized_block or 0) + self._window
        )
        if position.finality_mode == "tag" and deep > (position.finalized_block or 0):
            agreed = self._agreed_block(position, headers, deep)
        return final_block(
            deep=deep,
            finalized=position.finalized_block,
            mode=position.finality_mode,
            agreed=agreed,
        )

    def _agreed_block(self, position: Position, headers: Sequence[Header], deep: int) -> int | None:
        """Return the newest block, up to *deep*, that enough endpoints call final as we have it."""
        known = {header.number: header.hash for header in headers}
        for number in candidates(self._reader.finalized_tags(), position.finality_quorum):
            wanted = min(number, deep)
            if wanted <= (position.finalized_block or 0):
                break
            ours = known.get(wanted) or self._recorded(wanted)
            answers = self._reader.hashes_of_each(wanted)
            if are_agreed(answers, ours, position.finality_quorum):
                return wanted
        return position.finalized_block

    def _record(self, position: Position, window: Window) -> None:
        """Record *window* and tell every follower, in one transaction."""
        with self._database.transaction() as tx:
            outcomes = store.advance(tx, position, window)
            final: list[ChainBlock] = []
            if window.final_block is not None:
                before = -1 if position.finalized_block is None else position.finalized_block
                final = store.read_blocks(tx, self._chain_id, before + 1, window.final_block)
            deliver_advance(tx, self._chain_id, outcomes, final)
            # Killed here, nothing of it has happened: the next look reads the same blocks again.
            pause_point("chain.watcher.advanced")
        self._window = min(WINDOW_BLOCKS, 2 * self._window)

    # Back -----------------------------------------------------------------------------------

    def _agrees_at(self, head: int) -> bool:
        """Whether the node, which is behind, says nothing against what is recorded at *head*."""
        ours = self._recorded(head)
        # An endpoint that is still further behind may have answered.
        return ours is None or self._reader.hashes([head]).get(head) in {None, ours}

    def _take_back(self, position: Position, scanned: BlockId, *, head: int) -> bool:
        """Walk back to the common ancestor and take all above it back; halt below finality."""
        self._reader.forget()
        lowest = position.finalized_block or 0
        for upper in range(scanned.number, lowest - 1, -WALK_BLOCKS):
            lower = max(lowest, upper - WALK_BLOCKS + 1)
            ours = self._database.read(
                lambda tx, lower=lower, upper=upper: store.read_blocks(  # type: ignore[misc]
                    tx, self._chain_id, lower, upper
                )
            )
            theirs = self._reader.hashes(range(lower, upper + 1))
            ancestor = find_ancestor([BlockId(each.number, each.hash) for each in ours], theirs)
            if ancestor == scanned:
                # It was there all the time: an endpoint with another view has answered before.
                raise ChainMoved("endpoints differ")
            if ancestor is not None:
                self._reorganise(position, ancestor)
                return True
        final = min(head, lowest)
        if self._agrees_at(final):
            # It only lacks the final block: an operator is called for what contradicts it.
            raise ChainMoved("an endpoint is behind the final block")
        self._halt(f"block {final}, which was final, is no longer on the chain")
        return False

    def _reorganise(self, position: Position, ancestor: BlockId) -> None:
        with self._database.transaction() as tx:
            outcomes = store.reorganise(tx, position, ancestor.hash)
            deliver_reorganisation(tx, self._chain_id, outcomes)
            # Killed here, nothing was taken back and nobody told.
            pause_point("chain.watcher.taken_back")
        metrics.CHAIN_REORGS.labels(str(self._chain_id)).inc()
        logger.warning(
            "chain.reorganised",
            chain_id=self._chain_id,
            ancestor=ancestor.number,
            depth=(position.scanned_block or 0) - ancestor.number,
        )

    def _halt(self, reason: str) -> None:
        with self._database.transaction() as tx:
            store.halt(tx, self._chain_id, reason)
        logger.error("chain.halted", chain_id=self._chain_id, reason=reason)

    def _recorded(self, number: int) -> BlockHash | None:
        blocks = self._database.read(
            lambda tx: store.read_blocks(tx, self._chain_id, number, number)
        )
        return blocks[0].hash if blocks else None


def make_inclusion(receipt: Receipt, revert_data: bytes | None) -> Inclusion:
    """Return what is recorded of *receipt*, with the reason where it reverted."""
    message: str | None = None
    if receipt.status == 0:
        reason = explain_revert(revert_data or b"")
        message = f"reverted: {reason}" if reason else "reverted"
    return Inclusion(
        transaction_hash=receipt.transaction_hash,
        block_hash=receipt.block_hash,
        transaction_index=receipt.transaction_index,
        receipt_status=receipt.status,
        gas_used=receipt.gas_used,
        gas_price=receipt.gas_price,
        l1_fee_wei=receipt.l1_fee_wei,
        contract_address=receipt.contract_address,
        revert_data=revert_data,
        error_message=message,
    )


def merged(*lists: Sequence[Header]) -> list[Header]:
    """Return the headers of all *lists*, each once, lowest first."""
    found = {header.hash: header for each in lists for header in each}
    return sorted(found.values(), key=lambda header: header.number)
