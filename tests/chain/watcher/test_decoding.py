"""Logs through ABIs: names and arguments that JSON holds exactly (chain.md, section 2)."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode

from tallystick.chain.intents.calls import canonical_type
from tallystick.chain.node.blocks import Log
from tallystick.chain.watcher.decoding import EventDecoder
from tallystick.record import keccak256

POINT = {
    "name": "point",
    "type": "tuple[]",
    "components": [{"name": "x", "type": "int256"}, {"name": "label", "type": "string"}],
}
ABI = [
    {
        "type": "event",
        "name": "Moved",
        "inputs": [
            {"name": "who", "type": "address", "indexed": True},
            {"name": "title", "type": "string", "indexed": True},
            {"name": "amount", "type": "uint256"},
            {"name": "ok", "type": "bool"},
            {"name": "", "type": "bytes4"},
            POINT,
        ],
    },
    {"type": "function", "name": "moved", "inputs": []},
]
SIGNATURE = b"Moved(address,string,uint256,bool,bytes4,(int256,string)[])"
WHO = "0x" + "ab" * 20


def log(*topics: bytes, data: bytes = b"") -> Log:
    """A log of the contract."""
    return Log(
        address="0x" + "11" * 20,
        block_number=1,
        block_hash="0x" + "22" * 32,
        transaction_hash="0x" + "33" * 32,
        log_index=0,
        topics=topics,
        data=data,
    )


def moved(label: bytes = b"here", data: bytes | None = None) -> Log:
    """A Moved event."""
    values = (2**256 - 1, True, b"\x01\x02\x03\x04", [(-5, label)])
    encoded = encode(["uint256", "bool", "bytes4", "(int256,bytes)[]"], values)
    return log(
        keccak256(SIGNATURE),
        bytes.fromhex(WHO[2:]).rjust(32, b"\0"),
        keccak256(b"a title"),
        data=encoded if data is None else data,
    )


def test_arguments_are_exact():
    """Integers are decimal text, bytes hexadecimal, tuples objects, indexed text its hash."""
    decoded = EventDecoder(ABI).decode(moved())
    assert (decoded.name, decoded.args) == (
        "Moved",
        {
            "who": WHO,
            "title": "0x" + keccak256(b"a title").hex(),
            "amount": str(2**256 - 1),
            "ok": True,
            "4": "0x01020304",
            "point": [{"x": "-5", "label": "here"}],
        },
    )


@pytest.mark.parametrize("label", [b"\xff\xfe", b"a\x00b"])
def test_text_that_is_none_is_shown_as_bytes(label):
    """Text that PostgreSQL cannot hold becomes hexadecimal, and stops nothing."""
    decoded = EventDecoder(ABI).decode(moved(label))
    assert decoded.args["point"][0]["label"] == {"hex": "0x" + label.hex()}


@pytest.mark.parametrize("data", [b"", b"\x00" * 31, b"\xff" * 128])
def test_data_that_do_not_fit_have_no_arguments(data):
    """A known event whose data are malformed keeps its name, and its raw bytes elsewhere."""
    decoded = EventDecoder(ABI).decode(moved(data=data))
    assert (decoded.name, decoded.args) == ("Moved", {})


@pytest.mark.parametrize("topics", [(), (b"\x01" * 32,)])
def test_unknown_events_have_no_name(topics):
    """A log without topic, or of a topic that the ABI lacks, has neither name nor arguments."""
    decoded = EventDecoder(ABI).decode(log(*topics))
    assert (decoded.name, decoded.args) == (None, {})


def test_types_are_spelled_out():
    """Tuples are spelled out as signatures have them."""
    assert canonical_type(POINT) == "(int256,string)[]"
