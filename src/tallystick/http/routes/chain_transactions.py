"""
Transactions of the chain, their evidence, contracts' events and sums (chain.md, section 6).

Whom a transaction is for, and the key that a slice gave it, which may say so too, are shown to
those who manage the chain, and to nobody else.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from tallystick.chain import (
    ChainTransaction,
    ContractEvent,
    InclusionEvidence,
    TransactionId,
    bump_transaction,
    cancel_transaction,
    find_transaction,
    get_network,
    get_transaction_statistics,
    list_attempts,
    list_events,
    list_transactions,
)
from tallystick.chain.errors import UnknownTransactionError
from tallystick.chain.evidence import inclusion_evidence
from tallystick.chain.intents import EventPlace
from tallystick.chain.prices import get_price
from tallystick.chain.values import Attempt, PriceSnapshot, TransactionStatistics
from tallystick.clock import format_time, utc_now
from tallystick.db import Transaction
from tallystick.http.answers import Body, Page, optional_time
from tallystick.http.asked import After, Caller, Limit, Number, Read, Served, Text, Write
from tallystick.http.parameters import (
    check_limit,
    format_cursor,
    parse_cursor,
    parse_moment,
    parse_number_cursor,
)
from tallystick.http.routes.chain import (
    ADMIN,
    ChainNumber,
    PriceItem,
    paged,
    price_item,
)
from tallystick.record import (
    Address,
    ChainId,
    TransactionHash,
    format_address,
    parse_transaction_hash,
)

STATISTICS_DAYS: Final = 30
"""How far back sums reach where nobody says since when."""

Status = Annotated[
    Literal["pending", "success", "failed"] | None, QueryParameter(description="As it ended.")
]
EventStateText = Annotated[
    Literal["observed", "final", "orphaned"] | None, QueryParameter(name="state")
]
TypeName = Annotated[str | None, QueryParameter(name="type", description="Type of transaction.")]
HashText = FromPath[str]
Hidden = msgspec.UnsetType


class TransactionItem(msgspec.Struct, frozen=True):
    """
    A transaction. Amounts are in wei, as decimal text, *transaction_fee* in whole coins; what
    only a receipt tells is null until there is one. *parameters* are null where the contract is
    not ours. The last three are there for those who manage the chain alone.
    """

    id: int
    chain_id: int
    transaction_type: str
    origin: str
    state: str
    status: str
    transaction_hash: str | None
    intent_digest: str | None
    from_address: str
    to_address: str | None
    contract_address: str | None
    contract_name: str | None
    function_name: str | None
    parameters: Any
    call_data: str
    value_transferred: str
    gas_limit: int | None
    nonce: int | None
    receipt_status: int | None
    block_number: int | None
    block_hash: str | None
    transaction_index: int | None
    gas_used: int | None
    gas_price: str | None
    l1_fee_wei: str
    fee_wei: str | None
    transaction_fee: str | None
    price_id: int | None
    cost_usd: str | None
    error_message: str | None
    revert_data: str | None
    metadata: Any
    asked: str | None
    submitted_at: str
    mined_at: str | None
    confirmed_at: str | None
    finalized_at: str | None
    challenge_id: int | Hidden | None = msgspec.UNSET
    user_id: str | Hidden | None = msgspec.UNSET
    idempotency_key: str | Hidden | None = msgspec.UNSET


class AttemptItem(msgspec.Struct, frozen=True):
    """One signing of a transaction; the signed bytes are not shown."""

    attempt: int
    kind: str
    transaction_hash: str
    max_fee_per_gas: str
    max_priority_fee_per_gas: str
    gas_limit: int
    signed_at: str
    broadcast_at: str | None
    last_error: str | None


class TransactionBody(Body, frozen=True, kw_only=True):
    """A transaction, every signing of it in order, and the price that its cost was counted by."""

    transaction: TransactionItem
    attempts: list[AttemptItem]
    price: PriceItem | None


class EventItem(msgspec.Struct, frozen=True):
    """An event of a contract; *args* by name, integers as decimal text."""

    chain_id: int
    contract_name: str
    contract_address: str
    event_name: str | None
    args: Any
    topics: list[str]
    data: str
    state: str
    block_number: int
    block_hash: str
    block_time: str
    log_index: int
    transaction_hash: str


class StatisticsItem(msgspec.Struct, frozen=True):
    """Sums of one network, type and status; medians are null where none got so far."""

    chain_id: int
    transaction_type: str
    status: str
    count: int
    gas_used: str
    fee_wei: str
    cost_usd: str
    median_inclusion_seconds: float | None
    median_finality_seconds: float | None


class StatisticsBody(Body, frozen=True, kw_only=True):
    """Sums of what was handed over since a time."""

    since: str
    items: list[StatisticsItem]


class LogItem(msgspec.Struct, frozen=True):
    """A log of a receipt."""

    address: str
    topics: list[str]
    data: str


class EvidenceBody(Body, frozen=True, kw_only=True):
    """
    What shows offline that a transaction stands in a block: the header's RLP hashes to
    *block_hash*, and *receipt_proof*, root first, leads from its receipts root to the receipt.
    """

    chain_id: int
    transaction_hash: str
    transaction_index: int
    nonce: int
    from_address: str
    to_address: str | None
    block_number: int
    block_hash: str
    block_time: str
    state_root: str
    transactions_root: str
    receipts_root: str
    header_rlp: str
    receipt_rlp: str
    receipt_proof: list[str]
    receipt_status: int
    gas_used: int
    gas_price: str
    contract_address: str | None
    logs: list[LogItem]


@get("/api/v1/chain/transactions", sync_to_thread=True)
def get_transactions(
    reading: Read,
    principal: Caller,
    transaction_type: TypeName = None,
    status: Status = None,
    chain_id: Number = None,
    limit: Limit = None,
    after: After = None,
) -> Page[TransactionItem]:
    """Transactions, the newest first; of one type, status or network where they are named."""
    size = check_limit(limit)
    behind = None if after is None else TransactionId(parse_number_cursor(after))
    shows_whom = principal is not None and principal.has_one_of(ADMIN)
    found = reading.run(
        lambda tx: list_transactions(
            tx,
            transaction_type=transaction_type,
            status=status,
            chain_id=None if chain_id is None else ChainId(chain_id),
            after=behind,
            limit=size + 1,
        )
    )
    return paged(found, size, lambda row: transaction_item(row, shows_whom=shows_whom))


@get("/api/v1/chain/transactions/{chain:int}/{transaction_hash:str}", sync_to_thread=True)
def get_one_transaction(
    reading: Read, principal: Caller, chain: ChainNumber, transaction_hash: HashText
) -> TransactionBody:
    """A transaction with every signing of it, found by the hash of any of them."""
    wanted = parse_transaction_hash(transaction_hash)
    shows_whom = principal is not None and principal.has_one_of(ADMIN)

    def read(tx: Transaction) -> TransactionBody:
        network = get_network(tx, ChainId(chain))
        found = find_transaction(tx, network.chain_id, wanted)
        return transaction_body(tx, found, shows_whom=shows_whom)

    return reading.run(read)


@get("/api/v1/chain/transactions/{chain:int}/{transaction_hash:str}/evidence", sync_to_thread=True)
def get_evidence(
    services: Served, reading: Read, chain: ChainNumber, transaction_hash: HashText
) -> EvidenceBody:
    """What shows offline that a transaction was included; 503 where no node can give it."""
    chain_id = ChainId(chain)
    wanted = reading.run(lambda tx: mined_hash(tx, chain_id, transaction_hash))
    # No transaction of the database waits for a node.
    return evidence_body(inclusion_evidence(services.nodes.of(chain_id), wanted))


@get("/api/v1/chain/events", sync_to_thread=True)
def get_chain_events(
    reading: Read,
    contract: FromQuery[str],
    chain_id: FromQuery[int],
    name: Text = None,
    event_state: EventStateText = None,
    limit: Limit = None,
    after: After = None,
) -> Page[EventItem]:
    """The events of a contract on a network, of all its deployments, the oldest block first."""
    size = check_limit(limit)
    behind = None if after is None else parse_place(after)

    def read(tx: Transaction) -> Page[EventItem]:
        network = get_network(tx, ChainId(chain_id))
        found = list_events(
            tx,
            contract_name=contract,
            chain_id=network.chain_id,
            event_name=name,
            state=event_state,
            after=behind,
            limit=size + 1,
        )
        shown, last = found[:size], found[min(size, len(found)) - 1] if found else None
        following = None
        if last is not None and len(found) > size:
            following = format_cursor(last.block_number, last.log_index, last.block_hash)
        return Page(items=[event_item(event) for event in shown], next=following)

    return reading.run(read)


@get("/api/v1/chain/statistics", sync_to_thread=True)
def get_statistics(reading: Read, chain_id: Number = None, since: Text = None) -> StatisticsBody:
    """Transactions, gas, fees and USD by network, type and status; of the last 30 days."""
    begin = utc_now() - datetime.timedelta(days=STATISTICS_DAYS)
    if since is not None:
        begin = datetime.datetime.fromisoformat(parse_moment(since, name="since"))
    chain = None if chain_id is None else ChainId(chain_id)
    sums = reading.run(lambda tx: get_transaction_statistics(tx, chain, begin))
    return StatisticsBody(since=format_time(begin), items=[statistics_item(one) for one in sums])


@post(
    "/api/v1/chain/transactions/{transaction_id:int}/cancel", status_code=202, sync_to_thread=True
)
def post_cancel(writing: Write, transaction_id: FromPath[int]) -> Response[TransactionBody]:
    """
    Cancel a transaction: at once where it is queued; where it is signed, the sender is asked to
    spend its nonce on nothing, and what is mined decides.
    """
    return writing.run(
        lambda tx: transaction_body(
            tx, cancel_transaction(tx, TransactionId(transaction_id)), shows_whom=True
        ),
        status=202,
    )


@post("/api/v1/chain/transactions/{transaction_id:int}/bump", status_code=202, sync_to_thread=True)
def post_bump(writing: Write, transaction_id: FromPath[int]) -> Response[TransactionBody]:
    """Ask the sender to offer more for a signed transaction."""
    return writing.run(
        lambda tx: transaction_body(
            tx, bump_transaction(tx, TransactionId(transaction_id)), shows_whom=True
        ),
        status=202,
    )


def mined_hash(tx: Transaction, chain_id: ChainId, text: str) -> TransactionHash:
    """
    Return the hash to ask a node for: of the attempt that was mined where the transaction is
    ours, else the one that *text* writes.

    Raises:
        UnknownNetworkError: There is no such network.
        InvalidHashError: *text* writes no hash.
    """
    wanted = parse_transaction_hash(text)
    get_network(tx, chain_id)
    try:
        ours = find_transaction(tx, chain_id, wanted)
    except UnknownTransactionError:
        return wanted
    return ours.transaction_hash or wanted


def parse_place(text: str) -> EventPlace:
    """
    Return where the page of events begins that a cursor names.

    Raises:
        InvalidRequestError: It is not a cursor of this list.
    """
    number, index, block_hash = parse_cursor(text, int, int, str)
    assert isinstance(number, int)
    assert isinstance(index, int)
    assert isinstance(block_hash, str)
    return EventPlace(number, index, block_hash)


def transaction_body(
    tx: Transaction, transaction: ChainTransaction, *, shows_whom: bool
) -> TransactionBody:
    """Return *transaction* with its attempts and its price."""
    price: PriceSnapshot | None = None
    if transaction.price_id is not None:
        price = get_price(tx, transaction.price_id)
    return TransactionBody(
        transaction=transaction_item(transaction, shows_whom=shows_whom),
        attempts=[attempt_item(one) for one in list_attempts(tx, transaction.id)],
        price=None if price is None else price_item(price),
    )


def transaction_item(row: ChainTransaction, *, shows_whom: bool) -> TransactionItem:
    """Return a transaction as it is answered."""
    return TransactionItem(
        id=row.id,
        chain_id=row.chain_id,
        transaction_type=row.transaction_type,
        origin=row.origin,
        state=row.state,
        status=row.status,
        transaction_hash=row.transaction_hash,
        intent_digest=None if row.intent_digest is None else bytes(row.intent_digest).hex(),
        from_address=format_address(row.from_address),
        to_address=shown_address(row.to_address),
        contract_address=shown_address(row.contract_address),
        contract_name=row.contract_name,
        function_name=row.function_name,
        parameters=row.parameters,
        call_data=hexadecimal(row.call_data),
        value_transferred=str(row.value_transferred),
        gas_limit=row.gas_limit,
        nonce=row.nonce,
        receipt_status=row.receipt_status,
        block_number=row.block_number,
        block_hash=row.block_hash,
        transaction_index=row.transaction_index,
        gas_used=row.gas_used,
        gas_price=None if row.gas_price is None else str(row.gas_price),
        l1_fee_wei=str(row.l1_fee_wei),
        fee_wei=None if row.fee_wei is None else str(row.fee_wei),
        transaction_fee=None if row.transaction_fee is None else f"{row.transaction_fee:f}",
        price_id=row.price_id,
        cost_usd=None if row.cost_usd is None else f"{row.cost_usd:f}",
        error_message=row.error_message,
        revert_data=None if row.revert_data is None else hexadecimal(row.revert_data),
        metadata=row.metadata,
        asked=row.asked,
        submitted_at=format_time(row.submitted_at),
        mined_at=optional_time(row.mined_at),
        confirmed_at=optional_time(row.confirmed_at),
        finalized_at=optional_time(row.finalized_at),
        challenge_id=row.challenge_id if shows_whom else msgspec.UNSET,
        user_id=row.user_id if shows_whom else msgspec.UNSET,
        idempotency_key=row.idempotency_key if shows_whom else msgspec.UNSET,
    )


def attempt_item(attempt: Attempt) -> AttemptItem:
    """Return one signing as it is answered."""
    return AttemptItem(
        attempt=attempt.attempt,
        kind=attempt.kind,
        transaction_hash=attempt.transaction_hash,
        max_fee_per_gas=str(attempt.max_fee_per_gas),
        max_priority_fee_per_gas=str(attempt.max_priority_fee_per_gas),
        gas_limit=attempt.gas_limit,
        signed_at=format_time(attempt.signed_at),
        broadcast_at=optional_time(attempt.broadcast_at),
        last_error=attempt.last_error,
    )


def event_item(event: ContractEvent) -> EventItem:
    """Return *event* as it is answered."""
    return EventItem(
        chain_id=event.chain_id,
        contract_name=event.contract_name,
        contract_address=format_address(event.contract_address),
        event_name=event.event_name,
        args=event.args,
        topics=[hexadecimal(topic) for topic in event.topics],
        data=hexadecimal(event.data),
        state=event.state,
        block_number=event.block_number,
        block_hash=event.block_hash,
        block_time=format_time(event.block_time),
        log_index=event.log_index,
        transaction_hash=event.transaction_hash,
    )


def statistics_item(row: TransactionStatistics) -> StatisticsItem:
    """Return sums as they are answered."""
    return StatisticsItem(
        chain_id=row.chain_id,
        transaction_type=row.transaction_type,
        status=row.status,
        count=row.count,
        gas_used=str(row.gas_used),
        fee_wei=str(row.fee_wei),
        cost_usd=f"{row.cost_usd:f}",
        median_inclusion_seconds=row.median_inclusion_seconds,
        median_finality_seconds=row.median_finality_seconds,
    )


def evidence_body(evidence: InclusionEvidence) -> EvidenceBody:
    """Return *evidence* as it is answered: bytes in hexadecimal with 0x, as the EVM's are."""
    return EvidenceBody(
        chain_id=evidence.chain_id,
        transaction_hash=evidence.transaction_hash,
        transaction_index=evidence.transaction_index,
        nonce=evidence.nonce,
        from_address=format_address(evidence.from_address),
        to_address=shown_address(evidence.to_address),
        block_number=evidence.block_number,
        block_hash=evidence.block_hash,
        block_time=format_time(evidence.block_time),
        state_root=hexadecimal(evidence.state_root),
        transactions_root=hexadecimal(evidence.transactions_root),
        receipts_root=hexadecimal(evidence.receipts_root),
        header_rlp=hexadecimal(evidence.header_rlp),
        receipt_rlp=hexadecimal(evidence.receipt_rlp),
        receipt_proof=[hexadecimal(node) for node in evidence.receipt_proof],
        receipt_status=evidence.receipt_status,
        gas_used=evidence.gas_used,
        gas_price=str(evidence.gas_price),
        contract_address=shown_address(evidence.contract_address),
        logs=[
            LogItem(
                address=format_address(log.address),
                topics=[hexadecimal(topic) for topic in log.topics],
                data=hexadecimal(log.data),
            )
            for log in evidence.logs
        ],
    )


def shown_address(address: Address | None) -> str | None:
    """Return *address* with its checksum; None where there is none."""
    return None if address is None else format_address(address)


def hexadecimal(data: bytes) -> str:
    """Return *data* as the EVM's world writes bytes."""
    return "0x" + bytes(data).hex()


ROUTES: Final = [
    get_transactions,
    get_one_transaction,
    get_evidence,
    get_chain_events,
    get_statistics,
    post_cancel,
    post_bump,
]
