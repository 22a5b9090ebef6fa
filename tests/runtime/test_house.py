"""The house log seals configuration, and never its own progress (log.md, section 2.7)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from tallystick.config import Settings, load_settings
from tallystick.db import Database
from tallystick.runtime.house import HOUSE_SOURCES, initialise, origin_prefix
from tallystick.runtime.status import read_status, wait_until_sealed
from tallystick.runtime.worker import run_worker
from tallystick.seal.logs import configure_log


@pytest.fixture
def worker(settings: Settings) -> Iterator[None]:
    """A worker that seals while the test runs."""
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(settings, stop))
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def house_size(database: Database) -> int:
    """The size of the house log, once all that is committed is sealed."""
    assert wait_until_sealed(database, "tally", timeout_seconds=30)
    return next(log.size for log in read_status(database).logs if log.log_name == "tally")


def test_house_log_does_not_feed_itself(worker: None, database: Database) -> None:
    """Sealing, checking and backfilling leave no leaf in the house log: it comes to rest."""
    before = house_size(database)
    time.sleep(2.5)
    assert house_size(database) == before


def test_configuration_is_sealed(worker: None, database: Database, settings: Settings) -> None:
    """A changed setting of a log is a leaf of the house log; a changed status of one is none."""
    before = house_size(database)
    with database.transaction() as tx:
        configure_log(tx, "gate", description="commands")
    assert house_size(database) == before + 1
    with psycopg.connect(database.url) as connection:
        connection.execute("UPDATE tally.verification_sources SET checked_at = tally.clock()")
    assert house_size(database) == before + 1


def test_excluded_columns_exist(settings: Settings, database_url: str) -> None:
    """Each column that is excluded is one of its table: a renamed one would slip in again."""
    with psycopg.connect(database_url) as connection:
        for table, source in HOUSE_SOURCES.items():
            found = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
                (table,),
            ).fetchall()
            assert {*source.exclude, *source.private} <= {name for (name,) in found}


def test_initialise_twice_changes_nothing(
    settings: Settings, database: Database, database_url: str
) -> None:
    """A second `init` applies no migration, makes no log and adds no source."""
    again = initialise(settings, database_url)
    assert again.migrations == []
    with psycopg.connect(database_url) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM tally.verification_logs),"
            " (SELECT count(*) FROM tally.verification_sources),"
            " (SELECT count(*) FROM tally.log_keys)"
        ).fetchone()
    # A key for each house log, and the one that signs webhooks.
    assert counts == (5, len(HOUSE_SOURCES), 5 + 1)


def test_origin_prefix(settings: Settings, database: Database) -> None:
    """New logs get the prefix that is set, else the one that the house began with."""
    moved = load_settings(data_dir=settings.data_dir, port=9999)
    named = load_settings(data_dir=settings.data_dir, origin_prefix="log.example")
    with database.transaction() as tx:
        assert origin_prefix(tx, moved) == "127.0.0.1:7421/logs"
        assert origin_prefix(tx, named) == "log.example"
