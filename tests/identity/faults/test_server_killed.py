"""PostgreSQL killed under load: what limits and quotas may forget (identity.md, section 4.3)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db import Database, connect
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.identity import APIKeyRepository, admit
from tallystick.identity.errors import QuotaExceededError, RateLimitedError
from tests.identity.people import fetch, flush, make_key, make_user, set_limits
from tests.seal.faults.test_server_killed import DURABLE, kill_server
from tests.support.server import TestServer, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 4
RATE = 600
BURST = 60
PAUSE_SECONDS = 60 / (RATE - BURST + 1)
FLUSH_SECONDS = 0.5
"""The worker's ten seconds, made short: what may be forgotten is what was not flushed."""
KILLS = 2


@pytest.fixture(scope="module")
def durable_server(postgres_bin: Path | None) -> Iterator[TestServer]:
    """A server that waits for the disk, as in use, and that the test kills."""
    with running_server(postgres_bin, **DURABLE) as server:
        yield server


class Load:
    """Clients that ask without pause, a worker that flushes, and what they saw."""

    def __init__(self, url: str, text: str) -> None:
        self.url = url
        self.text = text
        self.stop = threading.Event()
        self.admitted: list[float] = []
        self.flushed_at: list[float] = []
        self.odd: list[BaseException] = []

    def ask(self) -> None:
        """Ask until told to stop; a server that is away is asked again."""
        with connect(self.url, pool_size=2) as database:
            while not self.stop.is_set():
                began = time.monotonic()
                try:
                    admit(database, self.text)
                    self.admitted.append(began)
                except (RateLimitedError, QuotaExceededError):
                    time.sleep(0.002)
                except (DatabaseUnavailableError, psycopg.Error):
                    time.sleep(0.02)
                except BaseException as raised:  # noqa: BLE001 (shown by the test)
                    self.odd.append(raised)
                    return

    def flush(self) -> None:
        """Flush at its pace."""
        with connect(self.url, pool_size=2) as database:
            while not self.stop.wait(FLUSH_SECONDS):
                with contextlib.suppress(DatabaseUnavailableError, psycopg.Error):
                    began = time.monotonic()
                    flush(database)
                    self.flushed_at.append(began)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep all of them busy within the block."""
        threads = [threading.Thread(target=self.ask) for _ in range(CLIENTS)]
        threads.append(threading.Thread(target=self.flush))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(60)


@pytest.mark.slow
def test_a_crash_forgets_a_burst_and_what_was_not_flushed(durable_server: TestServer) -> None:
    """identity 11: Killed twice under load: one burst more each, the flushed quota is known."""
    with durable_server.database() as url, connect(url) as database:
        set_limits(database, "free", RATE, None)
        key, text = make_key(database, make_user(database))
        load = Load(url, text)
        began = time.monotonic()
        kills = []
        with load.running():
            for _ in range(KILLS):
                time.sleep(2.5)
                kill_server(durable_server)
                durable_server.server.stop("immediate")
                # While it is down: whoever was admitted before has his time, and nobody is now.
                kills.append(time.monotonic())
                durable_server.server.start()
            time.sleep(1.5)
        took = time.monotonic() - began
        assert load.odd == []
        # The bucket's own burst, one more for each crash, and what refilled meanwhile.
        assert len(load.admitted) <= BURST * (1 + KILLS) + took / PAUSE_SECONDS
        assert len(load.admitted) > BURST
        check_count(database, load, kills, key_id=key.id)


def check_count(database: Database, load: Load, kills: list[float], *, key_id: object) -> None:
    """What was admitted and is not counted was admitted after the last flush before a crash."""
    flush(database)
    with database.transaction() as tx:
        counted = APIKeyRepository(tx).usage(str(key_id)).days
    stored = sum(day.requests for day in counted)
    forgettable = 0
    for kill in kills:
        last = max((at for at in load.flushed_at if at < kill), default=0.0)
        forgettable += sum(last <= at <= kill for at in load.admitted)
    # An answer that the crash cut off was counted, perhaps, and not admitted: not the other way.
    assert len(load.admitted) - forgettable <= stored
    assert stored <= len(load.admitted) + CLIENTS * len(kills)


def test_a_crash_empties_the_buckets_and_nothing_else(durable_server: TestServer) -> None:
    """identity 11: After a crash the buckets are gone; users, keys and flushed usage are not."""
    with durable_server.database() as url:
        with connect(url) as database:
            set_limits(database, "free", 100, 12)
            _, text = make_key(database, make_user(database))
            for _ in range(10):
                admit(database, text)
            flush(database)
        kill_server(durable_server)
        durable_server.server.stop("immediate")
        durable_server.server.start()
        with connect(url) as database:
            assert fetch(database, "SELECT count(*) FROM tally.rate_limits") == [(0,)]
            assert [admit(database, text).remaining for _ in range(2)] == [1, 0]
            with pytest.raises(QuotaExceededError):
                admit(database, text)
