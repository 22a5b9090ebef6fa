"""The earlier log service's SQL goes on working, and the worker does what it asks (log.md, 2.7)."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.config import load_settings
from tallystick.runtime.house import initialise
from tallystick.runtime.worker import run_worker
from tests.runtime.conftest import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ORDERS = """CREATE TABLE public.orders (id int PRIMARY KEY, order_hash bytea, at timestamptz);
            INSERT INTO public.orders
            SELECT i, sha256(('data' || i)::bytea), now() FROM generate_series(1, 8) AS i"""


@pytest.fixture
def session(database_url: str, tmp_path: Path) -> Iterator[psycopg.Connection[Any]]:
    """A session as the earlier service's own: tally_app's rights and its search_path."""
    settings = load_settings(data_dir=tmp_path / "data", database_url=database_url, sequencers=1)
    initialise(settings, database_url)
    stop = threading.Event()
    worker = threading.Thread(target=run_worker, args=(settings, stop))
    worker.start()
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ORDERS)
        connection.execute("SET ROLE tally_app")
        connection.execute("SET search_path = tally, public")
        yield connection
    stop.set()
    worker.join(20)
    assert not worker.is_alive()


def value(session: psycopg.Connection[Any], statement: str) -> Any:
    """The first value of a statement."""
    row = session.execute(statement.encode()).fetchone()
    return None if row is None else row[0]


def test_a_transcript_of_the_earlier_service(session: psycopg.Connection[Any]) -> None:
    """log 29: logs and sources are inserted, read and switched by its SQL, nothing else."""
    session.execute(
        "INSERT INTO verification_logs (log_name, description) VALUES ('old', 'Orders')"
    )
    session.execute(
        "INSERT INTO verification_sources (source_table, hash_column, order_column, log_name)"
        " VALUES ('orders', 'order_hash', 'id', 'old')"
    )
    session.execute(
        "INSERT INTO verification_sources (source_table, hash_column, timestamp_column, log_name,"
        " enabled) VALUES ('nowhere', 'order_hash', 'at', 'old', true)"
    )
    sealed = "SELECT count(*) FROM merkle_log WHERE log_name = 'old' AND source_table = 'orders'"
    until(lambda: value(session, sealed) == 8)
    rows = session.execute(
        "SELECT source_table, source_id, leaf_hash FROM merkle_log"
        " WHERE log_name = 'old' AND source_id IS NOT NULL ORDER BY id"
    ).fetchall()
    hashes = [hashlib.sha256(f"data{i}".encode()).digest() for i in range(1, 9)]
    assert rows == [
        ("orders", i, hashlib.sha256(b"\0" + leaf).digest()) for i, leaf in enumerate(hashes, 1)
    ]
    ids = session.execute(
        "SELECT id, leaf_index FROM merkle_log WHERE log_name = 'old' ORDER BY id"
    ).fetchall()
    assert [number for number, _ in ids] == list(range(1, len(ids) + 1))
    reason = "SELECT problem ->> 'message' FROM verification_sources WHERE status = 'broken'"
    until(lambda: value(session, reason) == "there is no table nowhere")


def test_updates_are_followed(session: psycopg.Connection[Any]) -> None:
    """log 29: enabled, description, batch and poll columns are updated, and the worker follows."""
    session.execute("INSERT INTO verification_logs (log_name) VALUES ('old')")
    session.execute(
        "INSERT INTO verification_sources (source_table, hash_column, order_column, log_name)"
        " VALUES ('orders', 'order_hash', 'id', 'old')"
    )
    status = "SELECT status::text FROM verification_sources WHERE source_table = 'orders'"
    sealed = "SELECT count(*) FROM merkle_log WHERE log_name = 'old' AND source_table = 'orders'"
    until(lambda: value(session, status) == "active" and value(session, sealed) == 8)
    session.execute(
        "UPDATE verification_logs SET description = 'Orders', batch_size = 100,"
        " batch_interval_ms = 100 WHERE log_name = 'old'"
    )
    session.execute(
        "UPDATE verification_sources SET poll_lookback = 5, reconcile_interval_seconds = 1"
    )
    # The first reconcile is over before the source is switched off.
    until(lambda: value(session, "SELECT reconciled_at FROM verification_sources") is not None)
    session.execute("UPDATE verification_sources SET enabled = false")
    until(lambda: value(session, status) == "broken")
    session.execute("UPDATE verification_sources SET enabled = true")
    until(lambda: value(session, status) == "active")
    gaps = (
        "SELECT count(*) FROM merkle_log WHERE log_name = 'old'"
        " AND leaf_record(leaf) ->> 'op' = 'gap'"
    )
    until(lambda: value(session, gaps) == 1)
    assert value(session, "SELECT batch_size FROM verification_logs WHERE log_name = 'old'") == 100


def test_what_is_not_allowed_is_refused(session: psycopg.Connection[Any]) -> None:
    """Its role can change configuration and no evidence, and values out of range are refused."""
    session.execute("INSERT INTO verification_logs (log_name) VALUES ('old')")
    for statement, error in (
        ("UPDATE merkle_log SET leaf_hash = 'x'", psycopg.errors.InsufficientPrivilege),
        ("DELETE FROM merkle_log", psycopg.errors.InsufficientPrivilege),
        ("UPDATE verification_logs SET batch_size = 0", psycopg.errors.CheckViolation),
        ("UPDATE verification_logs SET log_name = 'x'", psycopg.errors.InsufficientPrivilege),
        ("INSERT INTO verification_logs (log_name) VALUES ('No')", psycopg.errors.CheckViolation),
    ):
        with pytest.raises(error):
            session.execute(statement.encode())
