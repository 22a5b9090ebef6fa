"""The SQL of the watcher; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from psycopg.types.json import Jsonb

from tallystick.chain.node.blocks import BlockId, Header
from tallystick.chain.values import (
    ChainBlock,
    ChainTransaction,
    ContractEvent,
    ContractId,
    FinalityMode,
    NetworkStatus,
    TransactionId,
)
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, BlockHash, ChainId, TransactionHash

Told = Literal[
    "included",
    "finalized",
    "failed",
    "rolled_back",
    "untold",
    "event",
    "event_final",
    "event_orphaned",
]
"""What a follower is told; `untold` is taken back and nobody was told of it."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    read_network: Query
    read_contracts: Query
    read_abi: Query
    awaited_of: Query
    read_awaited: Query
    read_blocks: Query
    read_blocks_at: Query
    advance: Query
    reorganise: Query
    read_transactions: Query
    read_events: Query
    halt: Query
    drop_unseen: Query
    take_lock: Query
    listen: Query
    read_addresses: Query
    read_account: Query
    read_block_before: Query
    adopt: Query
    catch_up: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Position:
    """A network as its watcher finds it."""

    chain_id: ChainId
    status: NetworkStatus
    confirmations: int
    finality_mode: FinalityMode
    finality_quorum: int
    block_seconds: Decimal
    scanned_block: int | None
    scanned_hash: BlockHash | None
    finalized_block: int | None
    is_priced: bool
    """Whether there is a price at which an inclusion could be recorded."""

    @property
    def scanned(self) -> BlockId | None:
        """The newest recorded block; None before the first."""
        if self.scanned_block is None or self.scanned_hash is None:
            return None
        return BlockId(self.scanned_block, self.scanned_hash)


@dataclass(frozen=True, slots=True)
class Followed:
    """A registered contract, and how far its events were read."""

    contract_id: ContractId
    name: str
    address: Address
    block_number: int | None
    """Where it was deployed; None where nobody knows."""
    read_block: int | None
    """Up to where its past was read; None before the first look."""
    is_joined: bool
    """Whether its past is read: from then on each block is recorded with its events."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A transaction that is not mined, as far as the database knows."""

    id: TransactionId
    origin: Literal["managed", "observed"]
    state: str
    is_aged: bool
    """Whether scanning should have found it by now, had it been mined."""
    hashes: list[TransactionHash]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing to tell, as the database recorded it."""

    told: Told
    block_number: int
    place: int
    """Of the transaction or of the log in its block."""
    transaction_id: TransactionId | None
    block_hash: BlockHash | None
    """Of the block of an event."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account of ours as the database knows it."""

    next_nonce: int
    awaits_since: datetime.datetime | None
    """When the oldest of its intents that are in no block was handed over; None: there is none."""
    unmined: list[tuple[int, list[TransactionHash]]]
    """The signed ones that are not mined: nonce and the hashes of all attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoptable:
    """A transaction that the chain has and no attempt here names; fees in wei for a unit of gas."""

    hash: TransactionHash
    nonce: int
    to_address: Address | None
    call_data: bytes
    value: int
    raw: bytes
    cap: int
    tip: int
    gas_limit: int

    def as_json(self) -> dict[str, Any]:
        """The object; amounts are text, bytes hexadecimal."""
        return {
            "hash": self.hash,
            "nonce": self.nonce,
            "to_address": self.to_address,
            "call_data": self.call_data.hex(),
            "value": str(self.value),
            "raw": self.raw.hex(),
            "cap": str(self.cap),
            "tip": str(self.tip),
            "gas_limit": self.gas_limit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """A receipt on the canonical chain, as `chain_advance_v1` takes it."""

    transaction_hash: TransactionHash
    block_hash: BlockHash
    transaction_index: int
    receipt_status: int
    gas_used: int
    gas_price: int
    l1_fee_wei: int
    contract_address: Address | None
    revert_data: bytes | None
    error_message: str | None

    def as_json(self) -> dict[str, Any]:
        """The object; amounts are text, because JSON numbers lose what exceeds 2^53."""
        return {
            "transaction_hash": self.transaction_hash,
            "block_hash": self.block_hash,
            "transaction_index": self.transaction_index,
            "receipt_status": self.receipt_status,
            "gas_used": self.gas_used,
            "gas_price": str(self.gas_price),
            "l1_fee_wei": str(self.l1_fee_wei),
            "contract_address": self.contract_address,
            "revert_data": None if self.revert_data is None else "\\x" + self.revert_data.hex(),
            "error_message": self.error_message,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenEvent:
    """A decoded log on the canonical chain, as `chain_advance_v1` takes it."""

    block_hash: BlockHash
    log_index: int
    transaction_hash: TransactionHash
    contract_id: ContractId
    event_name: str | None
    topics: tuple[bytes, ...]
    data: bytes
    args: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The object, with bytes in hexadecimal."""
        return {
            "block_hash": self.block_hash,
            "log_index": self.log_index,
            "transaction_hash": self.transaction_hash,
            "contract_id": self.contract_id,
            "event_name": self.event_name,
            "topics": [topic.hex() for topic in self.topics],
            "data": self.data.hex(),
            "args": dict(self.args),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Everything that one advance records."""

    headers: Sequence[Header] = ()
    """Those above the position follow one another; others are of late inclusions and events."""
    inclusions: Sequence[Inclusion] = ()
    events: Sequence[SeenEvent] = ()
    followed: Mapping[ContractId, int] | None = None
    """Up to where the past of contracts is in this window."""
    final_block: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to record but perhaps finality."""
        return not (self.headers or self.inclusions or self.events or self.followed)


def read_position(tx: Transaction, chain_id: ChainId) -> Position | None:
    """Return the network's position; None where there is no such network."""
    return tx.row(Position, SQL.read_network, {"chain_id": chain_id})


def read_contracts(tx: Transaction, chain_id: ChainId) -> list[Followed]:
    """Return every registered contract of the network."""
    return tx.rows(Followed, SQL.read_contracts, {"chain_id": chain_id})


def read_abi(tx: Transaction, contract_id: ContractId) -> list[dict[str, Any]]:
    """Return the interface of a registered contract."""
    return list(tx.value(SQL.read_abi, {"contract_id": contract_id}))


def awaited_of(
    tx: Transaction, chain_id: ChainId, hashes: Sequence[TransactionHash]
) -> list[TransactionHash]:
    """Return those of *hashes* that are of transactions which are not mined."""
    return tx.values(SQL.awaited_of, {"chain_id": chain_id, "hashes": list(hashes)})


def read_awaited(
    tx: Transaction,
    chain_id: ChainId,
    *,
    after: int,
    aged_seconds: float,
    limit: int,
) -> list[Awaited]:
    """Return at most *limit* transactions that are not mined, with ids above *after*."""
    values = {
        "chain_id": chain_id,
        "after": after,
        "aged_seconds": aged_seconds,
        "limit": limit,
    }
    return tx.rows(Awaited, SQL.read_awaited, values)


def read_blocks(tx: Transaction, chain_id: ChainId, first: int, last: int) -> list[ChainBlock]:
    """Return the canonical blocks from number *first* to *last* that are kept, lowest first."""
    values = {"chain_id": chain_id, "first": first, "last": last}
    return tx.rows(_block, SQL.read_blocks, values)


def read_blocks_at(tx: Transaction, chain_id: ChainId, numbers: Sequence[int]) -> list[ChainBlock]:
    """Return the canonical blocks of *numbers* that are kept."""
    return tx.rows(_block, SQL.read_blocks_at, {"chain_id": chain_id, "numbers": list(numbers)})


def advance(tx: Transaction, position: Position, window: Window) -> list[Outcome]:
    """
    Record *window* on top of *position*, and return whom to tell what.

    Raises:
        NetworkUnavailableError: The network is halted.
        psycopg.errors.SerializationFailure: The position has moved since it was read.
    """
    values = {
        "chain_id": position.chain_id,
        "scanned_hash": position.scanned_hash,
        "finalized_block": position.finalized_block,
        "blocks": Jsonb([_header_as_json(header) for header in window.headers]),
        "inclusions": Jsonb([inclusion.as_json() for inclusion in window.inclusions]),
        "events": Jsonb([event.as_json() for event in window.events]),
        "followed": Jsonb(
            [
                {"contract_id": contract_id, "read_block": number}
                for contract_id, number in (window.followed or {}).items()
            ]
        ),
        "final_block": window.final_block,
    }
    return tx.rows(Outcome, SQL.advance, values)


def reorganise(tx: Transaction, position: Position, ancestor: BlockHash) -> list[Outcome]:
    """
    Take back what lies above the block *ancestor*, and return whom to tell what.

    Raises:
        FinalityViolationError: The block lies below the newest final one.
        NetworkUnavailableError, psycopg.errors.SerializationFailure: As `advance`.
    """
    values = {
        "chain_id": position.chain_id,
        "scanned_hash": position.scanned_hash,
        "finalized_block": position.finalized_block,
        "ancestor_hash": ancestor,
    }
    return tx.rows(Outcome, SQL.reorganise, values)


def read_transactions(
    tx: Transaction, ids: Collection[TransactionId]
) -> dict[TransactionId, ChainTransaction]:
    """Return the rows of *ids*."""
    rows = tx.rows(ChainTransaction, SQL.read_transactions, {"ids": list(ids)})
    return {row.id: row for row in rows}


def read_events(
    tx: Transaction, chain_id: ChainId, outcomes: Sequence[Outcome]
) -> dict[tuple[BlockHash, int], ContractEvent]:
    """Return the events that *outcomes* tell of, by block and place."""
    values = {
        "chain_id": chain_id,
        "hashes": [outcome.block_hash for outcome in outcomes],
        "places": [outcome.place for outcome in outcomes],
    }
    rows = tx.rows(ContractEvent, SQL.read_events, values)
    return {(row.block_hash, row.log_index): row for row in rows}


def halt(tx: Transaction, chain_id: ChainId, reason: str) -> bool:
    """Stop the network; False where it is halted already."""
    return bool(tx.value(SQL.halt, {"chain_id": chain_id, "reason": reason}))


def drop_unseen(tx: Transaction, ids: Sequence[TransactionId]) -> None:
    """Drop those of the observed transactions *ids* that were submitted a day ago."""
    tx.execute(SQL.drop_unseen, {"ids": list(ids)})


def read_addresses(tx: Transaction, chain_id: ChainId) -> list[Address]:
    """Return the addresses of our accounts on the network."""
    return tx.values(SQL.read_addresses, {"chain_id": chain_id})


def read_account(tx: Transaction, chain_id: ChainId, address: Address) -> AccountState | None:
    """Return the account; None where there is none."""
    return tx.row(AccountState, SQL.read_account, {"chain_id": chain_id, "address": address})


def read_block_before(
    tx: Transaction, chain_id: ChainId, address: Address, nonce: int
) -> int | None:
    """Return the block of the account's last mined transaction before *nonce*; None: no such."""
    values = {"chain_id": chain_id, "address": address, "nonce": nonce}
    number = tx.value(SQL.read_block_before, values)
    return None if number is None else int(number)


def adopt(
    tx: Transaction,
    chain_id: ChainId,
    address: Address,
    found: Sequence[Adoptable],
) -> list[TransactionId]:
    """Give what was *found* to the intents that it carries out, and return those."""
    values = {
        "chain_id": chain_id,
        "address": address,
        "found": Jsonb([each.as_json() for each in found]),
    }
    return tx.values(SQL.adopt, values)


def catch_up(tx: Transaction, chain_id: ChainId, address: Address, final_nonce: int) -> None:
    """Raise the account's next nonce to the one that is final on the chain."""
    values = {"chain_id": chain_id, "address": address, "final_nonce": final_nonce}
    tx.value(SQL.catch_up, values)


def take_lock(session: Transaction, chain_id: ChainId) -> bool:
    """Take the lock of the network's one watcher; False where another has it."""
    return bool(session.value(SQL.take_lock, {"chain_id": chain_id}))


def listen(session: Transaction) -> None:
    """Let the session hear of what there is to look for."""
    session.execute(SQL.listen)


def _block(
    chain_id: ChainId, number: int, block_hash: BlockHash, time: datetime.datetime
) -> ChainBlock:
    return ChainBlock(chain_id=chain_id, number=number, hash=block_hash, time=time)


def _header_as_json(header: Header) -> dict[str, Any]:
    return {
        "number": header.number,
        "hash": header.hash,
        "parent": header.parent_hash,
        "time": int(header.time.timestamp()),
    }
