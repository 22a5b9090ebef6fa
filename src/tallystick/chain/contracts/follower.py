"""
The built-in follower: a contract that was deployed is registered at finality (chain.md, 4.2).

What stands on the chain is read before the transaction that records the block, and compared
within it. Between inclusion and finality the code is kept in memory; a worker that was started
anew in between has not seen it: then the block is recorded at the second try, before which it
is read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from tallystick.chain.contracts.abi import decode_deployment
from tallystick.chain.contracts.artifacts import find_artifact
from tallystick.chain.contracts.errors import ArgumentsError
from tallystick.chain.contracts.registry import register_contract
from tallystick.chain.errors import CodeHashMismatchError, EvidenceUnavailableError
from tallystick.chain.values import ChainTransaction
from tallystick.db import Transaction
from tallystick.record import Address, ChainId

Place = tuple[ChainId, Address]

logger = structlog.get_logger(__name__)


class DeploymentFollower:
    """Registers what transactions of type `contract_deploy` make."""

    def __init__(self) -> None:
        self._codes: dict[Place, bytes] = {}
        self._missing: set[Place] = set()

    def prepare(
        self,
        chain_id: ChainId,
        created: Collection[Address],
        code_of: Callable[[Address], bytes],
    ) -> None:
        """Read the code of the contracts that were *created*, and of those that were missed."""
        wanted = {(chain_id, address) for address in created}
        wanted |= {place for place in self._missing if place[0] == chain_id}
        for place in wanted:
            code = code_of(place[1])
            # None yet: an endpoint that is behind answered, and it is asked for again.
            if code:
                self._codes[place] = code
                self._missing.discard(place)

    def on_included(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Nothing stands before it is final."""

    def on_rolled_back(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """Its address may get other code when it is included again, which is read then."""

    def on_failed(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """There is nothing to register."""

    def on_finalized(self, tx: Transaction, transaction: ChainTransaction) -> None:
        """
        Register the contract, if it is one of ours and its code is the artifact's.

        Other code is not registered, and not tried again: it never becomes right.

        Raises:
            EvidenceUnavailableError: The code was not read before; it is, before the next try.
        """
        found = find_artifact(transaction.call_data)
        address = transaction.contract_address
        if found is None or address is None:
            logger.warning("chain.foreign_contract", process="watcher")
            return
        place = (transaction.chain_id, address)
        code = self._codes.get(place)
        if code is None:
            self._missing.add(place)
            raise EvidenceUnavailableError(f"the code at {address} was not read yet")
        artifact, encoded = found
        try:
            register_contract(
                tx,
                code,
                name=artifact.name,
                chain_id=transaction.chain_id,
                address=address,
                constructor_args=decode_deployment(artifact, encoded),
                transaction_id=transaction.id,
            )
        except (CodeHashMismatchError, ArgumentsError) as error:
            logger.error("chain.contract_refused", process="watcher", error=error.code())  # noqa: TRY400 (one line)
        tx.after_commit(lambda: self._forget(place))

    def _forget(self, place: Place) -> None:
        self._codes.pop(place, None)
