"""A node, a database and a sender for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.chain.followers import clear_followers
from tallystick.db import connect
from tests.chain.sender.support import ACCOUNT, Desk
from tests.support.chain_worker import KEY_VARIABLE
from tests.support.evm import Anvil, running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A node of its own, which starts in 50 ms."""
    with running_anvil() as running:
        yield running


@pytest.fixture(autouse=True)
def followers() -> Iterator[None]:
    """Nobody is registered but by the test."""
    clear_followers()
    yield
    clear_followers()


@pytest.fixture
def desk(database_url, anvil, monkeypatch) -> Iterator[Desk]:
    """An account that may send."""
    monkeypatch.setenv(KEY_VARIABLE, ACCOUNT.key)
    with connect(database_url, pool_size=4) as database:
        desk = Desk(database_url, database, anvil)
        yield desk
        for nodes in (desk.nodes, *desk.elsewhere):
            nodes.close()
        desk.signers.close()
