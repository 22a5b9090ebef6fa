"""Anvil for figures that need a node with blocks: a process of its own, ended with the figure."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from tallystick.record import Address, ChainId
from tallystick.runtime.devchain.place import choose_port

CHAIN: Final = ChainId(31337)
ACCOUNT: Final = Address("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")
"""The first account of Anvil's standing mnemonic, public to everybody; it has its key."""
KEY: Final = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OTHER: Final = Address("0x70997970c51812dc3a010c7d01b50e0d17dc79c8")
START_SECONDS: Final = 30.0
LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Anvil:
    """A running Anvil."""

    url: str
    client: httpx.Client

    def rpc(self, method: str, *parameters: Any) -> Any:
        """Return the result of a call, by the plainest client that there is."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = self.client.post(self.url, json=request).json()
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def number(self, method: str, *parameters: Any) -> int:
        """Return the result of a call that answers a quantity."""
        return int(self.rpc(method, *parameters), 16)


@contextlib.contextmanager
def running_anvil(*options: str) -> Iterator[Anvil]:
    """Run Anvil with *options* and yield it once it answers."""
    port = choose_port(0)
    command = [str(find_program()), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    process = subprocess.Popen(
        [*command, "--chain-id", str(CHAIN), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_COLOR": "1"},
    )
    try:
        with httpx.Client(timeout=60, trust_env=False) as client:
            node = Anvil(f"http://127.0.0.1:{port}", client)
            wait_for_answer(node, process)
            yield node
    finally:
        process.kill()
        process.wait()


def find_program() -> Path:
    """Return Anvil's program, of the virtual environment or the PATH."""
    for found in Path(sys.prefix).glob("anvil/node_modules/@foundry-rs/anvil-*/bin/anvil"):
        return found
    on_path = shutil.which("anvil")
    assert on_path is not None, "Anvil is not installed: `./dev test` installs it"
    return Path(on_path)


def wait_for_answer(node: Anvil, process: subprocess.Popen[bytes]) -> None:
    """Wait until the node answers."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            node.rpc("eth_chainId")
        except httpx.TransportError:
            assert process.poll() is None, "Anvil ended at its start"
            assert time.monotonic() < until, "Anvil does not answer"
            time.sleep(LOOK_SECONDS)
        else:
            return
