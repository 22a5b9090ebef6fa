"""Receipts: the bytes that the consensus holds, of every type."""

from __future__ import annotations

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import (
    MalformedReceiptError,
    Receipt,
    ReceiptLog,
    format_receipt,
    parse_receipt,
    rlp_decode,
    rlp_encode,
)
from tallystick.record.evm import DEPOSIT_TYPE, RECEIPT_TYPES

# A deposit's receipt of Base Goerli as op-geth encodes it since the fork Canyon.
DEPOSIT = bytes.fromhex("7ef9010d0182b741b90100" + "00" * 256 + "c0833d3bbf01")

HASHES = st.binary(min_size=32, max_size=32)
LOGS = st.builds(
    ReceiptLog,
    address=st.binary(min_size=20, max_size=20).map(lambda address: "0x" + address.hex()),
    topics=st.lists(HASHES, max_size=4).map(tuple),
    data=st.binary(max_size=100),
)
RECEIPTS = st.builds(
    Receipt,
    type=st.sampled_from(sorted(RECEIPT_TYPES)),
    status=st.integers(0, 1),
    cumulative_gas_used=st.integers(0, 2**63),
    logs_bloom=st.binary(min_size=256, max_size=256),
    logs=st.lists(LOGS, max_size=5).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(RECEIPTS)
def test_round_trips(receipt):
    """Every receipt of a known type comes back whole."""
    assert receipt == parse_receipt(format_receipt(receipt))


@settings(max_examples=100, deadline=None)
@given(RECEIPTS)
def test_the_bytes_are_those_of_eip_2718(receipt):
    """A type's byte, if it is not the legacy one, and the reference's RLP of the four fields."""
    fields = [
        b"\x01" if receipt.status else b"",
        receipt.cumulative_gas_used,
        receipt.logs_bloom,
        [[bytes.fromhex(log.address[2:]), log.topics, log.data] for log in receipt.logs],
    ]
    head = bytes([receipt.type]) if receipt.type else b""
    assert head + rlp.encode(fields) == format_receipt(receipt)


def test_a_deposit_of_an_op_chain():
    """Since Canyon a deposit's nonce and version are hashed; the published bytes come out."""
    receipt = parse_receipt(DEPOSIT)
    assert (DEPOSIT_TYPE, 1, 46_913) == (receipt.type, receipt.status, receipt.cumulative_gas_used)
    assert (4_012_991, 1) == (receipt.deposit_nonce, receipt.deposit_version)
    assert DEPOSIT == format_receipt(receipt)


def test_a_deposit_before_canyon():
    """A nonce without a version is known to the node and not hashed."""
    fields = {"status": 1, "cumulative_gas_used": 46_913, "logs_bloom": bytes(256), "logs": ()}
    plain = format_receipt(Receipt(type=DEPOSIT_TYPE, **fields))
    assert plain == format_receipt(Receipt(type=DEPOSIT_TYPE, deposit_nonce=4_012_991, **fields))
    assert None is parse_receipt(plain).deposit_nonce


def test_before_byzantium_a_receipt_has_a_root():
    """The state root that once stood in place of the status is kept as it is."""
    receipt = Receipt(
        type=0,
        status=None,
        cumulative_gas_used=21_000,
        logs_bloom=bytes(256),
        logs=(),
        post_state=b"\x07" * 32,
    )
    assert receipt == parse_receipt(format_receipt(receipt))


FIELDS = [b"\x01", b"\x52\x08", bytes(256), [[bytes(20), [bytes(32)], b"x"]]]
FLAWS = {
    "nothing": b"",
    "no RLP": b"\x02",
    "an unknown type": b"\x05" + rlp_encode(FIELDS),
    "a type of Arbitrum's own": b"\x6a" + rlp_encode(FIELDS),
    "the legacy type written out": b"\x00" + rlp_encode(FIELDS),
    "a string": rlp_encode(b"x" * 60),
    "three fields": rlp_encode(FIELDS[:3]),
    "six fields of another type": b"\x02" + rlp_encode([*FIELDS, b"\x01", b"\x01"]),
    "five fields of a deposit": b"\x7e" + rlp_encode([*FIELDS, b"\x01"]),
    "status 2": rlp_encode([b"\x02", *FIELDS[1:]]),
    "a status with a zero": rlp_encode([b"\x00", *FIELDS[1:]]),
    "a list as status": rlp_encode([[], *FIELDS[1:]]),
    "a short bloom filter": rlp_encode([*FIELDS[:2], bytes(255), FIELDS[3]]),
    "logs that are a string": rlp_encode([*FIELDS[:3], b"logs"]),
    "a log of two fields": rlp_encode([*FIELDS[:3], [[bytes(20), []]]]),
    "a short address": rlp_encode([*FIELDS[:3], [[bytes(19), [], b""]]]),
    "a short topic": rlp_encode([*FIELDS[:3], [[bytes(20), [bytes(31)], b""]]]),
    "five topics": rlp_encode([*FIELDS[:3], [[bytes(20), [bytes(32)] * 5, b""]]]),
    "data that are a list": rlp_encode([*FIELDS[:3], [[bytes(20), [], []]]]),
    "bytes that follow": rlp_encode(FIELDS) + b"\x00",
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_other_bytes_are_no_receipt(flaw):
    """A type that is not known, and any other form of a field, is refused."""
    with pytest.raises(MalformedReceiptError):
        parse_receipt(FLAWS[flaw])


def test_the_flaws_are_of_a_true_receipt():
    """Without its flaw each of these would be taken: the fields themselves are right."""
    assert 1 == parse_receipt(rlp_encode(FIELDS)).status
    assert rlp_decode(format_receipt(parse_receipt(rlp_encode(FIELDS)))) == FIELDS
