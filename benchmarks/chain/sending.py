"""
Intents a second by `send_many`, and what one `send` costs whoever hands it over.

Measured as it is in use: the tables are sealed in their house logs, so that each row is captured
too, the contract that is called is registered, so that each call is described, and the disk is
waited for. The alternative is the same intents by one `send` each, in one transaction.
"""

from __future__ import annotations

import datetime
import itertools
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.capture_clients import percentile
from tallystick.chain import (
    ChainIntent,
    add_account,
    record_price,
    send,
    send_many,
    set_network,
)
from tallystick.config import load_settings
from tallystick.db import Database, connect
from tallystick.record import Address, ChainId
from tallystick.runtime.house import initialise

CHAIN: Final = ChainId(31337)
ACCOUNT: Final = Address("0x" + "a1" * 20)
CONTRACT: Final = Address("0x" + "c0" * 20)
BATCH: Final = 1_000
LAST: Final = 95
ANCHOR: Final = bytes.fromhex("15954b2c")
ABI: Final = (
    '[{"type":"function","name":"anchor","inputs":[{"name":"statementHash","type":"bytes32"},'
    '{"name":"merkleRoot","type":"bytes32"},{"name":"leafCount","type":"uint64"}]}]'
)


def run(ground: Ground) -> list[Figure]:
    """Return intents a second of a batch beside single ones, and the latency of a single one."""
    batches = ground.scale.pick(5, 1)
    singles = ground.scale.pick(1_000, 100)
    with (
        tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place,
        ground.database() as url,
        connect(url) as database,
    ):
        prepare(url, database, Path(place))
        intents = make_intents()
        # The first of each kind pays for plans and pages that the others find ready.
        send_batches(database, intents, 1)
        send_loop(database, intents, BATCH // 10)
        sides = measure(
            {
                "many": lambda: send_batches(database, intents, batches),
                "loop": lambda: send_loop(database, intents, BATCH),
            },
            rounds=ground.scale.rounds,
        )
        rounds = [send_singly(database, intents, singles) for _ in range(ground.scale.rounds)]
    return [
        Figure(
            f"send_many of {BATCH:,}",
            sides["many"],
            "/s",
            "more",
            "send in a loop, one transaction",
            sides["loop"],
            Bound(least=10_000),
        ),
        Figure(
            f"send, p{LAST}",
            Samples(tuple(call for call, _ in rounds)),
            "ms",
            "less",
            target=Bound(most=2),
            note="what it adds to the caller's transaction, which waits for the disk anyway",
        ),
        Figure(
            f"a transaction of one send, p{LAST}",
            Samples(tuple(whole for _, whole in rounds)),
            "ms",
            "less",
        ),
    ]


def prepare(url: str, database: Database, place: Path) -> None:
    """Make the house, as `tally init` does, and a network that is open."""
    initialise(load_settings(data_dir=place), url)
    with database.transaction() as tx:
        now = datetime.datetime.now(datetime.UTC)
        record_price(tx, "ETH", Decimal(3000), "fixed:bench", now)
        set_network(tx, CHAIN, status="active")
        add_account(tx, CHAIN, ACCOUNT, purpose="anchor", signer_name="bench")
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO tally.contract_deployments (chain_id, contract_name, contract_address,"
            " contract_version, abi, abi_hash, code_hash)"
            " VALUES (%s, 'TallyAnchor', %s, '1', %s, sha256('abi'), sha256('code'))",
            (CHAIN, CONTRACT, ABI),
        )


def make_intents() -> Iterator[ChainIntent]:
    """Yield intents without end, each another anchor."""
    for number in itertools.count():
        call_data = ANCHOR + number.to_bytes(32) + bytes(31) + b"\x07" + number.to_bytes(32)
        yield ChainIntent(
            chain_id=CHAIN,
            transaction_type="anchor_publish",
            idempotency_key=f"bench:{number}",
            to=CONTRACT,
            call_data=call_data,
        )


def send_batches(database: Database, intents: Iterator[ChainIntent], batches: int) -> float:
    """Send so many batches, each in a transaction of its own; intents a second."""
    seconds = 0.0
    for _ in range(batches):
        batch = list(itertools.islice(intents, BATCH))
        began = time.perf_counter()
        with database.transaction() as tx:
            send_many(tx, batch)
        seconds += time.perf_counter() - began
    return batches * BATCH / seconds


def send_loop(database: Database, intents: Iterator[ChainIntent], count: int) -> float:
    """Send so many one by one in one transaction; intents a second."""
    batch = list(itertools.islice(intents, count))
    began = time.perf_counter()
    with database.transaction() as tx:
        for intent in batch:
            send(tx, intent)
    return count / (time.perf_counter() - began)


def send_singly(
    database: Database, intents: Iterator[ChainIntent], count: int
) -> tuple[float, float]:
    """
    Send so many, each in a transaction of its own.

    Returns the 95th percentiles of the call and of its transaction, in milliseconds.
    """
    calls, wholes = [], []
    for intent in itertools.islice(intents, count):
        began = time.perf_counter()
        with database.transaction() as tx:
            called = time.perf_counter()
            send(tx, intent)
            calls.append((time.perf_counter() - called) * 1000)
        wholes.append((time.perf_counter() - began) * 1000)
    return percentile(calls, LAST), percentile(wholes, LAST)
