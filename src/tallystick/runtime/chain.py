"""
The worker's duties for EVM networks: the sender and one watcher for each (chain.md, 4.3, 4.4).

Only networks whose endpoints stand in the configuration have any. A process without endpoints
starts no thread and loads no package of Ethereum's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from tallystick.chain.contracts.follower import DeploymentFollower
from tallystick.chain.followers import ALL_TYPES, Follower, register_follower
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender.worker import run_sender
from tallystick.chain.signers import Signers
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.chain.watcher import Reconciled, reconcile, run_watcher
from tallystick.config import Settings
from tallystick.db import Database
from tallystick.record import ChainId
from tallystick.runtime.chain_events import OutboxFollower
from tallystick.runtime.devchain.accounts import DevSigners
from tallystick.runtime.devchain.furnishing import furnish, run_when_answering
from tallystick.runtime.devchain.place import is_ours

BUILT_IN_FOLLOWERS: Final[tuple[tuple[str, Follower], ...]] = (
    ("contract_deploy", DeploymentFollower()),
    (ALL_TYPES, OutboxFollower()),
)
CONNECTIONS_OF_NETWORK = 12
"""A session that holds the watcher's lock, one for each account's, and what they do meanwhile."""


def chain_connections(settings: Settings) -> int:
    """Return how many database connections `chain_duties` may use at once."""
    return CONNECTIONS_OF_NETWORK * len(settings.chain_endpoints)


def chain_duties(
    database: Database, settings: Settings, stop: threading.Event
) -> dict[str, Callable[[], None]]:
    """
    Return what the worker does for EVM networks, each by its name; empty without endpoints.

    Raises:
        InvalidEndpointError: An endpoint is no http or https URL.
    """
    nodes = Nodes(settings.chain_endpoints)
    if not nodes.chain_ids:
        return {}
    register_built_in_followers()
    is_dev_chain_ours = is_ours(settings)
    signers = (
        DevSigners(settings.chain_signers, settings.keys)
        if is_dev_chain_ours
        else Signers(settings.chain_signers)
    )
    duties: dict[str, Callable[[], None]] = {
        f"watcher {chain_id}": partial(run_watcher, database, nodes.of(chain_id), chain_id, stop)
        for chain_id in nodes.chain_ids
    }
    duties["sender"] = partial(run_sender, database, nodes, signers, stop)
    if is_dev_chain_ours:
        node = nodes.of(DEV_CHAIN_ID)
        duties["dev chain"] = partial(furnish, database, node, settings.keys, stop)
        # It starts behind the worker, and is no news while it replays its journal.
        watcher = f"watcher {DEV_CHAIN_ID}"
        duties[watcher] = partial(run_when_answering, node, stop, duties[watcher])
    return duties


def reconcile_network(database: Database, settings: Settings, chain_id: ChainId) -> Reconciled:
    """
    Bring accounts, receipts and events of a network up to its chain, after a restore.

    Followers are registered first, because what is found is told. No sender may be running.

    Raises:
        NoEndpointError, InvalidEndpointError: The configuration has no node of the network.
        UnsettledNonceError: A pool has transactions of ours that nobody knows; try again.
        NodeUnavailableError, NodeRefusedError: The node gives no answer.
    """
    register_built_in_followers()
    with Nodes(settings.chain_endpoints) as nodes:
        return reconcile(database, nodes.of(chain_id), chain_id)


def register_built_in_followers() -> None:
    """Let the outbox be told of every transaction, and contracts be registered at finality."""
    for transaction_type, follower in BUILT_IN_FOLLOWERS:
        register_follower(transaction_type, follower)
