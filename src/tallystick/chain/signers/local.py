"""
Signers whose key is in this process: from a keystore file, or from the environment.

Follows chain.md, section 4.3.7. A keystore is version 3 ("Web3 Secret Storage"); its password
comes from an environment variable that the configuration names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Final

from coincurve import PrivateKey

from tallystick.chain.errors import InvalidSignerError
from tallystick.chain.signers.signature import address_of, payload_digest
from tallystick.config import EnvSigner, FileSigner
from tallystick.record import Address

MAX_KEYSTORE_BYTES: Final = 64 * 1024
"""A keystore is half a kilobyte; a wrong path should not be read into memory."""
KEY_BYTES: Final = 32


class LocalSigner:
    """Signs with a key that it holds."""

    __slots__ = ("_key", "address")

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self.address: Address = address_of(key.public_key)

    def __repr__(self) -> str:
        return f"<signer of {self.address}>"

    def sign(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Return a signature for each payload; libsecp256k1 gives none with a high s."""
        return [
            self._key.sign_recoverable(payload_digest(payload), hasher=None) for payload in payloads
        ]

    def close(self) -> None:
        """Nothing is open."""


def file_signer(name: str, setting: FileSigner) -> LocalSigner:
    """
    Return the signer whose key is in a keystore file.

    Raises:
        InvalidSignerError: The password is not set, the file cannot be read or is no keystore
            of version 3, or the password is not the file's.
    """
    # It imports the pairings of BLS: nobody but a keystore's reader should wait for that.
    from eth_keyfile.keyfile import decode_keyfile_json  # noqa: PLC0415

    password = os.environ.get(setting.password_env)
    if password is None:
        raise InvalidSignerError(f"signer {name}: {setting.password_env} is not set")
    try:
        with setting.path.open("rb") as file:
            keystore = json.loads(file.read(MAX_KEYSTORE_BYTES + 1)[:MAX_KEYSTORE_BYTES])
        secret = decode_keyfile_json(keystore, password.encode())
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError),
        *(NotImplementedError, RecursionError),
    ) as raised:
        # `from None`: messages of the libraries may quote what was read.
        why = raised.strerror if isinstance(raised, OSError) else "no keystore of this password"
        raise InvalidSignerError(f"signer {name}: {setting.path}: {why}") from None
    return LocalSigner(parse_key(name, bytes(secret)))


def env_signer(name: str, setting: EnvSigner) -> LocalSigner:
    """
    Return the signer whose key is in an environment variable, 64 hex digits with or without 0x.

    Raises:
        InvalidSignerError: The variable is not set, or holds no key.
    """
    text = os.environ.get(setting.key_env)
    if text is None:
        raise InvalidSignerError(f"signer {name}: {setting.key_env} is not set")
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        raise InvalidSignerError(f"signer {name}: {setting.key_env} holds no key") from None
    return LocalSigner(parse_key(name, secret))


def parse_key(name: str, secret: bytes) -> PrivateKey:
    """
    Return the private key of 32 bytes.

    Raises:
        InvalidSignerError: It is not 32 bytes, or no number below the group's order.
    """
    if len(secret) == KEY_BYTES:
        try:
            return PrivateKey(secret)
        except ValueError:
            pass
    raise InvalidSignerError(f"signer {name}: the key is no private key of secp256k1")
