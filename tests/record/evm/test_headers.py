"""Block headers: of every fork, as the chain hashes them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tallystick.chain.evidence.answers import read_header
from tallystick.record import (
    BlockHash,
    BlockHashError,
    MalformedHeaderError,
    check_header,
    format_header,
    keccak256,
    parse_header,
    rlp_decode,
    rlp_encode,
)
from tallystick.record.evm import headers

VECTORS = Path(__file__).parents[2] / "vectors" / "evm.json"
HEADERS = json.loads(VECTORS.read_text(encoding="utf-8"))["headers"]
CANCUN = "cancun, Holesky 2301317"


def encoded_header(name=CANCUN):
    """Return the RLP of a header of the vectors."""
    return format_header(read_header(HEADERS[name]))


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_public_chains_hash_to_their_blocks(name):
    """A header of each fork has the hash that its chain knows it by, and comes back whole."""
    header = read_header(HEADERS[name])
    encoded = format_header(header)
    assert header == check_header(encoded, block_hash=HEADERS[name]["hash"])
    assert int(HEADERS[name]["number"], 16) == header.number


def test_each_changed_byte_is_another_block():
    """chain 17: no byte of a header can be changed: the error carries both hashes."""
    encoded = encoded_header()
    for place in range(len(encoded)):
        changed = bytearray(encoded)
        changed[place] ^= 1 << place % 8
        with pytest.raises(BlockHashError) as caught:
            check_header(bytes(changed), block_hash=HEADERS[CANCUN]["hash"])
        assert HEADERS[CANCUN]["hash"] == caught.value.expected
        assert caught.value.actual not in ("", caught.value.expected)


def test_fields_of_a_later_fork_are_kept():
    """A header with fields that are not known is read, and hashes as it did."""
    fields = rlp_decode(encoded_header("prague, Ethereum 24630100"))
    longer = rlp_encode([*fields, b"\x07", bytes(32)])
    header = parse_header(longer)
    assert (b"\x07", bytes(32)) == header.later_fields
    assert longer == format_header(header)


def test_an_absent_field_before_a_present_one():
    """A chain that has not taken over a field writes the empty string in its place."""
    header = parse_header(encoded_header())
    without = dataclasses.replace(header, withdrawals_root=None)
    assert without == parse_header(format_header(without))
    assert b"" == rlp_decode(format_header(without))[16]


FIELDS = rlp_decode(encoded_header())
FLAWS = {
    "no list": rlp_encode(b"header"),
    "no RLP": b"\xf9\x02",
    "nothing": b"",
    "fourteen fields": rlp_encode(FIELDS[:14]),
    "too many fields": rlp_encode([*FIELDS, *[b"\x01"] * 40]),
    "a list in a field": rlp_encode([[], *FIELDS[1:]]),
    "a short hash": rlp_encode([FIELDS[0][1:], *FIELDS[1:]]),
    "a long address": rlp_encode([*FIELDS[:2], FIELDS[2] + b"\0", *FIELDS[3:]]),
    "a number with a zero before it": rlp_encode([*FIELDS[:8], b"\0\x01", *FIELDS[9:]]),
    "a short nonce": rlp_encode([*FIELDS[:14], bytes(7), *FIELDS[15:]]),
    "an empty hash at its end": rlp_encode([*FIELDS[:16], b""]),
    "bytes beyond the limit": rlp_encode([*FIELDS[:12], bytes(70_000), *FIELDS[13:]]),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_other_bytes_are_no_header(flaw):
    """Bytes that are no header are refused, even where somebody vouches for their hash."""
    data = FLAWS[flaw]
    with pytest.raises(MalformedHeaderError):
        check_header(data, block_hash="0x" + keccak256(data).hex())


def test_a_long_header_is_not_hashed(monkeypatch):
    """Bytes longer than any header are refused by their length, whatever hashing them costs."""
    monkeypatch.setattr(headers, "keccak256", lambda _: pytest.fail("it was hashed"))
    with pytest.raises(MalformedHeaderError):
        check_header(bytes(headers.MAX_HEADER_BYTES + 1), block_hash=BlockHash("0x" + "00" * 32))
