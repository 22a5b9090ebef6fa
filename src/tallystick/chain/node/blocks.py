"""
What a node says of blocks, receipts and logs, parsed once at the edge (chain.md, section 4.4).

A node's answer is foreign input: whatever is not of its form is a `MalformedAnswerError`, and
the watcher waits. Hashes and addresses are lower-case text with 0x, as they are stored.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tallystick.chain.errors import MalformedAnswerError
from tallystick.chain.node.encoding import parse_data, parse_object, parse_quantity
from tallystick.record import Address, BlockHash, TransactionHash

HASH_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
MAX_TOPICS: Final = 4
MAX_NUMBER: Final = 2**63 - 1
"""Block numbers, gas and places are BIGINT; no chain comes near."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, after which Python has no times."""


@dataclass(frozen=True, slots=True)
class BlockId:
    """A block by number and hash: one number has several hashes until it is final."""

    number: int
    hash: BlockHash


@dataclass(frozen=True, slots=True)
class Header:
    """A block as the watcher needs it."""

    number: int
    hash: BlockHash
    parent_hash: BlockHash
    time: datetime.datetime
    transactions: tuple[TransactionHash, ...]
    """The hashes of its transactions, in their order."""

    @property
    def id(self) -> BlockId:
        """Its number and hash."""
        return BlockId(self.number, self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a transaction in a block."""

    transaction_hash: TransactionHash
    block_number: int
    block_hash: BlockHash
    transaction_index: int
    status: int
    """1: done; 0: reverted."""
    gas_used: int
    gas_price: int
    """The effective price of a unit of gas, in wei."""
    l1_fee_wei: int
    """What a rollup takes besides for its parent chain; 0 where there is no such fee."""
    contract_address: Address | None

    @property
    def block(self) -> BlockId:
        """The block that it is of."""
        return BlockId(self.block_number, self.block_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An event of a contract, undecoded."""

    address: Address
    block_number: int
    block_hash: BlockHash
    transaction_hash: TransactionHash
    log_index: int
    """Its place among all logs of the block."""
    topics: tuple[bytes, ...]
    data: bytes

    @property
    def block(self) -> BlockId:
        """The block that it is of."""
        return BlockId(self.block_number, self.block_hash)


def parse_header(answer: Any) -> Header:
    """
    Return the block that eth_getBlockByNumber or eth_getBlockByHash answered.

    Raises:
        MalformedAnswerError: It is no block with the hashes of its transactions.
    """
    block = parse_object(answer)
    transactions = block.get("transactions")
    if not isinstance(transactions, list):
        raise MalformedAnswerError("the node answers a block without its transactions")
    return Header(
        number=parse_number(block.get("number")),
        hash=BlockHash(parse_hash(block.get("hash"))),
        parent_hash=BlockHash(parse_hash(block.get("parentHash"))),
        time=parse_block_time(block.get("timestamp")),
        transactions=tuple(TransactionHash(parse_hash(each)) for each in transactions),
    )


def parse_receipt(answer: Any) -> Receipt:
    """
    Return the receipt that eth_getTransactionReceipt answered.

    Raises:
        MalformedAnswerError: It is no receipt with status and effective gas price: receipts
            that are older than both exist on no chain that can be followed.
    """
    receipt = parse_object(answer)
    status = parse_number(receipt.get("status"))
    if status not in {0, 1}:
        raise MalformedAnswerError(f"the node answers a receipt of status {status}")
    contract, l1_fee = receipt.get("contractAddress"), receipt.get("l1Fee")
    return Receipt(
        transaction_hash=TransactionHash(parse_hash(receipt.get("transactionHash"))),
        block_number=parse_number(receipt.get("blockNumber")),
        block_hash=BlockHash(parse_hash(receipt.get("blockHash"))),
        transaction_index=parse_number(receipt.get("transactionIndex")),
        status=status,
        gas_used=parse_number(receipt.get("gasUsed")),
        gas_price=parse_quantity(receipt.get("effectiveGasPrice")),
        l1_fee_wei=0 if l1_fee is None else parse_quantity(l1_fee),
        contract_address=None if contract is None else parse_20_bytes(contract),
    )


def parse_logs(answer: Any) -> list[Log]:
    """
    Return the logs that eth_getLogs answered, in the order of blocks.

    Raises:
        MalformedAnswerError: They are no logs of mined blocks, or one has more than 4 topics.
    """
    if not isinstance(answer, list):
        raise MalformedAnswerError("the node answers something else than logs")
    logs = [_parse_log(parse_object(each)) for each in answer]
    return sorted(logs, key=lambda log: (log.block_number, log.log_index))


def _parse_log(log: dict[str, Any]) -> Log:
    topics = log.get("topics")
    if not isinstance(topics, list) or len(topics) > MAX_TOPICS:
        raise MalformedAnswerError("the node answers a log with more than 4 topics, or none")
    if log.get("removed") is True:
        raise MalformedAnswerError("the node answers a log that it has removed")
    return Log(
        address=parse_20_bytes(log.get("address")),
        block_number=parse_number(log.get("blockNumber")),
        block_hash=BlockHash(parse_hash(log.get("blockHash"))),
        transaction_hash=TransactionHash(parse_hash(log.get("transactionHash"))),
        log_index=parse_number(log.get("logIndex")),
        topics=tuple(parse_data(topic, length=HASH_BYTES) for topic in topics),
        data=parse_data(log.get("data")),
    )


def parse_number(value: Any) -> int:
    """
    Return a block number, a place or an amount of gas.

    Raises:
        MalformedAnswerError: It is no quantity, or above 2^63 - 1.
    """
    number = parse_quantity(value)
    if number > MAX_NUMBER:
        raise MalformedAnswerError(f"the node answers a number of {number.bit_length()} bits")
    return number


def parse_hash(value: Any) -> str:
    """
    Return a hash, lower-case with 0x.

    Raises:
        MalformedAnswerError: It is not 32 bytes.
    """
    return "0x" + parse_data(value, length=HASH_BYTES).hex()


def parse_20_bytes(value: Any) -> Address:
    """
    Return an address, lower-case with 0x; nodes may send any case.

    Raises:
        MalformedAnswerError: It is not 20 bytes.
    """
    return Address("0x" + parse_data(value, length=ADDRESS_BYTES).hex())


def parse_block_time(value: Any) -> datetime.datetime:
    """
    Return the time of a block, in UTC.

    Raises:
        MalformedAnswerError: It is no quantity, or behind the year 9999.
    """
    seconds = parse_quantity(value)
    if seconds > MAX_TIME:
        raise MalformedAnswerError("the node answers a time behind the year 9999")
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def are_logs_of(logs: Sequence[Log], blocks: Sequence[BlockId]) -> bool:
    """Whether each log is of one of *blocks*, by number and hash."""
    known = set(blocks)
    return all(log.block in known for log in logs)
