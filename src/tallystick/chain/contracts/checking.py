"""
`tally chain check`: the shipped contracts, and those that are registered (chain.md, section 6).

Each source is compiled again and compared with its artifact byte for byte; the code of each
registered contract is read from its chain and compared with the registry's hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tallystick.chain.contracts.artifacts import artifact_names, load_artifact, load_source
from tallystick.chain.contracts.compiling import compile_source
from tallystick.chain.values import Contract
from tallystick.errors import Error
from tallystick.record import Address, ChainId, keccak256


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was compared."""

    contract_name: str
    chain_id: ChainId | None
    """None: the source was compared with the artifact."""
    contract_address: Address | None
    is_same: bool | None
    """None: it could not be compared, for the reason beside."""
    reason: str | None = None


def check_sources() -> list[Checked]:
    """Compile every source again, and say whether its artifact is what it compiles to."""
    return [check_source(name) for name in artifact_names()]


def check_source(name: str) -> Checked:
    """Compile the source of *name* again, and say whether its artifact is what it compiles to."""
    try:
        is_same = compile_source(name, load_source(name)) == load_artifact(name)
    except Error as error:
        return Checked(name, None, None, None, error.message)
    reason = None if is_same else "the source compiles to something else"
    return Checked(name, None, None, is_same, reason)


def check_contracts(
    contracts: Iterable[Contract], code_at: Callable[[ChainId, Address], bytes]
) -> list[Checked]:
    """Read the code of each of *contracts* by *code_at*, and compare its hash with the row."""
    return [check_contract(contract, code_at) for contract in contracts]


def check_contract(contract: Contract, code_at: Callable[[ChainId, Address], bytes]) -> Checked:
    """Read the code of *contract*, and compare its hash with the registry's."""
    name, chain_id, address = (
        contract.contract_name,
        contract.chain_id,
        contract.contract_address,
    )
    try:
        code = code_at(chain_id, address)
    except Error as error:
        return Checked(name, chain_id, address, None, error.message)
    is_same = keccak256(code) == contract.code_hash
    reason = None if is_same else "the code on the chain is another"
    return Checked(name, chain_id, address, is_same, reason)
