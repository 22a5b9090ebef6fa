"""A node for each module, a database and a watcher for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.chain.followers import (
    ALL_TYPES,
    clear_followers,
    register_event_follower,
    register_follower,
)
from tallystick.chain.node import Node
from tallystick.db import connect
from tests.chain.watcher.support import Recorder, World, meddling
from tests.support.evm import running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared_anvil():
    """A node; its finalized block is 8 behind its head."""
    with running_anvil("--slots-in-an-epoch", "4") as running:
        yield running


@pytest.fixture
def anvil(shared_anvil):
    """The module's node, with some new blocks and nothing that waits."""
    shared_anvil.automine(on=True)
    shared_anvil.rpc("anvil_dropAllTransactions")
    shared_anvil.mine(10)
    return shared_anvil


@pytest.fixture(autouse=True)
def followers() -> Iterator[None]:
    """Nobody is registered but by the test."""
    clear_followers()
    yield
    clear_followers()


@pytest.fixture
def recorder() -> Recorder:
    """A follower of all types and of the contract."""
    recorder = Recorder()
    register_follower(ALL_TYPES, recorder)
    register_event_follower("TallyAnchor", recorder)
    return recorder


@pytest.fixture
def world(database_url, anvil) -> Iterator[World]:
    """A network under watch."""
    with connect(database_url, pool_size=4) as database, Node(anvil.chain_id, [anvil.url]) as node:
        yield World(database_url, database, anvil, node)


@pytest.fixture
def meddler(anvil):
    """A server in front of the node that changes its answers."""
    with meddling(anvil.url) as running:
        yield running


@pytest.fixture
def meddled_world(database_url, anvil, meddler) -> Iterator[World]:
    """A network under watch through the meddler."""
    node = Node(anvil.chain_id, [meddler.url])
    with connect(database_url, pool_size=4) as database, node:
        yield World(database_url, database, anvil, node)
