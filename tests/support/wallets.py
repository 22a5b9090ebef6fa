"""Wallets for tests: keys that sign challenges as real wallets do, and as they must not."""

from __future__ import annotations

from dataclasses import dataclass

import coincurve

from tallystick.identity.verifiers.control import CURVE_ORDER, personal_digest
from tallystick.record import Address, keccak256


@dataclass(frozen=True)
class Wallet:
    """A key of secp256k1 and the account that is its."""

    secret: bytes

    @property
    def address(self) -> Address:
        """The account, as it is stored."""
        public = coincurve.PrivateKey(self.secret).public_key.format(compressed=False)
        return Address("0x" + keccak256(public[1:])[12:].hex())

    def sign_digest(self, digest: bytes) -> bytes:
        """r, s and v over 32 bytes; s is in the lower half."""
        signature = coincurve.PrivateKey(self.secret).sign_recoverable(digest, hasher=None)
        return signature[:64] + bytes([27 + signature[64]])

    def sign(self, message: str) -> bytes:
        """What a wallet answers to `personal_sign`."""
        return self.sign_digest(personal_digest(message))


def wallet(number: int) -> Wallet:
    """The wallet of a small secret."""
    return Wallet(number.to_bytes(32, "big"))


def high_s_twin(signature: bytes) -> bytes:
    """The other signature that the same key has for the same digest: n - s, and the other v."""
    s = CURVE_ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes([27 + (28 - signature[64])])
