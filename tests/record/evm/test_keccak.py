"""Keccak-256: the published digests, and those of an independent implementation."""

from __future__ import annotations

import pytest
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import keccak256, keccak256_many

PUBLISHED = [
    (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
    (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
    (
        b"The quick brown fox jumps over the lazy dog",
        "4d741b6f1eb29cb2a9b9911c82f56fa8d73b04959d3d9d222895df6c0b28aa15",
    ),
    (b"\xa3" * 200, "3a57666b048777f2c953dc4456f45a2588e1cb6f2da760122d530ac2ce607d4a"),
    (b"a" * 1_000_000, "fadae6b49f129bbb812be8407b7b2894f34aecf6dbd1f9b0f0c7e9853098fc96"),
]


@pytest.mark.parametrize(("message", "digest"), PUBLISHED)
def test_published_digests(message, digest):
    """The digests of Keccak's authors come out, of short messages and of a million bytes."""
    assert digest == keccak256(message).hex()


def test_signatures_of_a_contract():
    """Selector and topic of TallyAnchor are those that the specification names."""
    selector = keccak256(b"anchor(bytes32,bytes32,uint64)")[:4]
    assert "15954b2c" == selector.hex()
    topic = keccak256(b"Anchored(bytes32,bytes32,address,uint64)")
    assert "e000142600614eca96a70dd786d527e0f44d75b9b7f8815394c7cf558b0524ca" == topic.hex()


def test_every_length_up_to_three_blocks():
    """Every way in which a message can end in its last block is padded as it must be."""
    messages = [bytes(range(256))[: length % 257] * 2 + bytes(length) for length in range(420)]
    assert [keccak(message) for message in messages] == [keccak256(each) for each in messages]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=900), max_size=40))
def test_many_at_once_are_as_one_by_one(messages):
    """Messages that are hashed side by side have the digests that they have alone, in order."""
    assert [keccak(message) for message in messages] == keccak256_many(messages)


def test_more_than_stand_side_by_side():
    """Nothing is lost where a list is longer than what is hashed at once."""
    messages = [number.to_bytes(2, "big") * (number % 700) for number in range(600)]
    assert [keccak(message) for message in messages] == keccak256_many(messages)
