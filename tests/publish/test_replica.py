"""Reads from a real streaming replica: it serves the highest head it has (log.md, section 6.2)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tallystick.db import connect
from tallystick.publish import Publisher
from tallystick.runtime.postgres import EmbeddedPostgres
from tallystick.tlog import LeafIndex, check_inclusion, hash_leaf
from tests.support.log_builder import LogBuilder
from tests.support.replica import streaming_replica, wait_until_replayed
from tests.support.server import running_server

WITHIN_SECONDS = 30.0


@pytest.fixture
def pair(postgres_bin: Path | None) -> Iterator[tuple[str, str, EmbeddedPostgres]]:
    """The URLs of one database on a primary and on its replica, and the primary itself."""
    with (
        running_server(postgres_bin, wal_level="replica") as primary,
        primary.database() as url,
        streaming_replica(primary.server, postgres_bin) as standby,
    ):
        name = url.split("@/")[1].split("?")[0]
        yield url, standby.url(name), primary.server


def becomes(expected: object, look: Callable[[], object]) -> None:
    """Wait until *look* gives what is expected."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    assert expected == look()


def leaves(count: int) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(count)]


def test_a_replica_serves_proofs_and_the_highest_head_that_it_has(pair, tmp_path):
    """
    A reader on a replica follows the log, stays at a true head while the replica is
    behind, and answers on when the primary is gone.
    """
    url, replica_url, primary = pair
    builder = LogBuilder(url, tmp_path / "keys")
    builder.filled("payments", leaves(700))
    wait_until_replayed(url, replica_url)
    with (
        connect(url) as database,
        connect(replica_url) as replica,
        psycopg.connect(replica_url, autocommit=True) as at_replica,
    ):
        publisher = Publisher(database, read_database=replica)
        publisher.start()
        try:
            becomes(700, lambda: publisher.published_head("payments").size)
            # Behind: what it shows is an older head, never half of a newer one.
            at_replica.execute("SELECT pg_wal_replay_pause()")
            builder.append("payments", leaves(50))
            assert builder.seal("payments") == 750
            publisher.refresh()
            assert publisher.published_head("payments").size == 700
            at_replica.execute("SELECT pg_wal_replay_resume()")
            becomes(750, lambda: publisher.published_head("payments").size)
            builder.close()
            # Alone: no statement of a read goes to the primary.
            primary.stop()
            head = publisher.published_head("payments")
            proof = publisher.prove_index(head, LeafIndex(333))
            check_inclusion(
                proof.hashes,
                leaf=hash_leaf(b"leaf 333"),
                index=LeafIndex(333),
                size=head.size,
                root=head.root,
            )
            assert len(publisher.entries(head, first=0, limit=5)) == 5
        finally:
            publisher.stop()
            primary.start()
