"""
The events of registered contracts, read block by block and from a contract's past on.

Follows chain.md, sections 4.4.1 and 5.3.3. A contract is registered when its deployment is
final, which is some blocks after it stood on the chain and could log. So its past is read
first, from its deployment on and in ranges; then it is *joined*: each further block is recorded
together with its events. Contracts that a newer version has replaced are followed on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tallystick.chain.node.blocks import BlockId, Header, Log
from tallystick.chain.values import ContractId
from tallystick.chain.watcher import store
from tallystick.chain.watcher.decoding import EventDecoder
from tallystick.chain.watcher.reading import MAX_RANGE_BLOCKS, SETTLED_BLOCKS, BlockReader
from tallystick.chain.watcher.store import Followed, Position, SeenEvent
from tallystick.db import Database
from tallystick.record import Address


@dataclass(frozen=True, slots=True)
class ReadEvents:
    """What a look read of events."""

    events: list[SeenEvent] = field(default_factory=list)
    headers: list[Header] = field(default_factory=list)
    """Blocks of past events that are not recorded."""
    followed: dict[ContractId, int] = field(default_factory=dict)
    """Up to where the past of contracts was read."""
    is_behind: bool = False
    """Whether some past is still to be read."""


class EventReader:
    """Reads the events of one network's contracts; keeps what it knows of their ABIs."""

    def __init__(self, database: Database, reader: BlockReader) -> None:
        self._database = database
        self._reader = reader
        self._decoders: dict[ContractId, EventDecoder] = {}

    def read(
        self, position: Position, headers: Sequence[Header], *, head: int
    ) -> ReadEvents | None:
        """
        Return the events in *headers* and what is due of contracts' past.

        None: the chain changed between two questions.

        Raises:
            NodeUnavailableError, NodeRefusedError: The node does not answer.
        """
        contracts = self._database.read(lambda tx: store.read_contracts(tx, position.chain_id))
        found = ReadEvents()
        joined = [contract for contract in contracts if contract.is_joined]
        is_behind = False
        assert position.scanned_block is not None
        for contract in contracts:
            if contract.is_joined:
                continue
            reached = self._read_past(position, contract, found, head=head)
            if reached is None:
                return None
            found.followed[contract.contract_id] = reached
            if reached >= position.scanned_block:
                joined.append(contract)
            else:
                is_behind = True
        by_address = {contract.address: contract for contract in joined}
        logs = self._reader.logs(headers, by_address, head=head)
        if logs is None:
            return None
        found.events.extend(self._decoded(logs, by_address))
        return ReadEvents(found.events, found.headers, found.followed, is_behind)

    def _read_past(
        self, position: Position, contract: Followed, found: ReadEvents, *, head: int
    ) -> int | None:
        """Read one range of the contract's past; return up to where, None: the chain changed."""
        assert position.scanned_block is not None
        first = contract.block_number if contract.read_block is None else contract.read_block + 1
        if first is None or first > position.scanned_block:
            return position.scanned_block
        last = min(position.scanned_block, first + MAX_RANGE_BLOCKS - 1)
        recorded = {
            block.number: BlockId(block.number, block.hash)
            for block in self._database.read(
                lambda tx: store.read_blocks(tx, position.chain_id, first, last)
            )
        }
        # Near the head by hash, for the reason that `reading` gives.
        near = [block for number, block in recorded.items() if number + SETTLED_BLOCKS > head]
        far = min((block.number for block in near), default=last + 1) - 1
        logs = self._reader.logs_of_blocks(near, [contract.address]) if near else []
        if logs is None:
            return None
        if first <= far:
            logs = self._reader.logs_of_range(first, far, [contract.address]) + logs
        if not self._placed(position, logs, recorded, found):
            return None
        found.events.extend(self._decoded(logs, {contract.address: contract}))
        return last

    def _placed(
        self,
        position: Position,
        logs: Sequence[Log],
        recorded: Mapping[int, BlockId],
        found: ReadEvents,
    ) -> bool:
        """Whether each log is of a recorded block, or of one below all that is; then it is read."""
        unrecorded: dict[int, BlockId] = {}
        for log in logs:
            if log.block_number not in recorded:
                unrecorded[log.block_number] = log.block
            elif recorded[log.block_number] != log.block:
                return False
        if any(number > (position.finalized_block or 0) for number in unrecorded):
            return False
        headers = self._reader.headers_at(unrecorded)
        if [header.id for header in headers] != list(unrecorded.values()):
            return False
        found.headers.extend(headers)
        return True

    def _decoded(
        self, logs: Sequence[Log], contracts: Mapping[Address, Followed]
    ) -> list[SeenEvent]:
        events = []
        for log in logs:
            contract = contracts.get(log.address)
            if contract is None:
                # More than was asked for is no harm.
                continue
            decoded = self._decoder(contract).decode(log)
            events.append(
                SeenEvent(
                    block_hash=log.block_hash,
                    log_index=log.log_index,
                    transaction_hash=log.transaction_hash,
                    contract_id=contract.contract_id,
                    event_name=decoded.name,
                    topics=log.topics,
                    data=log.data,
                    args=decoded.args,
                )
            )
        return events

    def _decoder(self, contract: Followed) -> EventDecoder:
        decoder = self._decoders.get(contract.contract_id)
        if decoder is None:
            abi = self._database.read(lambda tx: store.read_abi(tx, contract.contract_id))
            decoder = self._decoders[contract.contract_id] = EventDecoder(abi)
        return decoder
