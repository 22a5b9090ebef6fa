"""What an operator does with a transaction: look now, cancel, offer more (chain.md, 4.2)."""

from __future__ import annotations

from tallystick.chain.intents import store
from tallystick.chain.intents.reading import get_transaction
from tallystick.chain.values import ChainTransaction, TransactionId
from tallystick.db import Transaction


def refresh(tx: Transaction, transaction_id: TransactionId) -> ChainTransaction:
    """
    Have the watcher look at the transaction once the caller commits; return it as it is now.

    What state it is in is never the caller's word.

    Raises:
        UnknownTransactionError: There is none of this number.
    """
    found = get_transaction(tx, transaction_id)
    store.wake(tx, found.chain_id)
    return found


def cancel_transaction(tx: Transaction, transaction_id: TransactionId) -> ChainTransaction:
    """
    Cancel a transaction and return it.

    One that is queued is cancelled at once, and its followers are told in this transaction. For
    one that is signed the sender is asked to spend its nonce on an empty transaction; whichever
    of the two is mined decides.

    Raises:
        UnknownTransactionError: There is none of this number.
        IllegalTransitionError: It is mined or final, or a client's.
        Whatever a follower raises; the transaction must not be committed.
    """
    get_transaction(tx, transaction_id)
    is_cancelled = store.cancel(tx, transaction_id)
    transaction = get_transaction(tx, transaction_id)
    if is_cancelled:
        tell_cancelled(tx, transaction)
    return transaction


def tell_cancelled(tx: Transaction, transaction: ChainTransaction) -> None:
    """Tell followers that a queued transaction was cancelled; what one raises leaves as it is."""
    # The watcher's room asks nodes, whose client costs a start that readers of rows spare.
    from tallystick.chain.watcher import FollowerFailed, tell_failed  # noqa: PLC0415

    try:
        tell_failed(tx, transaction)
    except FollowerFailed as failed:
        raise (failed.__cause__ or failed) from None


def bump_transaction(tx: Transaction, transaction_id: TransactionId) -> ChainTransaction:
    """
    Ask the sender to offer more for a signed transaction, and return it.

    Raises:
        UnknownTransactionError: There is none of this number.
        IllegalTransitionError: It is not signed, is mined or final, or a client's.
    """
    get_transaction(tx, transaction_id)
    store.ask(tx, transaction_id, "bump")
    return get_transaction(tx, transaction_id)
