"""
Evidence of inclusion: what it costs beside the node's own time (chain.md, section 8).

The node's answers are made beforehand, as JSON-RPC has them: a block of 200 receipts of the
sizes of a busy network, a third of them without logs, one with 20 kB of them. The alternative
are the packages that the EVM's own Python world uses for the same: `rlp` and `trie`, over a
Keccak in C.
"""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from tallystick.chain.evidence import inclusion_evidence
from tallystick.chain.evidence.answers import read_receipts
from tallystick.chain.node import Node
from tallystick.record.evm import (
    BlockHash,
    BlockHeader,
    ChainId,
    TransactionHash,
    build_ordered_trie,
    format_header,
    keccak256,
    keccak256_many,
)
from tallystick.verify import check_inclusion_evidence

RECEIPTS: Final = 200
TARGET: Final = Bound(most=300)
LONG_LOGS: Final = 40
LONG_DATA_BYTES: Final = 512
MESSAGE: Final = bytes(range(256)) * 4
WITH_PACKAGES: Final = "the packages rlp and trie, Keccak in C"
IN_C: Final = "Keccak in C (pycryptodome)"


class ReadyNode(Node):
    """A node whose answers lie ready: what is measured is all that comes after them."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__(ChainId(1), [])
        self._answers = answers

    def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """Return what lies ready for each method."""
        return [self._answers[method] for method, _ in calls]


def run(ground: Ground) -> list[Figure]:
    """Return the figures of making and of checking evidence."""
    answers = block_answers(random.Random(7), count=RECEIPTS)
    wanted = TransactionHash(answers["eth_getTransactionByHash"]["hash"])
    node = ReadyNode(answers)
    receipts = read_receipts(answers["eth_getBlockReceipts"])
    evidence = inclusion_evidence(node, wanted)
    messages = ground.scale.pick(2_000, 50)

    def check() -> None:
        check_inclusion_evidence(
            header_rlp=evidence.header_rlp,
            receipt_rlp=evidence.receipt_rlp,
            receipt_proof=evidence.receipt_proof,
            block_hash=evidence.block_hash,
            transaction_index=evidence.transaction_index,
        )

    sides = measure(
        {
            "make": milliseconds(lambda: inclusion_evidence(node, wanted)),
            "trie": milliseconds(lambda: build_ordered_trie(receipts)),
            "packages": milliseconds(lambda: trie_by_packages(receipts)),
            "check": milliseconds(check),
            "one": rate(messages, lambda: [keccak256(MESSAGE) for _ in range(messages)]),
            "many": rate(messages, lambda: keccak256_many([MESSAGE] * messages)),
            "in C": rate(messages, lambda: keccak_in_c([MESSAGE] * messages)),
        },
        rounds=ground.scale.rounds,
    )
    return figures(sides)


def figures(sides: dict[str, Samples]) -> list[Figure]:
    """Return the lines of the table."""
    name, in_c = "keccak-256 of 1 KiB", sides["in C"]
    return [
        Figure(
            f"inclusion_evidence, {RECEIPTS} receipts, beside RPC",
            sides["make"],
            "ms",
            "less",
            target=TARGET,
        ),
        Figure(
            f"trie of {RECEIPTS} receipts",
            sides["trie"],
            "ms",
            "less",
            WITH_PACKAGES,
            sides["packages"],
        ),
        Figure("check_inclusion_evidence", sides["check"], "ms", "less"),
        Figure(f"{name}, one by one", sides["one"], "/s", "more", IN_C, in_c),
        Figure(f"{name}, side by side", sides["many"], "/s", "more", IN_C, in_c),
    ]


def trie_by_packages(receipts: Sequence[bytes]) -> bytes:
    """Return the root that the usual packages compute."""
    # Neither has types, and no other figure needs them.
    rlp, trie = importlib.import_module("rlp"), importlib.import_module("trie")
    made = trie.HexaryTrie({})
    for index, receipt in enumerate(receipts):
        made[rlp.encode(index)] = receipt
    root: bytes = made.root_hash
    return root


def keccak_in_c(messages: Sequence[bytes]) -> list[bytes]:
    """Return the digests as a library in C computes them."""
    keccak = importlib.import_module("eth_hash.auto").keccak
    return [keccak(message) for message in messages]


def block_answers(numbers: random.Random, *, count: int) -> dict[str, Any]:
    """Return what a node answers about the middle transaction of a block of *count*."""
    receipts = [receipt_answer(numbers, index, count) for index in range(count)]
    root = build_ordered_trie(read_receipts(receipts)).root
    header = BlockHeader(
        parent_hash=bytes(32),
        ommers_hash=bytes(32),
        beneficiary=address(numbers),
        state_root=numbers.randbytes(32),
        transactions_root=numbers.randbytes(32),
        receipts_root=root,
        logs_bloom=numbers.randbytes(256),
        difficulty=0,
        number=24_630_100,
        gas_limit=60_000_000,
        gas_used=27_586_921,
        timestamp=1_773_182_315,
        extra_data=b"benchmark",
        mix_hash=numbers.randbytes(32),
        nonce=bytes(8),
        base_fee_per_gas=38_202_867,
    )
    block_hash = BlockHash("0x" + keccak256(format_header(header)).hex())
    wanted = {**receipts[count // 2], "blockHash": block_hash}
    return {
        "eth_getTransactionByHash": {
            "hash": wanted["transactionHash"],
            "blockHash": block_hash,
            "from": address(numbers),
            "to": address(numbers),
            "nonce": "0x2a",
        },
        "eth_getTransactionReceipt": wanted,
        "eth_getBlockByHash": header_answer(header, receipts),
        "eth_getBlockReceipts": receipts,
    }


def header_answer(header: BlockHeader, receipts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a block as nodes answer it."""
    return {
        "parentHash": hexadecimal(header.parent_hash),
        "sha3Uncles": hexadecimal(header.ommers_hash),
        "miner": header.beneficiary,
        "stateRoot": hexadecimal(header.state_root),
        "transactionsRoot": hexadecimal(header.transactions_root),
        "receiptsRoot": hexadecimal(header.receipts_root),
        "logsBloom": hexadecimal(header.logs_bloom),
        "difficulty": "0x0",
        "number": hex(header.number),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "extraData": hexadecimal(header.extra_data),
        "mixHash": hexadecimal(header.mix_hash),
        "nonce": hexadecimal(header.nonce),
        "baseFeePerGas": hex(header.base_fee_per_gas or 0),
        "transactions": [receipt["transactionHash"] for receipt in receipts],
    }


def receipt_answer(numbers: random.Random, index: int, count: int) -> dict[str, Any]:
    """Return a receipt as nodes answer it: none, some, or very many logs."""
    is_long = index == count // 3
    logs = LONG_LOGS if is_long else numbers.choice((0, 0, 1, 2, 3, 6))
    data = LONG_DATA_BYTES if is_long else numbers.choice((32, 64, 160))
    return {
        "type": "0x2",
        "status": "0x1",
        "transactionHash": hexadecimal(numbers.randbytes(32)),
        "transactionIndex": hex(index),
        "cumulativeGasUsed": hex(130_000 * (index + 1)),
        "gasUsed": "0x1fbd0",
        "effectiveGasPrice": "0x3b9aca00",
        "contractAddress": None,
        "logsBloom": hexadecimal(numbers.randbytes(256)),
        "logs": [
            {
                "address": address(numbers),
                "topics": [hexadecimal(numbers.randbytes(32)) for _ in range(3)],
                "data": hexadecimal(numbers.randbytes(data)),
            }
            for _ in range(logs)
        ],
    }


def address(numbers: random.Random) -> Any:
    """Return some address."""
    return hexadecimal(numbers.randbytes(20))


def hexadecimal(data: bytes) -> str:
    """Return *data* as JSON-RPC has it."""
    return "0x" + data.hex()


def milliseconds(work: Callable[[], object]) -> Callable[[], float]:
    """Return a side that does *work* and returns how long it took."""

    def side() -> float:
        began = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - began)

    return side


def rate(count: int, work: Callable[[], object]) -> Callable[[], float]:
    """Return a side that does *work*, which is *count* things, and returns things a second."""

    def side() -> float:
        began = time.perf_counter()
        work()
        return count / (time.perf_counter() - began)

    return side
