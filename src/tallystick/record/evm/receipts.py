"""
Receipts: what a transaction did, as the consensus has it (chain.md, section 4.1.7).

Follows EIP-2718: one byte of type, none for the legacy type 0, and the RLP of the same four
fields. The deposits of OP chains, type 0x7e, have their nonce and a version besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.record.errors import MalformedReceiptError, MalformedRlpError
from tallystick.record.evm.keccak import DIGEST_BYTES
from tallystick.record.evm.rlp import (
    RlpInput,
    RlpItem,
    format_rlp_integer,
    parse_rlp_integer,
    rlp_decode,
    rlp_encode,
)
from tallystick.record.evm.values import Address

LEGACY_TYPE: Final = 0
DEPOSIT_TYPE: Final = 0x7E
RECEIPT_TYPES: Final = frozenset((0, 1, 2, 3, 4, DEPOSIT_TYPE))
"""Legacy, EIP-2930, 1559, 4844 and 7702, and the deposits of OP chains."""
FIELDS: Final = 4
DEPOSIT_FIELDS: Final = 6
LOG_FIELDS: Final = 3
MAX_TOPICS: Final = 4
BLOOM_BYTES: Final = 256
ADDRESS_BYTES: Final = 20
LIST_BYTE: Final = 0xC0
"""RLP of a list begins here: what begins lower is a type."""


@dataclass(frozen=True, slots=True)
class ReceiptLog:
    """One event: who emitted it, up to four topics of 32 bytes, its data."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """
    A receipt as its block commits to it.

    Gas is that of the block up to and with this transaction. Before Byzantium a receipt had a
    state root instead of a status. A deposit has `deposit_nonce` and `deposit_version` since
    the fork Canyon; no other type has them.
    """

    type: int
    status: int | None
    cumulative_gas_used: int
    logs_bloom: bytes
    logs: tuple[ReceiptLog, ...]
    post_state: bytes | None = None
    deposit_nonce: int | None = None
    deposit_version: int | None = None


def format_receipt(receipt: Receipt) -> bytes:
    """Return the bytes that the trie of receipts holds; of any type, the fields are the same."""
    assert (receipt.status is None) == (receipt.post_state is not None)
    outcome = receipt.post_state
    fields: list[RlpInput] = [
        format_rlp_integer(receipt.status or 0) if outcome is None else outcome,
        format_rlp_integer(receipt.cumulative_gas_used),
        receipt.logs_bloom,
        [[bytes.fromhex(log.address[2:]), log.topics, log.data] for log in receipt.logs],
    ]
    # Before Canyon the nonce was known and not hashed: the version says that both are.
    if receipt.deposit_version is not None:
        fields.append(format_rlp_integer(receipt.deposit_nonce or 0))
        fields.append(format_rlp_integer(receipt.deposit_version))
    head = b"" if receipt.type == LEGACY_TYPE else bytes((receipt.type,))
    return head + rlp_encode(fields)


def parse_receipt(data: bytes) -> Receipt:
    """
    Return the receipt that *data* encodes.

    That the bloom filter is the logs' is not checked: whoever trusts the root of receipts
    trusts both, and nothing is ever looked up in a bloom filter here.

    Raises:
        MalformedReceiptError: Its type is none of `RECEIPT_TYPES`, it is not canonical RLP, or
            a field has another length or form.
    """
    if not data:
        raise MalformedReceiptError("a receipt is empty")
    is_legacy = data[0] >= LIST_BYTE
    kind = LEGACY_TYPE if is_legacy else data[0]
    if kind not in RECEIPT_TYPES or (kind == LEGACY_TYPE and not is_legacy):
        raise MalformedReceiptError(f"a receipt has the type {data[0]:#04x}")
    try:
        return _parse_fields(kind, rlp_decode(data if is_legacy else data[1:]))
    except MalformedRlpError as error:
        raise MalformedReceiptError(f"not a receipt: {error.message}") from error


def _parse_fields(kind: int, item: RlpItem) -> Receipt:
    fields = _list(item)
    is_long = kind == DEPOSIT_TYPE and len(fields) == DEPOSIT_FIELDS
    if len(fields) != FIELDS and not is_long:
        raise MalformedReceiptError(f"a receipt of type {kind:#04x} has {len(fields)} fields")
    post_state, status = _parse_outcome(fields[0])
    return Receipt(
        type=kind,
        status=status,
        cumulative_gas_used=parse_rlp_integer(fields[1]),
        logs_bloom=_exact(fields[2], BLOOM_BYTES),
        logs=tuple(_parse_log(log) for log in _list(fields[3])),
        post_state=post_state,
        deposit_nonce=parse_rlp_integer(fields[4]) if is_long else None,
        deposit_version=parse_rlp_integer(fields[5]) if is_long else None,
    )


def _parse_outcome(item: RlpItem) -> tuple[bytes | None, int | None]:
    """Return the state root of a receipt before Byzantium, or the status of a later one."""
    if isinstance(item, bytes) and len(item) == DIGEST_BYTES:
        return item, None
    status = parse_rlp_integer(item)
    if status > 1:
        raise MalformedReceiptError("a receipt's status is neither 0 nor 1")
    return None, status


def _parse_log(item: RlpItem) -> ReceiptLog:
    fields = _list(item)
    if len(fields) != LOG_FIELDS:
        raise MalformedReceiptError(f"a log has {len(fields)} fields")
    address, topics, data = fields[0], _list(fields[1]), fields[2]
    if not isinstance(data, bytes) or len(topics) > MAX_TOPICS:
        raise MalformedReceiptError("a log has a list as its data, or over four topics")
    return ReceiptLog(
        address=Address("0x" + _exact(address, ADDRESS_BYTES).hex()),
        topics=tuple(_exact(topic, DIGEST_BYTES) for topic in topics),
        data=data,
    )


def _list(item: RlpItem) -> list[RlpItem]:
    if isinstance(item, bytes):
        raise MalformedReceiptError("a receipt has a string where a list belongs")
    return item


def _exact(item: RlpItem, length: int) -> bytes:
    if not isinstance(item, bytes) or len(item) != length:
        raise MalformedReceiptError(f"a field of a receipt does not have {length} bytes")
    return item
