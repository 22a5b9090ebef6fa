"""
API keys as text: `tly_`, nine characters that name the key, 43 of its secret, six of a checksum.

Pure functions (identity.md, section 5.1). The checksum is no defence, it spares the database
typing errors and garbage. Of the secret the database has a hash; people are shown the prefix.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass, field
from typing import Final

from tallystick.identity.base62 import format_base62, parse_base62
from tallystick.identity.errors import UnknownKeyError

NUMBER_BITS: Final = 48
SECRET_BYTES: Final = 32
NUMBER_WIDTH: Final = 9
SECRET_WIDTH: Final = 43
CHECKSUM_WIDTH: Final = 6
HASH_TAG: Final = b"tallystick/identity-api-key/v1\0"
FORM: Final = re.compile(r"(tly_[0-9A-Za-z]{9})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key that is well-formed; whether it is one of ours only the database knows."""

    prefix: str
    secret: bytes = field(repr=False)

    @property
    def key_hash(self) -> bytes:
        """What the database knows the secret by."""
        return hash_secret(self.secret)


def format_key(number: int, secret: bytes) -> str:
    """Return the text of the key with a 48-bit *number* and a *secret* of 32 bytes."""
    assert 0 <= number < 1 << NUMBER_BITS, "a key's number has 48 bits"
    assert len(secret) == SECRET_BYTES, "a key's secret has 32 bytes"
    body = (
        f"tly_{format_base62(number, NUMBER_WIDTH)}"
        f"_{format_base62(int.from_bytes(secret), SECRET_WIDTH)}"
    )
    return body + format_checksum(body)


def parse_key(text: str) -> KeyText:
    """
    Return the parts of the key *text*.

    Raises:
        UnknownKeyError: It is no text that `format_key` returns, so nobody need be asked.
    """
    match = FORM.fullmatch(text)
    if match is None or format_checksum(text[:-CHECKSUM_WIDTH]) != match[3]:
        raise UnknownKeyError
    number, secret = parse_base62(match[1][-NUMBER_WIDTH:]), parse_base62(match[2])
    # 9 and 43 characters could write larger numbers, in which nothing of ours is written.
    if number >> NUMBER_BITS or secret >> 8 * SECRET_BYTES:
        raise UnknownKeyError
    return KeyText(match[1], secret.to_bytes(SECRET_BYTES))


def format_checksum(body: str) -> str:
    """Return the checksum of a key's other characters: their CRC-32."""
    return format_base62(zlib.crc32(body.encode("ascii")), CHECKSUM_WIDTH)


def hash_secret(secret: bytes) -> bytes:
    """Return the hash under which the database keeps a secret; it has 256 random bits."""
    return hashlib.sha256(HASH_TAG + secret).digest()


def prefix_of(text: str) -> str:
    """Return what may be shown of something that was presented as a key."""
    match = FORM.fullmatch(text)
    return "tly_?" if match is None else match[1]
