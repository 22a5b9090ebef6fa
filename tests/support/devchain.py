"""The embedded dev chain for tests, a process with the verbs and accounts of Anvil beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import ChainId
from tallystick.runtime.devchain.accounts import FAUCET, key_path, load_key
from tests.support.evm import DEV_ACCOUNTS, ETHER, Anvil, DevAccount, running_anvil
from tests.support.stores import free_port

START_SECONDS = 60.0
KINDS = ("anvil", "devchain")
FUNDS = 10_000 * ETHER
"""What each account has, as on Anvil."""


@dataclass
class DevChain:
    """A running dev chain; what it answers and takes is as on Anvil."""

    url: str
    directory: Path
    process: subprocess.Popen[bytes]
    chain_id: ChainId = DEV_CHAIN_ID
    accounts: tuple[DevAccount, ...] = DEV_ACCOUNTS
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    @property
    def faucet(self) -> str:
        """The key that owns everything at first."""
        return "0x" + load_key(key_path(self.directory / "keys", FAUCET)).hex()

    def answer(self, method: str, *parameters: Any) -> dict[str, Any]:
        """The whole answer to a call, an error too."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer: dict[str, Any] = self.client.post(self.url, json=request).json()
        return answer

    def rpc(self, method: str, *parameters: Any) -> Any:
        """The result of a call, without the client that tests are about."""
        answer = self.answer(method, *parameters)
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
        self.rpc("evm_mine", {"blocks": hex(blocks)})

    def automine(self, *, on: bool) -> None:
        """Mine each transaction at once, or only by hand."""
        self.rpc("evm_setAutomine", on)

    def send(self, **transaction: Any) -> str:
        """Send a transaction of one of the accounts; return its hash."""
        sender = transaction.pop("from")
        [key] = [account.key for account in self.accounts if account.address == sender]
        return str(self.rpc("eth_sendRawTransaction", self.sign(key, sender, **transaction)))

    def sign(self, key: str, sender: str, **transaction: Any) -> str:
        """A signed transaction; what is not said is as a wallet would have it."""
        from eth_account import Account

        fields = {
            "chainId": self.chain_id,
            "value": 0,
            "data": "0x",
            **transaction,
        }
        if "nonce" not in fields:
            fields["nonce"] = self.number("eth_getTransactionCount", sender, "pending")
        if "gasPrice" not in fields:
            fields.setdefault("maxFeePerGas", 10 * 10**9)
            fields.setdefault("maxPriorityFeePerGas", 10**9)
        if "gas" not in fields:
            asked = {name: fields[name] for name in ("to", "data") if fields.get(name)}
            asked |= {"from": sender, "value": hex(fields["value"])}
            fields["gas"] = 2 * self.number("eth_estimateGas", asked)
        if fields.get("to"):
            # The library wants what a person would type.
            fields["to"] = bytes.fromhex(fields["to"][2:])
        return "0x" + bytes(Account.sign_transaction(fields, key).raw_transaction).hex()

    def fund(self) -> None:
        """Give each account as much as Anvil does."""
        from eth_account import Account

        faucet = Account.from_key(self.faucet)
        for account in self.accounts:
            raw = self.sign(
                self.faucet,
                faucet.address.lower(),
                to=account.address,
                value=FUNDS,
                gas=21_000,
            )
            self.rpc("eth_sendRawTransaction", raw)

    def transactions_from(self, address: str) -> list[dict[str, Any]]:
        """Every mined transaction of *address*, oldest first, read block by block."""
        found = []
        for number in range(self.head + 1):
            block = self.rpc("eth_getBlockByNumber", hex(number), True)
            found += [item for item in block["transactions"] if item["from"] == address]
        return found

    def wait(self) -> None:
        """Wait until it answers: it mines its journal again first."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.rpc("eth_chainId")
            except httpx.TransportError:
                log = self.directory / "devchain.log"
                assert self.process.poll() is None, log.read_text() if log.exists() else "it ended"
                assert time.monotonic() < deadline, "the dev chain does not answer"
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Kill it where it stands."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=30)

    def end(self) -> None:
        """Kill it, and close what leads to it."""
        self.process.kill()
        self.process.wait()
        self.client.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


def start_devchain(directory: Path, *, port: int = 0) -> DevChain:
    """Start the dev chain whose journal and keys are in *directory*."""
    command = [sys.executable, "-m", "tallystick.runtime.devchain"]
    port = port or free_port()
    places = [str(directory / "chain"), str(directory / "keys")]
    with (directory / "devchain.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *places, "--port", str(port), "--supervised"],
            # Its end tells the chain that we are gone, however we went.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    node = DevChain(f"http://127.0.0.1:{port}", directory, process)
    try:
        node.wait()
    except BaseException:
        node.end()
        raise
    return node


@contextlib.contextmanager
def running_devchain(directory: Path | None = None, *, funded: bool = True) -> Iterator[DevChain]:
    """Run a dev chain, a new one unless *directory* has one, its accounts funded as Anvil's."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = start_devchain(directory)
        stack.callback(node.end)
        if funded and node.head == 0:
            node.fund()
        yield node


@contextlib.contextmanager
def running_node(kind: str) -> Iterator[Anvil | DevChain]:
    """Run a node of one of `KINDS`: `@pytest.fixture(params=KINDS)` gives a test both."""
    opened = running_anvil() if kind == "anvil" else running_devchain()
    with opened as node:
        yield node
