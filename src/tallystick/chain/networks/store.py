"""The SQL of networks and accounts; every function runs in the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallystick.chain.values import ChainAccount, ChainBlock, Network
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, ChainId, Wei


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    list_networks: Query
    add_network: Query
    set_network: Query
    resume_network: Query
    list_accounts: Query
    add_account: Query
    set_account: Query
    block_at: Query


SQL = load_queries(Queries, __package__)


def list_networks(tx: Transaction, chain_id: ChainId | None) -> list[Network]:
    """Return every network by chain id, or the one that is named."""
    return tx.rows(Network, SQL.list_networks, {"chain_id": chain_id})


def add_network(tx: Transaction, chain_id: ChainId, name: str, settings: dict[str, Any]) -> bool:
    """Add a network; False where its chain id is taken."""
    return bool(tx.value(SQL.add_network, {"chain_id": chain_id, "name": name, **settings}))


def set_network(tx: Transaction, chain_id: ChainId, changes: dict[str, Any]) -> bool:
    """Change a network; None leaves a setting as it is. True where the status changed."""
    return bool(tx.value(SQL.set_network, {"chain_id": chain_id, **changes}))


def resume_network(tx: Transaction, chain_id: ChainId, reason: str) -> None:
    """Let a halted network go on."""
    tx.value(SQL.resume_network, {"chain_id": chain_id, "reason": reason})


def list_accounts(tx: Transaction, chain_id: ChainId | None) -> list[ChainAccount]:
    """Return the accounts of a network, or of all."""
    return tx.rows(ChainAccount, SQL.list_accounts, {"chain_id": chain_id})


def add_account(
    tx: Transaction,
    *,
    chain_id: ChainId,
    address: Address,
    purpose: str,
    signer_name: str,
    minimum_balance_wei: Wei,
) -> bool:
    """Add an account; False where its address or purpose is taken."""
    values = {
        "chain_id": chain_id,
        "address": address,
        "purpose": purpose,
        "signer_name": signer_name,
        "minimum_balance_wei": minimum_balance_wei,
    }
    return bool(tx.value(SQL.add_account, values))


def set_account(
    tx: Transaction,
    *,
    chain_id: ChainId,
    address: Address,
    signer_name: str | None,
    minimum_balance_wei: Wei | None,
    is_paused: bool | None,
) -> bool:
    """Change an account; False where there is none."""
    values = {
        "chain_id": chain_id,
        "address": address,
        "signer_name": signer_name,
        "minimum_balance_wei": minimum_balance_wei,
        "is_paused": is_paused,
    }
    return bool(tx.value(SQL.set_account, values))


def block_at(tx: Transaction, chain_id: ChainId, number: int) -> ChainBlock | None:
    """Return the canonical block of a number, or None."""
    return tx.row(ChainBlock, SQL.block_at, {"chain_id": chain_id, "number": number})
