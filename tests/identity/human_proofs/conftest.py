"""Fixtures of human proofs: a database with users who have wallets, and rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.db import Database, connect
from tests.identity.human_proofs.support import ProofBench

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A pool on this test's database."""
    with connect(database_url, pool_size=24) as pool:
        yield pool


@pytest.fixture
def bench(database: Database) -> ProofBench:
    """Alice and bob with their wallets, and what they do to prove something."""
    made = ProofBench(database)
    made.add_user("alice", made.wallets["alice"].address)
    made.add_user("bob", made.wallets["bob"].address)
    return made
