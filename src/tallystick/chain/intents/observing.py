"""Recording transactions that clients sent (chain.md, section 4.1.6)."""

from __future__ import annotations

from tallystick.chain.intents import store
from tallystick.chain.intents.expecting import check_expectation
from tallystick.chain.values import Expectation, SeenTransaction, TransactionId
from tallystick.db import Transaction


def observe(
    tx: Transaction,
    seen: SeenTransaction,
    *,
    expectation: Expectation,
    transaction_type: str,
    challenge_id: int | None = None,
    user_id: str | None = None,
) -> TransactionId:
    """
    Record *seen*, which a node told, as a transaction that is followed from now on.

    Raises:
        ExpectationFailedError: It is not what it had to be; the error names the field.
        TransactionReusedError: Its hash serves already, as any attempt of any transaction.
        UnknownNetworkError, UnknownTransactionTypeError: There is no such network or type.
        NetworkUnavailableError: The network is halted: what its node says counts for nothing.
    """
    call = check_expectation(seen, expectation)
    return store.observe(
        tx,
        seen,
        transaction_type=transaction_type,
        function_name=None if call is None else call.function_name,
        parameters=None if call is None else call.parameters,
        challenge_id=challenge_id,
        user_id=user_id,
    )
