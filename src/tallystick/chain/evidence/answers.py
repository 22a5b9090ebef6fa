"""
A node's JSON as what the consensus hashes: headers and receipts (chain.md, section 4.1.7).

Nothing here is believed. What is made of an answer is hashed afterwards, and a node that tells
something else than its chain holds, or a fork that these fields do not cover, shows in the hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.chain.errors import MalformedAnswerError
from tallystick.chain.node import (
    parse_data,
    parse_object,
    parse_optional_quantity,
    parse_quantity,
)
from tallystick.record.evm import (
    Address,
    BlockHeader,
    Receipt,
    ReceiptLog,
    format_receipt,
)

HASH_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
BLOOM_BYTES: Final = 256
NONCE_BYTES: Final = 8
MAX_TYPE: Final = 0x7F
"""EIP-2718: what begins with a higher byte is a legacy receipt."""


def read_header(answer: Any) -> BlockHeader:
    """
    Return the header of the block that eth_getBlockByHash answered, of any fork up to Prague.

    Fields that are not a header's, such as the size or a rollup's own, are passed over.

    Raises:
        MalformedAnswerError: A field is missing or not of its form.
    """
    block = parse_object(answer)
    return BlockHeader(
        parent_hash=_bytes(block, "parentHash", HASH_BYTES),
        ommers_hash=_bytes(block, "sha3Uncles", HASH_BYTES),
        beneficiary=read_address(block.get("miner")),
        state_root=_bytes(block, "stateRoot", HASH_BYTES),
        transactions_root=_bytes(block, "transactionsRoot", HASH_BYTES),
        receipts_root=_bytes(block, "receiptsRoot", HASH_BYTES),
        logs_bloom=_bytes(block, "logsBloom", BLOOM_BYTES),
        difficulty=parse_quantity(block.get("difficulty")),
        number=parse_quantity(block.get("number")),
        gas_limit=parse_quantity(block.get("gasLimit")),
        gas_used=parse_quantity(block.get("gasUsed")),
        timestamp=parse_quantity(block.get("timestamp")),
        extra_data=parse_data(block.get("extraData")),
        mix_hash=_bytes(block, "mixHash", HASH_BYTES),
        nonce=_bytes(block, "nonce", NONCE_BYTES),
        base_fee_per_gas=parse_optional_quantity(block.get("baseFeePerGas")),
        withdrawals_root=_optional_bytes(block, "withdrawalsRoot", HASH_BYTES),
        blob_gas_used=parse_optional_quantity(block.get("blobGasUsed")),
        excess_blob_gas=parse_optional_quantity(block.get("excessBlobGas")),
        parent_beacon_block_root=_optional_bytes(block, "parentBeaconBlockRoot", HASH_BYTES),
        requests_hash=_optional_bytes(block, "requestsHash", HASH_BYTES),
    )


def read_receipts(answer: Any) -> list[bytes]:
    """
    Return the consensus bytes of the receipts that eth_getBlockReceipts answered, by index.

    Raises:
        MalformedAnswerError: They are not all of a block's receipts, or one is not of its form.
    """
    if not isinstance(answer, list):
        raise MalformedAnswerError("the node answers something else than receipts")
    receipts = sorted(
        (parse_object(item) for item in answer),
        key=lambda item: parse_quantity(item.get("transactionIndex")),
    )
    for index, receipt in enumerate(receipts):
        if parse_quantity(receipt["transactionIndex"]) != index:
            raise MalformedAnswerError(f"the node answers no receipt {index}, or two")
    return [format_receipt(read_receipt(receipt)) for receipt in receipts]


def read_raw_receipts(answer: Any) -> list[bytes]:
    """
    Return the receipts that debug_getRawReceipts answered, which are consensus bytes already.

    Raises:
        MalformedAnswerError: It is no list of bytes.
    """
    if not isinstance(answer, list):
        raise MalformedAnswerError("the node answers something else than receipts")
    receipts = [parse_data(item) for item in answer]
    if not all(receipts):
        raise MalformedAnswerError("the node answers an empty receipt")
    return receipts


def read_receipt(receipt: Mapping[str, Any]) -> Receipt:
    """
    Return the receipt that a node describes.

    A type that is not known is taken to have the fields that all have: chains add types of
    their own to a block, and the root tells whether the guess was right.

    Raises:
        MalformedAnswerError: A field is missing or not of its form.
    """
    kind = parse_quantity(receipt.get("type", "0x0"))
    if kind > MAX_TYPE:
        raise MalformedAnswerError(f"the node answers a receipt of type {kind:#x}")
    logs = receipt.get("logs")
    if not isinstance(logs, list):
        raise MalformedAnswerError("the node answers a receipt without logs")
    post_state = _optional_bytes(receipt, "root", HASH_BYTES)
    status = parse_optional_quantity(receipt.get("status"))
    if status is None and post_state is None:
        raise MalformedAnswerError("the node answers a receipt without its status")
    return Receipt(
        type=kind,
        status=status,
        # Some nodes answer a root besides the status; only receipts without status have one.
        post_state=post_state if status is None else None,
        cumulative_gas_used=parse_quantity(receipt.get("cumulativeGasUsed")),
        logs_bloom=_bytes(receipt, "logsBloom", BLOOM_BYTES),
        logs=tuple(_read_log(parse_object(log)) for log in logs),
        deposit_nonce=parse_optional_quantity(receipt.get("depositNonce")),
        deposit_version=parse_optional_quantity(receipt.get("depositReceiptVersion")),
    )


def read_address(value: Any) -> Address:
    """
    Return an address, whose case a node may choose.

    Raises:
        MalformedAnswerError: *value* is not 20 bytes.
    """
    return Address("0x" + parse_data(value, length=ADDRESS_BYTES).hex())


def _read_log(log: Mapping[str, Any]) -> ReceiptLog:
    topics = log.get("topics")
    if not isinstance(topics, list):
        raise MalformedAnswerError("the node answers a log without topics")
    return ReceiptLog(
        address=read_address(log.get("address")),
        topics=tuple(parse_data(topic, length=HASH_BYTES) for topic in topics),
        data=parse_data(log.get("data")),
    )


def _bytes(answer: Mapping[str, Any], field: str, length: int) -> bytes:
    return parse_data(answer.get(field), length=length)


def _optional_bytes(answer: Mapping[str, Any], field: str, length: int) -> bytes | None:
    return None if answer.get(field) is None else _bytes(answer, field, length)
