"""
What stands for a human proof and for the wallet behind it (identity.md, section 5.1).

The hash of a proof names what was decided: which submission, for whom, by which verifier. A
nullifier stands for one wallet on one chain, so that it can serve one user alone; it hides
nothing from whoever can list the chain's addresses, and is therefore private in the log.
"""

from __future__ import annotations

import hashlib
from typing import Final

from tallystick.record.evm import Address, ChainId
from tallystick.record.messages import message_hash, tagged
from tallystick.record.tags import HUMAN_PROOF_TAG, WALLET_NULLIFIER_TAG

CHAIN_ID_BYTES: Final = 8


def format_human_proof(
    *,
    challenge_id: str | None,
    submission_sha256: bytes,
    user_id: str,
    verifier: str,
    verifier_version: int,
) -> bytes:
    """
    The message whose hash names a proof; a proof without a challenge has null there.

    Raises:
        UncanonicalValueError: A text has no canonical JSON form.
    """
    assert len(submission_sha256) == hashlib.sha256().digest_size
    return tagged(
        HUMAN_PROOF_TAG,
        {
            "challenge_id": challenge_id,
            "submission_sha256": submission_sha256.hex(),
            "user_id": user_id,
            "verifier": verifier,
            "verifier_version": verifier_version,
        },
    )


def hash_human_proof(
    *,
    challenge_id: str | None,
    submission_sha256: bytes,
    user_id: str,
    verifier: str,
    verifier_version: int,
) -> bytes:
    """
    The 32 bytes that name a proof: the SHA-256 of `format_human_proof`.

    Raises:
        UncanonicalValueError: A text has no canonical JSON form.
    """
    return message_hash(
        format_human_proof(
            challenge_id=challenge_id,
            submission_sha256=submission_sha256,
            user_id=user_id,
            verifier=verifier,
            verifier_version=verifier_version,
        )
    )


def wallet_nullifier(chain_id: ChainId, address: Address) -> bytes:
    """The 32 bytes that stand for the wallet *address* on the chain *chain_id*."""
    wallet = chain_id.to_bytes(CHAIN_ID_BYTES, "big") + bytes.fromhex(address[2:])
    return hashlib.sha256(WALLET_NULLIFIER_TAG + wallet).digest()
