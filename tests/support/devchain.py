"""The embedded dev chain for tests, a process with the verbs and accounts of Anvil beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import ChainId
from tallystick.runtime.devchain.accounts import FAUCET, key_path, load_key
from tests.support.evm import DEV_ACCOUNTS, ETHER, Anvil, DevAccount, running_anvil

KINDS = ("anvil", "devchain")
FUNDS = 10_000 * ETHER
"""What each account has, as on Anvil."""


@dataclass
class DevChain:
    """A running dev chain; what it answers and takes is as on Anvil."""

    url: str
    directory: Path
    process: subprocess.Popen[str]
    chain_id: ChainId = DEV_CHAIN_ID
    accounts: tuple[DevAccount, ...] = DEV_ACCOUNTS

    @property
    def faucet(self) -> str:
        """The key that owns everything at first."""
        return "0x" + load_key(key_path(self.directory / "keys", FAUCET)).hex()

    def answer(self, method: str, *parameters: Any) -> dict[str, Any]:
        """The whole answer to a call, an error too."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        return httpx.post(self.url, json=request, timeout=30, trust_env=False).json()

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
            "nonce": self.number("eth_getTransactionCount", sender, "pending"),
            "value": 0,
            "data": "0x",
            **transaction,
        }
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

    def kill(self) -> None:
        """Kill it where it stands."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=30)


def start_devchain(directory: Path, *, port: int = 0) -> DevChain:
    """Start the dev chain whose journal and keys are in *directory*."""
    command = [sys.executable, "-m", "tallystick.runtime.devchain"]
    places = [str(directory / "chain"), str(directory / "keys")]
    with (directory / "devchain.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *places, "--port", str(port), "--supervised"],
            # Its end tells the chain that we are gone, however we went.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url, (directory / "devchain.log").read_text()
    return DevChain(url, directory, process)


@contextlib.contextmanager
def running_devchain(directory: Path | None = None, *, funded: bool = True) -> Iterator[DevChain]:
    """Run a dev chain, a new one unless *directory* has one, its accounts funded as Anvil's."""
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = start_devchain(directory)
        stack.callback(end, node.process)
        if funded and node.head == 0:
            node.fund()
        yield node


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def running_node(kind: str) -> Iterator[Anvil | DevChain]:
    """Run a node of one of `KINDS`: `@pytest.fixture(params=KINDS)` gives a test both."""
    opened = running_anvil() if kind == "anvil" else running_devchain()
    with opened as node:
        yield node
