"""
Real EVM nodes for tests: Anvil, each a process of its own on a free port, ended with the test.

`./dev test` installs Anvil into the virtual environment; without it the tests that need it are
skipped with a sentence that says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tallystick.record import Address, ChainId
from tests.support.stores import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "Anvil is not installed: run the tests through `./dev test`, or put `anvil` on the PATH"
START_SECONDS = 30
DEV_CHAIN_ID = 31337
ETHER = 10**18


@dataclass(frozen=True)
class DevAccount:
    """An account that Anvil has filled, with its well-known key."""

    address: Address
    key: str


# The accounts of Anvil's standing mnemonic ("test test ... junk"), public to everybody.
DEV_ACCOUNTS = (
    DevAccount(
        Address("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"),
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    ),
    DevAccount(
        Address("0x70997970c51812dc3a010c7d01b50e0d17dc79c8"),
        "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    ),
    DevAccount(
        Address("0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc"),
        "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    ),
    DevAccount(
        Address("0x90f79bf6eb2c4f870365e785982e1f101e93b906"),
        "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    ),
)


@dataclass
class Anvil:
    """A running Anvil, and what tests do to its chain by hand."""

    url: str
    chain_id: ChainId
    accounts: tuple[DevAccount, ...] = DEV_ACCOUNTS

    def rpc(self, method: str, *parameters: Any) -> Any:
        """The result of a call, without the client that tests are about."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = httpx.post(self.url, json=request, timeout=30, trust_env=False).json()
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def number(self, method: str, *parameters: Any) -> int:
        """The result of a call that answers a quantity."""
        return int(self.rpc(method, *parameters), 16)

    @property
    def head(self) -> int:
        """The newest block's number."""
        return self.number("eth_blockNumber")

    def mine(self, blocks: int = 1) -> None:
        """Mine so many blocks."""
        self.rpc("anvil_mine", hex(blocks))

    def automine(self, *, on: bool) -> None:
        """Mine each transaction at once, or only by hand."""
        self.rpc("evm_setAutomine", on)

    def reorganise(self, depth: int) -> None:
        """Replace the newest *depth* blocks by others, their transactions left out."""
        self.rpc("anvil_reorg", depth, [])

    def set_balance(self, address: str, wei: int) -> None:
        """Give an account exactly so much."""
        self.rpc("anvil_setBalance", address, hex(wei))

    def set_next_base_fee(self, wei: int) -> None:
        """Set the base fee of the next block."""
        self.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def send(self, **transaction: Any) -> str:
        """Send a transaction by an account that Anvil holds the key of; return its hash."""
        return str(self.rpc("eth_sendTransaction", transaction))

    def transactions_from(self, address: str) -> list[dict[str, Any]]:
        """Every mined transaction of *address*, oldest first, read block by block."""
        found = []
        for number in range(self.head + 1):
            block = self.rpc("eth_getBlockByNumber", hex(number), True)
            found += [item for item in block["transactions"] if item["from"] == address]
        return found


def anvil_program() -> Path | None:
    """Anvil's program, from the virtual environment or the PATH; None where there is none."""
    for found in Path(sys.prefix).glob("anvil/node_modules/@foundry-rs/anvil-*/bin/anvil"):
        return found
    on_path = shutil.which("anvil")
    return None if on_path is None else Path(on_path)


def need_anvil() -> Path:
    """Anvil's program; without it the test is skipped."""
    program = anvil_program()
    if program is None:
        pytest.skip(MISSING)
    return program


@contextlib.contextmanager
def running_anvil(*options: str, chain_id: int = DEV_CHAIN_ID, port: int = 0) -> Iterator[Anvil]:
    """Run Anvil, and kill it: its chain is in memory alone."""
    port = port or free_port()
    command = [
        *(str(need_anvil()), "--host", "127.0.0.1", "--port", str(port)),
        *("--chain-id", str(chain_id), "--silent", *options),
    ]
    # A run that is killed itself must not leave a node behind.
    tied = [setpriv, "--pdeathsig", "KILL"] if (setpriv := shutil.which("setpriv")) else []
    environment = {**os.environ, "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*tied, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    try:
        node = Anvil(f"http://127.0.0.1:{port}", ChainId(chain_id))
        wait_for_answer(node, process)
        yield node
    finally:
        process.kill()
        process.wait()


def wait_for_answer(node: Anvil, process: subprocess.Popen[bytes]) -> None:
    """Wait until the node answers."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            node.rpc("eth_chainId")
        except httpx.TransportError:
            assert process.poll() is None, "Anvil ended at its start"
            assert time.monotonic() < until, "Anvil does not answer"
            time.sleep(0.02)
        else:
            return
