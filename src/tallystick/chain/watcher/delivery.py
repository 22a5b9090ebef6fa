"""
Telling followers, inside the transaction that records the fact (chain.md, sections 4.1.2 to 4.1.5).

The order is that of the chain: block by block what is included, then block by block what is
final, each block's events after its transactions and `on_block_final` last. What is taken back
is told from the newest to the oldest. The rows of one delivery are read by two statements,
however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, runtime_checkable

from tallystick import metrics
from tallystick.chain.followers import (
    ALL_TYPES,
    event_followers_of,
    followers_of,
    registered_event_followers,
)
from tallystick.chain.values import ChainBlock, ChainTransaction, ContractEvent
from tallystick.chain.watcher import store
from tallystick.chain.watcher.store import Outcome, Told
from tallystick.db import Transaction
from tallystick.record import Address, ChainId

IS_OF_EVENT: Final[frozenset[Told]] = frozenset({"event", "event_final", "event_orphaned"})
PHASES: Final[dict[Told, int]] = {
    "included": 0,
    "event": 1,
    "finalized": 2,
    "failed": 2,
    "event_final": 3,
    "rolled_back": 4,
    "event_orphaned": 4,
}
FINAL_PHASE: Final = 2


@runtime_checkable
class GatheringFollower(Protocol):
    """A follower that is told at the end of a delivery, of all its transactions at once."""

    def on_many(self, tx: Transaction, facts: Sequence[tuple[Told, ChainTransaction]]) -> None:
        """What was told of transactions of its types in this commit, in the order of the chain."""


@runtime_checkable
class PreparingFollower(Protocol):
    """A follower that has to ask a node, which it may before the transaction alone."""

    def prepare(
        self,
        chain_id: ChainId,
        created: Collection[Address],
        code_of: Callable[[Address], bytes],
    ) -> None:
        """
        Read what will be needed; called before each advance.

        *created* are the contracts that the included transactions made, *code_of* returns the
        code that stands at an address now.
        """


class FollowerFailed(Exception):  # noqa: N818 (never leaves the watcher: it is counted and tried again)
    """A follower raised; its own error is the cause."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        """The type of the transaction, or the name of the contract."""


def deliver_advance(
    tx: Transaction, chain_id: ChainId, outcomes: Sequence[Outcome], final: Sequence[ChainBlock]
) -> None:
    """
    Tell followers what an advance recorded; *final* are the blocks that became final.

    Raises:
        FollowerFailed: A follower raised; the transaction must not be committed.
    """
    teller = _Teller(tx, chain_id, outcomes)
    for outcome in in_order(outcomes, final_phase=False):
        teller.tell(outcome)
    told = 0
    later = in_order(outcomes, final_phase=True)
    for block in final:
        while told < len(later) and later[told].block_number <= block.number:
            teller.tell(later[told])
            told += 1
        tell_block_final(tx, block)
    for outcome in later[told:]:
        teller.tell(outcome)
    teller.end()


def deliver_reorganisation(tx: Transaction, chain_id: ChainId, outcomes: Sequence[Outcome]) -> None:
    """
    Tell followers what was taken back, newest first.

    Raises:
        FollowerFailed: A follower raised; the transaction must not be committed.
    """
    teller = _Teller(tx, chain_id, outcomes)
    backwards = sorted(
        outcomes,
        key=lambda outcome: (outcome.block_number, outcome.told == "event_orphaned", outcome.place),
        reverse=True,
    )
    for outcome in backwards:
        teller.tell(outcome)
    teller.end()


def in_order(outcomes: Sequence[Outcome], *, final_phase: bool) -> list[Outcome]:
    """Return what is told of inclusion, or of finality, in the order of the calls."""
    wanted = [o for o in outcomes if (PHASES[o.told] >= FINAL_PHASE) == final_phase]
    return sorted(wanted, key=lambda o: (o.block_number, PHASES[o.told], o.place))


def tell_block_final(tx: Transaction, block: ChainBlock) -> None:
    """Tell each event follower once that *block* is final."""
    told: list[Any] = []
    for name, followers in registered_event_followers().items():
        for follower in followers:
            if not any(follower is each for each in told):
                told.append(follower)
                call(name, follower.on_block_final, tx, block)


def tell_failed(tx: Transaction, transaction: ChainTransaction) -> None:
    """
    Tell followers that *transaction* has failed for good, refused or cancelled.

    Raises:
        FollowerFailed: A follower raised; the transaction must not be committed.
    """
    for follower in followers_of(transaction.transaction_type):
        call(transaction.transaction_type, follower.on_failed, tx, transaction)


def call(
    name: str, follower: Callable[[Transaction, Any], None], tx: Transaction, fact: Any
) -> None:
    """
    Call one follower, and count it where it raises.

    Raises:
        FollowerFailed: It raised.
    """
    try:
        follower(tx, fact)
    except Exception as raised:
        # Another slice's code: whatever it raises, nothing of the block is recorded.
        metrics.CHAIN_FOLLOWER_ERRORS.labels(name).inc()
        raise FollowerFailed(name) from raised


class _Teller:
    """Looks up what outcomes tell of, all of it first, and calls who follows it."""

    def __init__(self, tx: Transaction, chain_id: ChainId, outcomes: Sequence[Outcome]) -> None:
        self._tx = tx
        ids = {o.transaction_id for o in outcomes if o.transaction_id is not None}
        self._transactions = store.read_transactions(tx, ids) if ids else {}
        of_events = [o for o in outcomes if o.told in IS_OF_EVENT]
        self._events = store.read_events(tx, chain_id, of_events) if of_events else {}
        self._gathered: dict[
            int, tuple[GatheringFollower, list[tuple[Told, ChainTransaction]]]
        ] = {}

    def tell(self, outcome: Outcome) -> None:
        if outcome.told in IS_OF_EVENT:
            assert outcome.block_hash is not None, "an event stands in a block"
            self._tell_event(outcome.told, self._events[outcome.block_hash, outcome.place])
        elif outcome.told != "untold":
            assert outcome.transaction_id is not None, "it is of a transaction"
            self._tell_transaction(outcome.told, self._transactions[outcome.transaction_id])

    def _tell_transaction(self, told: Told, transaction: ChainTransaction) -> None:
        if told == "included":
            transaction = as_included(transaction)
        for follower in followers_of(transaction.transaction_type):
            if isinstance(follower, GatheringFollower):
                _, facts = self._gathered.setdefault(id(follower), (follower, []))
                facts.append((told, transaction))
            else:
                function = getattr(follower, f"on_{told}")
                call(transaction.transaction_type, function, self._tx, transaction)

    def end(self) -> None:
        """Tell those who gather."""
        for follower, facts in self._gathered.values():
            call(ALL_TYPES, follower.on_many, self._tx, facts)

    def _tell_event(self, told: Told, event: ContractEvent) -> None:
        if told == "event":
            event = replace(event, state="observed")
        for follower in event_followers_of(event.contract_name):
            call(event.contract_name, getattr(follower, f"on_{told}"), self._tx, event)


def as_included(transaction: ChainTransaction) -> ChainTransaction:
    """
    Return *transaction* as it stood at inclusion.

    Where confirmation and finality come in the same transaction the row is final already, and
    `on_included` must not be told more than is so whenever it is called.
    """
    return replace(
        transaction, state="mined", status="pending", confirmed_at=None, finalized_at=None
    )
