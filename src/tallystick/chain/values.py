"""
What the chain slice takes and gives: intents, transactions, blocks, events, prices (chain.md, 4.1).

Amounts are whole numbers of wei; hashes and addresses are lower-case text as they are stored;
times carry a zone. Rows come as the database spells them and are made exact here.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, NewType

from tallystick.record.evm import Address, BlockHash, ChainId, ReceiptLog, TransactionHash, Wei

TransactionId = NewType("TransactionId", int)
"""Row of blockchain_transactions: one logical transaction, however often it is signed again."""
ContractId = NewType("ContractId", int)
"""Row of contract_deployments."""
PriceId = NewType("PriceId", int)
"""Row of price_snapshots."""

State = Literal[
    "queued",
    "signed",
    "broadcast",
    "mined",
    "confirmed",
    "finalized",
    "failed",
    "cancelled",
    "dropped",
]
"""Where a transaction stands (section 3.1)."""
Status = Literal["pending", "success", "failed"]
"""The same in the three words of earlier users."""
EventState = Literal["observed", "final", "orphaned"]
NetworkStatus = Literal["active", "paused", "halted"]
FinalityMode = Literal["tag", "depth"]
AttemptKind = Literal["send", "cancel"]
Asked = Literal["cancel", "bump"]
"""What an operator asks the sender to do with a transaction that is signed already."""

DEV_CHAIN_ID: Final = ChainId(131277322940537)
"""The embedded dev chain; its id exceeds 2^31 on purpose."""
NO_WEI: Final = Wei(0)
ZERO_ADDRESS: Final = Address("0x" + "0" * 40)
"""Stands for a chain's own coin where a token's address is asked for."""
WAKE_CHANNEL: Final = "tally_chain"
"""`NOTIFY` on it, with the chain id as text, wakes sender and watcher (section 4.4)."""
MAX_INTENTS: Final = 1_000
"""The most intents of one `send_many`: a statement that locks so many keys ends in milliseconds."""
MAX_KEY_CHARACTERS: Final = 200
MAX_CALL_DATA_BYTES: Final = 131_072
"""Nodes refuse transactions of more than 128 KiB, so a longer one could never be sent."""


class AnyValue:
    """Stands in an expectation for a value that may be any."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = AnyValue()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainIntent:
    """A transaction that a slice wants on the chain; it is executed at most once."""

    chain_id: ChainId
    transaction_type: str
    """A row of blockchain_transaction_types."""
    idempotency_key: str
    """1 to 200 characters, unique over all intents."""
    to: Address | None
    """None deploys."""
    call_data: bytes
    value: Wei = NO_WEI
    from_address: Address | None = None
    """None: the account with the type's purpose on that network."""
    challenge_id: int | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What an observed transaction has to be; `ANY` leaves an argument open, None a field."""

    chain_id: ChainId
    from_address: Address | None
    to: Address | None
    """The contract or receiver; None is a deployment."""
    function: str | None = None
    """The signature whose selector the call data begin with: `join(uint256,address)`; None where
    nothing is called: then there are no call data."""
    arguments: Sequence[Any] = ()
    """One for each argument of *function*: integers, booleans, bytes, text, lists; or `ANY`."""
    value: Wei | None = NO_WEI


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTransaction:
    """A transaction as a node tells it, with its receipt's facts where it has one."""

    chain_id: ChainId
    transaction_hash: TransactionHash
    transaction_type: int
    """EIP-2718: 0 legacy, 1 access list, 2 dynamic fee, 3 blob, 4 set code."""
    from_address: Address
    to_address: Address | None
    nonce: int
    value: Wei
    call_data: bytes
    gas_limit: int
    block_number: int | None = None
    block_hash: BlockHash | None = None
    block_time: datetime.datetime | None = None
    transaction_index: int | None = None
    receipt_status: int | None = None
    gas_used: int | None = None
    gas_price: Wei | None = None
    """Effective, of the receipt."""
    l1_fee_wei: Wei = NO_WEI
    contract_address: Address | None = None


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """A row of blockchain_transactions."""

    id: TransactionId
    chain_id: ChainId
    transaction_type: str
    origin: Literal["managed", "observed"]
    idempotency_key: str | None
    intent_digest: bytes | None
    from_address: Address
    to_address: Address | None
    contract_address: Address | None
    contract_name: str | None
    function_name: str | None
    parameters: Any
    """The decoded arguments, integers as decimal text; None where the contract is not known."""
    call_data: bytes
    value_transferred: Wei
    gas_limit: int | None
    nonce: int | None
    transaction_hash: TransactionHash | None
    state: State
    status: Status
    receipt_status: int | None
    block_number: int | None
    block_hash: BlockHash | None
    transaction_index: int | None
    gas_used: int | None
    gas_price: Wei | None
    l1_fee_wei: Wei
    fee_wei: Wei | None
    transaction_fee: Decimal | None
    """The fee in whole coins, exact to 10^-18."""
    price_id: PriceId | None
    cost_usd: Decimal | None
    challenge_id: int | None
    user_id: str | None
    error_message: str | None
    revert_data: bytes | None
    metadata: Mapping[str, Any]
    asked: Asked | None
    submitted_at: datetime.datetime
    mined_at: datetime.datetime | None
    confirmed_at: datetime.datetime | None
    finalized_at: datetime.datetime | None
    created_at: datetime.datetime

    def __post_init__(self) -> None:
        _make_whole(self, "value_transferred", "gas_price", "l1_fee_wei", "fee_wei")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of blockchain_transaction_attempts: one signing of a transaction."""

    chain_id: ChainId
    transaction_hash: TransactionHash
    transaction_id: TransactionId
    attempt: int
    """Counts from 1 within its transaction."""
    kind: AttemptKind
    raw: bytes
    """The signed bytes."""
    max_fee_per_gas: Wei
    max_priority_fee_per_gas: Wei
    gas_limit: int
    signed_at: datetime.datetime
    broadcast_at: datetime.datetime | None
    last_error: str | None

    def __post_init__(self) -> None:
        _make_whole(self, "max_fee_per_gas", "max_priority_fee_per_gas")


@dataclass(frozen=True, slots=True)
class ChainBlock:
    """A block that is on the canonical chain."""

    chain_id: ChainId
    number: int
    hash: BlockHash
    time: datetime.datetime


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """A row of contract_events, with the time of its block and what its contract is called."""

    chain_id: ChainId
    block_hash: BlockHash
    log_index: int
    block_number: int
    block_time: datetime.datetime
    transaction_hash: TransactionHash
    contract_id: ContractId
    contract_name: str
    contract_address: Address
    event_name: str | None
    """None where the contract's ABI has no such event."""
    topics: tuple[bytes, ...]
    data: bytes
    args: Mapping[str, Any]
    """The decoded arguments by name, integers as decimal text."""
    state: EventState

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", tuple(bytes(topic) for topic in self.topics))


@dataclass(frozen=True, slots=True)
class Contract:
    """A row of contract_deployments."""

    id: ContractId
    chain_id: ChainId
    contract_name: str
    contract_address: Address
    contract_version: str
    deployment_tx_hash: TransactionHash | None
    deployer_address: Address | None
    block_number: int | None
    constructor_args: Any
    abi: Sequence[Any]
    abi_hash: bytes
    code_hash: bytes
    """Keccak-256 of the code as it was read from the chain."""
    source_hash: bytes | None
    compiler_version: str | None
    is_active: bool
    deployed_at: datetime.datetime | None
    created_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Price:
    """What one whole coin cost in USD, by whom and when it was seen."""

    price_id: PriceId
    usd: Decimal
    """With 8 decimals, above 0."""
    source: str
    """`fixed:<operator>`, `chainlink:<feed>` or `http:<name>`."""
    observed_at: datetime.datetime
    """The source's own time."""


@dataclass(frozen=True, slots=True)
class PriceSnapshot:
    """A row of price_snapshots."""

    id: PriceId
    symbol: str
    usd: Decimal
    source: str
    observed_at: datetime.datetime
    taken_at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Network:
    """A row of networks."""

    chain_id: ChainId
    name: str
    native_symbol: str
    is_testnet: bool
    has_l1_fee: bool
    confirmations: int
    finality_mode: FinalityMode
    finality_quorum: int
    block_seconds: Decimal
    resubmit_seconds: int
    max_fee_per_gas_wei: Wei
    min_tip_wei: Wei
    status: NetworkStatus
    halted_reason: str | None
    """What halted it; set exactly while it is halted."""
    status_reason: str | None
    """Why an operator paused or resumed it last."""
    scanned_block: int | None
    scanned_hash: BlockHash | None
    finalized_block: int | None
    finalized_time: datetime.datetime | None
    created_at: datetime.datetime

    def __post_init__(self) -> None:
        _make_whole(self, "max_fee_per_gas_wei", "min_tip_wei")


@dataclass(frozen=True, slots=True)
class ChainAccount:
    """A row of chain_accounts: an address of ours on one network, and what it sends."""

    chain_id: ChainId
    address: Address
    purpose: str
    signer_name: str
    """A signer of the configuration; never a key."""
    next_nonce: int
    minimum_balance_wei: Wei
    is_paused: bool
    created_at: datetime.datetime

    def __post_init__(self) -> None:
        _make_whole(self, "minimum_balance_wei")


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionEvidence:
    """What shows offline that a transaction stands in a block (section 4.1.7)."""

    chain_id: ChainId
    transaction_hash: TransactionHash
    transaction_index: int
    nonce: int
    from_address: Address
    to_address: Address | None
    block_number: int
    block_hash: BlockHash
    block_time: datetime.datetime
    state_root: bytes
    transactions_root: bytes
    receipts_root: bytes
    header_rlp: bytes
    """Hashes to *block_hash*."""
    receipt_rlp: bytes
    receipt_proof: tuple[bytes, ...]
    """Trie nodes, root first, from *receipts_root* to *receipt_rlp*."""
    receipt_status: int
    gas_used: int
    gas_price: Wei
    contract_address: Address | None
    logs: tuple[ReceiptLog, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class TransactionStatistics:
    """Transactions of one type and status since a time."""

    chain_id: ChainId
    transaction_type: str
    status: Status
    count: int
    gas_used: int
    fee_wei: int
    cost_usd: Decimal
    median_inclusion_seconds: float | None
    """From submission to inclusion; None where none of them is included."""
    median_finality_seconds: float | None
    """From submission to finality; None where none of them is final."""

    def __post_init__(self) -> None:
        _make_whole(self, "gas_used", "fee_wei")


def _make_whole(row: object, *names: str) -> None:
    """Turn the decimals that the driver gives for NUMERIC(78,0) into integers, exactly."""
    for name in names:
        value = getattr(row, name)
        if value is not None:
            object.__setattr__(row, name, int(value))
