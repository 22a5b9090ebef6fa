"""The text of keys: format, parse and hash (identity.md, section 5.1)."""

from __future__ import annotations

import random

import pytest

from tallystick.db import Transaction
from tallystick.identity import APIKeyRepository, prefix_of
from tallystick.identity.base62 import ALPHABET, format_base62, parse_base62
from tallystick.identity.errors import UnknownKeyError
from tallystick.identity.key_text import format_checksum, format_key, parse_key

SECRET = bytes(range(32))
KEY = "tly_00JVb3WII_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1RYaxp"
KEY_HASH = "3218a0656d02bf04bdb12d6723a35c782ddf9a186703614d86a85908ceaf581b"


class NoQueries(Transaction):
    """A transaction that nobody may use."""

    def __init__(self) -> None:
        """Without a connection."""

    def row(self, *_: object, **__: object) -> None:  # type: ignore[override]
        """Nobody asks."""
        raise AssertionError("a query was made")


def test_vector() -> None:
    """identity 8: The page's key and its hash are what we make of its number and secret."""
    assert format_key(0x010203040506, SECRET) == KEY
    assert parse_key(KEY).prefix == KEY[:13] == prefix_of(KEY)
    assert parse_key(KEY).secret == SECRET
    assert parse_key(KEY).key_hash.hex() == KEY_HASH


def test_one_changed_character_is_refused_without_a_query() -> None:
    """identity 8: A key with any one character changed to any other is refused, nobody is asked."""
    keys = APIKeyRepository(NoQueries())
    for place, right in enumerate(KEY):
        for wrong in ALPHABET + "_- \0é":
            if wrong == right:
                continue
            changed = KEY[:place] + wrong + KEY[place + 1 :]
            with pytest.raises(UnknownKeyError):
                keys.validate(changed)
            with pytest.raises(UnknownKeyError):
                keys.admit(changed)


@pytest.mark.parametrize("text", ["", "tly_", KEY + "0", KEY[:-1], f" {KEY}", KEY * 9])
def test_garbage_is_refused_without_a_query(text: str) -> None:
    """Text that cannot be a key is unknown, whatever it is, and its prefix is not shown."""
    with pytest.raises(UnknownKeyError) as raised:
        APIKeyRepository(NoQueries()).validate(text)
    assert not text or text not in str(raised.value)
    assert prefix_of(text) == "tly_?"


def test_numbers_that_are_too_large() -> None:
    """A number of over 48 bits or a secret of over 256 is no key, though its checksum is right."""
    for body in ("tly_" + "z" * 9 + "_" + "0" * 43, "tly_" + "0" * 9 + "_" + "z" * 43):
        with pytest.raises(UnknownKeyError):
            parse_key(body + format_checksum(body))


def test_round_trip() -> None:
    """What is formatted is parsed to the same, from the least key to the greatest."""
    chance = random.Random(1)
    pairs = [(0, bytes(32)), (2**48 - 1, b"\xff" * 32)]
    pairs += [(chance.getrandbits(48), chance.randbytes(32)) for _ in range(200)]
    for number, secret in pairs:
        text = format_key(number, secret)
        assert len(text) == 63
        assert parse_key(text).secret == secret
        assert parse_base62(text[4:13]) == number
    assert format_base62(61, 2) == "0z"


def test_a_secret_is_not_printed() -> None:
    """Neither a parsed key nor an error shows the secret."""
    assert "secret" not in repr(parse_key(KEY))
