"""
The follower that tells the outbox what becomes of transactions (chain.md, section 4.1.5).

It stands here because chain and outbox do not know each other. An event names the transaction
and what anybody can see of it on the chain; whom it is for is the event's own user_id, and no
part of what a reader of the topic gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from tallystick.chain.topics import (
    CHAIN_TOPICS,
    FAILED,
    FINALIZED,
    INCLUDED,
    ROLLED_BACK,
)
from tallystick.chain.values import ChainTransaction
from tallystick.db import Transaction
from tallystick.outbox import NewEvent, emit_many, register_topics

register_topics(CHAIN_TOPICS)

TOPIC_OF: Final = {
    "included": INCLUDED,
    "finalized": FINALIZED,
    "rolled_back": ROLLED_BACK,
    "failed": FAILED,
}


class OutboxFollower:
    """Writes an event for each thing that is told of a transaction of any type."""

    def on_included(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Write `chain.transaction.included`."""
        self.on_many(tx, [("included", transaction)])

    def on_finalized(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Write `chain.transaction.finalized`."""
        self.on_many(tx, [("finalized", transaction)])

    def on_rolled_back(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Write `chain.transaction.rolled_back`."""
        self.on_many(tx, [("rolled_back", transaction)])

    def on_failed(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Write `chain.transaction.failed`."""
        self.on_many(tx, [("failed", transaction)])

    def on_many(self, tx: Transaction, facts: Sequence[tuple[str, ChainTransaction]]) -> None:
        """Write the events of a whole commit by one statement."""
        emit_many(
            tx,
            [
                NewEvent(
                    topic=TOPIC_OF[told],
                    key=f"{transaction.chain_id}:{transaction.id}",
                    payload=payload_of(transaction),
                    user_id=transaction.user_id,
                )
                for told, transaction in facts
            ],
        )


def payload_of(transaction: ChainTransaction) -> dict[str, Any]:
    """Return what an event says of *transaction*; amounts are decimal text."""
    fee = transaction.fee_wei
    return {
        "transaction_id": transaction.id,
        "chain_id": transaction.chain_id,
        "transaction_type": transaction.transaction_type,
        "transaction_hash": transaction.transaction_hash,
        "state": transaction.state,
        "block_number": transaction.block_number,
        "block_hash": transaction.block_hash,
        "fee_wei": None if fee is None else str(fee),
        "cost_usd": None if transaction.cost_usd is None else f"{transaction.cost_usd:f}",
        "error_message": transaction.error_message,
    }
