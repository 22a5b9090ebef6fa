"""
Blocks, transactions, receipts and logs of the dev chain as JSON-RPC shows them (chain.md, 4.5).

The shapes are those of the execution API that all nodes share; a header's RLP can be made of a
block's, and hashes to the block's hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rlp  # type: ignore[import-untyped]
from eth._utils.address import generate_contract_address
from eth.abc import LogAPI, SignedTransactionAPI

from tallystick.runtime.devchain.machine import MinedBlock

Shape = dict[str, Any]


def quantity(number: int) -> str:
    """Return *number* as JSON-RPC spells it."""
    return hex(number)


def data(raw: bytes) -> str:
    """Return *raw* as JSON-RPC spells it."""
    return "0x" + bytes(raw).hex()


def type_of(transaction: SignedTransactionAPI) -> int:
    """Return the EIP-2718 type; 0 is a legacy transaction."""
    return int(getattr(transaction, "type_id", None) or 0)


def gas_price_of(transaction: SignedTransactionAPI, base_fee: int) -> int:
    """Return what the sender pays for a unit of gas in a block of *base_fee*, in wei."""
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - base_fee)
    return int(base_fee + tip)


def gas_used_of(block: MinedBlock, index: int) -> int:
    """Return the gas of the transaction at *index*; receipts count from the block's start."""
    before = block.receipts[index - 1].gas_used if index else 0
    return int(block.receipts[index].gas_used - before)


def block_shape(block: MinedBlock, *, full: bool) -> Shape:
    """Return a block, with whole transactions (*full*) or their hashes."""
    header = block.header
    transactions: list[Any] = [
        transaction_shape(transaction, block, index) if full else data(transaction.hash)
        for index, transaction in enumerate(block.transactions)
    ]
    return {
        "number": quantity(header.block_number),
        "hash": data(block.block_hash),
        "parentHash": data(header.parent_hash),
        "nonce": data(header.nonce),
        "sha3Uncles": data(header.uncles_hash),
        "logsBloom": data(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": data(header.transaction_root),
        "stateRoot": data(header.state_root),
        "receiptsRoot": data(header.receipt_root),
        "miner": data(header.coinbase),
        "difficulty": quantity(header.difficulty),
        "totalDifficulty": quantity(0),
        "extraData": data(header.extra_data),
        "size": quantity(
            len(rlp.encode(header)) + sum(len(t.encode()) for t in block.transactions)
        ),
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": data(header.mix_hash),
        "baseFeePerGas": quantity(header.base_fee_per_gas),
        "withdrawalsRoot": data(header.withdrawals_root),
        "blobGasUsed": quantity(header.blob_gas_used),
        "excessBlobGas": quantity(header.excess_blob_gas),
        "parentBeaconBlockRoot": data(header.parent_beacon_block_root),
        "requestsHash": data(header.requests_hash),
        "transactions": transactions,
        "withdrawals": [],
        "uncles": [],
    }


def transaction_shape(
    transaction: SignedTransactionAPI, block: MinedBlock | None, index: int | None
) -> Shape:
    """Return a transaction; *block* and *index* are None while it waits."""
    kind = type_of(transaction)
    shape: Shape = {
        "hash": data(transaction.hash),
        "type": quantity(kind),
        "chainId": quantity(transaction.chain_id or 0),
        "nonce": quantity(transaction.nonce),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to else None,
        "value": quantity(transaction.value),
        "gas": quantity(transaction.gas),
        "input": data(transaction.data),
        "blockHash": None if block is None else data(block.block_hash),
        "blockNumber": None if block is None else quantity(block.header.block_number),
        "transactionIndex": None if index is None else quantity(index),
        "r": quantity(transaction.r),
        "s": quantity(transaction.s),
    }
    if kind == 0:
        shape["v"] = quantity(getattr(transaction, "v", 0))
    else:
        shape["v"] = shape["yParity"] = quantity(transaction.y_parity)
        shape["accessList"] = [
            {"address": data(address), "storageKeys": [data(k.to_bytes(32, "big")) for k in keys]}
            for address, keys in transaction.access_list
        ]
    base_fee = 0 if block is None else block.header.base_fee_per_gas
    shape["gasPrice"] = quantity(
        transaction.max_fee_per_gas if block is None else gas_price_of(transaction, base_fee)
    )
    if kind > 1:
        shape["maxFeePerGas"] = quantity(transaction.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = quantity(transaction.max_priority_fee_per_gas)
    return shape


def receipt_shape(block: MinedBlock, index: int) -> Shape:
    """Return the receipt of the transaction at *index*."""
    transaction, receipt = block.transactions[index], block.receipts[index]
    created = None
    if not transaction.to:
        created = data(generate_contract_address(transaction.sender, transaction.nonce))
    return {
        "transactionHash": data(transaction.hash),
        "transactionIndex": quantity(index),
        "blockHash": data(block.block_hash),
        "blockNumber": quantity(block.header.block_number),
        "from": data(transaction.sender),
        "to": data(transaction.to) if transaction.to else None,
        "cumulativeGasUsed": quantity(receipt.gas_used),
        "gasUsed": quantity(gas_used_of(block, index)),
        "contractAddress": created,
        "logs": log_shapes(block, index),
        "logsBloom": data(receipt.bloom.to_bytes(256, "big")),
        "type": quantity(type_of(transaction)),
        # Since Byzantium this field of the receipt is the status: one byte, or none.
        "status": quantity(len(receipt.state_root)),
        "effectiveGasPrice": quantity(gas_price_of(transaction, block.header.base_fee_per_gas)),
    }


def log_shapes(block: MinedBlock, index: int) -> list[Shape]:
    """Return the logs of the transaction at *index*; their numbers count from the block's start."""
    first = sum(len(receipt.logs) for receipt in block.receipts[:index])
    return [
        log_shape(log, block, index, number)
        for number, log in enumerate(block.receipts[index].logs, first)
    ]


def log_shape(log: LogAPI, block: MinedBlock, index: int, number: int) -> Shape:
    """Return one log."""
    return {
        "address": data(log.address),
        "topics": topics_of(log),
        "data": data(log.data),
        "blockNumber": quantity(block.header.block_number),
        "blockHash": data(block.block_hash),
        "blockTimestamp": quantity(block.header.timestamp),
        "transactionHash": data(block.transactions[index].hash),
        "transactionIndex": quantity(index),
        "logIndex": quantity(number),
        "removed": False,
    }


def topics_of(log: LogAPI) -> list[str]:
    """Return the topics, 32 bytes each."""
    return [data(topic.to_bytes(32, "big")) for topic in log.topics]


def fits_topics(log: LogAPI, wanted: Sequence[Any]) -> bool:
    """Whether a log's topics are as *wanted*: each None, one topic, or a list of which one fits."""
    topics = topics_of(log)
    if len(wanted) > len(topics):
        return False
    return all(
        want is None or topic in ([want] if isinstance(want, str) else want)
        for want, topic in zip(wanted, topics, strict=False)
    )
