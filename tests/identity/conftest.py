"""Fixtures of identity: a pool on the test's database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.db import Database, connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database, wide enough for a race of twenty."""
    with connect(database_url, pool_size=24) as pool:
        yield pool
