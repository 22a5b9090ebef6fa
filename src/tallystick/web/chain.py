"""
The pages of the chain: networks, one transaction, contracts (chain.md, section 6).

Networks and contracts are open, because anybody can see them on their chains; what we send there
needs chain:read, and whom it is for chain:admin. Amounts are decimal text, exact to the wei.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from tallystick.chain import (
    ChainAccount,
    ChainTransaction,
    Contract,
    ContractId,
    Network,
    find_transaction,
    get_network,
    list_accounts,
    list_attempts,
    list_networks,
)
from tallystick.chain.contracts import list_contracts, signature_of
from tallystick.chain.overview import Standing, Waiting, list_standings, list_unfinished
from tallystick.chain.prices import get_price
from tallystick.chain.values import Attempt, PriceSnapshot
from tallystick.clock import format_time
from tallystick.db import Database
from tallystick.record import Address, ChainId, format_address, parse_transaction_hash
from tallystick.web.access import Visitor
from tallystick.web.errors import PageRequestError

LINES: Final = 50
"""Lines of a list on one page."""
MAX_NUMBER: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class NetworkLine:
    """A network; *lag_seconds* is the age of its newest recorded block."""

    chain_id: int
    name: str
    status: str
    halted_reason: str | None
    head: int | None
    finalized: int | None
    finalized_at: str | None
    lag_seconds: float | None
    oldest_intent_seconds: float | None


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account of ours."""

    chain_id: int
    network: str
    purpose: str
    address: str
    signer_name: str
    next_nonce: int
    minimum_balance_wei: str
    is_paused: bool


@dataclass(frozen=True, slots=True)
class WaitingLine:
    """A transaction that is not final yet."""

    id: int
    chain_id: int
    transaction_type: str
    state: str
    function_name: str | None
    nonce: int | None
    transaction_hash: str | None
    submitted_at: str


@dataclass(frozen=True, slots=True)
class ChainPage:
    """
    Networks that are used, and how many are known and not. *accounts* and *waiting*, the oldest
    first, are None for who may not read what we send; *has_more* of those wait.
    """

    networks: list[NetworkLine]
    unused: int
    accounts: list[AccountLine] | None
    waiting: list[WaitingLine] | None
    has_more: bool


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One signing of a transaction; *is_current* where its hash is the transaction's."""

    attempt: int
    kind: str
    transaction_hash: str
    max_fee_per_gas: str
    max_priority_fee_per_gas: str
    signed_at: str
    broadcast_at: str | None
    last_error: str | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a transaction, and when: one point of its line."""

    name: str
    at: str | None


@dataclass(frozen=True, slots=True)
class CostLine:
    """What an included transaction cost, and by which price."""

    gas_used: int
    gas_price: str
    l1_fee_wei: str
    fee_wei: str
    fee: str
    symbol: str
    cost_usd: str | None
    price_usd: str | None
    price_source: str | None
    price_at: str | None


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """A transaction; *cost* is None until it is included, the last two for who may not manage."""

    id: int
    chain_id: int
    network: str
    transaction_type: str
    origin: str
    state: str
    status: str
    transaction_hash: str | None
    from_address: str
    to_address: str | None
    contract_name: str | None
    contract_address: str | None
    function_name: str | None
    parameters: object
    value: str
    symbol: str
    nonce: int | None
    block_number: int | None
    block_hash: str | None
    transaction_index: int | None
    error_message: str | None
    asked: str | None
    steps: list[Step]
    attempts: list[AttemptLine]
    cost: CostLine | None
    challenge_id: int | None
    user_id: str | None


@dataclass(frozen=True, slots=True)
class ContractLine:
    """A contract of ours, and what can be called and heard of it."""

    chain_id: int
    network: str
    name: str
    version: str
    address: str
    is_active: bool
    block_number: int | None
    code_hash: str
    functions: list[str]
    events: list[str]


@dataclass(frozen=True, slots=True)
class ContractsPage:
    """Contracts, the active ones first, the newest first; *next* continues them."""

    contracts: list[ContractLine]
    next: int | None


def chain_page(database: Database, visitor: Visitor) -> ChainPage:
    """Return the page of all networks."""
    reads = visitor.reads_chain
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        networks = list_networks(tx)
        standings = {one.chain_id: one for one in list_standings(tx)}
        accounts = list_accounts(tx) if reads else None
        waiting = list_unfinished(tx, limit=LINES + 1) if reads else None
    names = {network.chain_id: network.name for network in networks}
    used = [network for network in networks if network.chain_id in standings]
    return ChainPage(
        networks=[network_line(one, standings[one.chain_id]) for one in used],
        unused=len(networks) - len(used),
        accounts=None
        if accounts is None
        else [account_line(one, names[one.chain_id]) for one in accounts],
        waiting=None if waiting is None else [waiting_line(one) for one in waiting[:LINES]],
        has_more=waiting is not None and len(waiting) > LINES,
    )


def transaction_page(
    database: Database, visitor: Visitor, chain_id: int, transaction_hash: str
) -> TransactionPage:
    """
    Return the page of a transaction, found by the hash of any of its signings.

    Raises:
        SignInNeededError, AccessDeniedError: The visitor may not read what we send.
        InvalidHashError: *transaction_hash* is none.
        UnknownNetworkError, UnknownTransactionError: There is none.
    """
    visitor.check_reads_chain()
    wanted = parse_transaction_hash(transaction_hash)
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        network = get_network(tx, ChainId(chain_id))
        row = find_transaction(tx, network.chain_id, wanted)
        attempts = list_attempts(tx, row.id)
        price = None if row.price_id is None else get_price(tx, row.price_id)
    manages = visitor.manages_chain
    return TransactionPage(
        id=row.id,
        chain_id=row.chain_id,
        network=network.name,
        transaction_type=row.transaction_type,
        origin=row.origin,
        state=row.state,
        status=row.status,
        transaction_hash=row.transaction_hash,
        from_address=format_address(row.from_address),
        to_address=_shown(row.to_address),
        contract_name=row.contract_name,
        contract_address=_shown(row.contract_address),
        function_name=row.function_name,
        parameters=row.parameters,
        value=str(row.value_transferred),
        symbol=network.native_symbol,
        nonce=row.nonce,
        block_number=row.block_number,
        block_hash=row.block_hash,
        transaction_index=row.transaction_index,
        error_message=row.error_message,
        asked=row.asked,
        steps=steps_of(row, attempts),
        attempts=[attempt_line(one, row) for one in attempts],
        cost=cost_line(row, network, price),
        challenge_id=row.challenge_id if manages else None,
        user_id=row.user_id if manages else None,
    )


def contracts_page(database: Database, *, after: str | None) -> ContractsPage:
    """
    Return a page of our contracts.

    Raises:
        PageRequestError: *after* is no number of a contract.
    """
    behind = None if after is None else ContractId(parse_number(after))
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        found = list_contracts(tx, after=behind, limit=LINES + 1)
        names = {network.chain_id: network.name for network in list_networks(tx)}
    shown = found[:LINES]
    return ContractsPage(
        contracts=[contract_line(one, names[one.chain_id]) for one in shown],
        next=shown[-1].id if len(found) > LINES else None,
    )


def parse_number(text: str) -> int:
    """
    Return the number that *text* writes.

    Raises:
        PageRequestError: It writes none that a row has.
    """
    if not (text.isascii() and text.isdecimal()) or int(text[:17]) > MAX_NUMBER:
        raise PageRequestError("after is the number of a contract")
    return int(text)


def network_line(network: Network, standing: Standing) -> NetworkLine:
    """Return a network as the page says it."""
    return NetworkLine(
        chain_id=network.chain_id,
        name=network.name,
        status=network.status,
        halted_reason=network.halted_reason,
        head=network.scanned_block,
        finalized=network.finalized_block,
        finalized_at=_time(network.finalized_time),
        lag_seconds=standing.lag_seconds,
        oldest_intent_seconds=standing.oldest_intent_seconds,
    )


def account_line(account: ChainAccount, network: str) -> AccountLine:
    """Return an account as the page says it."""
    return AccountLine(
        chain_id=account.chain_id,
        network=network,
        purpose=account.purpose,
        address=format_address(account.address),
        signer_name=account.signer_name,
        next_nonce=account.next_nonce,
        minimum_balance_wei=str(account.minimum_balance_wei),
        is_paused=account.is_paused,
    )


def waiting_line(row: Waiting) -> WaitingLine:
    """Return a transaction that waits as the page says it."""
    return WaitingLine(
        id=row.id,
        chain_id=row.chain_id,
        transaction_type=row.transaction_type,
        state=row.state,
        function_name=row.function_name,
        nonce=row.nonce,
        transaction_hash=row.transaction_hash,
        submitted_at=format_time(row.submitted_at),
    )


def steps_of(row: ChainTransaction, attempts: list[Attempt]) -> list[Step]:
    """Return the line of a transaction: handed over, signed each time, and what came of it."""
    steps = [
        Step("handed over" if row.origin == "managed" else "seen", format_time(row.submitted_at))
    ]
    for one in attempts:
        again = "signed" if one.attempt == 1 else "signed again"
        name = "cancel signed" if one.kind == "cancel" else again
        steps.append(Step(name, format_time(one.signed_at)))
    for name, at in (("included", row.mined_at), ("confirmed", row.confirmed_at)):
        if at is not None:
            steps.append(Step(name, format_time(at)))
    if row.finalized_at is not None or row.state in {"failed", "cancelled", "dropped"}:
        steps.append(Step(row.state, _time(row.finalized_at)))
    return steps


def attempt_line(attempt: Attempt, row: ChainTransaction) -> AttemptLine:
    """Return one signing as the page says it."""
    return AttemptLine(
        attempt=attempt.attempt,
        kind=attempt.kind,
        transaction_hash=attempt.transaction_hash,
        max_fee_per_gas=str(attempt.max_fee_per_gas),
        max_priority_fee_per_gas=str(attempt.max_priority_fee_per_gas),
        signed_at=format_time(attempt.signed_at),
        broadcast_at=_time(attempt.broadcast_at),
        last_error=attempt.last_error,
        is_current=attempt.transaction_hash == row.transaction_hash,
    )


def cost_line(
    row: ChainTransaction, network: Network, price: PriceSnapshot | None
) -> CostLine | None:
    """Return what a transaction cost; None while it is in no block."""
    if row.gas_used is None or row.fee_wei is None:
        return None
    return CostLine(
        gas_used=row.gas_used,
        gas_price=str(row.gas_price),
        l1_fee_wei=str(row.l1_fee_wei),
        fee_wei=str(row.fee_wei),
        fee=_decimal(row.transaction_fee) or "0",
        symbol=network.native_symbol,
        cost_usd=_decimal(row.cost_usd),
        price_usd=None if price is None else _decimal(price.usd),
        price_source=None if price is None else price.source,
        price_at=None if price is None else format_time(price.observed_at),
    )


def contract_line(contract: Contract, network: str) -> ContractLine:
    """Return a contract as the page says it."""
    named = {"function": "functions", "event": "events"}
    found: dict[str, list[str]] = {"functions": [], "events": []}
    for entry in contract.abi:
        if entry.get("type") in named:
            found[named[entry["type"]]].append(signature_of(entry))
    return ContractLine(
        chain_id=contract.chain_id,
        network=network,
        name=contract.contract_name,
        version=contract.contract_version,
        address=format_address(contract.contract_address),
        is_active=contract.is_active,
        block_number=contract.block_number,
        code_hash="0x" + bytes(contract.code_hash).hex(),
        functions=found["functions"],
        events=found["events"],
    )


def _shown(address: Address | None) -> str | None:
    return None if address is None else format_address(address)


def _time(at: datetime.datetime | None) -> str | None:
    return None if at is None else format_time(at)


def _decimal(value: Decimal | None) -> str | None:
    """Return *value* without an exponent and without zeros that say nothing."""
    if value is None:
        return None
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
