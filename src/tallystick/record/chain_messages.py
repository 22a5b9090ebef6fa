"""
What tells one intended transaction from another (chain.md, section 5.1).

An idempotency key stands for one intent: the same key with the same digest is the same intent.
The database computes the same bytes where it stores them (`tally.intent_digest`).
"""

from __future__ import annotations

from typing import Final

from tallystick.record.evm import Address, ChainId, Wei
from tallystick.record.messages import message_hash, tagged
from tallystick.record.tags import CHAIN_INTENT_TAG

UINT256_END: Final = 1 << 256


def format_chain_intent(
    *, chain_id: ChainId, transaction_type: str, to: Address | None, call_data: bytes, value: Wei
) -> bytes:
    """
    The message of an intended transaction; *to* is None where it deploys.

    Raises:
        UncanonicalValueError: The chain id exceeds 2^53 - 1.
    """
    assert 0 <= value < UINT256_END, "an amount is a uint256"
    return tagged(
        CHAIN_INTENT_TAG,
        {
            "call_data": f"0x{call_data.hex()}",
            "chain_id": chain_id,
            "to": to,
            "transaction_type": transaction_type,
            "value": str(value),
        },
    )


def chain_intent_digest(
    *, chain_id: ChainId, transaction_type: str, to: Address | None, call_data: bytes, value: Wei
) -> bytes:
    """
    The 32 bytes that stand for an intent: the SHA-256 of `format_chain_intent`.

    Raises:
        UncanonicalValueError: The chain id exceeds 2^53 - 1.
    """
    return message_hash(
        format_chain_intent(
            chain_id=chain_id,
            transaction_type=transaction_type,
            to=to,
            call_data=call_data,
            value=value,
        )
    )
