"""Commands for polled sources, and the import of an earlier log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Tally

ROOT_OF_EIGHT = "a83e070578a7ff9b09e97b438168bbcc3a4f8ad30c54fc2ee133cba1629aeec7"
TABLES = """
    CREATE TABLE orders (id int PRIMARY KEY, note text, hash bytea, at timestamptz DEFAULT now());
    INSERT INTO orders (id, hash) SELECT i, sha256(('data' || i)::bytea)
    FROM generate_series(1, 8) AS i;
    CREATE TABLE old_log AS SELECT id::bigint, 'old' AS log_name, 'orders' AS source_table,
      id AS source_id, hash AS leaf_hash, now() AS processed_at FROM orders"""


@pytest.fixture
def tables(house: None, database_url: str) -> None:
    """The tables of an earlier service."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)


def test_a_polled_source_is_added_and_shown(tally: Tally, tables: None) -> None:
    """log 16: `source add --poll` says what it follows, and `source show` where it stands."""
    assert tally("log", "create", "payments").code == 0
    added = tally("source", "add", "payments", "orders", "--poll", "--order-column", "id", "--json")
    assert added.code == 0
    assert (added.json["capture"], added.json["status"]) == ("poll", "active")
    shown = tally("source", "show", "payments", "orders", "--json").json
    assert (shown["poll_cursor"], shown["poll_lookback"]) == ("8", 10_000)
    assert shown["reconcile_interval_seconds"] == 3600
    assert "poll_cursor" in tally("source", "show", "payments", "orders").out
    reconciled = tally("reconcile", "payments", "orders", "--json")
    assert reconciled.code == 0
    assert tally("source", "check", "payments", "orders").code == 0
    assert tally("source", "requeue", "payments", "orders").code == 0
    assert tally("source", "detach", "payments", "orders", "--json").json["status"] == "detached"


def test_bad_polls_are_usage_or_refused(tally: Tally, tables: None) -> None:
    """A poll without an order, or with two ways of capture, is refused in words."""
    assert tally("log", "create", "payments").code == 0
    without = tally("source", "add", "payments", "orders", "--poll")
    assert (without.code, "order_column" in without.err) == (2, True)
    both = tally("source", "add", "payments", "orders", "--poll", "--capture", "trigger")
    assert both.code == 2


def test_an_earlier_log_is_imported(tally: Tally, tables: None) -> None:
    """log 29: `log import` tells size and root, refuses another root, and the log goes on."""
    refused = tally("log", "import", "old", "--table", "old_log", "--expect-root", "00" * 32)
    assert refused.code == 4
    assert ROOT_OF_EIGHT in refused.err
    assert tally("log", "show", "old").code == 3
    done = tally(
        "log", "import", "old", "--table", "old_log", "--expect-root", ROOT_OF_EIGHT, "--json"
    )
    assert done.code == 0
    assert (done.json["size"], done.json["root"]) == (8, ROOT_OF_EIGHT)
    assert tally("log", "import", "old", "--table", "old_log").code == 4
    assert tally("log", "import", "new", "--table", "old_log", "--expect-root", "xy").code == 2
    renamed = tally("log", "import", "new", "--table", "old_log", "--log-name", "old", "--json")
    assert renamed.json["root"] == ROOT_OF_EIGHT
    added = tally(
        "source",
        "add",
        "old",
        "orders",
        "--hash-column",
        "hash",
        "--timestamp-column",
        "at",
        "--json",
    )
    assert (added.json["capture"], added.json["leaf_form"]) == ("poll", "column")
    assert tally("audit", "old").code == 0
