"""
The keys of accounts on the dev chain: files that only their owner can read (chain.md, 4.5).

    <key_dir>/devchain-<name>.key    64 hexadecimal digits, mode 0600

They are made where they are first asked for, and are worth nothing on any other chain. No
setting, table or log line ever holds one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tallystick.chain.sender.transaction import UnsignedTransaction
from tallystick.chain.signers import Signer, Signers
from tallystick.config import SignerSetting
from tallystick.record import Address, KeyPermissionsError, MalformedKeyError, keccak256

FAUCET: Final = "faucet"
"""Owns all that there is in block 0."""
PREFIX: Final = "devchain-"
SUFFIX: Final = ".key"
KEY_BYTES: Final = 32
MODE: Final = 0o600


def key_path(key_dir: Path, name: str) -> Path:
    """Return the file of the account *name*."""
    return key_dir / f"{PREFIX}{name}{SUFFIX}"


def load_or_create_key(key_dir: Path, name: str) -> bytes:
    """
    Return the private key of the account *name*, 32 bytes; it is made if there is none.

    Raises:
        KeyPermissionsError: The file is open to others.
        MalformedKeyError: It holds no key.
    """
    path = key_path(key_dir, name)
    key_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        create_key(path)
    return load_key(path)


def create_key(path: Path) -> None:
    """Write a new key to *path*, whole or not at all; one that is there already stays."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            # A number from 1 below the group's order: 2^256 exceeds that by one in 2^128.
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link is not made over what another process has made meanwhile.
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink(missing_ok=True)


def load_key(path: Path) -> bytes:
    """
    Return the private key in *path*, 32 bytes.

    Raises:
        KeyPermissionsError: The file is open to others.
        MalformedKeyError: It holds no key.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            raise KeyPermissionsError(f"{path} is open to others: chmod 600 {path}")
        text = file.read(2 * KEY_BYTES + 2)
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise MalformedKeyError(f"{path} holds no key")
    return key


def address_of(key: bytes) -> Address:
    """Return the address of a private key."""
    from coincurve import PrivateKey  # noqa: PLC0415 (only a chain needs it)

    public = PrivateKey(key).public_key.format(compressed=False)[1:]
    return Address("0x" + keccak256(public)[-20:].hex())


def signer_name(name: str) -> str:
    """Return what rows call the signer of the account *name*."""
    return f"{PREFIX}{name}"


def sign_with(key: bytes, transaction: UnsignedTransaction) -> bytes:
    """Return *transaction* signed with *key*, as it is sent."""
    from tallystick.chain.signers.local import LocalSigner, parse_key  # noqa: PLC0415 (as above)

    signer = LocalSigner(parse_key(FAUCET, key))
    [signature] = signer.sign([transaction.payload()])
    return transaction.signed(signature)


class DevSigners(Signers):
    """The signers of the configuration, and those whose keys are files of the dev chain."""

    def __init__(self, settings: Mapping[str, SignerSetting], key_dir: Path) -> None:
        super().__init__(settings)
        self._key_dir = key_dir

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and self._has_file(name))

    def get(self, name: str) -> Signer:
        """
        Return the signer *name*.

        Raises:
            UnknownSignerError: Neither the configuration nor the key directory has one.
            InvalidSignerError: Its key is not there or not of its form.
            KeyPermissionsError, MalformedKeyError: The file is open to others, or holds no key.
        """
        if super().__contains__(name) or not self._has_file(name):
            return super().get(name)
        from tallystick.chain.signers.local import LocalSigner, parse_key  # noqa: PLC0415 (as above)

        return LocalSigner(parse_key(name, load_key(self._key_dir / f"{name}{SUFFIX}")))

    def _has_file(self, name: str) -> bool:
        is_ours = name.startswith(PREFIX) and "/" not in name
        return is_ours and (self._key_dir / f"{name}{SUFFIX}").is_file()
