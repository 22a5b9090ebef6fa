"""Addresses and hashes: what is taken, and what is refused."""

from __future__ import annotations

import pytest
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Kind
from tallystick.record import (
    InvalidAddressError,
    format_address,
    parse_address,
    parse_block_hash,
    parse_transaction_hash,
)
from tallystick.record.errors import InvalidHashError

EIP_55 = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
]
WRONG = [
    "0x833589fCD6eDb6E08f4c7C32D4f71b3566dA8860",
    "0x3c499c542cEF5E3811e1192ce70d8cC7d307B653",
]


@pytest.mark.parametrize("text", EIP_55)
def test_a_right_checksum_is_taken(text):
    """chain 20: mixed case that passes EIP-55 is taken, stored in lower case and shown again."""
    assert text.lower() == parse_address(text)
    assert text == format_address(parse_address(text))


@pytest.mark.parametrize("text", WRONG)
def test_the_earlier_documents_addresses_fail(text):
    """chain 20: the two that the earlier documents name have no checksum that holds."""
    with pytest.raises(InvalidAddressError, match="checksum") as caught:
        parse_address(text)
    assert Kind.UNPROCESSABLE is caught.value.kind


@pytest.mark.parametrize("text", EIP_55 + WRONG)
def test_one_case_carries_no_checksum(text):
    """chain 20: all-lower and all-upper digits are taken, whatever the mixed case would be."""
    assert text.lower() == parse_address(text.lower())
    assert text.lower() == parse_address("0x" + text[2:].upper())


@given(st.binary(min_size=20, max_size=20), st.integers(0, 39))
def test_every_letter_is_checked(address, place):
    """The checksum is the reference's, and another case of one letter breaks it."""
    shown = format_address("0x" + address.hex())
    assert to_checksum_address(address) == shown
    changed = shown[: 2 + place] + shown[2 + place].swapcase() + shown[3 + place :]
    digits = changed[2:]
    if changed != shown and digits not in (digits.lower(), digits.upper()):
        with pytest.raises(InvalidAddressError):
            parse_address(changed)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0x",
        EIP_55[0][2:],
        "0X" + EIP_55[0][2:],
        EIP_55[0] + "0",
        EIP_55[0][:-1],
        "0x" + "g" * 40,
        "0x" + "٣" * 40,
        EIP_55[0] + "\n",
        " " + EIP_55[0],
        "x" * 10_000,
    ],
)
def test_other_text_is_no_address(text):
    """0x and forty hex digits, nothing before, after or between; a message stays short."""
    with pytest.raises(InvalidAddressError) as caught:
        parse_address(text)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("parse", [parse_transaction_hash, parse_block_hash])
def test_hashes_are_lower_case(parse):
    """A hash is taken in either case and kept in lower case; other text is refused."""
    assert "0x" + "c3" * 32 == parse("0x" + "C3" * 32)
    for text in ("", "c3" * 32, "0x" + "c3" * 31, "0x" + "c3" * 33, "0x" + "zz" * 32):
        with pytest.raises(InvalidHashError) as caught:
            parse(text)
        assert Kind.UNPROCESSABLE is caught.value.kind
