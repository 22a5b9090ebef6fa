"""
Intents of one account from hand-over to their recorded inclusion, on Anvil (chain.md, section 8).

The alternative is what a program without us does: eth_sendTransaction, with Anvil holding the
key, and waiting for the receipt before the next. Measured on Anvil as it starts by itself, which
mines each transaction at once, and with blocks of a quarter of a second; our side
keeps a database that waits for the disk, prices each inclusion, and loses nothing in a crash.
"""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Final

from benchmarks.chain.anvil import ACCOUNT, OTHER, Anvil, running_anvil
from benchmarks.chain.working import Counts, Working, working
from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples

INTENTS: Final = 1_000
LOOP_ON_BLOCKS: Final = 10
"""A loop that waits for a block each time needs no more to show how fast it is."""
BLOCK_SECONDS: Final = "0.25"
"""As Arbitrum's. At most 64 are on their way, and a watcher looks each half second: 128 a second
is the most that one account can do here, or half of that with blocks of a second."""
PATIENCE_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.02
LEAST_RATE: Final = Bound(least=100)
LEAST_RATIO: Final = Bound(least=3)
MOST_CALLS: Final = Bound(most=2)
LOOP: Final = "eth_sendTransaction, waiting for each receipt"
RECEIPTS: Final = frozenset({"eth_getTransactionReceipt", "eth_getBlockReceipts"})
OF_TIME: Final = frozenset(
    {
        "eth_blockNumber",
        "eth_chainId",
        "eth_feeHistory",
        "eth_getBalance",
        "eth_getBlockByHash",
        "eth_getBlockByNumber",
        "eth_getLogs",
        "eth_getTransactionCount",
    }
)
"""Asked for each block or second, however many intents there are."""
INCLUDED: Final = (
    "SELECT count(*) FROM tally.blockchain_transactions"
    " WHERE state IN ('mined', 'confirmed', 'finalized')"
)


def run(ground: Ground) -> list[Figure]:
    """Return intents a second on both kinds of blocks, and the calls that an intent takes."""
    count = ground.scale.pick(INTENTS, 40)
    rounds = ground.scale.rounds
    at_once, by_blocks = Side(count), Side(count)
    for _ in range(rounds):
        at_once.measure(ground, loop=count)
        by_blocks.measure(ground, "--block-time", BLOCK_SECONDS, loop=min(count, LOOP_ON_BLOCKS))
    name = f"{count:,} intents of one account"
    return [
        at_once.figure(f"{name}, mined at once"),
        by_blocks.figure(f"{name}, blocks of {BLOCK_SECONDS} s"),
        Figure(
            "RPC calls of an intent, beyond receipts",
            Samples(tuple(by_blocks.calls)),
            "calls",
            "less",
            target=MOST_CALLS,
            note="without what is asked for each block or second, whatever is sent",
        ),
        Figure(
            "HTTP requests to the node of an intent, all told",
            Samples(tuple(by_blocks.requests)),
            "requests",
            "less",
        ),
    ]


class Side:
    """What one kind of blocks gives."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._rates: list[float] = []
        self._loops: list[float] = []
        self.calls: list[float] = []
        self.requests: list[float] = []

    def measure(self, ground: Ground, *options: str, loop: int) -> None:
        """Measure one round, each side on a node of its own."""
        with running_anvil(*options) as node:
            self._loops.append(send_loop(node, loop))
        with ground.database() as url, running_anvil(*options) as node:
            seconds = Decimal(BLOCK_SECONDS) if options else Decimal(1)
            with working(url, node, block_seconds=seconds) as desk:
                self._rates.append(send_intents(desk, node, self._count))
                counts = desk.nodes.counts
                sent = self._count + 1
                self.calls.append(calls_of(counts) / sent)
                self.requests.append(counts.requests / sent)

    def figure(self, name: str) -> Figure:
        """Return the line of the table."""
        rates, loops = Samples(tuple(self._rates)), Samples(tuple(self._loops))
        note = "none lost, none doubled: each has one transaction on the chain"
        return Figure(name, rates, "/s", "more", LOOP, loops, LEAST_RATE, LEAST_RATIO, note=note)


def send_intents(desk: Working, node: Anvil, count: int) -> float:
    """Hand over so many intents, wait until all are recorded as included; intents a second."""
    # The account's first one pays for what the others find ready, and shows that all is up.
    desk.hand_over(1)
    wait_for(desk, 1)
    began = time.perf_counter()
    desk.hand_over(count)
    wait_for(desk, count + 1)
    seconds = time.perf_counter() - began
    assert node.number("eth_getTransactionCount", ACCOUNT, "latest") == count + 1
    distinct = "SELECT count(DISTINCT transaction_hash) FROM tally.blockchain_transactions"
    assert desk.value(distinct) == count + 1, "an intent was doubled"
    return count / seconds


def wait_for(desk: Working, count: int) -> None:
    """Wait until so many intents are recorded as included."""
    until = time.monotonic() + PATIENCE_SECONDS
    while desk.value(INCLUDED) < count:
        assert time.monotonic() < until, f"{desk.value(INCLUDED)} of {count} are included"
        time.sleep(LOOK_SECONDS)


def send_loop(node: Anvil, count: int) -> float:
    """Send so many transactions one after the other; transactions a second."""
    payment = {"from": ACCOUNT, "to": OTHER, "value": "0x1"}
    began = time.perf_counter()
    for _ in range(count):
        sent = node.rpc("eth_sendTransaction", payment)
        while node.rpc("eth_getTransactionReceipt", sent) is None:
            time.sleep(LOOK_SECONDS / 10)
    return count / (time.perf_counter() - began)


def calls_of(counts: Counts) -> int:
    """Return how many calls were made because of intents, beyond their receipts."""
    return sum(
        number
        for method, number in counts.methods.items()
        if method not in RECEIPTS and method not in OF_TIME
    )
