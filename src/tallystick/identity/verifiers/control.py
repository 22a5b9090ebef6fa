"""
Who signed: EIP-191 for keys, ERC-1271 for contract wallets (identity.md, sections 4.5 and 5.1).

Of the two signatures that ECDSA has for each message, only the one with the lower s counts:
the other can be made of it by anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tallystick.identity.errors import RecoveryUnavailableError
from tallystick.identity.verifiers.challenge import Challenge, Submission
from tallystick.identity.verifiers.facts import ChainFacts
from tallystick.identity.verifiers.message import names_address
from tallystick.identity.verifiers.verdict import HIGH_S, WRONG_MESSAGE, WRONG_SIGNER
from tallystick.record import Address, keccak256

Standard = Literal["eip191", "erc1271"]

CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order n of secp256k1 (SEC 2, section 2.4.1)."""
ECDSA_BYTES: Final = 65
"""r and s of 32 bytes each, and the recovery id v."""
RECOVERY_IDS: Final = {0: 0, 1: 1, 27: 0, 28: 1}
"""Both ways in which wallets write v."""


@dataclass(frozen=True, slots=True)
class Control:
    """How the wallet was found to have signed, or why not: one of the two is None."""

    standard: Standard | None
    refusal: str | None

    @property
    def signed_by_key(self) -> bool:
        """Whether it was the wallet's own key, which is the same on every chain."""
        return self.standard == "eip191"


def check_control(challenge: Challenge, submission: Submission, facts: ChainFacts) -> Control:
    """
    Find out whether the challenge's wallet signed the challenge's message.

    A node is asked only where the key in the wallet's place did not sign.

    Raises:
        RecoveryUnavailableError: The library of the curve is not installed.
        Error: The node did not answer.
    """
    address = challenge.address
    if address is None or not names_address(challenge.message, address):
        return Control(None, WRONG_MESSAGE)
    if submission.message is not None and submission.message != challenge.message:
        return Control(None, WRONG_MESSAGE)
    digest = personal_digest(challenge.message)
    if is_high(submission.signature):
        return Control(None, HIGH_S)
    if recover_signer(digest, submission.signature) == address:
        return Control("eip191", None)
    if facts.is_valid_signature(challenge.chain_id, address, digest, submission.signature):
        return Control("erc1271", None)
    return Control(None, WRONG_SIGNER)


def personal_digest(message: str) -> bytes:
    """Return the 32 bytes that wallets sign for *message* (EIP-191, version 0x45)."""
    data = message.encode()
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(data)).encode() + data)


def is_high(signature: bytes) -> bool:
    """Whether it has the form of an ECDSA signature whose s is in the upper half of the order."""
    s = int.from_bytes(signature[32:64], "big")
    return len(signature) == ECDSA_BYTES and CURVE_ORDER // 2 < s < CURVE_ORDER


def recover_signer(digest: bytes, signature: bytes) -> Address | None:
    """
    Return whose key made *signature* of *digest*; None where it is no such signature.

    Raises:
        RecoveryUnavailableError: The library of the curve is not installed.
    """
    try:
        import coincurve  # noqa: PLC0415 (an extra: only a server that takes proofs needs it)
    except ImportError as missing:
        raise RecoveryUnavailableError from missing
    if len(signature) != ECDSA_BYTES or signature[64] not in RECOVERY_IDS:
        return None
    compact = signature[:64] + bytes([RECOVERY_IDS[signature[64]]])
    try:
        key = coincurve.PublicKey.from_signature_and_message(compact, digest, hasher=None)
    except ValueError:
        # r or s is zero or beyond the order, or no point of the curve has this r.
        return None
    return Address("0x" + keccak256(key.format(compressed=False)[1:])[12:].hex())
