"""A database whose account sends on Anvil, and the threads of a worker that do it."""

from __future__ import annotations

import collections
import contextlib
import datetime
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import psycopg
from pydantic import SecretStr

from benchmarks.chain.anvil import ACCOUNT, CHAIN, KEY, OTHER, Anvil
from tallystick.chain import ChainIntent, add_account, record_price, send_many, set_network
from tallystick.chain.node import Call, Node
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender.worker import run_sender
from tallystick.chain.signers import Signers
from tallystick.chain.watcher import run_watcher
from tallystick.config import EnvSigner
from tallystick.db import Database, connect
from tallystick.record import ChainId, Wei

KEY_VARIABLE: Final = "TALLY_BENCH_CHAIN_KEY"
STOP_SECONDS: Final = 30.0
BATCH: Final = 1_000


class CountingNode(Node):
    """A node that counts its calls by method, and its requests."""

    def __init__(self, chain_id: ChainId, urls: Sequence[str], counts: Counts) -> None:
        super().__init__(chain_id, urls)
        self._counts = counts

    def call(self, method: str, *parameters: Any) -> Any:
        """Count a call and make it."""
        self._counts.add([method])
        return super().call(method, *parameters)

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Count calls and make them."""
        self._counts.add([method for method, _ in calls])
        return super().batch(calls)


@dataclass
class Counts:
    """How often each method was called, and how many requests that were."""

    methods: collections.Counter[str] = field(default_factory=collections.Counter)
    requests: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, methods: Sequence[str]) -> None:
        """Count one request with these calls."""
        with self._lock:
            self.methods.update(methods)
            self.requests += 1


class CountingNodes(Nodes):
    """The one node of a figure."""

    def __init__(self, url: str) -> None:
        super().__init__({CHAIN: [SecretStr(url)]})
        self.counts = Counts()
        self._node = CountingNode(CHAIN, [url], self.counts)

    def of(self, chain_id: ChainId) -> Node:
        """Return the node, which counts."""
        assert chain_id == CHAIN
        return self._node

    def close(self) -> None:
        """Close its connections."""
        self._node.close()


@dataclass
class Working:
    """A database, and the worker's threads for its account on Anvil."""

    url: str
    database: Database
    nodes: CountingNodes
    numbers: Iterator[int]

    def hand_over(self, count: int) -> None:
        """Queue so many intents, each an empty payment, a batch in each transaction."""
        intents = [
            ChainIntent(
                chain_id=CHAIN,
                transaction_type="anchor_publish",
                idempotency_key=f"bench:{next(self.numbers)}",
                to=OTHER,
                call_data=b"",
                value=Wei(1),
            )
            for _ in range(count)
        ]
        for start in range(0, count, BATCH):
            with self.database.transaction() as tx:
                send_many(tx, intents[start : start + BATCH])

    def value(self, query: str) -> Any:
        """Return the first value of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


@contextlib.contextmanager
def working(url: str, node: Anvil, *, block_seconds: Decimal) -> Iterator[Working]:
    """Open a network and an account on *node*, and let a worker's threads work until the end."""
    stop = threading.Event()
    os.environ[KEY_VARIABLE] = KEY
    signers = Signers({"bench": EnvSigner(kind="env", key_env=KEY_VARIABLE)})
    with connect(url, pool_size=8) as database, CountingNodes(node.url) as nodes:
        with database.transaction() as tx:
            now = datetime.datetime.now(datetime.UTC)
            record_price(tx, "ETH", Decimal(3000), "fixed:bench", now)
            set_network(tx, CHAIN, status="active", block_seconds=block_seconds)
            add_account(tx, CHAIN, ACCOUNT, purpose="anchor", signer_name="bench")
        watching = (database, nodes.of(CHAIN), CHAIN, stop)
        threads = [
            threading.Thread(target=run_watcher, args=watching, daemon=True),
            threading.Thread(target=run_sender, args=(database, nodes, signers, stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield Working(url, database, nodes, itertools.count())
        finally:
            stop.set()
            for thread in threads:
                thread.join(STOP_SECONDS)
    signers.close()
