"""
The text that a wallet signs: EIP-4361, "Sign-In with Ethereum" (identity.md, section 5.1).

Wallets that know the format show its parts and warn where the domain is not the page's.
"""

from __future__ import annotations

import datetime
from typing import Final

from tallystick.identity.base62 import format_base62
from tallystick.identity.verifiers.challenge import ChallengeTerms
from tallystick.record import Address, format_address

STATEMENT: Final = "Prove control of this account to Tallystick. This signature moves no funds."
NONCE_CHARACTERS: Final = 43
"""What 32 bytes take in base 62."""


def format_sign_in(terms: ChallengeTerms) -> str:
    """Return the message of a challenge: lines by LF, none behind the last."""
    nonce = int.from_bytes(terms.nonce, "big")
    return "\n".join(
        (
            f"{terms.domain} wants you to sign in with your Ethereum account:",
            format_address(terms.address),
            "",
            STATEMENT,
            "",
            f"URI: {terms.uri}",
            "Version: 1",
            f"Chain ID: {terms.chain_id}",
            f"Nonce: {format_base62(nonce, NONCE_CHARACTERS)}",
            f"Issued At: {format_second(terms.issued_at)}",
            f"Expiration Time: {format_second(terms.expires_at)}",
            f"Request ID: {terms.challenge_id}",
        )
    )


def names_address(message: str, address: Address) -> bool:
    """Whether *message* asks the holder of *address*, and nobody else, to sign."""
    return message.split("\n", 2)[1:2] == [format_address(address)]


def format_second(moment: datetime.datetime) -> str:
    """Return a time as RFC 3339 in UTC, in whole seconds, which is what a challenge's are."""
    assert moment.microsecond == 0, "a challenge begins and ends on a second"
    return f"{moment.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
