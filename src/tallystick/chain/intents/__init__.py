"""Transactions in the database: intents, observed ones, lists and sums (chain.md, 4.1, 4.2)."""

from tallystick.chain.intents.calls import CallDecoder, DecodedCall
from tallystick.chain.intents.expecting import check_expectation
from tallystick.chain.intents.observing import observe
from tallystick.chain.intents.reading import (
    find_transaction,
    get_transaction,
    get_transaction_statistics,
    list_attempts,
    list_events,
    list_transactions,
)
from tallystick.chain.intents.sending import send, send_many
from tallystick.chain.intents.steering import bump_transaction, cancel_transaction, refresh
from tallystick.chain.intents.store import EventPlace

__all__ = [
    "CallDecoder",
    "DecodedCall",
    "EventPlace",
    "bump_transaction",
    "cancel_transaction",
    "check_expectation",
    "find_transaction",
    "get_transaction",
    "get_transaction_statistics",
    "list_attempts",
    "list_events",
    "list_transactions",
    "observe",
    "refresh",
    "send",
    "send_many",
]
