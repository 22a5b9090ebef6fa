"""
How JSON-RPC spells numbers and bytes (chain.md, section 4.4).

A quantity is `0x` and hexadecimal digits without a leading zero, data is `0x` and two digits
for each byte. What a node answers is foreign input: anything else is a `MalformedAnswerError`.
"""

from __future__ import annotations

import re
from typing import Any, Final

from tallystick.chain.errors import MalformedAnswerError

QUANTITY: Final = re.compile(r"0x[0-9a-fA-F]{1,64}")
"""No quantity of an EVM chain is longer than 256 bits."""
DATA: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


def format_quantity(number: int) -> str:
    """Return *number*, which is not negative, as a quantity."""
    assert number >= 0, "a quantity has no sign"
    return hex(number)


def parse_quantity(value: Any) -> int:
    """
    Return the number that a quantity spells; leading zeros, which some nodes send, are read.

    Raises:
        MalformedAnswerError: *value* is no quantity of at most 256 bits.
    """
    if not isinstance(value, str) or QUANTITY.fullmatch(value) is None:
        raise MalformedAnswerError("the node answers something else than a quantity")
    return int(value, 16)


def parse_optional_quantity(value: Any) -> int | None:
    """
    Return the number, or None where the node answers null.

    Raises:
        MalformedAnswerError: *value* is neither null nor a quantity.
    """
    return None if value is None else parse_quantity(value)


def format_data(data: bytes) -> str:
    """Return *data* in hexadecimal after `0x`."""
    return "0x" + data.hex()


def parse_data(value: Any, *, length: int | None = None) -> bytes:
    """
    Return the bytes that *value* spells.

    Raises:
        MalformedAnswerError: *value* is no data, or not of *length* bytes.
    """
    if not isinstance(value, str) or DATA.fullmatch(value) is None:
        raise MalformedAnswerError("the node answers something else than data")
    data = bytes.fromhex(value[2:])
    if length is not None and len(data) != length:
        raise MalformedAnswerError(f"the node answers {len(data)} bytes instead of {length}")
    return data


def parse_object(value: Any) -> dict[str, Any]:
    """
    Return *value*, which is a JSON object.

    Raises:
        MalformedAnswerError: It is something else.
    """
    if not isinstance(value, dict):
        raise MalformedAnswerError("the node answers something else than an object")
    return value


def parse_list(value: Any) -> list[Any]:
    """
    Return *value*, which is a JSON array.

    Raises:
        MalformedAnswerError: It is something else.
    """
    if not isinstance(value, list):
        raise MalformedAnswerError("the node answers something else than a list")
    return value


def printable(text: str) -> str:
    """Return foreign *text* as a row and a terminal can hold it: PostgreSQL's text has no NUL."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
