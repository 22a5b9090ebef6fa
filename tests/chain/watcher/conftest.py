"""A node for each module, a database and a watcher for each test."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psycopg
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
from tests.support.evm import Anvil, running_anvil

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
    with opened(database_url, anvil, anvil.url) as world:
        yield world


@pytest.fixture
def meddler(anvil):
    """A server in front of the node that changes its answers."""
    with meddling(anvil.url) as running:
        yield running


@pytest.fixture
def meddled_world(database_url, anvil, meddler) -> Iterator[World]:
    """A network under watch through the meddler."""
    with opened(database_url, anvil, meddler.url) as world:
        yield world


@contextlib.contextmanager
def opened(url: str, anvil: Anvil, node_url: str) -> Iterator[World]:
    """A world whose watcher asks the node at *node_url*."""
    with (
        psycopg.connect(url, autocommit=True) as connection,
        connect(url, pool_size=4) as database,
        Node(anvil.chain_id, [node_url]) as node,
    ):
        yield World(url, connection, database, anvil, node)
