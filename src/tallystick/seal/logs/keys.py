"""The private keys of one process: files in one directory, read once (log.md, section 5.8)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tallystick.record import Ed25519Signer, create_signer_file, load_signer
from tallystick.tlog import format_verifier_key


@dataclass(frozen=True, slots=True)
class NewKey:
    """The public half of a key that was just made."""

    key_id: bytes
    public_key: bytes
    vkey: str


class KeyRing:
    """The key directory: makes keys, and hands out signers by their id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._signers: dict[bytes, Ed25519Signer] = {}

    def create(self, name: str) -> NewKey:
        """
        Write a new Ed25519 key named *name* and return its public half.

        Raises:
            MalformedKeyError: *name* cannot be a key's name.
            KeyPermissionsError: The directory is not its owner's alone.
        """
        signer = load_signer(create_signer_file(self.directory, name=name))
        self._signers[signer.key_id] = signer
        return NewKey(signer.key_id, signer.public_key, format_verifier_key(signer.verifier_key))

    def signer(self, key_id: bytes) -> Ed25519Signer:
        """
        Return the signer of *key_id*.

        Raises:
            KeyNotFoundError: Its file is not in the directory.
            KeyPermissionsError, MalformedKeyError: The file is not to be used.
        """
        # A key that came after the start is read when it is first asked for.
        return self._signers.get(key_id) or self.load(key_id)

    def load(self, key_id: bytes) -> Ed25519Signer:
        """
        Return the signer of *key_id* as its file is now, whether it was read before or not.

        Raises:
            KeyNotFoundError, KeyPermissionsError, MalformedKeyError: As `signer`.
        """
        self._signers[key_id] = load_signer(self.directory / f"{key_id.hex()}.key")
        return self._signers[key_id]
