"""RLP: one encoding for each value, and nothing else is taken."""

from __future__ import annotations

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import MalformedRlpError, rlp_decode, rlp_encode
from tallystick.record.evm import (
    MAX_RLP_BYTES,
    MAX_RLP_DEPTH,
    format_rlp_integer,
    parse_rlp_integer,
    rlp_join,
)

LOREM = b"Lorem ipsum dolor sit amet, consectetur adipisicing elit"
PUBLISHED = [
    (b"dog", "83646f67"),
    ([b"cat", b"dog"], "c88363617483646f67"),
    (b"", "80"),
    ([], "c0"),
    (b"\x00", "00"),
    (b"\x0f", "0f"),
    (b"\x04\x00", "820400"),
    ([[], [[]], [[], [[]]]], "c7c0c1c0c3c0c1c0"),
    (LOREM, "b838" + LOREM.hex()),
]
VALUES = st.recursive(
    st.binary(max_size=70), lambda inner: st.lists(inner, max_size=6), max_leaves=30
)
REFUSED = {
    "nothing": "",
    "bytes that follow": "8000",
    "a byte in the form of a string": "8102",
    "a short string in the form of a long one": "b801ff",
    "a short list in the form of a long one": "f800",
    "a length with a leading zero": "b90038" + "ff" * 56,
    "a length that ends": "b9ff",
    "a string that ends": "83ff",
    "a list that ends": "c3ff",
    "an item longer than its list": "c283ffff",
    "a length beyond all memory": "bfffffffffffffffff",
}


@pytest.mark.parametrize(("value", "encoded"), PUBLISHED)
def test_published_encodings(value, encoded):
    """The examples of Ethereum's documents are encoded and decoded as they stand there."""
    assert encoded == rlp_encode(value).hex()
    assert value == rlp_decode(bytes.fromhex(encoded))


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_round_trips_and_the_reference_agrees(value):
    """Every value comes back, and its bytes are those of the reference package."""
    encoded = rlp_encode(value)
    assert rlp.encode(value) == encoded
    assert value == rlp_decode(encoded)


@settings(max_examples=400, deadline=None)
@given(VALUES, st.data())
def test_what_is_decoded_is_canonical(value, data):
    """Bytes with a change are refused, or are the one encoding of another value."""
    encoded = bytearray(rlp_encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] = data.draw(st.integers(0, 255))
    try:
        decoded = rlp_decode(bytes(encoded))
    except MalformedRlpError:
        return
    assert bytes(encoded) == rlp_encode(decoded)
    assert decoded == as_lists(rlp.decode(bytes(encoded)))


@pytest.mark.parametrize("flaw", REFUSED)
def test_other_bytes_are_refused(flaw):
    """Whatever is not the shortest and complete form of one item is refused."""
    with pytest.raises(MalformedRlpError):
        rlp_decode(bytes.fromhex(REFUSED[flaw]))


def test_depth_is_bounded():
    """So many lists may stand in each other, and no more: nobody exhausts the stack."""
    deepest = nested(MAX_RLP_DEPTH)
    assert deepest == rlp_encode(rlp_decode(deepest))
    for depth in (MAX_RLP_DEPTH + 1, 10_000):
        with pytest.raises(MalformedRlpError, match="deeper"):
            rlp_decode(nested(depth))


def test_size_is_bounded():
    """Bytes beyond the limit are refused before any of them is read."""
    with pytest.raises(MalformedRlpError, match="over"):
        rlp_decode(bytes(MAX_RLP_BYTES + 1))


@given(st.integers(0, 2**256 - 1))
def test_integers_round_trip(number):
    """A number of at most 256 bits has one form, without leading zeros."""
    assert number == parse_rlp_integer(format_rlp_integer(number))


@pytest.mark.parametrize("item", [b"\x00", b"\x00\x01", b"\x01" + bytes(32), []])
def test_other_integers_are_refused(item):
    """A leading zero, more than 32 bytes and a list are no number."""
    with pytest.raises(MalformedRlpError):
        parse_rlp_integer(item)


def test_joined_items_are_a_list():
    """Items that are encoded already make the list that encoding them together makes."""
    items = [b"cat", [b"dog", LOREM], b""]
    assert rlp_encode(items) == rlp_join([rlp_encode(item) for item in items])


def nested(depth):
    """Return the RLP of an empty list in so many lists less one."""
    encoded = b""
    for _ in range(depth):
        encoded = rlp_join([encoded] if encoded else [])
    return encoded


def as_lists(item):
    """Return what the reference decoded, with lists as lists."""
    return item if isinstance(item, bytes) else [as_lists(child) for child in item]
