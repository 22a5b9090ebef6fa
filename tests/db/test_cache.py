"""The cache of reads: it spares reads, and changes no answer by more than its age."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tallystick.db import Database, cache
from tallystick.db.errors import CacheUnavailableError
from tallystick.db.queries import Query
from tests.support.redis_server import RedisServer, running_redis

SUBJECT = "counter"


@dataclass(frozen=True, slots=True)
class Counted:
    """What the cache is to keep."""

    value: int


class Counter:
    """A counter in the database that is read through the cache, and counts what was asked for."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.read_count = 0

    def add(self) -> int:
        """Add one, and tell the cache."""
        with self.database.transaction() as tx:
            tx.changed(SUBJECT)
            return tx.value(Query(b"UPDATE counter SET value = value + 1 RETURNING value"))

    def read(self, **options: str) -> int:
        """The value, as a reader sees it."""
        with self.database.reader(**options) as tx:

            def read() -> Counted:
                self.read_count += 1
                return Counted(tx.value(Query(b"SELECT value FROM counter")))

            return tx.cached(SUBJECT, "value", Counted, read).value


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test's own."""
    with running_redis() as running:
        yield running


@pytest.fixture
def counter(database_url: str, server: RedisServer) -> Iterator[Counter]:
    """A counter at 0, with a cache before it."""
    with Database(database_url, cache_url=server.url) as database:
        with database.transaction() as tx:
            tx.execute(Query(b"CREATE TABLE counter (value integer)"))
            tx.execute(Query(b"INSERT INTO counter VALUES (0)"))
        yield Counter(database)


def test_a_value_is_read_once_until_it_is_written(counter):
    """A second read asks the database nothing; after a commit of the subject it does."""
    assert [counter.read(), counter.read()] == [0, 0]
    assert counter.read_count == 1
    assert counter.add() == 1
    assert [counter.read(), counter.read()] == [1, 1]
    assert counter.read_count == 2


def test_what_rolled_back_forgets_nothing(counter):
    """A write that did not commit leaves the cache as it was."""
    assert counter.read() == 0
    with pytest.raises(ZeroDivisionError), counter.database.transaction() as tx:
        tx.changed(SUBJECT)
        raise ZeroDivisionError
    assert counter.read() == 0
    assert counter.read_count == 1


def test_a_transaction_that_writes_reads_the_table(counter):
    """Who may write sees what he wrote, whatever the cache has."""
    assert counter.read() == 0
    with counter.database.transaction() as tx:
        tx.execute(Query(b"UPDATE counter SET value = 7"))
        seen = tx.cached(
            SUBJECT,
            "value",
            Counted,
            lambda: Counted(tx.value(Query(b"SELECT value FROM counter"))),
        )
    assert seen == Counted(7)


def test_a_read_after_a_position_is_not_cached(counter):
    """Who says what he has written before is answered by the database."""
    assert counter.read() == 0
    with counter.database.transaction() as tx:  # A writer who told no cache.
        tx.execute(Query(b"UPDATE counter SET value = 7"))
    assert counter.read() == 0
    assert counter.read(after=counter.database.written_position()) == 7


def test_a_value_read_before_a_write_is_never_kept_for_after_it(counter, monkeypatch):
    """A reader that was overtaken by a write keeps its value for a generation that is gone."""
    keep = cache.Cache.keep

    def overtaken(self, slot, value):
        counter.add()
        keep(self, slot, value)

    monkeypatch.setattr(cache.Cache, "keep", overtaken)
    assert counter.read() == 0
    monkeypatch.undo()
    assert counter.read() == 1


def test_a_strange_value_is_a_miss(counter, server):
    """What is in Redis and is none of ours, or of another type, is read anew."""
    with counter.database.reader() as tx:
        tx.cached(SUBJECT, "value", str, lambda: "a text")
    assert counter.read() == 0
    import redis

    with redis.Redis.from_url(server.url) as client:
        for key in client.keys("tally:v:*"):
            client.set(key, b"x")
    assert counter.read() == 0


def test_a_cache_that_cannot_be_made_is_named():
    """A URL of another kind is refused, and is not quoted: it may hold a password."""
    with pytest.raises(CacheUnavailableError) as refused:
        Database("postgresql://nowhere", cache_url="ftp://:secret@somewhere")
    assert "secret" not in str(refused.value)


def test_no_answer_is_older_than_its_age_whatever_redis_does(counter, server, monkeypatch):
    """identity 12: Redis is killed, restarted, delayed and flushed; no answer is too old."""
    monkeypatch.setattr(cache, "MAX_AGE_SECONDS", 0.5)
    monkeypatch.setattr(cache, "REST_SECONDS", 0.3)
    committed = [(time.monotonic(), 0)]
    too_old: list[tuple[int, int]] = []
    answers = itertools.count()
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            value = counter.add()
            committed.append((time.monotonic(), value))
            done.wait(0.005)

    def read() -> None:
        while not done.is_set():
            began = time.monotonic()
            least = max(value for at, value in committed[-2000:] if at <= began - 0.5 or not value)
            value = counter.read()
            next(answers)
            if value < least:
                too_old.append((least, value))

    threads = [threading.Thread(target=target) for target in (write, read, read, read)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(0.4)
        with server.standing_still():
            time.sleep(0.6)
        server.flush()
        time.sleep(0.3)
        server.kill()
        time.sleep(0.6)
        server.start()
    done.set()
    for thread in threads:
        thread.join()
    assert too_old == []
    assert next(answers) > 100
    # And it was a cache: some of the answers asked the database nothing.
    assert counter.read_count < next(answers)
