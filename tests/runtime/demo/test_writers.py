"""A story's writers, and the change behind the triggers, on a real database."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator

import psycopg
import pytest

from tallystick.db import Database, Transaction, connect
from tallystick.runtime.demo import store
from tallystick.runtime.demo.errors import DemoError
from tallystick.runtime.demo.shop import (
    CUSTOMERS,
    ORDERS,
    PRODUCTS,
    STORY_PAYMENT,
    buy,
    keep_books,
    price,
)
from tallystick.runtime.demo.writers import Changes, Writers, check_all_sealed

COUNTS = b"""
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items),
       (SELECT count(*) FROM payments)
"""


@pytest.fixture
def shop(database_url: str) -> Iterator[Database]:
    """The shop's tables, without any log."""
    with connect(database_url, pool_size=4) as database:
        with database.transaction() as tx:
            rows = store.open_shop(tx, products=PRODUCTS, customers=CUSTOMERS, orders=ORDERS)
        assert rows == 7_200
        yield database


def count_rows(database: Database) -> tuple[int, int, int]:
    """Orders, their items and payments."""
    with database.session() as session:
        row = session.execute(COUNTS).fetchone()
    assert row is not None
    return row


def test_writers_count_what_they_commit(shop: Database) -> None:
    """The counts of stopped writers are the rows that came and went, and the story's row stays."""
    before = count_rows(shop)
    with shop.transaction() as tx:
        paid = store.amount_of(tx, STORY_PAYMENT)
    writers = Writers(shop, (buy, price, keep_books), actor="user:clerk")
    writers.start()
    time.sleep(0.5)
    changes = writers.stop()
    after = count_rows(shop)
    grown = [now - then for then, now in zip(before, after, strict=True)]
    tables = ("orders", "order_items", "payments")
    assert [changes[table, "I"] - changes[table, "D"] for table in tables] == grown
    assert changes["products", "U"] > 0
    with shop.transaction() as tx:
        assert paid == store.amount_of(tx, STORY_PAYMENT)


def test_failed_writer_is_told(shop: Database) -> None:
    """What a writer died of is raised where writing is stopped."""
    came = threading.Event()

    def fail(tx: Transaction, chance: random.Random) -> Iterable[tuple[str, str, int]]:
        came.set()
        raise ArithmeticError

    writers = Writers(shop, (fail,), actor="user:clerk")
    writers.start()
    assert came.wait(20)
    with pytest.raises(ArithmeticError):
        writers.stop()


def test_missing_leaf_is_told(shop: Database) -> None:
    """A change without a leaf in a log that its table feeds ends the story; others do not."""
    logs = {"sales": ("orders",)}
    elsewhere: Changes = Counter({("products", "U"): 3, ("orders", "D"): 0})
    check_all_sealed(shop, elsewhere, logs)
    with pytest.raises(DemoError, match=r"\('sales', 'orders', 'I'\): 1"):
        check_all_sealed(shop, Counter({("orders", "I"): 1}), logs)


def test_change_unseen_fires_no_trigger(shop: Database) -> None:
    """A change behind the triggers fires none of them, and afterwards they stand as before."""
    with shop.session() as session:
        session.execute(
            b"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            b" AS $$ BEGIN RAISE EXCEPTION 'seen'; END $$;"
            b"CREATE TRIGGER watch AFTER UPDATE ON payments EXECUTE FUNCTION refuse();"
            b"ALTER TABLE payments ENABLE ALWAYS TRIGGER watch"
        )
    with shop.transaction() as tx:
        changed = store.change_unseen(tx, "payments", lambda tx: store.embezzle(tx, STORY_PAYMENT))
    assert changed == 1
    with pytest.raises(psycopg.Error, match="seen"), shop.transaction() as tx:
        store.embezzle(tx, STORY_PAYMENT)
    with shop.session() as session:
        enabled = session.execute(
            b"SELECT tgenabled FROM pg_trigger WHERE tgname = 'watch'"
        ).fetchone()
    assert enabled == ("A",)
