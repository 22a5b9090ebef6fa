"""Fixtures of identity: a pool on the test's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.db import Database, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.server import TestServer


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database, wide enough for a race of twenty."""
    with connect(database_url, pool_size=24) as pool:
        yield pool


@pytest.fixture(scope="module")
def shared_database(test_server: TestServer) -> Iterator[Database]:
    """A pool on one database for those tests of a module that leave nothing behind."""
    with test_server.database() as url, connect(url) as pool:
        yield pool
