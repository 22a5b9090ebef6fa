"""
The shapes that members of messages have, checked once where bytes come in (common.md).

Each function returns its argument, typed, or raises the error that the caller's format has.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tallystick import clock

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from tallystick.errors import Error

MAX_NUMBER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""
HASH_HEX: Final = re.compile(r"[0-9a-f]{64}")


def read_object(
    value: Any,
    *,
    required: AbstractSet[str],
    optional: AbstractSet[str] = frozenset(),
    what: str,
    error: type[Error],
) -> dict[str, Any]:
    """An object with all *required* members and none beyond the *optional*."""
    if not isinstance(value, dict):
        raise error(f"{what} is not an object")
    missing = sorted(required - value.keys())
    if missing:
        raise error(f"{what} lacks {', '.join(missing)}")
    if value.keys() - required - optional:
        raise error(f"{what} has members that its format does not know")
    return value


def read_list(value: Any, *, what: str, error: type[Error]) -> list[Any]:
    """A list of anything."""
    if not isinstance(value, list):
        raise error(f"{what} is not a list")
    return value


def read_text(value: Any, *, what: str, error: type[Error]) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise error(f"{what} is not text, or empty")
    return value


def read_optional_text(value: Any, *, what: str, error: type[Error]) -> str | None:
    """Text, the empty one too, or null."""
    if value is not None and not isinstance(value, str):
        raise error(f"{what} is neither text nor null")
    return value


def read_number(value: Any, *, at_least: int = 0, what: str, error: type[Error]) -> int:
    """An integer from *at_least* to 2**53 - 1; a truth value is none."""
    if type(value) is not int or not at_least <= value <= MAX_NUMBER:
        raise error(f"{what} is not an integer from {at_least} to 2**53 - 1")
    return value


def read_hash(value: Any, *, what: str, error: type[Error]) -> str:
    """32 bytes in lower-case hex."""
    if not isinstance(value, str) or not HASH_HEX.fullmatch(value):
        raise error(f"{what} is not 64 lower-case hex digits")
    return value


def read_time(value: Any, *, what: str, error: type[Error]) -> str:
    """A time of the form `YYYY-MM-DDTHH:MM:SS.ffffffZ` that exists."""
    text = read_text(value, what=what, error=error)
    try:
        clock.parse_time(text)
    except ValueError as cause:
        raise error(f"{what} is not a time of the form YYYY-MM-DDTHH:MM:SS.ffffffZ") from cause
    return text
