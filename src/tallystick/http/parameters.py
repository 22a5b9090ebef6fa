"""
Parameters of requests: parsed once, here, into values that cannot be wrong (log.md, section 6).

Binary values are standard base64; base64url is understood too, and a space stands for the
`+` that a query string takes for one. Cursors of lists are opaque to clients.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from tallystick.clock import format_time
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import HASH_BYTES, Hash, LeafIndex

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
MAX_NUMBER: Final = 2**53 - 1
"""Numbers in JSON are exact below it; no index, size or position comes near."""
MAX_CURSOR_CHARACTERS: Final = 400
FROM_BASE64URL: Final = str.maketrans("-_ ", "+/+")
DIGITS: Final = re.compile(r"[0-9]{1,16}")


def parse_binary(text: str, *, name: str) -> bytes:
    """
    Return the bytes that *text* spells in base64 or base64url, padded or not.

    Raises:
        InvalidRequestError: It spells none; the parameter *name* is named.
    """
    plain = text.translate(FROM_BASE64URL).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as cause:
        raise InvalidRequestError(f"{name} is not base64") from cause


def parse_hash(text: str, *, name: str) -> Hash:
    """
    Return the hash that *text* spells in base64.

    Raises:
        InvalidRequestError: It spells no 32 bytes.
    """
    data = parse_binary(text, name=name)
    if len(data) != HASH_BYTES:
        raise InvalidRequestError(f"{name} has {len(data)} bytes, not {HASH_BYTES}")
    return Hash(data)


def parse_number(text: str, *, name: str) -> int:
    """
    Return the number from 0 to 2^53 - 1 that *text* spells in digits.

    Raises:
        InvalidRequestError: It spells none.
    """
    if not DIGITS.fullmatch(text) or int(text) > MAX_NUMBER:
        raise InvalidRequestError(f"{name} is a number from 0 to 2^53 - 1")
    return int(text)


def parse_indexes(texts: Sequence[str]) -> list[LeafIndex]:
    """
    Return the leaf indexes in *texts*, separated by commas or given one by one.

    Raises:
        InvalidRequestError: One is no number.
    """
    parts = [part for text in texts for part in text.split(",")]
    return [LeafIndex(parse_number(part, name="indexes")) for part in parts]


def parse_version(text: str) -> str | LeafIndex:
    """Return the version of a row that *text* names: an index where it is a number."""
    return LeafIndex(parse_number(text, name="version")) if DIGITS.fullmatch(text) else text


def parse_if_match(text: str) -> int:
    """
    Return the version that an `If-Match` header names, with or without its quotes.

    Raises:
        InvalidRequestError: It names none.
    """
    return parse_number(text.strip().removeprefix("W/").strip('"'), name="If-Match")


def parse_moment(text: str, *, name: str) -> str:
    """
    Return the ISO 8601 time *text* as records write times; without a zone it is UTC.

    Raises:
        InvalidRequestError: It is no such time.
    """
    try:
        # A query string turns the plus of a zone into a space.
        plain = text.replace(" ", "+") if "T" in text else text
        moment = datetime.datetime.fromisoformat(plain)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return format_time(zoned)
    except (ValueError, OverflowError) as cause:
        raise InvalidRequestError(f"{name} is an ISO 8601 time") from cause


def check_limit(limit: int | None) -> int:
    """
    Return how many items a page has: 1 to 1000, 100 where nothing is said.

    Raises:
        InvalidRequestError: *limit* is outside of that.
    """
    if limit is None:
        return DEFAULT_LIMIT
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequestError(f"limit is 1 to {MAX_LIMIT}")
    return limit


def format_cursor(*parts: int | str) -> str:
    """Return where the next page begins, as text that means nothing to clients."""
    return base64.urlsafe_b64encode(msgspec.json.encode(parts)).decode().rstrip("=")


def parse_cursor(text: str, *kinds: type[int | str]) -> list[int | str]:
    """
    Return the parts of a cursor that `format_cursor` made of parts of these *kinds*.

    Raises:
        InvalidRequestError: It is not one of this list's.
    """
    try:
        parts = msgspec.json.decode(parse_binary(text[:MAX_CURSOR_CHARACTERS], name="after"))
    except msgspec.DecodeError as cause:
        raise InvalidRequestError("after is not a cursor of this list") from cause
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise InvalidRequestError("after is not a cursor of this list")
    if any(isinstance(part, int) and not -1 <= part <= MAX_NUMBER for part in parts):
        raise InvalidRequestError("after is not a cursor of this list")
    return parts


def parse_number_cursor(text: str) -> int:
    """
    Return the number in a cursor of one.

    Raises:
        InvalidRequestError: It is no such cursor.
    """
    [number] = parse_cursor(text, int)
    assert isinstance(number, int)
    return number
