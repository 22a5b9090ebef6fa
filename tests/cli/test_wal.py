"""The commands on a source that is captured from the WAL."""

from __future__ import annotations

import psycopg

from tests.cli.conftest import Tally

PAYMENT = "CREATE TABLE payment (id integer PRIMARY KEY, amount numeric)"


def test_source_from_the_wal(house: None, tally: Tally, database_url: str) -> None:
    """A source is added with `--capture wal`; what the WAL cannot do is refused by name."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(PAYMENT)
    tally("log", "create", "payments")
    refused = tally(
        "source", "add", "payments", "payment", "--capture", "wal", "--on-delete", "refuse"
    )
    assert (refused.code, refused.err.startswith("tally: unsupported_source: ")) == (4, True)
    added = tally("source", "add", "payments", "payment", "--capture", "wal", "--json")
    assert (added.code, added.json["capture"], added.json["status"]) == (0, "wal", "backfilling")
    other = tally("source", "add", "payments", "payment", "--capture", "trigger")
    assert (other.code, other.err.startswith("tally: source_exists: ")) == (4, True)
    assert tally("source", "add", "payments", "payment", "--capture", "guess").code == 2
    doctor = tally("doctor")
    assert "there is no replication slot" in doctor.out + doctor.err
    detached = tally("source", "detach", "payments", "payment", "--json")
    assert detached.json["status"] == "detached"
