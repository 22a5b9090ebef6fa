"""
What a verifier may ask of a chain (identity.md, section 4.5); `runtime` hands it in.

Identity knows no node and no slice that does. Whoever implements `ChainFacts` answers from
final blocks where the question says so, and raises where he cannot answer: nothing that he
could not look up is ever taken for a fact.
"""

from __future__ import annotations

import datetime
from typing import Protocol

from tallystick.record import Address, ChainId, TransactionHash


class SeenTransaction(Protocol):
    """A transaction as a node shows it; what only its receipt knows is None without one."""

    @property
    def chain_id(self) -> int:
        """The network that it was seen on."""
        ...

    @property
    def transaction_hash(self) -> str:
        """Its hash, lower case with 0x."""
        ...

    @property
    def from_address(self) -> str:
        """Who sent it, lower case with 0x."""
        ...

    @property
    def to_address(self) -> str | None:
        """Whom it calls or pays, lower case with 0x; None makes a contract."""
        ...

    @property
    def nonce(self) -> int:
        """Its place among the sender's transactions, from 0."""
        ...

    @property
    def block_number(self) -> int | None:
        """The block that it is in."""
        ...

    @property
    def block_time(self) -> datetime.datetime | None:
        """That block's time."""
        ...

    @property
    def gas_used(self) -> int | None:
        """The gas that it took."""
        ...


class ChainFacts(Protocol):
    """The answers of a chain; each raises an `Error` where no node answers."""

    def is_valid_signature(
        self, chain_id: ChainId, address: Address, digest: bytes, signature: bytes
    ) -> bool:
        """Whether the contract at *address* takes *signature* of *digest* for its own."""
        ...

    def look_up(
        self, chain_id: ChainId, transaction_hash: TransactionHash
    ) -> SeenTransaction | None:
        """The transaction with that hash and its receipt; None where the node knows none."""
        ...

    def nonce_at(self, chain_id: ChainId, address: Address, block: str = "finalized") -> int:
        """How many transactions *address* has sent up to *block*."""
        ...
