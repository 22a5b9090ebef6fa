"""A database with a network that is open, and connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.chain.followers import clear_followers
from tallystick.db import Database, connect
from tests.chain.rows import ChainRows

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def chain_rows(database_url: str) -> Iterator[ChainRows]:
    """The local network, active, with a price and the account that anchors."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield ChainRows(connection).open()


@pytest.fixture
def chain_database(database_url: str, chain_rows: ChainRows) -> Iterator[Database]:
    """The same database for operations, which run as the server's role does not matter."""
    assert chain_rows.connection.closed is False
    with connect(database_url, pool_size=4) as database:
        yield database


@pytest.fixture
def no_followers() -> Iterator[None]:
    """Nobody is registered but by the test."""
    clear_followers()
    yield
    clear_followers()
