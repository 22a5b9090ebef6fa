"""
What names things on an EVM chain: addresses, hashes, chain ids, amounts (chain.md, section 5.2).

An address or a hash is text, lower-case with 0x, as it is stored; only people are shown EIP-55.
"""

from __future__ import annotations

import re
from typing import Final, NewType

from tallystick.record.errors import InvalidAddressError, InvalidHashError
from tallystick.record.evm.keccak import keccak256

Address = NewType("Address", str)
"""`0x` and 40 lower-case hex digits."""
TransactionHash = NewType("TransactionHash", str)
"""`0x` and 64 lower-case hex digits."""
BlockHash = NewType("BlockHash", str)
"""`0x` and 64 lower-case hex digits."""
ChainId = NewType("ChainId", int)
"""The EIP-155 id of a network; it may exceed 2^31."""
Wei = NewType("Wei", int)
"""An amount of a chain's own coin in its smallest unit, 0 to 2^256 - 1."""

ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
HASH: Final = re.compile(r"0x[0-9a-fA-F]{64}")
SHOWN: Final = 80
"""So much of a wrong input stands in a message; an address has 42 characters."""


def parse_address(text: str) -> Address:
    """
    Return the address that *text* writes.

    All-lower and all-upper digits carry no checksum and are taken; mixed case is one.

    Raises:
        InvalidAddressError: It is not 0x and 40 hex digits, or its mixed case is not EIP-55's.
    """
    if ADDRESS.fullmatch(text) is None:
        raise InvalidAddressError(f"{text[:SHOWN]!r} is not 0x and 40 hex digits")
    digits = text[2:]
    address = Address(text.lower())
    if digits not in (digits.lower(), digits.upper()) and text != format_address(address):
        raise InvalidAddressError(f"{text} has a wrong EIP-55 checksum: a digit or its case")
    return address


def format_address(address: Address) -> str:
    """Return *address* in the mixed case of EIP-55, for people to read."""
    digits = address[2:]
    marks = keccak256(digits.encode("ascii")).hex()
    return "0x" + "".join(
        digit.upper() if mark >= "8" else digit
        for digit, mark in zip(digits, marks[:40], strict=True)
    )


def parse_transaction_hash(text: str) -> TransactionHash:
    """
    Return the hash of a transaction that *text* writes, in either case.

    Raises:
        InvalidHashError: It is not 0x and 64 hex digits.
    """
    return TransactionHash(_parse_hash(text))


def parse_block_hash(text: str) -> BlockHash:
    """
    Return the hash of a block that *text* writes, in either case.

    Raises:
        InvalidHashError: It is not 0x and 64 hex digits.
    """
    return BlockHash(_parse_hash(text))


def _parse_hash(text: str) -> str:
    if HASH.fullmatch(text) is None:
        raise InvalidHashError(f"{text[:SHOWN]!r} is not 0x and 64 hex digits")
    return text.lower()
