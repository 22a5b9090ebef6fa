"""Reading transactions, their attempts, sums and events (chain.md, sections 4.1 and 4.2)."""

from __future__ import annotations

import datetime
from typing import Final

from tallystick.chain.errors import UnknownContractError, UnknownTransactionError
from tallystick.chain.intents import store
from tallystick.chain.intents.store import EventPlace, Selection
from tallystick.chain.values import (
    Attempt,
    ChainTransaction,
    ContractEvent,
    EventState,
    Status,
    TransactionId,
    TransactionStatistics,
)
from tallystick.db import Transaction
from tallystick.record import ChainId, TransactionHash

MAX_ROWS: Final = 1_001
"""The largest page of every list (common.md, "Lists and HTTP"), and the row that tells whether
another page follows."""
MAX_BIGINT: Final = 2**63 - 1


def get_transaction(tx: Transaction, transaction_id: TransactionId) -> ChainTransaction:
    """
    Return a transaction.

    Raises:
        UnknownTransactionError: There is none of this number.
    """
    found = store.read_transaction(tx, transaction_id) if 0 < transaction_id <= MAX_BIGINT else None
    if found is None:
        raise UnknownTransactionError(f"there is no transaction {transaction_id}")
    return found


def find_transaction(
    tx: Transaction, chain_id: ChainId, transaction_hash: TransactionHash
) -> ChainTransaction:
    """
    Return the transaction that *transaction_hash*, of any of its attempts, names.

    Raises:
        UnknownTransactionError: There is none.
    """
    number = store.find_by_hash(tx, chain_id, transaction_hash)
    if number is None:
        raise UnknownTransactionError(f"no transaction on {chain_id} has hash {transaction_hash}")
    return get_transaction(tx, number)


def list_transactions(
    tx: Transaction,
    *,
    transaction_type: str | None = None,
    status: Status | None = None,
    chain_id: ChainId | None = None,
    user_id: str | None = None,
    after: TransactionId | None = None,
    limit: int = 100,
) -> list[ChainTransaction]:
    """Return at most *limit* transactions, newest first, behind the one of number *after*."""
    assert 1 <= limit <= MAX_ROWS
    selection = Selection(transaction_type, status, chain_id, user_id)
    return store.list_transactions(tx, selection, after=after, limit=limit)


def list_attempts(tx: Transaction, transaction_id: TransactionId) -> list[Attempt]:
    """Return every signing of a transaction, in order; none of an observed one."""
    return store.list_attempts(tx, transaction_id)


def get_transaction_statistics(
    tx: Transaction, chain_id: ChainId | None, since: datetime.datetime
) -> list[TransactionStatistics]:
    """
    Return sums by network, type and status of what was submitted since *since*.

    *chain_id* None is every network. Medians are of those that were included, or are final.
    """
    assert since.tzinfo is not None, "a time without a zone is not a time"
    return store.statistics(tx, chain_id=chain_id, since=since)


def list_events(
    tx: Transaction,
    *,
    contract_name: str,
    chain_id: ChainId,
    event_name: str | None = None,
    state: EventState | None = None,
    after: EventPlace | None = None,
    limit: int = 100,
) -> list[ContractEvent]:
    """
    Return at most *limit* events of a contract, all of its deployments, oldest block first.

    Raises:
        UnknownContractError: No contract of this name was ever registered on the network.
    """
    assert 1 <= limit <= MAX_ROWS
    found = store.list_events(
        tx,
        chain_id=chain_id,
        contract_name=contract_name,
        event_name=event_name,
        state=state,
        after=after,
        limit=limit,
    )
    if not found and not store.has_contract(tx, chain_id, contract_name):
        raise UnknownContractError(f"network {chain_id} has no contract {contract_name[:63]}")
    return found
