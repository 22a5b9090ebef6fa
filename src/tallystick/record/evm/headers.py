"""
Block headers: the fields that a block's hash is made of (chain.md, section 4.1.7).

Follows the Ethereum Yellow Paper, section 4.4, and EIP-1559, 4895, 4844, 4788 and 7685, which
added one field each at the end. Positions never changed, so a header of a later fork can be
read too: what it adds stands in `later_fields`, and is hashed with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.record.errors import BlockHashError, MalformedHeaderError, MalformedRlpError
from tallystick.record.evm.keccak import DIGEST_BYTES, keccak256
from tallystick.record.evm.rlp import (
    RlpItem,
    format_rlp_integer,
    parse_rlp_integer,
    rlp_decode,
    rlp_encode,
)
from tallystick.record.evm.values import Address, BlockHash

BLOOM_BYTES: Final = 256
ADDRESS_BYTES: Final = 20
NONCE_BYTES: Final = 8
FIRST_FIELDS: Final = 15
"""A header of the first fork has so many fields, and none has fewer."""
MAX_FIELDS: Final = 40
"""Ten years of forks added six; a longer list is no header."""
MAX_HEADER_BYTES: Final = 64 << 10
"""A header has about 600 bytes; chains of authorities list those in `extra_data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockHeader:
    """
    A block's header; hashes and roots are 32 bytes.

    The fields after `nonce` came with forks: None where the block has them not.
    """

    parent_hash: bytes
    ommers_hash: bytes
    beneficiary: Address
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    logs_bloom: bytes
    difficulty: int
    number: int
    gas_limit: int
    gas_used: int
    timestamp: int
    """Seconds since 1970."""
    extra_data: bytes
    mix_hash: bytes
    nonce: bytes
    base_fee_per_gas: int | None = None
    withdrawals_root: bytes | None = None
    blob_gas_used: int | None = None
    excess_blob_gas: int | None = None
    parent_beacon_block_root: bytes | None = None
    requests_hash: bytes | None = None
    later_fields: tuple[bytes, ...] = ()
    """What forks after Prague added, as RLP strings."""


def format_header(header: BlockHeader) -> bytes:
    """Return the RLP of *header*, of which the block's hash is taken."""
    h = header
    fields: list[bytes] = [
        h.parent_hash, h.ommers_hash, bytes.fromhex(h.beneficiary[2:]),
        h.state_root, h.transactions_root, h.receipts_root, h.logs_bloom,
        format_rlp_integer(h.difficulty), format_rlp_integer(h.number),
        format_rlp_integer(h.gas_limit), format_rlp_integer(h.gas_used),
        format_rlp_integer(h.timestamp), h.extra_data, h.mix_hash, h.nonce,
    ]  # fmt: skip
    added: list[int | bytes | None] = [
        h.base_fee_per_gas, h.withdrawals_root, h.blob_gas_used, h.excess_blob_gas,
        h.parent_beacon_block_root, h.requests_hash, *h.later_fields,
    ]  # fmt: skip
    while added and added[-1] is None:
        added.pop()
    # An absent field before a present one is the empty string, as the nodes write it.
    fields += [
        format_rlp_integer(field) if isinstance(field, int) else field or b"" for field in added
    ]
    return rlp_encode(fields)


def parse_header(data: bytes) -> BlockHeader:
    """
    Return the header that *data* encodes.

    Raises:
        MalformedHeaderError: It is not canonical RLP, or a field has another length or form.
    """
    _check_length(data)
    try:
        return _parse_fields(rlp_decode(data))
    except MalformedRlpError as error:
        raise MalformedHeaderError(f"not a block header: {error.message}") from error


def check_header(data: bytes, *, block_hash: BlockHash) -> BlockHeader:
    """
    Return the header that *data* encodes, which is that of the block with this hash.

    Raises:
        BlockHashError: *data* hashes to another; the error carries both. Nothing was decoded.
        MalformedHeaderError: *data* is longer than any header, and was not hashed; or it is no
            header, although its hash is right.
    """
    # First: whoever made *data* must not choose for how long it is hashed.
    _check_length(data)
    actual = BlockHash("0x" + keccak256(data).hex())
    if actual != block_hash:
        raise BlockHashError(expected=block_hash, actual=actual)
    return parse_header(data)


def _check_length(data: bytes) -> None:
    if len(data) > MAX_HEADER_BYTES:
        raise MalformedHeaderError(f"a header of {len(data)} bytes is over {MAX_HEADER_BYTES}")


def _parse_fields(item: RlpItem) -> BlockHeader:
    if isinstance(item, bytes) or not FIRST_FIELDS <= len(item) <= MAX_FIELDS:
        raise MalformedHeaderError("a header is a list of 15 fields or more")
    fields = [_string(field) for field in item]
    return BlockHeader(
        parent_hash=_exact(fields[0], DIGEST_BYTES),
        ommers_hash=_exact(fields[1], DIGEST_BYTES),
        beneficiary=Address("0x" + _exact(fields[2], ADDRESS_BYTES).hex()),
        state_root=_exact(fields[3], DIGEST_BYTES),
        transactions_root=_exact(fields[4], DIGEST_BYTES),
        receipts_root=_exact(fields[5], DIGEST_BYTES),
        logs_bloom=_exact(fields[6], BLOOM_BYTES),
        difficulty=parse_rlp_integer(fields[7]),
        number=parse_rlp_integer(fields[8]),
        gas_limit=parse_rlp_integer(fields[9]),
        gas_used=parse_rlp_integer(fields[10]),
        timestamp=parse_rlp_integer(fields[11]),
        extra_data=fields[12],
        mix_hash=_exact(fields[13], DIGEST_BYTES),
        nonce=_exact(fields[14], NONCE_BYTES),
        base_fee_per_gas=_added_integer(fields, 15),
        withdrawals_root=_added_hash(fields, 16),
        blob_gas_used=_added_integer(fields, 17),
        excess_blob_gas=_added_integer(fields, 18),
        parent_beacon_block_root=_added_hash(fields, 19),
        requests_hash=_added_hash(fields, 20),
        later_fields=tuple(fields[21:]),
    )


def _added_integer(fields: Sequence[bytes], position: int) -> int | None:
    """Return the number at *position*; the empty string is 0 there, absence is None."""
    return parse_rlp_integer(fields[position]) if position < len(fields) else None


def _added_hash(fields: Sequence[bytes], position: int) -> bytes | None:
    """Return the hash at *position*; None where it is absent, or empty before a later field."""
    if position >= len(fields) or (not fields[position] and position < len(fields) - 1):
        return None
    return _exact(fields[position], DIGEST_BYTES)


def _string(item: RlpItem) -> bytes:
    if not isinstance(item, bytes):
        raise MalformedHeaderError("a field of a header is a list")
    return item


def _exact(field: bytes, length: int) -> bytes:
    if len(field) != length:
        raise MalformedHeaderError(f"a field of a header has {len(field)} bytes, not {length}")
    return field
