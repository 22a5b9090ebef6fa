"""The SQL of the overview; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from tallystick.chain.values import NetworkStatus, State, TransactionId
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, ChainId, TransactionHash


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    list_standings: Query
    count_unfinished: Query
    list_unfinished: Query
    chains_of: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a network stands; None where there is no block, or no intent that waits."""

    chain_id: ChainId
    status: NetworkStatus
    head: int | None
    finalized: int | None
    lag_seconds: float | None
    """Age of the newest recorded block; of a chain that mines on demand it says little."""
    oldest_intent_seconds: float | None
    """Since the oldest intent that is in no block was handed over."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How many transactions of a network stand in a state that is not the last."""

    chain_id: ChainId
    state: State
    count: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction that is not final yet."""

    chain_id: ChainId
    id: TransactionId
    transaction_type: str
    state: State
    from_address: Address
    to_address: Address | None
    function_name: str | None
    nonce: int | None
    transaction_hash: TransactionHash | None
    submitted_at: datetime.datetime


def list_standings(tx: Transaction) -> list[Standing]:
    """Return how each network stands that is not just paused, or was watched, by chain id."""
    return tx.rows(Standing, SQL.list_standings)


def count_unfinished(tx: Transaction) -> list[Unfinished]:
    """Return how many transactions stand in which state that is not the last, by network."""
    return tx.rows(Unfinished, SQL.count_unfinished)


def list_unfinished(tx: Transaction, *, limit: int) -> list[Waiting]:
    """Return at most *limit* transactions that are not final, by network, the oldest first."""
    return tx.rows(Waiting, SQL.list_unfinished, {"limit": limit})


def chains_of(tx: Transaction, transaction_hash: TransactionHash) -> list[ChainId]:
    """Return the networks on which a transaction, or an attempt of one, has this hash."""
    values = {"transaction_hash": transaction_hash}
    return [ChainId(chain_id) for chain_id in tx.values(SQL.chains_of, values)]
