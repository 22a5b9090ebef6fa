"""The SQL of transactions; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tallystick.chain.values import (
    Asked,
    Attempt,
    ChainIntent,
    ChainTransaction,
    ContractEvent,
    SeenTransaction,
    TransactionId,
    TransactionStatistics,
)
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, ChainId, TransactionHash


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    queue: Query
    read_interfaces: Query
    observe: Query
    cancel: Query
    ask: Query
    wake: Query
    read_transaction: Query
    find_by_hash: Query
    list_transactions: Query
    list_attempts: Query
    statistics: Query
    list_events: Query
    has_contract: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which transactions to list; None is no restriction."""

    transaction_type: str | None = None
    status: str | None = None
    chain_id: ChainId | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventPlace:
    """Where an event stands in a list: behind it the next page begins."""

    block_number: int
    log_index: int
    block_hash: str = ""
    """Tells events of several blocks of one number apart."""


@dataclass(frozen=True, slots=True)
class Interface:
    """What is registered at an address."""

    chain_id: ChainId
    address: Address
    abi: Sequence[Mapping[str, Any]]


def queue(
    tx: Transaction,
    intents: Sequence[ChainIntent],
    *,
    function_names: Sequence[str | None],
    parameters: Sequence[str | None],
) -> list[TransactionId]:
    """Queue *intents* with what their calls mean, parameters as JSON; return their numbers."""
    values = {
        "chain_ids": [intent.chain_id for intent in intents],
        "types": [intent.transaction_type for intent in intents],
        "keys": [intent.idempotency_key for intent in intents],
        "to": [intent.to for intent in intents],
        "call_data": [intent.call_data for intent in intents],
        # As text: the driver would look at each number for the narrowest type that fits all.
        "values": [str(intent.value) for intent in intents],
        "from": [intent.from_address for intent in intents],
        "challenge_ids": [intent.challenge_id for intent in intents],
        "user_ids": [intent.user_id for intent in intents],
        "function_names": list(function_names),
        "parameters": list(parameters),
    }
    return [TransactionId(number) for number in tx.value(SQL.queue, values)]


def read_interfaces(tx: Transaction, places: Sequence[tuple[ChainId, Address]]) -> list[Interface]:
    """Return the interfaces that are registered at *places*."""
    values = {
        "chain_ids": [chain_id for chain_id, _ in places],
        "addresses": [address for _, address in places],
    }
    return tx.rows(Interface, SQL.read_interfaces, values)


def observe(
    tx: Transaction,
    seen: SeenTransaction,
    *,
    transaction_type: str,
    function_name: str | None,
    parameters: Any,
    challenge_id: int | None,
    user_id: str | None,
) -> TransactionId:
    """Record an observed transaction and return its number."""
    values = {
        "chain_id": seen.chain_id,
        "transaction_hash": seen.transaction_hash,
        "transaction_type": transaction_type,
        "from_address": seen.from_address,
        "to_address": seen.to_address,
        "call_data": seen.call_data,
        "value": seen.value,
        "gas_limit": seen.gas_limit,
        "nonce": seen.nonce,
        "function_name": function_name,
        "parameters": None if parameters is None else Jsonb(parameters),
        "challenge_id": challenge_id,
        "user_id": user_id,
    }
    return TransactionId(tx.value(SQL.observe, values))


def cancel(tx: Transaction, transaction_id: TransactionId) -> bool:
    """Cancel a queued transaction (True), or ask the sender to cancel a signed one (False)."""
    return bool(tx.value(SQL.cancel, {"id": transaction_id}))


def ask(tx: Transaction, transaction_id: TransactionId, asked: Asked) -> None:
    """Ask the sender to do something with a signed transaction."""
    tx.value(SQL.ask, {"id": transaction_id, "asked": asked})


def wake(tx: Transaction, chain_id: ChainId) -> None:
    """Wake the watcher and the sender of a network when the transaction commits."""
    tx.value(SQL.wake, {"chain_id": chain_id})


def read_transaction(tx: Transaction, transaction_id: TransactionId) -> ChainTransaction | None:
    """Return a transaction, or None."""
    return tx.row(ChainTransaction, SQL.read_transaction, {"id": transaction_id})


def find_by_hash(
    tx: Transaction, chain_id: ChainId, transaction_hash: TransactionHash
) -> TransactionId | None:
    """Return the number of the transaction that any attempt's hash names, or None."""
    values = {"chain_id": chain_id, "transaction_hash": transaction_hash}
    number = tx.value(SQL.find_by_hash, values)
    return None if number is None else TransactionId(number)


def list_transactions(
    tx: Transaction, selection: Selection, *, after: TransactionId | None, limit: int
) -> list[ChainTransaction]:
    """Return transactions, newest first, of numbers below *after*."""
    values = {
        "transaction_type": selection.transaction_type,
        "status": selection.status,
        "chain_id": selection.chain_id,
        "user_id": selection.user_id,
        "after": after,
        "limit": limit,
    }
    return tx.rows(ChainTransaction, SQL.list_transactions, values)


def list_attempts(tx: Transaction, transaction_id: TransactionId) -> list[Attempt]:
    """Return every signing of a transaction, in order."""
    return tx.rows(Attempt, SQL.list_attempts, {"id": transaction_id})


def statistics(
    tx: Transaction, *, chain_id: ChainId | None, since: datetime.datetime
) -> list[TransactionStatistics]:
    """Return sums by network, type and status."""
    return tx.rows(TransactionStatistics, SQL.statistics, {"chain_id": chain_id, "since": since})


def list_events(
    tx: Transaction,
    *,
    chain_id: ChainId,
    contract_name: str,
    event_name: str | None,
    state: str | None,
    after: EventPlace | None,
    limit: int,
) -> list[ContractEvent]:
    """Return events by block and place, behind *after*."""
    values = {
        "chain_id": chain_id,
        "contract_name": contract_name,
        "event_name": event_name,
        "state": state,
        "after_block": None if after is None else after.block_number,
        "after_index": None if after is None else after.log_index,
        "after_hash": None if after is None else after.block_hash,
        "limit": limit,
    }
    return tx.rows(ContractEvent, SQL.list_events, values)


def has_contract(tx: Transaction, chain_id: ChainId, contract_name: str) -> bool:
    """Return whether a contract of this name was ever registered on a network."""
    values = {"chain_id": chain_id, "contract_name": contract_name}
    return bool(tx.value(SQL.has_contract, values))
