"""
RLP, the EVM's encoding of nested byte strings (chain.md, section 4.1.7).

Follows the Ethereum Yellow Paper, appendix B. Decoding is strict: one value has one encoding,
so that bytes that decode are the bytes that were hashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias, Union

from tallystick.record.errors import MalformedRlpError

RlpItem: TypeAlias = Union[bytes, "list[RlpItem]"]
RlpInput: TypeAlias = Union[bytes, "Sequence[RlpInput]"]

MAX_RLP_BYTES: Final = 1 << 20
"""As much as a proof bundle allows a receipt proof (proof.md, section 5.6)."""
MAX_RLP_DEPTH: Final = 16
"""A receipt nests four deep, a trie node with nodes inlined a handful."""
MAX_INTEGER_BYTES: Final = 32

STRING: Final = 0x80
LONG_STRING: Final = 0xB7
LIST: Final = 0xC0
LONG_LIST: Final = 0xF7
SHORT_BYTES: Final = 55


def rlp_encode(item: RlpInput) -> bytes:
    """Return the RLP of a byte string, or of a list of such, nested as deep as may be decoded."""
    return _encode(item, MAX_RLP_DEPTH)


def rlp_decode(data: bytes) -> RlpItem:
    """
    Return the one item that *data* encodes.

    Raises:
        MalformedRlpError: *data* is not the canonical encoding of one item, is longer than
            `MAX_RLP_BYTES` or nests deeper than `MAX_RLP_DEPTH`.
    """
    if len(data) > MAX_RLP_BYTES:
        raise MalformedRlpError(f"RLP of {len(data)} bytes is over {MAX_RLP_BYTES}")
    item, end = _decode(data, 0, len(data), MAX_RLP_DEPTH)
    if end != len(data):
        raise MalformedRlpError(f"{len(data) - end} bytes follow the RLP item")
    return item


def rlp_join(encoded: Sequence[bytes]) -> bytes:
    """Return the RLP of a list whose items are encoded already."""
    payload = b"".join(encoded)
    return _head(len(payload), LIST) + payload


def format_rlp_integer(value: int) -> bytes:
    """Return *value*, which is not negative, as RLP has it: big-endian, without leading zeros."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def parse_rlp_integer(item: RlpItem) -> int:
    """
    Return the integer that an item stands for.

    Raises:
        MalformedRlpError: It is a list, begins with a zero, or is longer than 32 bytes.
    """
    if not isinstance(item, bytes):
        raise MalformedRlpError("an RLP integer is a list")
    if item[:1] == b"\x00":
        raise MalformedRlpError("an RLP integer begins with a zero")
    if len(item) > MAX_INTEGER_BYTES:
        raise MalformedRlpError(f"an RLP integer has {len(item)} bytes")
    return int.from_bytes(item, "big")


def _encode(item: RlpInput, depth: int) -> bytes:
    if isinstance(item, bytes):
        if len(item) == 1 and item[0] < STRING:
            return item
        return _head(len(item), STRING) + item
    assert depth > 0, "what is encoded can be decoded again"
    return rlp_join([_encode(child, depth - 1) for child in item])


def _head(length: int, base: int) -> bytes:
    if length <= SHORT_BYTES:
        return bytes((base + length,))
    size = format_rlp_integer(length)
    return bytes((base + SHORT_BYTES + len(size),)) + size


def _decode(data: bytes, start: int, limit: int, depth: int) -> tuple[RlpItem, int]:
    """Return the item at *start* and where it ends, at most at *limit*."""
    if start >= limit:
        raise MalformedRlpError("RLP ends before its item")
    first = data[start]
    if first < STRING:
        return data[start : start + 1], start + 1
    if first < LIST:
        start, end = _span(data, start, limit, base=STRING, long_base=LONG_STRING)
        if end - start == 1 and data[start] < STRING:
            raise MalformedRlpError("a single byte of RLP stands in a longer form")
        return data[start:end], end
    if depth == 0:
        raise MalformedRlpError(f"RLP nests deeper than {MAX_RLP_DEPTH}")
    start, end = _span(data, start, limit, base=LIST, long_base=LONG_LIST)
    items: list[RlpItem] = []
    while start < end:
        item, start = _decode(data, start, end, depth - 1)
        items.append(item)
    return items, end


def _span(data: bytes, start: int, limit: int, *, base: int, long_base: int) -> tuple[int, int]:
    """Return where the payload of the item at *start* begins and ends."""
    first = data[start]
    start += 1
    length = first - base
    if first > long_base:
        size = first - long_base
        digits = data[start : start + size]
        length = int.from_bytes(digits, "big")
        if len(digits) < size or digits[0] == 0 or length <= SHORT_BYTES:
            raise MalformedRlpError("an RLP length is not in its shortest form")
        start += size
    if length > limit - start:
        raise MalformedRlpError("an RLP item is longer than what holds it")
    return start, start + length
