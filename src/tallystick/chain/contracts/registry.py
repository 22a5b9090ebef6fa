"""
Which contracts of ours stand where: deploy, register, find (chain.md, sections 4.2 and 5.3).

A contract is registered only with code that was read from its chain and is the artifact's, byte
for byte. Contracts have no proxies and are never upgraded: a new version is a new contract, and
the one before it stays registered, inactive, and is still followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tallystick.chain.contracts import store
from tallystick.chain.contracts.abi import encode_deployment
from tallystick.chain.contracts.artifacts import load_artifact
from tallystick.chain.errors import CodeHashMismatchError, UnknownContractError
from tallystick.chain.intents import send
from tallystick.chain.values import ChainIntent, Contract, ContractId, TransactionId
from tallystick.db import Transaction
from tallystick.record import Address, ChainId, keccak256

DEPLOY_TYPE = "contract_deploy"


def deploy(
    tx: Transaction,
    name: str,
    *,
    chain_id: ChainId,
    arguments: Sequence[Any] = (),
    idempotency_key: str,
) -> TransactionId:
    """
    Intend to deploy the contract *name* with the constructor's *arguments*.

    Once the transaction is final, the built-in follower registers the contract.

    Raises:
        UnknownArtifactError: No contract of that name is shipped.
        ArgumentsError: The constructor takes others.
        UnknownNetworkError, UnknownAccountError: There is no such network, or no account of
            ours that deploys on it.
        IdempotencyConflictError: The key was used for another intent.
    """
    call_data = encode_deployment(load_artifact(name), arguments)
    intent = ChainIntent(
        chain_id=chain_id,
        transaction_type=DEPLOY_TYPE,
        idempotency_key=idempotency_key,
        to=None,
        call_data=call_data,
    )
    return send(tx, intent)


def register_contract(
    tx: Transaction,
    seen_code: bytes,
    *,
    name: str,
    chain_id: ChainId,
    address: Address,
    constructor_args: Sequence[Any] = (),
    transaction_id: TransactionId | None = None,
) -> ContractId:
    """
    Register the contract at *address*, whose code was read as *seen_code*, as the active *name*.

    The one that was active until now becomes inactive. A contract that stands there already
    keeps its row. Where a transaction of ours made it, the row says which.

    Raises:
        UnknownArtifactError: No contract of that name is shipped.
        CodeHashMismatchError: The code is not the artifact's; the error carries both hashes.
        UnknownNetworkError: There is no such network.
    """
    artifact = load_artifact(name)
    seen = keccak256(seen_code)
    if seen != artifact.code_hash:
        raise CodeHashMismatchError(
            f"the code at {address} on chain {chain_id} is not that of {name}",
            expected=artifact.code_hash,
            actual=seen,
        )
    return store.register_contract(
        tx,
        artifact,
        chain_id=chain_id,
        address=address,
        constructor_args=constructor_args,
        transaction_id=transaction_id,
    )


def get_contract(tx: Transaction, name: str, chain_id: ChainId) -> Contract:
    """
    Return the active contract *name* on the network.

    Raises:
        UnknownContractError: There is none.
    """
    found = store.list_contracts(tx, chain_id=chain_id, name=name, only_active=True)
    if not found:
        raise UnknownContractError(f"chain {chain_id} has no contract {name[:100]} of ours")
    return found[0]


def get_contract_at(tx: Transaction, chain_id: ChainId, address: Address) -> Contract:
    """
    Return the contract at *address*, active or not.

    Raises:
        UnknownContractError: There is none.
    """
    found = store.list_contracts(tx, chain_id=chain_id, address=address)
    if not found:
        raise UnknownContractError(f"chain {chain_id} has no contract of ours at {address}")
    return found[0]


def list_contracts(
    tx: Transaction,
    chain_id: ChainId | None = None,
    *,
    after: ContractId | None = None,
    limit: int | None = None,
) -> list[Contract]:
    """
    Return the contracts of a network, or of all; the active ones first, newest first.

    At most *limit* of them, behind the one of number *after*; None is no restriction.
    """
    return store.list_contracts(tx, chain_id=chain_id, after=after, limit=limit)
