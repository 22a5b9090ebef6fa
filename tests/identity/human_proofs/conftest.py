"""Fixtures of human proofs: a database with users who have wallets, and rules."""

from __future__ import annotations

import pytest

from tallystick.db import Database
from tests.identity.human_proofs.support import ProofBench


@pytest.fixture
def bench(database: Database) -> ProofBench:
    """Alice and bob with their wallets, and what they do to prove something."""
    made = ProofBench(database)
    made.add_user("alice", made.wallets["alice"].address)
    made.add_user("bob", made.wallets["bob"].address)
    return made
