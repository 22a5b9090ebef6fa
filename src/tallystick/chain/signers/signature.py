"""
Signatures of secp256k1 as transactions carry them: r, s, y with s in its low half.

Follows EIP-2 (of the two s that are both right only the lower is taken) and section 4.3.7 of
chain.md. libsecp256k1 does the arithmetic, Keccak-256 comes from the same packages: a sender
hashes thousands of payloads, for which the kernel's readable one is too slow.
"""

from __future__ import annotations

from typing import Final

from coincurve import PublicKey
from eth_hash.auto import keccak

from tallystick.chain.errors import SigningFailedError
from tallystick.record import Address, TransactionHash

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1's group."""
SIGNATURE_BYTES: Final = 65
LEGACY_PARITY: Final = 27
"""What is added to y where it is called v."""


def payload_digest(payload: bytes) -> bytes:
    """Return what is signed of *payload*, 32 bytes."""
    return bytes(keccak(payload))


def transaction_hash(raw: bytes) -> TransactionHash:
    """Return the hash of a signed transaction."""
    return TransactionHash("0x" + keccak(raw).hex())


def address_of(public_key: PublicKey) -> Address:
    """Return the address of *public_key*."""
    return Address("0x" + keccak(public_key.format(compressed=False)[1:])[-20:].hex())


def check_signature(signature: bytes, *, payload: bytes, address: Address) -> bytes:
    """
    Return *signature* of *payload* in its one form, once it has led to *address*.

    Raises:
        SigningFailedError: It is no signature, or another key's, or of other bytes.
    """
    try:
        normal = normalise(signature)
        signer = PublicKey.from_signature_and_message(normal, payload_digest(payload), hasher=None)
    except ValueError:
        raise SigningFailedError("the signer gave something else than a signature") from None
    except Exception as raised:  # coincurve raises plain exceptions where nothing is recovered
        raise SigningFailedError("the signer gave a signature of no key") from raised
    if address_of(signer) != address:
        raise SigningFailedError("the signer signed with another key, or other bytes")
    return normal


def normalise(signature: bytes) -> bytes:
    """
    Return r, s, y with y 0 or 1 and s in its low half.

    Raises:
        ValueError: It is not 65 bytes, or its last is none of 0, 1, 27 and 28.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise ValueError("65 bytes")
    y = signature[64] - LEGACY_PARITY if signature[64] >= LEGACY_PARITY else signature[64]
    if y not in {0, 1}:
        raise ValueError("0, 1, 27 or 28")
    s = int.from_bytes(signature[32:64], "big")
    if s > ORDER // 2:
        s, y = ORDER - s, 1 - y
        if s < 0:
            raise ValueError("below the order")
    return signature[:32] + s.to_bytes(32, "big") + bytes([y])
