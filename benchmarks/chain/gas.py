"""
What TallyAnchor's calls cost in gas, on the EVM that the dev chain runs (chain.md, section 8).

Gas is no time: every run gives the same. An anchor is a transaction; a check at depth 10 is
measured as one too, with its call data, though whoever only asks pays nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any, Final

from eth_account import Account

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples
from tallystick.chain.contracts import encode_call, encode_deployment, load_artifact
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.runtime.devchain.journal import Genesis, open_journal
from tallystick.runtime.devchain.machine import Machine
from tallystick.runtime.devchain.shapes import gas_used_of

DEPTH: Final = 10
LEAVES: Final = 2**DEPTH
STATEMENT: Final = hashlib.sha256(b"statement").digest()
ARTIFACT: Final = load_artifact("TallyAnchor")
MOST_OF_ANCHOR: Final = Bound(most=50_000)
MOST_OF_CHECK: Final = Bound(most=45_000)


def run(ground: Ground) -> list[Figure]:
    """Return the gas of deploying, of anchoring, and of checking at depth 10."""
    positions = range(0, LEAVES, ground.scale.pick(LEAVES // 32, LEAVES // 2))
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place:
        chain = Chain(Path(place))
        deployed = chain.send(encode_deployment(ARTIFACT, []), to=None)
        levels = tree()
        root = levels[-1][0]
        anchors = [
            chain.call("anchor", [hashlib.sha256(bytes([n])).digest(), root, LEAVES])
            for n in range(ground.scale.pick(20, 2))
        ]
        anchors.append(chain.call("anchor", [STATEMENT, root, LEAVES]))
        checks = [chain.check(levels, position) for position in positions]
        chain.close()
    return [
        Figure("gas: anchor", gas(anchors), "gas", "less", target=MOST_OF_ANCHOR),
        Figure(
            f"gas: checkInclusion at depth {DEPTH}",
            gas(checks),
            "gas",
            "less",
            target=MOST_OF_CHECK,
            note="as a transaction, call data included; a call that only asks costs nothing",
        ),
        Figure("gas: deploying TallyAnchor", gas([deployed]), "gas", "less"),
    ]


def gas(spent: list[int]) -> Samples:
    """Return what was spent."""
    return Samples(tuple(map(float, spent)))


def tree() -> list[list[bytes]]:
    """Return the levels of a full tree, leaves first."""
    levels = [[hashlib.sha256(b"\0%d" % number).digest() for number in range(LEAVES)]]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append(
            [
                hashlib.sha256(b"\1" + below[at] + below[at + 1]).digest()
                for at in range(0, len(below), 2)
            ]
        )
    return levels


class Chain:
    """A dev chain in this process, and one account that pays."""

    def __init__(self, place: Path) -> None:
        self._account = Account.from_key(b"\1" * 32)
        self._address = bytes.fromhex(self._account.address[2:])
        funds = {self._account.address.lower(): 10**24}
        self._journal = open_journal(
            place, chain_id=DEV_CHAIN_ID, genesis=lambda: Genesis(DEV_CHAIN_ID, 1, funds)
        )
        self._machine = Machine(self._journal)
        self._contract = b""

    def send(self, data: bytes, *, to: bytes | None) -> int:
        """Mine a transaction that succeeds, and return its gas."""
        fields: dict[str, Any] = {
            "chainId": DEV_CHAIN_ID,
            "nonce": self._machine.state_after(self._machine.head).get_nonce(self._address),
            "gas": 1_000_000,
            "maxFeePerGas": 10**10,
            "maxPriorityFeePerGas": 1,
            "value": 0,
            "data": data,
        }
        if to is not None:
            fields["to"] = to
        signed = Account.sign_transaction(fields, self._account.key)
        self._machine.submit(bytes(signed.raw_transaction))
        block = self._machine.head
        assert block.receipts[0].state_root == b"\1", "it succeeds"
        if to is None:
            from eth._utils.address import generate_contract_address  # noqa: PLC0415

            self._contract = bytes(generate_contract_address(self._address, fields["nonce"]))
        return gas_used_of(block, 0)

    def call(self, function: str, arguments: list[Any]) -> int:
        """Call TallyAnchor by a transaction, and return its gas."""
        return self.send(encode_call(ARTIFACT, function, arguments), to=self._contract)

    def check(self, levels: list[list[bytes]], position: int) -> int:
        """Check the inclusion of the leaf at *position*, and return the gas."""
        path = [levels[height][position >> height ^ 1] for height in range(DEPTH)]
        leaf, root, sender = levels[0][position], levels[-1][0], "0x" + self._address.hex()
        arguments = [sender, STATEMENT, root, LEAVES, leaf, position, path]
        return self.call("checkInclusion", arguments)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()
