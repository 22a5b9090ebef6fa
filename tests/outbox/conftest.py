"""Fixtures of the outbox: a database, topics, and a receiver of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.db import Database, connect
from tests.outbox.support import Receiver, register_test_topics, running_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def topics() -> None:
    """The topics of the tests."""
    register_test_topics()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database."""
    with connect(database_url, pool_size=6) as pool:
        yield pool


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """An HTTPS server on this machine that keeps what it gets."""
    with running_receiver() as running:
        yield running
