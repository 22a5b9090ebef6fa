"""
Lists by pages (common.md, "Lists and HTTP"): a page, and where the next one begins.

A list's order ends in a key that no two rows share, so the last item of a page says exactly
where the next begins, whatever is inserted meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, NoReturn, TypeVar

from tallystick.identity.errors import InvalidValueError

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_CURSOR_CHARACTERS: Final = 1000
"""Longer than any key of ours with its time."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list, and the cursor behind the last; None where nothing follows."""

    items: tuple[Item, ...]
    next: str | None


def begin_at(after: str | None, *, first: tuple[str, ...]) -> tuple[str, ...]:
    """
    Return the place behind which a page begins: *after*'s, or *first*, which is before all items.

    Raises:
        InvalidValueError: *after* is no cursor of as many parts.
    """
    return first if after is None else parse_cursor(after, parts=len(first))


def page_of(
    found: Sequence[Item], limit: int, place_of: Callable[[Item], tuple[str, ...]]
) -> Page[Item]:
    """Return the page of the first *limit* items of *found*, which has one more if any follow."""
    items = tuple(found[:limit])
    following = format_cursor(*place_of(items[-1])) if len(found) > limit else None
    return Page(items, following)


def check_limit(limit: int) -> int:
    """
    Return *limit*, the most items of a page.

    Raises:
        InvalidValueError: It is outside of 1 to 1000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidValueError(f"limit is 1 to {MAX_LIMIT}", evidence={"field": "limit"})
    return limit


def format_cursor(*parts: str) -> str:
    """Return the place that *parts* name as text that means nothing to others."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def parse_cursor(text: str, *, parts: int) -> tuple[str, ...]:
    """
    Return the *parts* texts of a cursor.

    Raises:
        InvalidValueError: `format_cursor` made no such text of so many.
    """
    padded = text[:MAX_CURSOR_CHARACTERS] + "=" * (-len(text) % 4)
    try:
        value = json.loads(base64.b64decode(padded.encode(), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        refuse_cursor()
    if not isinstance(value, list) or len(value) != parts:
        refuse_cursor()
    if not all(isinstance(part, str) and "\0" not in part for part in value):
        refuse_cursor()
    return tuple(value)


def refuse_cursor() -> NoReturn:
    """
    Say that a cursor is not of this list.

    Raises:
        InvalidValueError: Always.
    """
    raise InvalidValueError("after is not a cursor of this list", evidence={"field": "after"})
