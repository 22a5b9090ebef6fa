"""What is read of a node: ranges that are halved, answers that are refused (chain.md, 4.4.1)."""

from __future__ import annotations

import datetime

import pytest

from tallystick.chain.errors import MalformedAnswerError, NodeRefusedError
from tallystick.chain.node.blocks import (
    Header,
    parse_header,
    parse_logs,
    parse_receipt,
)
from tallystick.chain.sender.surroundings import parse_fee_history
from tallystick.chain.watcher.reading import BlockReader
from tallystick.chain.watcher.reconcile import parse_sent

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ADDRESS = "0x" + "11" * 20
WORD = "0x" + "22" * 32


class Ranges:
    """A node that answers at most so many blocks at a time, and notes what it was asked."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[tuple[int, int]] = []

    def call(self, _method, wanted):
        """One log for each block of the range."""
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        self.asked.append((first, last))
        if last - first >= self.most:
            raise NodeRefusedError("query returned more than 10000 results")
        return [log_of(number) for number in range(first, last + 1)]


def hash_of(number: int) -> str:
    """The hash of a block."""
    return f"0x{number:064x}"


def log_of(number: int, **changes) -> dict:
    """A log, as nodes tell it."""
    return {
        "address": ADDRESS,
        "blockNumber": hex(number),
        "blockHash": hash_of(number),
        "transactionHash": WORD,
        "logIndex": "0x0",
        "topics": [WORD],
        "data": "0x",
        **changes,
    }


def headers(first: int, last: int) -> list[Header]:
    """Blocks that follow one another."""
    return [Header(n, hash_of(n), hash_of(n - 1), NOW, ()) for n in range(first, last + 1)]


@pytest.mark.parametrize("most", [1, 7, 64, 5_000])
def test_a_range_is_halved_where_it_is_refused(most):
    """Every block of a range is read once, however few a node answers at a time."""
    node = Ranges(most)
    logs = BlockReader(node).logs_of_range(100, 350, [ADDRESS])
    assert [log.block_number for log in logs] == list(range(100, 351))


def test_one_block_that_is_refused_is_an_error():
    """Where even one block is refused nothing is skipped."""
    with pytest.raises(NodeRefusedError):
        BlockReader(Ranges(0)).logs_of_range(1, 2, [ADDRESS])


def test_a_range_serves_the_next_windows():
    """Far below the head one question of 2,000 blocks serves 31 windows."""
    node = Ranges(5_000)
    reader = BlockReader(node)
    for first in range(1, 1921, 64):
        found = reader.logs(headers(first, first + 63), [ADDRESS], head=10_000)
        assert len(found) == 64
    assert node.asked == [(1, 2_000)]


def test_logs_of_other_blocks_are_not_taken():
    """A range that was read on another chain is forgotten, and read again."""
    node = Ranges(5_000)
    reader = BlockReader(node)
    other = [Header(n, WORD, WORD, NOW, ()) for n in range(1, 3)]
    assert reader.logs(other, [ADDRESS], head=10_000) is None
    assert len(reader.logs(headers(1, 2), [ADDRESS], head=10_000)) == 2
    assert len(node.asked) == 2


BLOCK = {
    "number": "0x1",
    "hash": WORD,
    "parentHash": WORD,
    "timestamp": "0x1",
    "transactions": [WORD],
}
RECEIPT = {
    "transactionHash": WORD,
    "blockNumber": "0x1",
    "blockHash": WORD,
    "transactionIndex": "0x0",
    "status": "0x1",
    "gasUsed": "0x5208",
    "effectiveGasPrice": "0x1",
}


@pytest.mark.parametrize(
    ("parse", "whole", "changes"),
    [
        (parse_header, BLOCK, {"hash": None}),
        (parse_header, BLOCK, {"number": "1"}),
        (parse_header, BLOCK, {"number": "0x8000000000000000"}),
        (parse_header, BLOCK, {"transactions": [{"hash": WORD}]}),
        (parse_header, BLOCK, {"transactions": None}),
        (parse_header, BLOCK, {"timestamp": "0xffffffffffffff"}),
        (parse_receipt, RECEIPT, {"status": "0x2"}),
        (parse_receipt, RECEIPT, {"status": None}),
        (parse_receipt, RECEIPT, {"effectiveGasPrice": None}),
        (parse_receipt, RECEIPT, {"contractAddress": "0x11"}),
        (parse_receipt, RECEIPT, {"l1Fee": "-0x1"}),
    ],
)
def test_malformed_answers_are_refused(parse, whole, changes):
    """What is no block or no receipt ends in a named error, never in another."""
    parse(whole)
    with pytest.raises(MalformedAnswerError):
        parse(whole | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"topics": [WORD] * 5},
        {"topics": ["0x11"]},
        {"data": "0x1"},
        {"removed": True},
        {"address": 7},
    ],
)
def test_malformed_logs_are_refused(changes):
    """A log that is none, or that its node has removed, is a named error."""
    assert len(parse_logs([log_of(1)])) == 1
    with pytest.raises(MalformedAnswerError):
        parse_logs([log_of(1, **changes)])


def test_what_is_no_receipt_is_refused():
    """Where a receipt is expected anything else is an error that the watcher knows."""

    class Fool:
        def batch(self, calls):
            return [17 for _ in calls]

    with pytest.raises(MalformedAnswerError):
        BlockReader(Fool()).receipts([hash_of(1)])


@pytest.mark.parametrize(
    "history",
    [
        17,
        {},
        {"baseFeePerGas": []},
        {"baseFeePerGas": "0x1"},
        {"baseFeePerGas": ["0x1"], "reward": {"0": "0x1"}},
        {"baseFeePerGas": ["0x1"], "reward": [5]},
        {"baseFeePerGas": ["0x1"], "reward": [{"0": "0x1"}]},
    ],
)
def test_what_is_no_history_of_fees_is_refused(history):
    """Where a history of fees is expected anything else is an error that the sender knows."""
    with pytest.raises(MalformedAnswerError):
        parse_fee_history(history, min_tip=1)


@pytest.mark.parametrize(
    "block",
    [
        None,
        {},
        {"transactions": None},
        {"transactions": [None]},
        {"transactions": [{"from": ADDRESS, "nonce": "0x1", "type": "0x2", "hash": WORD}]},
    ],
)
def test_a_block_that_is_not_whole_hides_nothing(block):
    """A block in which forgotten transactions are looked for is there in full, or is an error."""
    with pytest.raises(MalformedAnswerError):
        list(parse_sent(block, ADDRESS, {1}))
