"""
Numbers, base64 and hashes as the C2SP text formats write them: one spelling each.

RFC 4648, section 3.5, lets a decoder refuse padding bits that are not zero. We do refuse
them: two spellings of one signature would be two notes with one meaning.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from tallystick.tlog.tree import HASH_BYTES, Hash

if TYPE_CHECKING:
    from tallystick.tlog.errors import MalformedError

_DIGITS = frozenset("0123456789")


def parse_decimal(text: str, *, at_most: int, what: str, error: type[MalformedError]) -> int:
    """
    The number that *text* spells in ASCII digits without leading zeroes.

    Raises:
        MalformedError: Of class *error*: another spelling, or more than *at_most*.
    """
    # The length is looked at first, so that no digit string is long enough to be slow.
    if not 0 < len(text) <= len(str(at_most)) or not _DIGITS.issuperset(text):
        raise error(f"{what} is not a decimal number up to {at_most}")
    number = int(text)
    if number > at_most or str(number) != text:
        raise error(f"{what} is not a decimal number up to {at_most}")
    return number


def parse_base64(text: str, *, what: str, error: type[MalformedError]) -> bytes:
    """
    The bytes that *text* spells in padded standard base64.

    Raises:
        MalformedError: Of class *error*: any other character, padding or spelling.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as cause:
        raise error(f"{what} is not base64") from cause
    if format_base64(data) != text:
        raise error(f"{what} is not canonical base64")
    return data


def format_base64(data: bytes) -> str:
    """*data* in padded standard base64."""
    return base64.b64encode(data).decode("ascii")


def parse_hash(text: str, *, what: str, error: type[MalformedError]) -> Hash:
    """
    The hash that *text* spells in base64.

    Raises:
        MalformedError: Of class *error*: not base64, or not 32 bytes.
    """
    data = parse_base64(text, what=what, error=error)
    if len(data) != HASH_BYTES:
        raise error(f"{what} has {len(data)} bytes, not {HASH_BYTES}")
    return Hash(data)
