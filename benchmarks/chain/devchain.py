"""
The embedded dev chain: transactions a second, and how soon it is back (chain.md, section 8).

Measured from outside: a process, HTTP, one transaction after the other, each on the disk before
it is answered. The alternative is eth-tester over the same EVM in the benchmark's own process,
with its own mining, no network between, and nothing kept.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from eth_account import Account
from eth_tester import EthereumTester, PyEVMBackend

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.runtime.devchain.accounts import FAUCET, key_path, load_key
from tallystick.runtime.devchain.journal import Genesis, open_journal
from tallystick.runtime.devchain.machine import Machine
from tallystick.runtime.devchain.place import choose_port

BLOCKS: Final = 1_000
RECEIVER: Final = bytes(19) + b"\7"
LEAST_RATE: Final = Bound(least=30)
LEAST_REPLAY: Final = Bound(least=100)
MOST_RESTART: Final = Bound(most=10)
WITH_TESTER: Final = "eth-tester in the same process, nothing kept"
LOOK_SECONDS: Final = 0.01


def run(ground: Ground) -> list[Figure]:
    """Return transactions a second, live and replayed, and the seconds of a restart."""
    rounds = ground.scale.rounds
    count = ground.scale.pick(BLOCKS // rounds, 20)
    blocks = count * rounds
    live: list[float] = []
    tested: list[float] = []
    restarts: list[float] = []
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as name:
        place = Path(name)
        with running(place) as client:
            key = load_key(key_path(place / "keys", FAUCET))
            for number in range(rounds):
                live.append(count / send_all(client, signed(key, count, first=number * count)))
                tested.append(count / send_to_tester(count))
        starts: list[float] = []
        for _ in range(rounds):
            began = time.monotonic()
            with running(place):
                restarts.append(time.monotonic() - began)
        replays = [blocks / replay(place / "chain") for _ in range(rounds)]
        with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as empty:
            for _ in range(rounds):
                began = time.monotonic()
                with running(Path(empty)):
                    starts.append(time.monotonic() - began)
    return [
        Figure(
            "dev chain, transactions one by one",
            Samples(tuple(live)),
            "/s",
            "more",
            WITH_TESTER,
            Samples(tuple(tested)),
            LEAST_RATE,
        ),
        Figure(
            f"dev chain, restart with {blocks:,} blocks",
            Samples(tuple(restarts)),
            "s",
            "less",
            "a chain without blocks",
            Samples(tuple(starts)),
            MOST_RESTART,
            note="from the process's start to its first answer, imports included",
        ),
        Figure(
            "dev chain, replayed transactions",
            Samples(tuple(replays)),
            "/s",
            "more",
            target=LEAST_REPLAY,
        ),
    ]


def replay(directory: Path) -> float:
    """Mine the journal again, in this process, and return the seconds that it took."""
    journal = open_journal(directory, chain_id=DEV_CHAIN_ID, genesis=no_genesis)
    began = time.monotonic()
    Machine(journal)
    took = time.monotonic() - began
    journal.close()
    return took


def no_genesis() -> Genesis:
    """Raise, because the chain is there already."""
    raise AssertionError("the journal has begun")


@contextmanager
def running(place: Path) -> Iterator[httpx.Client]:
    """Run the dev chain of *place* as a process, and yield a client once it answers."""
    port = choose_port(0)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tallystick.runtime.devchain"),
            *(str(place / "chain"), str(place / "keys"), "--port", str(port)),
            *("--log-level", "error"),
        ],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            while True:
                try:
                    ask(http, "eth_chainId")
                    break
                except httpx.TransportError:
                    assert process.poll() is None, "the dev chain ended"
                    time.sleep(LOOK_SECONDS)
            yield http
    finally:
        process.terminate()
        process.wait()


def ask(client: httpx.Client, method: str, *parameters: Any) -> Any:
    """Return the result of a call."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    return client.post("/", json=request).json()["result"]


def signed(key: bytes, count: int, *, first: int) -> list[str]:
    """Return so many payments, signed."""
    fields = {
        "chainId": DEV_CHAIN_ID,
        "to": RECEIVER,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
    }
    return [
        "0x" + bytes(Account.sign_transaction({**fields, "nonce": n}, key).raw_transaction).hex()
        for n in range(first, first + count)
    ]


def send_all(client: httpx.Client, transactions: list[str]) -> float:
    """Send one after the other, and return the seconds that it took."""
    began = time.monotonic()
    for raw in transactions:
        ask(client, "eth_sendRawTransaction", raw)
    return time.monotonic() - began


def send_to_tester(count: int) -> float:
    """Send so many payments to eth-tester, and return the seconds that it took."""
    tester = EthereumTester(PyEVMBackend())
    sender, receiver = tester.get_accounts()[:2]
    payment = {
        "from": sender,
        "to": receiver,
        "value": 1,
        "gas": 21_000,
        "max_fee_per_gas": 10**10,
        "max_priority_fee_per_gas": 1,
    }
    began = time.monotonic()
    for _ in range(count):
        tester.send_transaction(payment)
    return time.monotonic() - began
