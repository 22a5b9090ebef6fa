"""The worker's duties for identity: what was counted stays, what expired goes (identity 4.3)."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from tallystick.db import Database
from tallystick.identity import APIKeyRepository, UserRepository, admit
from tallystick.runtime import identity

WITHIN_SECONDS = 20.0


@pytest.fixture
def database(database_url):
    """A pool on the test's database."""
    with Database(database_url, pool_size=4) as opened:
        yield opened


def run_until(duty, database, holds) -> None:
    """Run a duty in a thread until *holds* does, and end it."""
    stop = threading.Event()
    thread = threading.Thread(target=duty, args=(database, stop))
    thread.start()
    deadline = time.monotonic() + WITHIN_SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    assert holds()


def test_requests_are_written_down(database):
    """What admission counted is in the day's usage after a flush."""
    with database.transaction() as tx:
        user = UserRepository(tx).create().id
        key = APIKeyRepository(tx).create(user, name="ci", actor="system:tests")
    for _ in range(3):
        admit(database, key.secret)

    def is_counted() -> bool:
        with database.transaction(read_only=True) as tx:
            days = APIKeyRepository(tx).usage(key.key.id).days
        return [day.requests for day in days] == [3]

    run_until(identity.run_flushes, database, is_counted)


def test_spent_challenges_are_swept(database, database_url):
    """A challenge that expired an hour ago is deleted, one that expired just now is not."""
    with database.transaction() as tx:
        user = UserRepository(tx).create("0x" + "00" * 19 + "aa").id
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "INSERT INTO tally.human_proof_challenges"
            " (user_id, verifier, chain_id, nonce, message, issued_at, expires_at, status)"
            " SELECT %s, 'signature', 1, sha256(n::text::bytea), 'm',"
            " now() - n * interval '1 hour' - interval '5 minutes',"
            " now() - n * interval '1 hour', 'pending' FROM generate_series(0, 2) AS n",
            (user,),
        )

        def left() -> int:
            row = connection.execute("SELECT count(*) FROM tally.human_proof_challenges").fetchone()
            assert row is not None
            return int(row[0])

        run_until(identity.run_sweeps, database, lambda: left() == 1)
