"""
What a node means when it refuses: its words sorted into few cases (chain.md, 4.3.1 and 4.3.5).

JSON-RPC has no codes for these cases that all nodes share, so their words are looked at; the
phrases are those of geth, erigon, nethermind, besu, reth and Anvil. What nobody knows is
`OTHER`, on which nothing final is ever decided.
"""

from __future__ import annotations

import enum
from typing import Final

from tallystick.chain.errors import NodeRefusedError
from tallystick.chain.node.encoding import printable

REVERT_CODE: Final = 3
"""JSON-RPC code of a revert, where a node sends one."""
ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
"""Error(string), what `require` and Vyper's `assert` with a reason return."""
PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")
"""Panic(uint256), what the compiler's own checks return."""
WORD: Final = 32
SELECTOR: Final = 4
MAX_REASON_BYTES: Final = 1_000
"""A contract can return anything; a reason that somebody wrote is a sentence."""
PANICS: Final = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x21: "no value of the enumeration",
    0x31: "pop of an empty array",
    0x32: "index out of bounds",
    0x41: "too much memory",
}


class Refusal(enum.Enum):
    """Why a node refused."""

    REVERTED = "reverted"
    """The EVM would not carry the call out, today or on any day in this state."""
    NONCE_TOO_LOW = "nonce too low"
    """The chain has a transaction of this account and nonce."""
    ALREADY_KNOWN = "already known"
    """The node has these bytes."""
    UNDERPRICED = "underpriced"
    """The fees are below what the node wants, for a first attempt or a replacement."""
    FUNDS = "insufficient funds"
    """The account cannot pay for value and gas."""
    OTHER = "other"
    """Anything else: tried again."""


# The order decides: "replacement transaction underpriced" before what is shorter.
PHRASES: Final = (
    (Refusal.NONCE_TOO_LOW, ("nonce too low", "oldnonce", "nonce is too low", "invalid nonce")),
    (Refusal.ALREADY_KNOWN, ("already known", "already imported", "alreadyknown", "known transac")),
    (
        Refusal.UNDERPRICED,
        (
            "underpriced",
            "feetoolow",
            "fee too low",
            "max fee per gas less than block base fee",
            "less than the configured minimum",
        ),
    ),
    (
        Refusal.FUNDS,
        (
            "insufficient funds",
            "insufficientfunds",
            "insufficient balance",
            "upfront cost exceeds",
            "out of gas: insufficient",
        ),
    ),
    (
        Refusal.REVERTED,
        (
            "revert",
            "out of gas",
            "outofgas",
            "gas required exceeds allowance",
            "invalid opcode",
            "invalidopcode",
            "opcodenotfound",
            "stack underflow",
            "stackunderflow",
            "bad jump",
            "invalid jump",
            "max initcode size exceeded",
            "max code size exceeded",
            "intrinsic gas too",
            "vm execution error",
            "evm error",
        ),
    ),
)


def classify(refused: NodeRefusedError) -> Refusal:
    """Return what *refused* means."""
    said = refused.said.lower()
    for refusal, phrases in PHRASES:
        if any(phrase in said for phrase in phrases):
            return refusal
    return Refusal.REVERTED if refused.rpc_code == REVERT_CODE else Refusal.OTHER


def revert_data(refused: NodeRefusedError) -> bytes:
    """Return what the EVM returned, empty where the node does not tell."""
    text = (refused.data or "").removeprefix("Reverted ").strip()
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        return b""


def decode_reason(data: bytes) -> str:
    """
    Return in words why a contract reverted, from what it returned; empty where it gave no reason.

    Errors that a contract declares itself are shown by selector and arguments in hexadecimal.
    """
    selector, arguments = data[:SELECTOR], data[SELECTOR:]
    if selector == ERROR_SELECTOR:
        return decode_text(arguments)
    if selector == PANIC_SELECTOR and len(arguments) == WORD:
        number = int.from_bytes(arguments, "big")
        return PANICS.get(number, f"panic 0x{number:02x}")
    return "" if not data else f"0x{data[:MAX_REASON_BYTES].hex()}"


def decode_text(arguments: bytes) -> str:
    """Return the ABI's string in *arguments*; what is not one is shown in hexadecimal."""
    offset = int.from_bytes(arguments[:WORD], "big")
    length = int.from_bytes(arguments[offset : offset + WORD], "big")
    text = arguments[offset + WORD : offset + WORD + min(length, MAX_REASON_BYTES)]
    if (
        len(arguments) < 2 * WORD
        or offset > len(arguments)
        or len(text) < min(length, MAX_REASON_BYTES)
    ):
        return f"0x{arguments[:MAX_REASON_BYTES].hex()}"
    return printable(text.decode("utf-8", "replace"))
