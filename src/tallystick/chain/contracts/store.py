"""The SQL of the registry of contracts; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from tallystick.chain.contracts.artifacts import Artifact
from tallystick.chain.values import Contract, ContractId, TransactionId
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, ChainId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    register_contract: Query
    list_contracts: Query


SQL = load_queries(Queries, __package__)


def register_contract(
    tx: Transaction,
    artifact: Artifact,
    *,
    chain_id: ChainId,
    address: Address,
    constructor_args: Sequence[Any],
    transaction_id: TransactionId | None,
) -> ContractId:
    """Register *artifact* at *address*, whose code was compared with it, and return its number."""
    parameters = {
        "chain_id": chain_id,
        "name": artifact.name,
        "address": address,
        "version": artifact.version,
        "constructor_args": Jsonb(list(constructor_args)),
        "compiled_bytecode": artifact.runtime_bytecode,
        "abi": Jsonb(list(artifact.abi)),
        "abi_hash": artifact.abi_hash,
        "code_hash": artifact.code_hash,
        "source_hash": artifact.source_sha256,
        "compiler_version": artifact.compiler,
        "transaction_id": transaction_id,
    }
    return ContractId(tx.value(SQL.register_contract, parameters))


def list_contracts(
    tx: Transaction,
    *,
    chain_id: ChainId | None = None,
    name: str | None = None,
    address: Address | None = None,
    only_active: bool = False,
    after: ContractId | None = None,
    limit: int | None = None,
) -> list[Contract]:
    """Return contracts, active and newest first, behind the one of number *after*."""
    parameters = {
        "chain_id": chain_id,
        "name": name,
        "address": address,
        "only_active": only_active,
        "after": after,
        "limit": limit,
    }
    return tx.rows(Contract, SQL.list_contracts, parameters)
