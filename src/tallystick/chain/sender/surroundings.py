"""
What the sender asks its node about the chain around a transaction (chain.md, section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.chain.errors import MalformedAnswerError, NodeRefusedError
from tallystick.chain.node import (
    Call,
    Node,
    format_data,
    format_quantity,
    parse_list,
    parse_object,
    parse_quantity,
)
from tallystick.chain.node.blocks import parse_header, parse_number
from tallystick.chain.node.reader import answered, final_by_depth
from tallystick.chain.sender.decision import Intent
from tallystick.chain.sender.fees import (
    FEE_HISTORY_BLOCKS,
    FEE_HISTORY_PERCENTILE,
    Suggestion,
    suggest,
)
from tallystick.record import Address, TransactionHash


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The chain as an account's sender sees it at its newest block."""

    suggestion: Suggestion
    balance: int
    """Of the account, in wei."""
    nonce: int
    """How many transactions of the account the chain has."""


def read_surroundings(node: Node, address: Address, *, min_tip: int) -> Surroundings:
    """
    Return fees, balance and nonce, read by one request.

    Raises:
        NodeUnavailableError, NodeRefusedError: The node gives no answer.
    """
    calls: list[Call] = [
        (
            "eth_feeHistory",
            (format_quantity(FEE_HISTORY_BLOCKS), "latest", [FEE_HISTORY_PERCENTILE]),
        ),
        ("eth_getBalance", (address, "latest")),
        ("eth_getTransactionCount", (address, "latest")),
    ]
    history, balance, nonce = (answered(answer) for answer in node.batch(calls))
    return Surroundings(
        suggestion=parse_fee_history(history, min_tip=min_tip),
        balance=parse_quantity(balance),
        nonce=parse_quantity(nonce),
    )


def parse_fee_history(answer: Any, *, min_tip: int) -> Suggestion:
    """
    Return what eth_feeHistory suggests.

    Raises:
        MalformedAnswerError: It is not of its form, or the chain has no base fee.
    """
    history = parse_object(answer)
    base_fees = parse_list(history.get("baseFeePerGas"))
    if not base_fees:
        raise MalformedAnswerError("the node answers no history of fees")
    # A node may leave out the rewards of blocks that it has not got, or that are empty.
    rewards = [parse_list(reward) for reward in parse_list(history.get("reward") or []) if reward]
    medians = [parse_quantity(reward[0]) for reward in rewards]
    # The last is of the block that is not there yet.
    return suggest(base_fee=parse_quantity(base_fees[-1]), rewards=medians, min_tip=min_tip)


def estimate_calls(address: Address, intents: Sequence[Intent]) -> list[Call]:
    """Return the calls that ask what gas each intent takes."""
    return [
        (
            "eth_estimateGas",
            (call_object(address, intent.to_address, intent.call_data, intent.value),),
        )
        for intent in intents
    ]


def cancel_call(address: Address) -> Call:
    """Return the call that asks what gas a payment of nothing to oneself takes."""
    return "eth_estimateGas", (call_object(address, address, b"", 0),)


def call_object(
    sender: Address, to: Address | None, call_data: bytes, value: int
) -> dict[str, str]:
    """Return a transaction as eth_estimateGas takes it."""
    call = {"from": sender, "data": format_data(call_data), "value": format_quantity(value)}
    return call if to is None else {**call, "to": to}


@dataclass(frozen=True, slots=True)
class Fate:
    """What the chain has done with an account's nonces, and with attempts at them."""

    block: int
    """The final block that was asked of."""
    nonce: int
    """How many transactions of the account the chain had there."""
    found: frozenset[TransactionHash]
    """The attempts that have a receipt."""


def read_fate(
    node: Node,
    address: Address,
    hashes: Sequence[TransactionHash],
    *,
    depth: int | None,
    quorum: int,
) -> Fate:
    """
    Return the account's nonce at a final block, and which of *hashes* have a receipt.

    *depth* is the network's confirmations, None where its node says what is final; *quorum*
    endpoints have to say that nonce, or a higher one. It is read first: receipts that are read
    after it are not older than it.

    Raises:
        NodeUnavailableError, NodeRefusedError: The node gives no answer.
    """
    if depth is None:
        final = node.call("eth_getBlockByNumber", "finalized", False)
        tag = format_quantity(parse_header(final).number)
    else:
        tag = final_by_depth(node, depth)
    said = [answer for (answer,) in node.ask_each([("eth_getTransactionCount", (address, tag))])]
    nonces = sorted(
        (parse_number(each) for each in said if not isinstance(each, NodeRefusedError)),
        reverse=True,
    )
    calls: list[Call] = [("eth_getTransactionReceipt", (each,)) for each in hashes]
    receipts = [answered(answer) for answer in node.batch(calls)]
    found = (each for each, receipt in zip(hashes, receipts, strict=True) if receipt is not None)
    nonce = nonces[quorum - 1] if len(nonces) >= quorum else 0
    return Fate(parse_quantity(tag), nonce, frozenset(found))
