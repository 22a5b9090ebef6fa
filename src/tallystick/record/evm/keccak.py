"""
Keccak-256, the hash of the EVM (chain.md, section 4.1.7), for one message or many at once.

Follows the Keccak reference, version 3.0: rate 1088, capacity 512, and the padding 0x01 of the
submission, not the 0x06 of FIPS 202. The standard library has only the latter.

A lane of the state is 64 bits. Here each of the 25 lanes is one integer that holds that lane of
*every* message, in slots of 128 bits, so that one operation of Python's serves all of them: a
block's receipts are hashed side by side, some twenty times faster than one by one. The upper
half of a slot is empty, which lets a rotation spill into it and one mask take both spills away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

DIGEST_BYTES: Final = 32
RATE_BYTES: Final = 136
RATE_LANES: Final = RATE_BYTES // 8
STATE_LANES: Final = 25
SLOT_BYTES: Final = 16
SLOT_BITS: Final = 8 * SLOT_BYTES
LANE: Final = (1 << 64) - 1
MAX_SIDE_BY_SIDE: Final = 256
"""So many messages at once: their state, 100 KiB, stays in a processor's second cache."""

ROUND_CONSTANTS: Final = (
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000,
    0x000000000000808B, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
    0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
)  # fmt: skip


def keccak256(message: bytes) -> bytes:
    """Return the 32 bytes of Keccak-256 over *message*."""
    return _hash_side_by_side([_padded(message)])[0]


def keccak256_many(messages: Sequence[bytes]) -> list[bytes]:
    """Return Keccak-256 over each of *messages*, in their order; much faster than one by one."""
    digests = [b""] * len(messages)
    # Those of like length stand together, so that few slots idle while the longest goes on.
    order = sorted(range(len(messages)), key=lambda index: -len(messages[index]))
    for start in range(0, len(order), MAX_SIDE_BY_SIDE):
        chosen = order[start : start + MAX_SIDE_BY_SIDE]
        found = _hash_side_by_side([_padded(messages[index]) for index in chosen])
        for index, digest in zip(chosen, found, strict=True):
            digests[index] = digest
    return digests


def _padded(message: bytes) -> bytes:
    """Return *message* with the padding 10*1, a whole number of rates long."""
    missing = RATE_BYTES - len(message) % RATE_BYTES
    if missing == 1:
        return message + b"\x81"
    return message + b"\x01" + bytes(missing - 2) + b"\x80"


def _hash_side_by_side(padded: Sequence[bytes]) -> list[bytes]:
    """Hash padded messages, of which none is longer than the one before it."""
    digests = [b""] * len(padded)
    width = len(padded)
    state = [0] * STATE_LANES
    for start in range(0, len(padded[0]), RATE_BYTES):
        blocks = b"".join(message[start : start + RATE_BYTES] for message in padded[:width])
        ones = _spread(b"\x01" + bytes(7), width)
        for lane in range(RATE_LANES):
            state[lane] ^= _gather(blocks, lane, width)
        state = _permute(state, ones)
        end = start + RATE_BYTES
        done = width
        while width and len(padded[width - 1]) == end:
            width -= 1
        if width < done:
            digests[width:done] = _squeeze(state, width, done)
            kept = (1 << width * SLOT_BITS) - 1
            state = [lane & kept for lane in state]
    return digests


def _spread(lane: bytes, width: int) -> int:
    """Return the same 8 bytes in each of *width* slots."""
    return int.from_bytes((lane + bytes(8)) * width, "little")


def _gather(blocks: bytes, lane: int, width: int) -> int:
    """Return lane number *lane* of each block, in slots."""
    slots = bytearray(SLOT_BYTES * width)
    # Words are only moved, never computed with, so the machine's byte order does not matter.
    memoryview(slots).cast("Q")[::2] = memoryview(blocks).cast("Q")[lane::RATE_LANES]
    return int.from_bytes(slots, "little")


def _squeeze(state: Sequence[int], first: int, end: int) -> list[bytes]:
    """Return the digests in the slots *first* to *end*."""
    shift = first * SLOT_BITS
    length = (end - first) * SLOT_BYTES
    lanes = [(lane >> shift).to_bytes(length, "little") for lane in state[: DIGEST_BYTES // 8]]
    return [b"".join(lane[at : at + 8] for lane in lanes) for at in range(0, length, SLOT_BYTES)]


def _permute(state: Sequence[int], ones: int) -> list[int]:
    """Return Keccak-f[1600] of *state*; *ones* has a 1 in every slot that is used."""
    m = ones * LANE
    # Lane (x, y) of the reference stands at 5 * y + x. Local names, and no inner loop: an index
    # would cost as much as the operation that it serves.
    (
        a00, a01, a02, a03, a04, a05, a06, a07, a08, a09, a10, a11, a12,
        a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24,
    ) = state  # fmt: skip
    for constant in ROUND_CONSTANTS:
        # Theta: each lane takes in two columns.
        c0 = a00 ^ a05 ^ a10 ^ a15 ^ a20
        c1 = a01 ^ a06 ^ a11 ^ a16 ^ a21
        c2 = a02 ^ a07 ^ a12 ^ a17 ^ a22
        c3 = a03 ^ a08 ^ a13 ^ a18 ^ a23
        c4 = a04 ^ a09 ^ a14 ^ a19 ^ a24
        d0 = c4 ^ ((c1 << 1 | c1 >> 63) & m)
        d1 = c0 ^ ((c2 << 1 | c2 >> 63) & m)
        d2 = c1 ^ ((c3 << 1 | c3 >> 63) & m)
        d3 = c2 ^ ((c4 << 1 | c4 >> 63) & m)
        d4 = c3 ^ ((c0 << 1 | c0 >> 63) & m)
        # Rho and pi: lane (x, y) is rotated and goes to (y, 2x + 3y). With chi, plane by plane:
        # each plane needs five lanes of the old state, and ~b & c is (b | c) ^ b.
        a00, t06, t12, t18, t24 = a00 ^ d0, a06 ^ d1, a12 ^ d2, a18 ^ d3, a24 ^ d4
        t03, t09, t10, t16, t22 = a03 ^ d3, a09 ^ d4, a10 ^ d0, a16 ^ d1, a22 ^ d2
        t01, t07, t13, t19, t20 = a01 ^ d1, a07 ^ d2, a13 ^ d3, a19 ^ d4, a20 ^ d0
        t04, t05, t11, t17, t23 = a04 ^ d4, a05 ^ d0, a11 ^ d1, a17 ^ d2, a23 ^ d3
        t02, t08, t14, t15, t21 = a02 ^ d2, a08 ^ d3, a14 ^ d4, a15 ^ d0, a21 ^ d1

        b0, b1, b2 = a00, (t06 << 44 | t06 >> 20) & m, (t12 << 43 | t12 >> 21) & m
        b3, b4 = (t18 << 21 | t18 >> 43) & m, (t24 << 14 | t24 >> 50) & m
        a00, a01 = b0 ^ b1 ^ (b1 | b2) ^ (ones * constant), b1 ^ b2 ^ (b2 | b3)
        a02, a03, a04 = b2 ^ b3 ^ (b3 | b4), b3 ^ b4 ^ (b4 | b0), b4 ^ b0 ^ (b0 | b1)

        b0, b1 = (t03 << 28 | t03 >> 36) & m, (t09 << 20 | t09 >> 44) & m
        b2, b3 = (t10 << 3 | t10 >> 61) & m, (t16 << 45 | t16 >> 19) & m
        b4 = (t22 << 61 | t22 >> 3) & m
        a05, a06 = b0 ^ b1 ^ (b1 | b2), b1 ^ b2 ^ (b2 | b3)
        a07, a08, a09 = b2 ^ b3 ^ (b3 | b4), b3 ^ b4 ^ (b4 | b0), b4 ^ b0 ^ (b0 | b1)

        b0, b1 = (t01 << 1 | t01 >> 63) & m, (t07 << 6 | t07 >> 58) & m
        b2, b3 = (t13 << 25 | t13 >> 39) & m, (t19 << 8 | t19 >> 56) & m
        b4 = (t20 << 18 | t20 >> 46) & m
        a10, a11 = b0 ^ b1 ^ (b1 | b2), b1 ^ b2 ^ (b2 | b3)
        a12, a13, a14 = b2 ^ b3 ^ (b3 | b4), b3 ^ b4 ^ (b4 | b0), b4 ^ b0 ^ (b0 | b1)

        b0, b1 = (t04 << 27 | t04 >> 37) & m, (t05 << 36 | t05 >> 28) & m
        b2, b3 = (t11 << 10 | t11 >> 54) & m, (t17 << 15 | t17 >> 49) & m
        b4 = (t23 << 56 | t23 >> 8) & m
        a15, a16 = b0 ^ b1 ^ (b1 | b2), b1 ^ b2 ^ (b2 | b3)
        a17, a18, a19 = b2 ^ b3 ^ (b3 | b4), b3 ^ b4 ^ (b4 | b0), b4 ^ b0 ^ (b0 | b1)

        b0, b1 = (t02 << 62 | t02 >> 2) & m, (t08 << 55 | t08 >> 9) & m
        b2, b3 = (t14 << 39 | t14 >> 25) & m, (t15 << 41 | t15 >> 23) & m
        b4 = (t21 << 2 | t21 >> 62) & m
        a20, a21 = b0 ^ b1 ^ (b1 | b2), b1 ^ b2 ^ (b2 | b3)
        a22, a23, a24 = b2 ^ b3 ^ (b3 | b4), b3 ^ b4 ^ (b4 | b0), b4 ^ b0 ^ (b0 | b1)
    return [
        a00, a01, a02, a03, a04, a05, a06, a07, a08, a09, a10, a11, a12,
        a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24,
    ]  # fmt: skip
