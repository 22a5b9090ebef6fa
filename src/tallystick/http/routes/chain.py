"""Networks, contracts and prices of the chain (chain.md, sections 4.2 and 6)."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, JSONBody

from tallystick.chain import (
    Contract,
    ContractId,
    Network,
    PriceId,
    get_network,
    list_latest_prices,
    list_networks,
    list_prices,
    open_network,
    record_price,
    set_network,
)
from tallystick.chain.contracts import get_contract_at, list_contracts
from tallystick.chain.networks import check_reason
from tallystick.chain.overview import Standing, list_standings
from tallystick.chain.prices import get_price
from tallystick.chain.values import PriceSnapshot
from tallystick.clock import format_time, utc_now
from tallystick.db import Transaction
from tallystick.http.answers import Body, Page, optional_time
from tallystick.http.asked import After, Caller, Flag, Limit, Number, Read, Text, Write
from tallystick.http.owning import known
from tallystick.http.parameters import check_limit, format_cursor, parse_number_cursor
from tallystick.record import ChainId, format_address, parse_address

ADMIN: Final = "chain:admin"
READERS: Final = ("chain:read", ADMIN)
ChainNumber = FromPath[int]

Row = TypeVar("Row")
Item = TypeVar("Item")


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; it stands with the network, and is sealed."""

    reason: str


class NewPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one whole coin costs in USD, and when that was so; without a time it is now."""

    symbol: str
    usd: Decimal
    observed_at: datetime.datetime | None = None


class NetworkItem(msgspec.Struct, frozen=True):
    """
    A network. *head* is its newest recorded block and *lag_seconds* that block's age, null where
    nobody watches it. *status_reason*, an operator's words, is there for readers of the chain.
    """

    chain_id: int
    name: str
    native_symbol: str
    is_testnet: bool
    has_l1_fee: bool
    confirmations: int
    finality_mode: str
    finality_quorum: int
    block_seconds: str
    resubmit_seconds: int
    max_fee_per_gas_wei: str
    min_tip_wei: str
    status: str
    halted_reason: str | None
    head: int | None
    head_hash: str | None
    finalized: int | None
    finalized_at: str | None
    lag_seconds: float | None
    status_reason: str | msgspec.UnsetType | None = msgspec.UNSET


class NetworkBody(Body, frozen=True, kw_only=True):
    """One network."""

    network: NetworkItem


class ContractItem(msgspec.Struct, frozen=True):
    """A contract of ours; hashes in hexadecimal, of which *code_hash* is keccak-256."""

    id: int
    chain_id: int
    contract_name: str
    contract_address: str
    contract_version: str
    deployment_tx_hash: str | None
    deployer_address: str | None
    block_number: int | None
    constructor_args: Any
    abi: Any
    abi_hash: str
    code_hash: str
    source_hash: str | None
    compiler_version: str | None
    is_active: bool
    deployed_at: str | None


class ContractBody(Body, frozen=True, kw_only=True):
    """One contract."""

    contract: ContractItem


class PriceItem(msgspec.Struct, frozen=True):
    """A price that was recorded: *observed_at* is its source's time, *taken_at* ours."""

    id: int
    symbol: str
    usd: str
    source: str
    observed_at: str
    taken_at: str


class PriceBody(Body, frozen=True, kw_only=True):
    """One price."""

    price: PriceItem


@get("/api/v1/chain/networks", sync_to_thread=True)
def get_networks(reading: Read, principal: Caller) -> Page[NetworkItem]:
    """Every network that is known, by chain id: its status, head, what is final, and its lag."""
    shows_reason = principal is not None and principal.has_one_of(*READERS)

    def read(tx: Transaction) -> Page[NetworkItem]:
        standings = {one.chain_id: one for one in list_standings(tx)}
        items = [
            network_item(one, standings.get(one.chain_id), shows_reason=shows_reason)
            for one in list_networks(tx)
        ]
        return Page(items=items, next=None)

    return reading.run(read)


@post("/api/v1/chain/networks/{chain_id:int}/pause", status_code=202, sync_to_thread=True)
def post_pause(
    writing: Write, chain_id: ChainNumber, data: JSONBody[Reason]
) -> Response[NetworkBody]:
    """Sign nothing more on a network; what was sent is followed on."""

    def pause(tx: Transaction) -> NetworkBody:
        check_reason(data.reason)
        return network_body(
            tx, set_network(tx, ChainId(chain_id), status="paused", reason=data.reason)
        )

    return writing.run(pause, status=202)


@post("/api/v1/chain/networks/{chain_id:int}/resume", status_code=202, sync_to_thread=True)
def post_resume(
    writing: Write, chain_id: ChainNumber, data: JSONBody[Reason]
) -> Response[NetworkBody]:
    """Let a network go on that is paused or halted."""
    return writing.run(
        lambda tx: network_body(tx, open_network(tx, ChainId(chain_id), reason=data.reason)),
        status=202,
    )


@get("/api/v1/chain/contracts", sync_to_thread=True)
def get_contracts(
    reading: Read, chain_id: Number = None, limit: Limit = None, after: After = None
) -> Page[ContractItem]:
    """Our contracts with their ABIs, the active ones first, the newest first."""
    size = check_limit(limit)
    behind = None if after is None else ContractId(parse_number_cursor(after))
    chain = None if chain_id is None else ChainId(chain_id)
    found = reading.run(lambda tx: list_contracts(tx, chain, after=behind, limit=size + 1))
    return paged(found, size, contract_item)


@get("/api/v1/chain/contracts/{chain:int}/{address:str}", sync_to_thread=True)
def get_one_contract(reading: Read, chain: ChainNumber, address: FromPath[str]) -> ContractBody:
    """A contract of ours by where it stands, active or not."""
    place = parse_address(address)

    def read(tx: Transaction) -> ContractBody:
        network = get_network(tx, ChainId(chain))
        return ContractBody(contract=contract_item(get_contract_at(tx, network.chain_id, place)))

    return reading.run(read)


@get("/api/v1/chain/prices", sync_to_thread=True)
def get_prices(
    reading: Read,
    symbol: Text = None,
    latest: Flag = None,
    limit: Limit = None,
    after: After = None,
) -> Page[PriceItem]:
    """Recorded prices, the newest first; with `latest`, the newest of each symbol and no other."""
    size = check_limit(limit)
    behind = None if after is None else PriceId(parse_number_cursor(after))
    if latest:
        newest = [
            price_item(price)
            for price in reading.run(list_latest_prices)
            if symbol in {None, price.symbol}
        ]
        return Page(items=newest, next=None)
    found = reading.run(lambda tx: list_prices(tx, symbol=symbol, after=behind, limit=size + 1))
    return paged(found, size, price_item)


@post("/api/v1/chain/prices", status_code=202, sync_to_thread=True)
def post_price(writing: Write, principal: Caller, data: JSONBody[NewPrice]) -> Response[PriceBody]:
    """Record a price; its source is `fixed:` and who says it."""
    source = f"fixed:{known(principal).name}"

    def record(tx: Transaction) -> PriceBody:
        observed_at = data.observed_at or utc_now()
        made = record_price(tx, data.symbol, data.usd, source, observed_at)
        return PriceBody(price=price_item(get_price(tx, made)))

    return writing.run(record, status=202)


def paged(found: Sequence[Row], size: int, item: Callable[[Row], Item]) -> Page[Item]:
    """Return a page of the first *size* rows of *found*, one more of which was asked for."""
    shown = found[:size]
    more = format_cursor(shown[-1].id) if len(found) > size else None  # type: ignore[attr-defined]
    return Page(items=[item(row) for row in shown], next=more)


def network_body(tx: Transaction, network: Network) -> NetworkBody:
    """Return *network* as an answer to who may see all of it."""
    standings = {one.chain_id: one for one in list_standings(tx)}
    standing = standings.get(network.chain_id)
    return NetworkBody(network=network_item(network, standing, shows_reason=True))


def network_item(network: Network, standing: Standing | None, *, shows_reason: bool) -> NetworkItem:
    """Return *network* as it is answered."""
    lag = None if standing is None else standing.lag_seconds
    return NetworkItem(
        chain_id=network.chain_id,
        name=network.name,
        native_symbol=network.native_symbol,
        is_testnet=network.is_testnet,
        has_l1_fee=network.has_l1_fee,
        confirmations=network.confirmations,
        finality_mode=network.finality_mode,
        finality_quorum=network.finality_quorum,
        block_seconds=f"{network.block_seconds:f}",
        resubmit_seconds=network.resubmit_seconds,
        max_fee_per_gas_wei=str(network.max_fee_per_gas_wei),
        min_tip_wei=str(network.min_tip_wei),
        status=network.status,
        halted_reason=network.halted_reason,
        head=network.scanned_block,
        head_hash=network.scanned_hash,
        finalized=network.finalized_block,
        finalized_at=optional_time(network.finalized_time),
        lag_seconds=None if lag is None else round(lag, 3),
        status_reason=network.status_reason if shows_reason else msgspec.UNSET,
    )


def contract_item(contract: Contract) -> ContractItem:
    """Return *contract* as it is answered."""
    deployer = contract.deployer_address
    return ContractItem(
        id=contract.id,
        chain_id=contract.chain_id,
        contract_name=contract.contract_name,
        contract_address=format_address(contract.contract_address),
        contract_version=contract.contract_version,
        deployment_tx_hash=contract.deployment_tx_hash,
        deployer_address=None if deployer is None else format_address(deployer),
        block_number=contract.block_number,
        constructor_args=contract.constructor_args,
        abi=contract.abi,
        abi_hash=bytes(contract.abi_hash).hex(),
        code_hash="0x" + bytes(contract.code_hash).hex(),
        source_hash=None if contract.source_hash is None else bytes(contract.source_hash).hex(),
        compiler_version=contract.compiler_version,
        is_active=contract.is_active,
        deployed_at=optional_time(contract.deployed_at),
    )


def price_item(price: PriceSnapshot) -> PriceItem:
    """Return *price* as it is answered."""
    return PriceItem(
        id=price.id,
        symbol=price.symbol,
        usd=f"{price.usd:f}",
        source=price.source,
        observed_at=format_time(price.observed_at),
        taken_at=format_time(price.taken_at),
    )


ROUTES: Final = [
    get_networks,
    post_pause,
    post_resume,
    get_contracts,
    get_one_contract,
    get_prices,
    post_price,
]
