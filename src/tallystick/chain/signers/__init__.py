"""
Signers: what holds an account's key, or asks somebody who does (chain.md, section 4.3.7).

A signer gets payloads and gives signatures. No signer shows its key, its password or its
endpoint: not in an error, a log line or a repr.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Protocol

from tallystick.chain.errors import InvalidSignerError, UnknownSignerError
from tallystick.config import EnvSigner, FileSigner, RemoteSigner, SignerSetting
from tallystick.record import Address

__all__ = ["Signer", "Signers"]


class Signer(Protocol):
    """What signs for one address."""

    @property
    def address(self) -> Address:
        """The address that its signatures lead to."""
        ...

    def sign(self, payloads: Sequence[bytes]) -> list[bytes]:
        """
        Return a signature of the Keccak-256 of each payload: r, s, y, 65 bytes, s in its low half.

        Raises:
            SigningFailedError: It gave none, or one that leads to another address.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Signers:
    """The signers of the configuration, each made when it is first asked for."""

    def __init__(self, settings: Mapping[str, SignerSetting]) -> None:
        self._settings = dict(settings)
        self._made: dict[str, Signer] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<signers {sorted(self._settings)}>"

    def __contains__(self, name: object) -> bool:
        return name in self._settings

    def get(self, name: str) -> Signer:
        """
        Return the signer *name*.

        Raises:
            UnknownSignerError: The configuration has none of this name.
            InvalidSignerError: Its file, password or key is not there or not of its form.
        """
        with self._lock:
            if name not in self._made:
                setting = self._settings.get(name)
                if setting is None:
                    raise UnknownSignerError(f"there is no signer {name} in the configuration")
                self._made[name] = make_signer(name, setting)
            return self._made[name]

    def of_account(self, name: str, address: Address) -> Signer:
        """
        Return the signer *name*, which signs for *address*.

        Raises:
            UnknownSignerError, InvalidSignerError: As `get`, or it signs for another address.
        """
        signer = self.get(name)
        if signer.address != address:
            raise InvalidSignerError(f"signer {name} signs for {signer.address}, not {address}")
        return signer

    def close(self) -> None:
        """Let go of every signer."""
        with self._lock:
            for signer in self._made.values():
                signer.close()
            self._made.clear()


def make_signer(name: str, setting: SignerSetting) -> Signer:
    """
    Return the signer that *setting* describes; *name* is what errors call it.

    Raises:
        InvalidSignerError: What it needs is not there or not of its form.
    """
    # Imported here: the libraries of Ethereum cost whoever does not sign half a second.
    from tallystick.chain.signers.local import env_signer, file_signer  # noqa: PLC0415
    from tallystick.chain.signers.remote import RemoteHolder  # noqa: PLC0415

    match setting:
        case FileSigner():
            return file_signer(name, setting)
        case EnvSigner():
            return env_signer(name, setting)
        case RemoteSigner():
            return RemoteHolder(name, setting)
