"""
Handing over intents: a row in the caller's transaction, and nothing else (chain.md, 4.1.1).

Whatever the slice writes beside it commits with it or not at all; the sender does the rest. A
call of a contract that is registered is described beside the bytes, for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from tallystick.chain.errors import InvalidChainValueError
from tallystick.chain.intents import store
from tallystick.chain.intents.calls import CallInterfaces, DecodedCall
from tallystick.chain.values import (
    MAX_CALL_DATA_BYTES,
    MAX_INTENTS,
    MAX_KEY_CHARACTERS,
    ChainIntent,
    TransactionId,
)
from tallystick.db import Transaction

MAX_UINT256: Final = 2**256 - 1
MAX_BIGINT: Final = 2**63 - 1

_interfaces: Final = CallInterfaces(store.read_interfaces)


def send(tx: Transaction, intent: ChainIntent) -> TransactionId:
    """
    Queue *intent* and return its number; the same key with the same intent returns the first.

    A paused or halted network is no reason to refuse: the intent waits.

    Raises:
        IdempotencyConflictError: The key stands for another intent.
        UnknownNetworkError, UnknownTransactionTypeError: There is no such network or type.
        UnknownAccountError: No account of ours has the address, or the type's purpose, there.
        InvalidChainValueError: A value is out of its range; it is named.
    """
    return send_many(tx, [intent])[0]


def send_many(tx: Transaction, intents: Sequence[ChainIntent]) -> list[TransactionId]:
    """
    Queue up to 1,000 *intents* by one statement, all or none; return their numbers in order.

    Raises:
        As `send`, about the first that is wrong.
    """
    if len(intents) > MAX_INTENTS:
        raise InvalidChainValueError(f"more than {MAX_INTENTS} intents at once", field="intents")
    for intent in intents:
        check_intent(intent)
    calls = _interfaces.describe(
        tx, [(intent.chain_id, intent.to, intent.call_data) for intent in intents]
    )
    return store.queue(
        tx,
        intents,
        function_names=[None if call is None else call.function_name for call in calls],
        parameters=[None if call is None else format_parameters(call) for call in calls],
    )


def format_parameters(call: DecodedCall) -> str:
    """Return a call's arguments as JSON."""
    return json.dumps(call.parameters, ensure_ascii=True, separators=(",", ":"))


def check_intent(intent: ChainIntent) -> None:
    """
    Check what the types of *intent* leave open.

    Raises:
        InvalidChainValueError: A value is out of its range; it is named.
    """
    key = intent.idempotency_key
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or "\x00" in key or not key.isprintable():
        raise InvalidChainValueError(
            "an idempotency key has 1 to 200 printable characters", field="idempotency_key"
        )
    if len(intent.call_data) > MAX_CALL_DATA_BYTES:
        raise InvalidChainValueError("call data have at most 128 KiB", field="call_data")
    if intent.to is None and not intent.call_data:
        raise InvalidChainValueError("a deployment has code", field="call_data")
    if not 0 <= intent.value <= MAX_UINT256:
        raise InvalidChainValueError("an amount is a uint256", field="value")
    if not 0 < intent.chain_id <= MAX_BIGINT:
        raise InvalidChainValueError("a chain id is above 0", field="chain_id")
    if "\x00" in intent.transaction_type:
        raise InvalidChainValueError("a type is a plain word", field="transaction_type")
