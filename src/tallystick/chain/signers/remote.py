"""
A signer that asks somebody else: Web3Signer's eth1 API (chain.md, section 4.3.7).

`POST /api/v1/eth1/sign/{public key}` with the payload as `data`; the service hashes it with
Keccak-256 and answers r, s, v in hexadecimal. What it answers is checked before it is used.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence
from typing import Final

import httpx
from coincurve import PublicKey

from tallystick.chain.errors import InvalidSignerError, SigningFailedError
from tallystick.chain.node.endpoints import USER_AGENT
from tallystick.chain.signers.signature import address_of, check_signature
from tallystick.config import RemoteSigner
from tallystick.record import Address

TIMEOUT_SECONDS: Final = 10.0
CONNECTIONS: Final = 8
"""A service that asks a hardware module takes milliseconds for each; so many at once are asked."""
ROUTE: Final = "/api/v1/eth1/sign/"
UNCOMPRESSED: Final = b"\x04"


class RemoteHolder:
    """Asks a service that holds the key."""

    def __init__(self, name: str, setting: RemoteSigner) -> None:
        try:
            key = PublicKey(UNCOMPRESSED + bytes.fromhex(setting.public_key.removeprefix("0x")))
            # A URL may carry a password: no message of this class ever names it.
            url = httpx.URL(setting.url.get_secret_value().rstrip("/") + ROUTE)
        except (ValueError, httpx.InvalidURL):
            url = None
        if url is None or url.scheme not in {"http", "https"} or not url.host:
            raise InvalidSignerError(f"signer {name}: its URL or public key is not of its form")
        self._name = name
        self.address: Address = address_of(key)
        identifier = "0x" + key.format(compressed=False)[1:].hex()
        self._url = url.copy_with(path=url.path + identifier)
        self._client = httpx.Client(
            timeout=TIMEOUT_SECONDS,
            limits=httpx.Limits(max_connections=CONNECTIONS),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT},
        )

    def __repr__(self) -> str:
        return f"<remote signer of {self.address}>"

    def sign(self, payloads: Sequence[bytes]) -> list[bytes]:
        """
        Return a signature for each payload.

        Raises:
            SigningFailedError: The service did not answer, refused, or signed something else.
        """
        with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as threads:
            return list(threads.map(self._sign, payloads))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _sign(self, payload: bytes) -> bytes:
        try:
            answer = self._client.post(self._url, json={"data": "0x" + payload.hex()})
        except httpx.HTTPError as raised:
            why = type(raised).__name__
            raise SigningFailedError(f"signer {self._name} did not answer: {why}") from None
        if answer.status_code != httpx.codes.OK:
            raise SigningFailedError(f"signer {self._name} answered {answer.status_code}")
        try:
            signature = bytes.fromhex(answer.text.strip().removeprefix("0x"))
        except ValueError:
            raise SigningFailedError(f"signer {self._name} answered no signature") from None
        return check_signature(signature, payload=payload, address=self.address)
