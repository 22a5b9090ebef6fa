"""A machine in the test's own process, with an account that owns everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eth_account import Account

from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.runtime.devchain.errors import Refusal
from tallystick.runtime.devchain.journal import Genesis, open_journal
from tallystick.runtime.devchain.machine import Machine
from tallystick.runtime.devchain.methods import answer

OWNER, OTHER = (Account.from_key(bytes([number]) * 32) for number in (1, 2))
RECEIVER = "0x" + "ab" * 20
FUNDS = 10**24
GENESIS_TIME = 1_700_000_000


class Bench:
    """A machine whose journal is in a directory, and what tests ask of it."""

    def __init__(self, directory: Path) -> None:
        funds = {one.address.lower(): FUNDS for one in (OWNER, OTHER)}
        self.journal = open_journal(
            directory,
            chain_id=DEV_CHAIN_ID,
            genesis=lambda: Genesis(DEV_CHAIN_ID, GENESIS_TIME, funds),
        )
        self.machine = Machine(self.journal)
        self.is_open = True

    def ask(self, method: str, *parameters: Any) -> Any:
        """The result of a call."""
        return answer(self.machine, method, list(parameters))

    def refusal(self, method: str, *parameters: Any) -> Refusal:
        """Why a call is refused."""
        try:
            found = self.ask(method, *parameters)
        except Refusal as refused:
            return refused
        raise AssertionError(f"{method} answers {found}")

    def send(self, by: Any = OWNER, **fields: Any) -> str:
        """Send a transaction, and return its hash."""
        return self.ask("eth_sendRawTransaction", raw(self.machine, by, **fields))

    def refused(self, by: Any = OWNER, **fields: Any) -> str:
        """Why a transaction is refused."""
        return self.refusal("eth_sendRawTransaction", raw(self.machine, by, **fields)).message

    @property
    def head(self) -> str:
        """The hash of the newest block."""
        return "0x" + self.machine.head.block_hash.hex()

    @property
    def height(self) -> int:
        """The number of the newest block."""
        return self.machine.head.header.block_number

    def close(self) -> None:
        """Let the journal be opened anew."""
        if self.is_open:
            self.journal.close()
        self.is_open = False


def raw(machine: Machine, by: Any = OWNER, **fields: Any) -> str:
    """A signed transaction of *by*; what is not said is as a wallet would have it."""
    address = bytes.fromhex(by.address[2:])
    whole = {
        "chainId": DEV_CHAIN_ID,
        "nonce": machine.pool.next_nonce(address, machine.state_after(machine.head)),
        "to": bytes.fromhex(RECEIVER[2:]),
        "value": 1,
        "gas": 21_000,
        "data": b"",
        **fields,
    }
    if "gasPrice" not in whole:
        whole.setdefault("maxFeePerGas", 2 * 10**9)
        whole.setdefault("maxPriorityFeePerGas", 10)
    if whole["to"] is None:
        del whole["to"]
    return "0x" + bytes(by.sign_transaction(whole).raw_transaction).hex()
