"""
Canonical JSON: one value, one sequence of bytes (RFC 8785).

The encoding is the library `rfc8785`'s. Parsing is its inverse and strict: bytes that would
not be written back exactly as they are read are refused, because two spellings of one record
would be two leaves with one meaning.
"""

from __future__ import annotations

import json
from typing import Any

import rfc8785

from tallystick.record.errors import MalformedJsonError, UncanonicalValueError


def canonical(value: Any) -> bytes:
    """
    The RFC 8785 bytes of *value*: None, booleans, numbers, text, lists and dicts of these.

    Raises:
        UncanonicalValueError: A number is not finite or an integer beyond 2**53 - 1, text is
            not Unicode, a dict's key is no text, a type is not JSON's, or it nests too deep.
    """
    try:
        return rfc8785.dumps(value)
    # UnicodeEncodeError and the library's own errors are ValueErrors.
    except (ValueError, RecursionError) as cause:
        raise UncanonicalValueError("the value has no canonical JSON form") from cause


def parse_canonical(data: bytes) -> Any:
    """
    The value whose canonical bytes are exactly *data*.

    Whole numbers beyond 2**53 - 1 are refused, whether they were meant as integers or not.

    Raises:
        MalformedJsonError: *data* is not JSON, or is spelled in another than the one way.
    """
    try:
        value = json.loads(data.decode("utf-8"))
    # Too many digits, no UTF-8 and no JSON are all ValueErrors.
    except (ValueError, RecursionError) as cause:
        raise MalformedJsonError("the bytes are not JSON") from cause
    try:
        spelled = canonical(value)
    except UncanonicalValueError as cause:
        raise MalformedJsonError("the JSON holds a value without canonical form") from cause
    if spelled != data:
        raise MalformedJsonError("the JSON is not in canonical form")
    return value
