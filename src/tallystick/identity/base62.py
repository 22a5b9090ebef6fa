"""Numbers in base 62, digits before capitals before small letters (identity.md, section 5.1)."""

from __future__ import annotations

from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def format_base62(number: int, width: int) -> str:
    """Return *number*, which is not negative, in exactly *width* characters, padded with 0."""
    digits = ""
    while number:
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    assert len(digits) <= width, "the number needs more characters"
    return digits.rjust(width, ALPHABET[0])


def parse_base62(text: str) -> int:
    """Return the number that *text*, of the alphabet alone, writes."""
    number = 0
    for digit in text:
        number = number * len(ALPHABET) + ALPHABET.index(digit)
    return number
