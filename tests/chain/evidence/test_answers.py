"""A node's JSON as what the consensus hashes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from tallystick.chain.errors import MalformedAnswerError
from tallystick.chain.evidence.answers import read_header, read_raw_receipts, read_receipts
from tallystick.record import build_ordered_trie, format_header, keccak256, parse_receipt

VECTORS = json.loads(
    Path(__file__).parents[2].joinpath("vectors", "evm.json").read_text(encoding="utf-8")
)
HEADER = VECTORS["headers"]["prague, Ethereum 24630100"]
RECEIPTS = VECTORS["receipts"]
OPTIONAL = {
    "hash",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
}


@pytest.mark.parametrize("name", VECTORS["headers"])
def test_headers_of_public_chains(name):
    """The header of each fork, as its chain's nodes answer it, hashes to the block's hash."""
    answer = VECTORS["headers"][name]
    assert answer["hash"] == "0x" + keccak256(format_header(read_header(answer))).hex()


def test_fields_that_are_no_headers_are_passed_over():
    """What nodes and rollups tell of a block besides does not change its hash."""
    more = {"size": "0x1", "totalDifficulty": "0x0", "uncles": [], "l1BlockNumber": "0x7"}
    assert read_header(HEADER) == read_header({**HEADER, **more, "sendRoot": "0x" + "11" * 32})


def test_receipts_of_a_public_block():
    """The receipts of a rollup's block, a deposit among them, lead to its published root."""
    encoded = read_receipts(RECEIPTS["answers"])
    assert RECEIPTS["root"] == "0x" + build_ordered_trie(encoded).root.hex()
    assert [0x7E, 2, 2, 2, 2] == [parse_receipt(receipt).type for receipt in encoded]


def test_the_order_of_the_answer_does_not_matter():
    """Receipts stand by their index, in whatever order a node answers them."""
    assert read_receipts(RECEIPTS["answers"]) == read_receipts(RECEIPTS["answers"][::-1])


def test_a_type_that_is_not_known_is_guessed():
    """A chain's own type has the fields that all have; its root will tell whether that is so."""
    answer = {**RECEIPTS["answers"][1], "transactionIndex": "0x0", "type": "0x6a"}
    (encoded,) = read_receipts([answer])
    assert 0x6A == encoded[0]
    assert read_receipts([{**answer, "type": "0x2"}])[0][1:] == encoded[1:]


def test_an_older_node_tells_no_type():
    """A receipt without a type is a legacy one; beside a status a state root is not hashed."""
    answer = {**RECEIPTS["answers"][1], "transactionIndex": "0x0"}
    del answer["type"]
    (encoded,) = read_receipts([answer])
    assert 0 == parse_receipt(encoded).type
    assert encoded == read_receipts([{**answer, "root": "0x" + "11" * 32}])[0]
    without = {**answer, "root": "0x" + "11" * 32, "status": None}
    assert b"\x11" * 32 == parse_receipt(read_receipts([without])[0]).post_state


@pytest.mark.parametrize("field", [name for name in HEADER if name not in OPTIONAL])
def test_a_header_without_a_field(field):
    """A field that every fork has must be there, and be of its form."""
    for value in (None, 7, "0xzz", "0x" + "1" * 999, []):
        with pytest.raises(MalformedAnswerError):
            read_header({**HEADER, field: value})


@pytest.mark.parametrize("answer", [None, {}, "0x", [None], [[]], [{}], 7])
def test_something_else_than_receipts(answer):
    """An answer that is no list of receipts is one of a node that cannot be used."""
    with pytest.raises(MalformedAnswerError):
        read_receipts(answer)


FLAWS = [
    ("transactionIndex", "0x1"),
    ("type", "0x80"),
    ("type", "two"),
    ("status", None),
    ("status", "yes"),
    ("cumulativeGasUsed", None),
    ("logsBloom", "0x00"),
    ("logs", None),
    ("logs", [7]),
    ("logs", [{}]),
    ("logs", [{"address": "0x11", "topics": [], "data": "0x"}]),
    ("logs", [{"address": "0x" + "11" * 20, "topics": ["0x11"], "data": "0x"}]),
    ("logs", [{"address": "0x" + "11" * 20, "topics": None, "data": "0x"}]),
    ("logs", [{"address": "0x" + "11" * 20, "topics": [], "data": None}]),
]


@pytest.mark.parametrize(("field", "value"), FLAWS)
def test_a_receipt_with_a_flaw(field, value):
    """A field that is missing or of another form is named for what it is."""
    answers = copy.deepcopy(RECEIPTS["answers"][1:2])
    answers[0] |= {"transactionIndex": "0x0", field: value}
    with pytest.raises(MalformedAnswerError):
        read_receipts(answers)


@pytest.mark.parametrize("answer", [None, {}, ["0x"], [7], ["0xz"], ["11"]])
def test_something_else_than_raw_receipts(answer):
    """Raw receipts are a list of bytes, none of them empty."""
    with pytest.raises(MalformedAnswerError):
        read_raw_receipts(answer)
