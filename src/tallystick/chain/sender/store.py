"""The SQL of the sender; every function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.chain.sender.decision import Intent, Reverts, Unmined
from tallystick.chain.sender.transaction import SignedTransaction
from tallystick.chain.values import AttemptKind, FinalityMode, NetworkStatus, TransactionId
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import Address, ChainId, TransactionHash


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    list_accounts: Query
    read_place: Query
    read_queued: Query
    read_unmined: Query
    read_raw: Query
    read_hashes: Query
    sign: Query
    refuse: Query
    broadcast: Query
    replace: Query
    requeue: Query
    take_lock: Query
    listen: Query


SQL = load_queries(Queries, __package__)


@dataclass(frozen=True, slots=True)
class Account:
    """An account of ours and what signs for it."""

    chain_id: ChainId
    address: Address
    signer_name: str


@dataclass(frozen=True, slots=True)
class Place:
    """An account on its network, as a round of the sender finds it."""

    status: NetworkStatus
    block_seconds: float
    resubmit_seconds: int
    max_fee_per_gas: int
    min_tip: int
    confirmations: int
    finality_mode: FinalityMode
    finality_quorum: int
    finalized_block: int | None
    """The newest final block that the watcher has recorded."""
    next_nonce: int
    minimum_balance: int
    is_paused: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_seconds", float(self.block_seconds))
        for name in ("max_fee_per_gas", "min_tip", "minimum_balance"):
            object.__setattr__(self, name, int(getattr(self, name)))

    @property
    def may_sign(self) -> bool:
        """Whether an operator lets this account sign."""
        return self.status == "active" and not self.is_paused

    @property
    def depth(self) -> int | None:
        """Confirmations where finality is by depth, None where it is by the node's tag."""
        return self.confirmations if self.finality_mode == "depth" else None


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt that was signed for a transaction."""

    id: TransactionId
    kind: AttemptKind
    signed: SignedTransaction


def list_accounts(tx: Transaction, chain_ids: Sequence[ChainId]) -> list[Account]:
    """Return the accounts on networks among *chain_ids* that are not halted."""
    return tx.rows(Account, SQL.list_accounts, {"chain_ids": list(chain_ids)})


def read_place(tx: Transaction, chain_id: ChainId, address: Address) -> Place | None:
    """Return the account and its network; None where there is no such account."""
    return tx.row(Place, SQL.read_place, {"chain_id": chain_id, "address": address})


def read_queued(
    tx: Transaction, chain_id: ChainId, address: Address, *, limit: int
) -> list[Intent]:
    """Return at most *limit* queued intents, oldest first."""
    values = {"chain_id": chain_id, "address": address, "limit": limit}
    return tx.rows(Intent, SQL.read_queued, values)


def read_unmined(tx: Transaction, chain_id: ChainId, address: Address) -> list[Unmined]:
    """Return what is signed and in no block, by nonce."""
    return tx.rows(Unmined, SQL.read_unmined, {"chain_id": chain_id, "address": address})


def read_raw(
    tx: Transaction, chain_id: ChainId, hashes: Sequence[TransactionHash]
) -> dict[TransactionHash, bytes]:
    """Return the signed bytes of attempts by their hash."""
    values = {"chain_id": chain_id, "attempt_hashes": list(hashes)}
    return dict(tx.rows(lambda h, raw: (h, bytes(raw)), SQL.read_raw, values))


def read_hashes(
    tx: Transaction, ids: Sequence[TransactionId]
) -> dict[TransactionId, list[TransactionHash]]:
    """Return the hashes of every attempt at each transaction, oldest first."""
    found: dict[TransactionId, list[TransactionHash]] = {each: [] for each in ids}
    for transaction_id, attempt_hash in tx.rows(
        lambda *row: row, SQL.read_hashes, {"ids": list(ids)}
    ):
        found[transaction_id].append(attempt_hash)
    return found


def sign(
    tx: Transaction,
    chain_id: ChainId,
    address: Address,
    made: Sequence[Made],
) -> bool:
    """
    Store first attempts and take their nonces, which follow on one another.

    False where the account's next nonce is another by now, or the network, the account or one
    of the intents does not allow it any more: then nothing is stored.
    """
    values = {
        "chain_id": chain_id,
        "address": address,
        "first_nonce": made[0].signed.transaction.nonce,
        **columns(made),
    }
    return bool(tx.value(SQL.sign, values))


def refuse(
    tx: Transaction, refused: Sequence[tuple[TransactionId, Reverts]]
) -> list[TransactionId]:
    """Fail intents that revert; return those that were still queued."""
    values = {
        "ids": [each for each, _ in refused],
        "messages": [f"refused: {reverts.reason}" for _, reverts in refused],
        "data": [reverts.data or None for _, reverts in refused],
    }
    return tx.values(SQL.refuse, values)


def broadcast(
    tx: Transaction, chain_id: ChainId, said: Sequence[tuple[TransactionHash, str | None]]
) -> None:
    """Record what the node said to attempts that it was sent; None: it has the bytes."""
    values = {
        "chain_id": chain_id,
        "attempt_hashes": [each for each, _ in said],
        "errors": [error for _, error in said],
    }
    tx.execute(SQL.broadcast, values)


def replace(tx: Transaction, chain_id: ChainId, made: Sequence[Made]) -> set[TransactionHash]:
    """Store further attempts; return those whose transaction is still in no block."""
    kinds = [each.kind for each in made]
    values = {"chain_id": chain_id, "kinds": kinds, **columns(made)}
    return set(tx.values(SQL.replace, values))


def requeue(
    tx: Transaction,
    chain_id: ChainId,
    address: Address,
    ids: Sequence[TransactionId],
    *,
    chain_nonce: int,
) -> list[TransactionId]:
    """
    Queue transactions again whose nonce is taken; *chain_nonce* is the final one.

    Return those that an operator wanted cancelled: they are cancelled now.
    """
    values = {
        "chain_id": chain_id,
        "address": address,
        "ids": list(ids),
        "chain_nonce": chain_nonce,
    }
    return tx.values(SQL.requeue, values)


def take_lock(tx: Transaction, chain_id: ChainId, address: Address) -> bool:
    """Take the account's lock for the session; False where another session holds it."""
    return bool(tx.value(SQL.take_lock, {"chain_id": chain_id, "address": address}))


def listen(tx: Transaction) -> None:
    """Make the session hear when there may be something to send."""
    tx.execute(SQL.listen)


def columns(made: Sequence[Made]) -> dict[str, list[object]]:
    """Return attempts as the arrays that the functions take."""
    transactions = [each.signed.transaction for each in made]
    return {
        "ids": [each.id for each in made],
        "raws": [each.signed.raw for each in made],
        "attempt_hashes": [each.signed.hash for each in made],
        "caps": [each.max_fee_per_gas for each in transactions],
        "tips": [each.max_priority_fee_per_gas for each in transactions],
        "gas_limits": [each.gas_limit for each in transactions],
    }
