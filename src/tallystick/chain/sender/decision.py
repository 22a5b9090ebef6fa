"""
What the sender decides, without asking anybody (chain.md, section 4.3).

Rows and answers of a node go in; what to sign, to send, to replace and to give up comes out.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tallystick.chain.contracts.reasons import explain_revert
from tallystick.chain.errors import NodeRefusedError
from tallystick.chain.node.encoding import parse_quantity
from tallystick.chain.node.refusals import Refusal, classify, revert_data
from tallystick.chain.sender.fees import Fees
from tallystick.chain.sender.transaction import UnsignedTransaction
from tallystick.chain.values import Asked, AttemptKind, TransactionId
from tallystick.chain.watcher.decision import poll_seconds
from tallystick.record import Address, ChainId, TransactionHash

MAX_UNMINED: Final = 64
"""So many wait for a block at most: nodes keep no more of one account (section 4.3.6)."""
STRIKES: Final = 3
"""Times that a node says "nonce too low" before receipts are looked for (section 4.3.5)."""
BATCH: Final = MAX_UNMINED // 2
"""So many are signed and sent at once: while a block takes one half the other is on its way."""
BUSY_ROUNDS_OF_A_BLOCK: Final = 50
"""How often a sender that has no room looks whether a block has made some."""
BUSIEST_SECONDS: Final = 0.02
GAS_NUMERATOR: Final = 6
GAS_DENOMINATOR: Final = 5
"""A fifth above the estimate: the state that it was made in is not the one it runs in."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A queued transaction."""

    id: TransactionId
    to_address: Address | None
    call_data: bytes
    value: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", int(self.value))


@dataclass(frozen=True, slots=True)
class Unmined:
    """A transaction that is signed or broadcast, with its newest attempt."""

    id: TransactionId
    state: Literal["signed", "broadcast"]
    nonce: int
    to_address: Address | None
    call_data: bytes
    value: int
    asked: Asked | None
    transaction_hash: TransactionHash
    kind: AttemptKind
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    gas_limit: int
    is_sent: bool
    """Whether a node has taken the newest attempt's bytes."""
    age_seconds: float
    """Since the newest attempt was signed."""

    def __post_init__(self) -> None:
        for name in ("value", "max_fee_per_gas", "max_priority_fee_per_gas"):
            object.__setattr__(self, name, int(getattr(self, name)))

    @property
    def fees(self) -> Fees:
        """What the newest attempt offers."""
        return Fees(self.max_fee_per_gas, self.max_priority_fee_per_gas)


@dataclass(frozen=True, slots=True)
class Runs:
    """An intent that the EVM would carry out today."""

    gas_limit: int


@dataclass(frozen=True, slots=True)
class Reverts:
    """An intent that the EVM would not carry out; no nonce is spent on it."""

    reason: str
    data: bytes


class Unclear(enum.Enum):
    """Why an intent stays queued."""

    FUNDS = "insufficient funds"
    OTHER = "the node did not say"


def judge_estimate(answer: Any) -> Runs | Reverts | Unclear:
    """
    Return what an answer to eth_estimateGas means for its intent.

    Raises:
        MalformedAnswerError: It is neither gas nor a refusal.
    """
    if not isinstance(answer, NodeRefusedError):
        return Runs(parse_quantity(answer) * GAS_NUMERATOR // GAS_DENOMINATOR)
    match classify(answer):
        case Refusal.REVERTED:
            data = revert_data(answer)
            return Reverts(explain_revert(data) or answer.said, data)
        case Refusal.FUNDS:
            return Unclear.FUNDS
        case _:
            return Unclear.OTHER


def left_of(balance: int, unmined: Sequence[Unmined]) -> int:
    """Return what of *balance* is not promised to transactions that wait for a block."""
    return balance - sum(row.value + row.gas_limit * row.max_fee_per_gas for row in unmined)


def payable(
    runs: Sequence[tuple[Intent, Runs]], fees: Fees, *, balance: int
) -> list[tuple[Intent, Runs]]:
    """
    Return those of *runs* that *balance* pays for, at the most that each may cost.

    A node takes no bytes that the account cannot pay, and their nonce would hold up every one
    behind it. One that cannot be paid holds up nobody: cheaper ones go before it.
    """
    paid: list[tuple[Intent, Runs]] = []
    for intent, verdict in runs:
        cost = intent.value + verdict.gas_limit * fees.max_fee_per_gas
        if cost <= balance:
            balance -= cost
            paid.append((intent, verdict))
    return paid


def unsigned(
    intent: Intent, *, chain_id: ChainId, nonce: int, gas_limit: int, fees: Fees
) -> UnsignedTransaction:
    """Return the first attempt at an intent."""
    return UnsignedTransaction(
        chain_id=chain_id,
        nonce=nonce,
        max_priority_fee_per_gas=fees.max_priority_fee_per_gas,
        max_fee_per_gas=fees.max_fee_per_gas,
        gas_limit=gas_limit,
        to=intent.to_address,
        value=intent.value,
        call_data=intent.call_data,
    )


def replacement(
    row: Unmined,
    kind: AttemptKind,
    fees: Fees,
    *,
    chain_id: ChainId,
    address: Address,
    gas_limit: int,
) -> UnsignedTransaction:
    """Return the next attempt: the same again, or for a cancel a payment of nothing to oneself."""
    is_cancel = kind == "cancel"
    return UnsignedTransaction(
        chain_id=chain_id,
        nonce=row.nonce,
        max_priority_fee_per_gas=fees.max_priority_fee_per_gas,
        max_fee_per_gas=fees.max_fee_per_gas,
        gas_limit=gas_limit,
        to=address if is_cancel else row.to_address,
        value=0 if is_cancel else row.value,
        call_data=b"" if is_cancel else row.call_data,
    )


def kind_of_next(row: Unmined) -> AttemptKind:
    """Return whether the next attempt is a cancel: once one was signed, all that follow are."""
    return "cancel" if row.asked == "cancel" else row.kind


def to_replace(
    unmined: Sequence[Unmined], *, chain_nonce: int, resubmit_seconds: int
) -> list[Unmined]:
    """
    Return those that get a new attempt: whom an operator asks for, or who wait too long.

    *chain_nonce* is the account's nonce at the newest block. What lies below it is mined, by us
    or by somebody else, and no attempt at it can be.
    """
    return [
        row
        for row in unmined
        if row.nonce >= chain_nonce
        and (row.asked is not None or row.age_seconds >= resubmit_seconds)
    ]


def to_look_for(unmined: Sequence[Unmined], strikes: Mapping[TransactionId, int]) -> list[Unmined]:
    """Return those whose nonce was seen taken often enough to look for receipts."""
    return [row for row in unmined if strikes.get(row.id, 0) >= STRIKES]


def to_requeue(
    rows: Sequence[Unmined],
    hashes: Mapping[TransactionId, Collection[TransactionHash]],
    found: Collection[TransactionHash],
    *,
    final_nonce: int,
) -> list[TransactionId]:
    """
    Return those whose nonce is final on the chain while none of their attempts has a receipt.

    *hashes* are all attempts at each, *found* those that have a receipt: with one of them the
    nonce is our own, and the watcher will say what became of it.
    """
    return [
        row.id
        for row in rows
        if row.nonce < final_nonce and not any(each in found for each in hashes[row.id])
    ]


def rest_seconds(block_seconds: float, *, done: int, room: int) -> float:
    """
    Return how long a sender rests that nobody wakes, after it was *done* with so many intents
    where there was *room* for so many.

    Not at all where a whole batch was done and room is left; shortly where none is left until
    the next block; else as long as the watcher does.
    """
    usual = poll_seconds(block_seconds)
    if done < min(room, BATCH):
        return usual
    if room > done:
        return 0.0
    return min(usual, max(BUSIEST_SECONDS, block_seconds / BUSY_ROUNDS_OF_A_BLOCK))
