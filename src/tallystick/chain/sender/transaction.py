"""
A transaction of EIP-1559 as bytes: what is signed, and what is sent (chain.md, section 4.3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.record.evm import (
    Address,
    ChainId,
    TransactionHash,
    format_rlp_integer,
    rlp_encode,
)

DYNAMIC_FEE: Final = b"\x02"
"""EIP-2718 type of EIP-1559's transactions."""
SIGNATURE_BYTES: Final = 65
"""r, s and the bit that tells which of two keys signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsignedTransaction:
    """What is signed; fees in wei for a unit of gas."""

    chain_id: ChainId
    nonce: int
    max_priority_fee_per_gas: int
    max_fee_per_gas: int
    gas_limit: int
    to: Address | None
    """None deploys."""
    value: int
    call_data: bytes

    def payload(self) -> bytes:
        """Return the bytes whose Keccak-256 is signed."""
        return DYNAMIC_FEE + rlp_encode(self._fields())

    def signed(self, signature: bytes) -> bytes:
        """Return the bytes that are sent; *signature* is r, s and y, 65 bytes."""
        assert len(signature) == SIGNATURE_BYTES
        r, s, y = signature[:32], signature[32:64], signature[64]
        return DYNAMIC_FEE + rlp_encode(
            [*self._fields(), format_rlp_integer(y), r.lstrip(b"\0"), s.lstrip(b"\0")]
        )

    def _fields(self) -> list[bytes | list[bytes]]:
        numbers = (
            self.chain_id,
            self.nonce,
            self.max_priority_fee_per_gas,
            self.max_fee_per_gas,
            self.gas_limit,
        )
        return [
            *map(format_rlp_integer, numbers),
            b"" if self.to is None else bytes.fromhex(self.to[2:]),
            format_rlp_integer(self.value),
            self.call_data,
            [],
        ]


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """What a signer made of an unsigned transaction."""

    transaction: UnsignedTransaction
    raw: bytes
    hash: TransactionHash
