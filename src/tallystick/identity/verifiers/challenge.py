"""
A challenge, and what is submitted to it (identity.md, sections 2, 4.4 and 5.1).

A challenge's message is kept as it was made and is verified byte for byte. A submission is
parsed once, where it comes in, so that no verifier meets a text that cannot be one.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NewType

from tallystick.identity.errors import InvalidValueError
from tallystick.record import (
    Address,
    ChainId,
    InvalidHashError,
    TransactionHash,
    canonical,
    parse_transaction_hash,
)

ChallengeId = NewType("ChallengeId", uuid.UUID)
ChallengeStatus = Literal["pending", "verified", "failed", "expired"]
"""The states that are stored, and `expired`: pending beyond its time."""

MAX_SIGNATURE_BYTES: Final = 8192
"""A contract wallet of many owners concatenates their signatures; a hundred of them fit."""
MAX_TRANSACTIONS: Final = 100
"""Section 4.5: as many as the verifier of behaviour reads."""
MAX_MESSAGE_CHARACTERS: Final = 4000
"""Several times what a challenge has; a longer text is none of ours."""
HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class ChallengeTerms:
    """What a challenge's message is made of; *uri* is where the challenge can be read."""

    challenge_id: ChallengeId
    address: Address
    chain_id: ChainId
    nonce: bytes
    domain: str
    uri: str
    issued_at: datetime.datetime
    expires_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge as it was read; *address* is the wallet that its user has now, if any."""

    challenge_id: ChallengeId
    user_id: str
    address: Address | None
    verifier: str
    chain_id: ChainId
    nonce: bytes
    message: str
    issued_at: datetime.datetime
    expires_at: datetime.datetime
    attempts_left: int
    status: ChallengeStatus
    proof_hash: bytes | None
    """Of the proof that was made of it; None where there is none."""


@dataclass(frozen=True, slots=True)
class Submission:
    """
    What somebody hands in: a signature and, for a verifier that reads them, transactions.

    *message* is the text that the wallet says it signed. It need not be sent; where it is, it
    must be the challenge's, which tells a changed text from a wrong signer.
    """

    signature: bytes
    transactions: tuple[TransactionHash, ...] = ()
    message: str | None = None

    def sha256(self) -> bytes:
        """The 32 bytes that stand for this submission in the hash of its proof."""
        value = {
            "message": self.message,
            "signature": "0x" + self.signature.hex(),
            "transactions": list(self.transactions),
        }
        return hashlib.sha256(canonical(value)).digest()


def parse_submission(
    *, signature: str, transactions: Sequence[str] = (), message: str | None = None
) -> Submission:
    """
    Return the submission that these texts write: hexadecimal with 0x, in either case.

    Raises:
        InvalidValueError: One is not of its form, or there are too many; the field is named.
    """
    if HEX.fullmatch(signature) is None or len(signature) > 2 + 2 * MAX_SIGNATURE_BYTES:
        raise invalid("signature", f"0x and 1 to {MAX_SIGNATURE_BYTES} bytes in hexadecimal")
    if len(transactions) > MAX_TRANSACTIONS:
        raise invalid("transactions", f"at most {MAX_TRANSACTIONS} hashes")
    if message is not None and len(message) > MAX_MESSAGE_CHARACTERS:
        raise invalid("message", f"at most {MAX_MESSAGE_CHARACTERS} characters")
    try:
        # Lone surrogates have no bytes: such a text was never signed.
        (message or "").encode()
        hashes = tuple(map(parse_transaction_hash, transactions))
    except UnicodeEncodeError as cause:
        raise invalid("message", "text that has bytes") from cause
    except InvalidHashError as cause:
        raise invalid("transactions", "hashes: 0x and 64 hex digits each") from cause
    return Submission(bytes.fromhex(signature[2:]), hashes, message)


def invalid(field: str, rule: str) -> InvalidValueError:
    """The error of a field that breaks its *rule*."""
    return InvalidValueError(f"{field}: {rule}", evidence={"field": field})
