"""
Calls that leave nothing behind: eth_call and eth_estimateGas (chain.md, section 4.5).

A call runs on the state that a block left, with that block's number and time, as on other
nodes. An estimate runs where the next block would. Gas costs nothing in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eth._utils.address import generate_contract_address
from eth.abc import ComputationAPI
from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.forks.prague.transactions import PragueTransactionBuilder
from eth.vm.message import Message
from eth.vm.spoof import SpoofTransaction
from eth_typing import Address
from eth_utils.exceptions import ValidationError

from tallystick.chain.node.refusals import ERROR_SELECTOR, PANIC_SELECTOR, decode_reason
from tallystick.runtime.devchain.errors import Refusal
from tallystick.runtime.devchain.machine import Machine, MinedBlock
from tallystick.runtime.devchain.pool import REFUSED

REVERTED: Final = 3
"""The code by which nodes say that a call reverted; what it returned is beside."""
WORDED: Final = frozenset({ERROR_SELECTOR, PANIC_SELECTOR})
"""What other nodes put into words; a contract's own errors are left to who knows its ABI."""
ESTIMATE_GRAIN: Final = 64
"""An estimate may be this many units of gas above the least that suffices."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is called, by whom."""

    sender: Address
    to: Address
    """Empty: *data* is the code of a contract to make."""
    data: bytes
    value: int
    gas: int


def call(machine: Machine, block: MinedBlock, asked: Call) -> bytes:
    """
    Return what *asked* returns on the state after *block*.

    Raises:
        Refusal: It fails; a revert with what it returned.
    """
    header = block.header.copy(base_fee_per_gas=0)
    state = machine.state_before(header)
    if state.get_balance(asked.sender) < asked.value:
        raise Refusal(REFUSED, "insufficient funds for transfer")
    state.lock_changes()
    context = state.get_transaction_context_class()(gas_price=0, origin=asked.sender)
    is_create = not asked.to
    created: Any = (
        generate_contract_address(asked.sender, state.get_nonce(asked.sender))
        if is_create
        else None
    )
    message = Message(
        gas=asked.gas,
        to=asked.to,
        sender=asked.sender,
        value=asked.value,
        data=b"" if is_create else asked.data,
        code=asked.data if is_create else state.get_code(asked.to),
        create_address=created,
    )
    run = state.computation_class
    apply = run.apply_create_message if is_create else run.apply_message
    computation = apply(state, message, context)
    check_success(computation)
    return bytes(computation.output)


def estimate(machine: Machine, asked: Call) -> int:
    """
    Return gas with which *asked* succeeds in the next block, close to the least.

    Raises:
        Refusal: It fails however much gas it is given.
    """
    computation, used, consumed = run_with_gas(machine, asked, asked.gas)
    check_success(computation)
    # What is handed back at the end must be there first; nor does a call get the last 64th.
    low, high = used - 1, asked.gas
    if not run_with_gas(machine, asked, consumed)[0].is_error:
        high = consumed
    while high - low > ESTIMATE_GRAIN:
        middle = (low + high) // 2
        if succeeds(machine, asked, middle):
            high = middle
        else:
            low = middle
    return high


def succeeds(machine: Machine, asked: Call, gas: int) -> bool:
    """Whether *gas* is enough."""
    try:
        return not run_with_gas(machine, asked, gas)[0].is_error
    except Refusal:
        return False


def run_with_gas(machine: Machine, asked: Call, gas: int) -> tuple[ComputationAPI, int, int]:
    """
    Run *asked* as a transaction with this gas limit where the next block would run it.

    Returns the computation, the gas that it is charged, and the gas that it used on the way.

    Raises:
        Refusal: It is no valid transaction: too little gas to begin, or too little money.
    """
    header = machine.next_header().copy(base_fee_per_gas=0)
    state = machine.state_before(header)
    transaction = as_transaction(machine, asked, state, gas)
    if gas < transaction.intrinsic_gas:
        raise Refusal(
            REFUSED, f"intrinsic gas too low: have {gas}, want {transaction.intrinsic_gas}"
        )
    if state.get_balance(asked.sender) < asked.value:
        raise Refusal(REFUSED, "insufficient funds for gas * price + value")
    state.lock_changes()
    try:
        computation = state.apply_transaction(transaction)
    except ValidationError as error:
        raise Refusal(REFUSED, f"the transaction is not valid: {error}"[:300]) from None
    used = PragueVM.finalize_gas_used(transaction, computation)
    consumed = gas - computation.get_gas_remaining() + computation.data_floor_gas
    return computation, used, consumed


def as_transaction(machine: Machine, asked: Call, state: Any, gas: int) -> Any:
    """Return *asked* as a transaction that its sender might have signed."""
    unsigned = PragueTransactionBuilder.new_unsigned_dynamic_fee_transaction(
        chain_id=machine.chain_id,
        nonce=state.get_nonce(asked.sender),
        max_priority_fee_per_gas=0,
        max_fee_per_gas=0,
        gas=gas,
        to=asked.to,
        value=asked.value,
        data=asked.data,
        access_list=(),
    )
    return SpoofTransaction(unsigned, from_=asked.sender)


def check_success(computation: ComputationAPI) -> None:
    """
    Check that *computation* came to its end.

    Raises:
        Refusal: It did not.
    """
    if not computation.is_error:
        return
    output = bytes(computation.output)
    if isinstance(computation.error, Revert):
        reason = decode_reason(output) if output[:4] in WORDED else ""
        said = f"execution reverted: {reason}" if reason else "execution reverted"
        raise Refusal(REVERTED, said, "0x" + output.hex())
    raise Refusal(REFUSED, f"execution failed: {type(computation.error).__name__}")
