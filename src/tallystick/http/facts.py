"""
What a server without nodes says of chains: that it cannot look (identity.md, section 4.5).

A verifier that needs a fact then refuses nobody and accepts nobody: no attempt is spent.
"""

from __future__ import annotations

from typing import NoReturn

from tallystick.http.errors import NoNodeError
from tallystick.record import Address, ChainId, TransactionHash


class NoChain:
    """The facts of no chain at all."""

    def is_valid_signature(
        self, chain_id: ChainId, address: Address, digest: bytes, signature: bytes
    ) -> bool:
        """
        Say nothing of a contract wallet.

        Raises:
            NoNodeError: Always.
        """
        del address, digest, signature
        refuse(chain_id)

    def look_up(self, chain_id: ChainId, transaction_hash: TransactionHash) -> None:
        """
        Look up no transaction.

        Raises:
            NoNodeError: Always.
        """
        del transaction_hash
        refuse(chain_id)

    def nonce_at(self, chain_id: ChainId, address: Address, block: str = "finalized") -> int:
        """
        Count nobody's transactions.

        Raises:
            NoNodeError: Always.
        """
        del address, block
        refuse(chain_id)


def refuse(chain_id: ChainId) -> NoReturn:
    """
    Say that there is no node.

    Raises:
        NoNodeError: Always.
    """
    raise NoNodeError(f"this server has no node of chain {chain_id}")
