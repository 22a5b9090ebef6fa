"""
What verifiers of human proofs are told of chains: the answers of this installation's nodes.

Identity knows no chain (identity.md, section 4.5): here `ChainReader` becomes its `ChainFacts`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from tallystick.chain.errors import (
    NoEndpointError,
    UnknownNetworkError,
    UnknownTransactionError,
)
from tallystick.chain.networks import get_network
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import ChainReader
from tallystick.config import Settings
from tallystick.db import Database
from tallystick.identity.verifiers import SeenTransaction
from tallystick.record import Address, ChainId, TransactionHash

READERS: Final = 2
"""Connections that look up how a network is final: one row by its key."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the configured nodes answer; a node that does not is an error, never a no."""

    reader: ChainReader

    def is_valid_signature(
        self, chain_id: ChainId, address: Address, digest: bytes, signature: bytes
    ) -> bool:
        """
        Whether the contract at *address* takes *signature* for its own.

        On a chain that has no node here, or is none of ours, nobody vouches for a contract, so
        it does not.

        Raises:
            ChainError: The node does not answer.
        """
        try:
            return self.reader.is_valid_signature(chain_id, address, digest, signature)
        except (NoEndpointError, UnknownNetworkError):
            return False

    def look_up(
        self, chain_id: ChainId, transaction_hash: TransactionHash
    ) -> SeenTransaction | None:
        """
        The transaction with that hash; None where the node knows none.

        Raises:
            ChainError: The node does not answer, or there is none of this chain.
        """
        try:
            return self.reader.look_up(chain_id, transaction_hash)
        except UnknownTransactionError:
            return None

    def nonce_at(self, chain_id: ChainId, address: Address, block: str = "finalized") -> int:
        """
        How many transactions *address* has sent up to *block*.

        Raises:
            ChainError: The node does not answer, or there is none of this chain.
        """
        return self.reader.nonce_at(chain_id, address, block)


@contextlib.contextmanager
def open_facts(
    settings: Settings, database_url: str, nodes: Nodes | None = None
) -> Iterator[NodeFacts]:
    """
    The facts of *nodes*, or of those in *settings*, until the block ends; none is asked yet.

    *nodes* are whoever opened them to close.
    """
    with (
        contextlib.nullcontext(nodes) if nodes else Nodes(settings.chain_endpoints) as used,
        Database(database_url, pool_size=READERS, application="tallystick-facts") as database,
    ):
        yield NodeFacts(ChainReader(used, partial(final_depth, database)))


def final_depth(database: Database, chain_id: ChainId) -> int | None:
    """
    Return how deep a block of the network is final, None where the node's tag says so.

    The transaction ends before a node is asked.

    Raises:
        UnknownNetworkError: There is no such network.
    """
    with database.transaction(read_only=True) as tx:
        network = get_network(tx, chain_id)
    return network.confirmations if network.finality_mode == "depth" else None
