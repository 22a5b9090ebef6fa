"""
From the block that includes a transaction to the commit in which its follower was told.

Anvil mines when it is told to, each second: so the moment of inclusion is known to a few
milliseconds, where a block's own time is a whole second.
"""

from __future__ import annotations

import threading
import time
from decimal import Decimal
from typing import Final, Self

from benchmarks.chain.anvil import Anvil, running_anvil
from benchmarks.chain.throughput import wait_for
from benchmarks.chain.working import working
from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples
from benchmarks.log.capture_clients import percentile
from tallystick.chain import ChainTransaction, register_follower
from tallystick.chain.followers import clear_followers
from tallystick.db import Transaction

INTENTS_OF_BLOCK: Final = 8
LAST: Final = 95
TARGET: Final = Bound(most=1.5)
BLOCK_SECONDS: Final = 1.0


class Stopwatch:
    """A follower that notes when the commit was done in which it was told of a block's."""

    def __init__(self) -> None:
        self.committed: list[tuple[int, float]] = []

    def on_included(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Note the time, once the transaction has committed."""
        number = transaction.block_number
        assert number is not None
        tx.after_commit(lambda: self.committed.append((number, time.perf_counter())))

    def on_finalized(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Do nothing."""

    def on_rolled_back(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Do nothing."""

    def on_failed(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Do nothing."""


class Miner:
    """Mines a block each second and keeps when."""

    def __init__(self, node: Anvil) -> None:
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.mined: dict[int, float] = {}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BLOCK_SECONDS):
            # Before the call: what the node takes to mine counts as ours.
            began = time.perf_counter()
            self._node.rpc("evm_mine")
            self.mined[self._node.number("eth_blockNumber")] = began


def run(ground: Ground) -> list[Figure]:
    """Return the 95th percentile of the time to the follower's commit."""
    blocks = ground.scale.pick(12, 2)
    values = tuple(measure_round(ground, blocks) for _ in range(ground.scale.rounds))
    return [
        Figure(
            f"inclusion to follower's commit, 1 s blocks, p{LAST}",
            Samples(values),
            "s",
            "less",
            target=TARGET,
        )
    ]


def measure_round(ground: Ground, blocks: int) -> float:
    """Send for so many blocks, and return the 95th percentile in seconds."""
    follower = Stopwatch()
    register_follower("anchor_publish", follower)
    try:
        with (
            ground.database() as url,
            running_anvil("--no-mining") as node,
            working(url, node, block_seconds=Decimal(1)) as desk,
            Miner(node) as miner,
        ):
            desk.hand_over(1)
            wait_for(desk, 1)
            for _ in range(blocks):
                desk.hand_over(INTENTS_OF_BLOCK)
                time.sleep(BLOCK_SECONDS)
            wait_for(desk, 1 + blocks * INTENTS_OF_BLOCK)
    finally:
        clear_followers()
    told = follower.committed[1:]
    assert len(told) == blocks * INTENTS_OF_BLOCK, "a follower was not told, or twice"
    return percentile([at - miner.mined[number] for number, at in told], LAST)
