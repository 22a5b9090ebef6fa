"""Ed25519 keys for the kernel's tests, on PyNaCl directly."""

from __future__ import annotations

from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from tallystick.tlog import (
    ALGORITHM_COSIGNATURE,
    ALGORITHM_ED25519,
    VerifierKey,
    make_key_id,
)


@dataclass(frozen=True)
class TestSigner:
    """A private key, and the verifier that belongs to it."""

    __test__ = False
    name: str
    secret: bytes
    algorithm: int = ALGORITHM_ED25519

    @property
    def public_key(self):
        """The 32 bytes that belong to the secret."""
        return bytes(SigningKey(self.secret).verify_key)

    @property
    def key_id(self):
        """The four bytes of the key."""
        return make_key_id(self.name, algorithm=self.algorithm, public_key=self.public_key)

    @property
    def key(self):
        """The public half as a vkey."""
        return VerifierKey(self.name, self.key_id, self.algorithm, self.public_key)

    @property
    def verifier(self):
        """A verifier of the public half."""
        return TestVerifier(self.key)

    def sign(self, message):
        """Sign *message*."""
        return SigningKey(self.secret).sign(message).signature


@dataclass(frozen=True)
class TestVerifier:
    """A public key."""

    __test__ = False
    key: VerifierKey

    @property
    def name(self):
        """The key's name."""
        return self.key.name

    @property
    def key_id(self):
        """The four bytes of the key."""
        return self.key.key_id

    @property
    def algorithm(self):
        """1 or 4."""
        return self.key.algorithm

    def verify(self, message, signature):
        """Whether PyNaCl accepts *signature*."""
        try:
            VerifyKey(self.key.public_key).verify(message, signature)
        except (BadSignatureError, ValueError):
            return False
        return True


LOG = TestSigner("log.example/payments", bytes(range(0x20)))
WITNESS = TestSigner("witness.example/w1", bytes(range(0x20, 0x40)), ALGORITHM_COSIGNATURE)
SECOND_WITNESS = TestSigner("witness.example/w2", bytes(range(0x60, 0x80)), ALGORITHM_COSIGNATURE)
