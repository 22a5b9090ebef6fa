"""Import: an earlier log service's leaves keep their bytes, hence their roots (log.md, 5.9)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tallystick.db import Database, connect
from tallystick.seal.audit import audit_log, reconcile_source
from tallystick.seal.errors import (
    HashColumnError,
    ImportRefusedError,
    LogExistsError,
    SourceNotFoundError,
    UnknownColumnError,
    UnsupportedSourceError,
)
from tallystick.seal.imports import Imported, import_log, operations
from tallystick.seal.logs import KeyRing, get_log
from tallystick.seal.sequencer import Sequencer
from tallystick.seal.sources import Poller, add_source, run_backfills
from tallystick.tlog import hash_leaf, tree_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT_OF_EIGHT = "a83e070578a7ff9b09e97b438168bbcc3a4f8ad30c54fc2ee133cba1629aeec7"
EARLIER = """
    CREATE TABLE merkle_log (
      id bigserial PRIMARY KEY, log_name text NOT NULL, source_table text, source_id bigint,
      leaf_hash bytea NOT NULL, processed_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE orders (id int PRIMARY KEY, order_hash bytea);
    INSERT INTO orders SELECT i, sha256(('data' || i)::bytea) FROM generate_series(1, 8) AS i;
    INSERT INTO merkle_log (log_name, source_table, source_id, leaf_hash, processed_at)
    SELECT 'earlier', 'public.orders', o.id, o.order_hash, '2020-01-02 03:04:05Z'
    FROM orders AS o ORDER BY o.id;
    INSERT INTO merkle_log (log_name, source_table, source_id, leaf_hash)
    SELECT 'another', 'orders', i, 'x' FROM generate_series(1, 3) AS i"""


@dataclass
class Bench:
    """A database with an earlier service's table, and a key directory."""

    url: str
    database: Database
    keys: KeyRing

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def take(self, log: str = "earlier", table: str = "merkle_log", **options: Any) -> Imported:
        """Import a log."""
        return import_log(
            self.database, log, table, keys=self.keys, origin_prefix="log.example", **options
        )

    def seal(self, log: str = "earlier") -> int:
        """Seal what waits and return the size."""
        with self.database.transaction() as tx:
            log_id = get_log(tx, log).log_id
        sealed = Sequencer(self.database, self.keys).seal_once(log_id)
        assert sealed is not None
        return sealed.size


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A bench on this test's database."""
    with connect(database_url) as database:
        bench = Bench(database_url, database, KeyRing(tmp_path / "keys"))
        bench.sql(EARLIER)
        yield bench


def test_the_earlier_root_is_reproduced(bench: Bench) -> None:
    """log 29: eight leaves of the earlier service have the root that it published."""
    done = bench.take(expect_root=bytes.fromhex(ROOT_OF_EIGHT))
    assert (done.size, done.root) == (8, ROOT_OF_EIGHT)
    with bench.database.transaction() as tx:
        log = get_log(tx, "earlier")
    assert (log.mode, log.control_leaves, log.status) == ("digest", False, "active")
    rows = bench.sql(
        "SELECT id, source_table, source_id, source_key, op::text, leaf, leaf_hash,"
        " processed_at::date::text FROM tally.merkle_log WHERE id = 3"
    )
    leaf = hashlib.sha256(b"data3").digest()
    assert rows == [(3, "orders", 3, '["3"]', "I", leaf, hash_leaf(leaf), "2020-01-02")]


def test_an_imported_log_is_clean(bench: Bench) -> None:
    """An audit of the imported log finds nothing: tiles, root, note and key agree."""
    bench.take()
    assert audit_log(bench.database, "earlier", processes=1).findings == ()


def test_the_log_goes_on_by_polling(bench: Bench) -> None:
    """log 29: a source that is added afterwards seals the new rows and none that was imported."""
    bench.take()
    with bench.database.transaction() as tx:
        source = add_source(tx, "earlier", "orders", hash_column="order_hash", order_column="id")
    assert (source.leaf_form, source.status) == ("column", "active")
    bench.sql("INSERT INTO orders VALUES (9, sha256('data9'))")
    Poller(bench.database).run_once()
    assert bench.seal() == 9
    assert reconcile_source(bench.database, "earlier", "orders").queued == 0
    leaves = [hashlib.sha256(f"data{i}".encode()).digest() for i in range(1, 10)]
    root = tree_root([hash_leaf(leaf) for leaf in leaves])
    assert bench.sql("SELECT root_hash FROM tally.checkpoints WHERE tree_size = 9") == [(root,)]


def test_the_log_goes_on_by_triggers(bench: Bench) -> None:
    """log 29: the backfill of a trigger source leaves out what was imported, too."""
    bench.take()
    bench.sql("INSERT INTO orders VALUES (9, sha256('data9'))")
    with bench.database.transaction() as tx:
        add_source(tx, "earlier", "orders", hash_column="order_hash")
    run_backfills(bench.database)
    bench.sql("INSERT INTO orders VALUES (10, sha256('data10'))")
    assert bench.seal() == 10
    assert audit_log(bench.database, "earlier", processes=1).findings == ()


def test_batches_make_the_same_tree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the leaves are cut into batches, with gaps in the ids, the tree is the same."""
    monkeypatch.setattr(operations, "BATCH_LEAVES", 7)
    bench.sql(
        "INSERT INTO merkle_log (id, log_name, leaf_hash)"
        " SELECT 3 * i, 'long', sha256(i::text::bytea) FROM generate_series(100, 999) AS i"
    )
    done = bench.take("long")
    leaves = [hashlib.sha256(str(i).encode()).digest() for i in range(100, 1000)]
    assert done.root == tree_root([hash_leaf(leaf) for leaf in leaves]).hex()
    assert audit_log(bench.database, "long", processes=1).findings == ()


def test_another_name_may_be_given(bench: Bench) -> None:
    """The log may be called otherwise than it was."""
    assert bench.take("renamed", earlier_name="another").size == 3


@pytest.mark.parametrize(
    ("spoil", "options", "error"),
    [
        ("SELECT 1", {"expect_root": bytes(32)}, ImportRefusedError),
        ("SELECT 1", {"log": "nobody"}, ImportRefusedError),
        ("UPDATE merkle_log SET leaf_hash = '' WHERE id = 5", {}, ImportRefusedError),
        ("UPDATE merkle_log SET leaf_hash = repeat('x', 65536)::bytea", {}, ImportRefusedError),
        ("ALTER TABLE merkle_log RENAME log_name TO other", {}, UnknownColumnError),
        (
            "ALTER TABLE merkle_log ALTER leaf_hash TYPE text USING encode(leaf_hash, 'hex')",
            {},
            HashColumnError,
        ),
        ("ALTER TABLE merkle_log ALTER id TYPE text", {}, UnknownColumnError),
        ("SELECT 1", {"table": "nowhere"}, SourceNotFoundError),
        ("SELECT 1", {"table": "tally.merkle_log"}, UnsupportedSourceError),
    ],
)
def test_what_is_refused_leaves_nothing(
    bench: Bench, spoil: str, options: dict[str, Any], error: type
) -> None:
    """log 29: a root that differs, or a table that is not the earlier one's, leaves no trace."""
    bench.sql(spoil)
    with pytest.raises(error):
        bench.take(**options)
    assert bench.sql("SELECT count(*) FROM tally.verification_logs") == [(0,)]
    assert bench.sql("SELECT count(*) FROM tally.merkle_log") == [(0,)]
    assert list(bench.keys.directory.glob("*.key")) == []
    assert list(bench.keys.directory.glob("*.head")) == []


def test_a_view_is_not_imported(bench: Bench) -> None:
    """The functions in a view would run with the importer's rights: it is refused by name."""
    bench.sql("CREATE VIEW seen AS SELECT * FROM merkle_log")
    with pytest.raises(UnsupportedSourceError) as raised:
        bench.take(table="seen")
    assert raised.value.evidence["reason"] == "view"


def test_a_log_is_imported_once(bench: Bench) -> None:
    """A name that is taken is refused, and the log of that name stays as it is."""
    bench.take()
    with pytest.raises(LogExistsError):
        bench.take()
    assert len(list(bench.keys.directory.glob("*.key"))) == 1


@pytest.mark.slow
def test_a_million_leaves(bench: Bench) -> None:
    """log 29: an earlier log of a million leaves is imported in batches, whole."""
    bench.sql(
        "INSERT INTO merkle_log (log_name, source_table, source_id, leaf_hash)"
        " SELECT 'large', 'orders', i, sha256(i::text::bytea) FROM generate_series(1, 1000000) AS i"
    )
    done = bench.take("large")
    assert done.size == 1_000_000
