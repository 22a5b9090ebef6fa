"""
Followers: who is told of the chain, inside the transaction that records the fact (chain.md, 4.1).

A slice implements a protocol; `runtime` registers it before the watcher starts. A follower does
its work in the transaction that it is given. If it raises, nothing of that block is recorded
and the watcher tries again, so each call's effect stands once or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from tallystick.chain.values import ChainBlock, ChainTransaction, ContractEvent
from tallystick.db import Transaction

ALL_TYPES: Final = "*"
"""Registers a follower of every type of transaction; `runtime` writes outbox events with one."""


class Follower(Protocol):
    """Is told what becomes of the transactions of one type."""

    def on_included(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """A send attempt's receipt of status 1 entered the canonical chain; may recur."""

    def on_finalized(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """It is final and succeeded; called once, last."""

    def on_rolled_back(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """The block left the canonical chain after `on_included`; may recur."""

    def on_failed(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """It is final and failed: refused, reverted or cancelled; called once, last."""


class EventFollower(Protocol):
    """Is told of the events of one contract, and of final blocks."""

    def on_event(self, tx: Transaction, event: ContractEvent) -> None:
        """The event is included; it may be rolled back."""

    def on_event_final(self, tx: Transaction, event: ContractEvent) -> None:
        """The event is final."""

    def on_event_orphaned(self, tx: Transaction, event: ContractEvent) -> None:
        """The event's block left the canonical chain; it may come back."""

    def on_block_final(self, tx: Transaction, block: ChainBlock) -> None:
        """The block is final; called after the events of that block."""


Registered = TypeVar("Registered")

_followers: dict[str, list[Follower]] = {}
_event_followers: dict[str, list[EventFollower]] = {}


def register_follower(transaction_type: str, follower: Follower) -> None:
    """
    Let *follower* be told of the transactions of *transaction_type*, or of `ALL_TYPES`.

    Followers of a type are called in the order in which they were registered, those of all
    types after them. The same follower twice is as good as once.
    """
    _add(_followers, transaction_type, follower)


def register_event_follower(contract_name: str, follower: EventFollower) -> None:
    """Let *follower* be told of the events of every contract that is called *contract_name*."""
    _add(_event_followers, contract_name, follower)


def followers_of(transaction_type: str) -> tuple[Follower, ...]:
    """Return who is told of a transaction of *transaction_type*, in the order of the calls."""
    own = _followers.get(transaction_type, [])
    return (*own, *_followers.get(ALL_TYPES, []))


def registered_followers() -> tuple[Follower, ...]:
    """Return every follower of transactions once, of whatever types it is."""
    found: list[Follower] = []
    for followers in _followers.values():
        found.extend(each for each in followers if each not in found)
    return tuple(found)


def event_followers_of(contract_name: str) -> tuple[EventFollower, ...]:
    """Return who is told of the events of *contract_name*, in the order of the calls."""
    return tuple(_event_followers.get(contract_name, []))


def registered_event_followers() -> Mapping[str, tuple[EventFollower, ...]]:
    """Return every event follower by the name of its contract: who is told of final blocks."""
    return MappingProxyType({name: tuple(those) for name, those in _event_followers.items()})


def clear_followers() -> None:
    """Forget every follower: for a process that is composed anew, as tests do."""
    _followers.clear()
    _event_followers.clear()


def _add(registry: dict[str, list[Registered]], name: str, follower: Registered) -> None:
    registered = registry.setdefault(name, [])
    if follower not in registered:
        registered.append(follower)
