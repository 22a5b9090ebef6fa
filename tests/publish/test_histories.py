"""History files as the publisher makes them, from a real log (docs/adr/0015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.publish import store
from tallystick.publish.errors import (
    DamagedMapError,
    HistoryTooLargeError,
    KeyNotCoveredError,
    MapNotFoundError,
    PrunedError,
)
from tallystick.publish.histories import record_table
from tallystick.record.key_index import index_key
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.index import index_log
from tallystick.seal.sources import add_source
from tallystick.verify import check_history
from tests.support.mapped import Mapped, mapped_log

PAYMENTS = "INSERT INTO payment SELECT i, i, 'note' FROM generate_series(1, 40) AS i"


@pytest.fixture
def mapped(database_url: str, tmp_path: Path) -> Iterator[Mapped]:
    """A full log over two tables, one of them with a name to quote and a key of two columns."""
    with mapped_log(database_url, tmp_path / "keys") as made:
        yield made


def ops(mapped, table: str, *key: str) -> list[str]:
    """The operations that a verified history of the key shows, the table's own behind."""
    verified = check_history(mapped.history(table, *key), policy=mapped.policy())
    return [one.record.op for one in (*verified.versions, *verified.table_leaves)]


def test_history_of_every_kind_of_key(mapped):
    """Every version of a row is in its file: also under a quoted name, and a key of two columns."""
    mapped.run(
        PAYMENTS,
        "UPDATE payment SET amount = 0 WHERE id = 7",
        "DELETE FROM payment WHERE id = 7",
        'INSERT INTO shop."Größe" VALUES (\'x"y\', 1, NULL)',
    )
    mapped.index()
    assert ops(mapped, "payment", "7") == ["insert", "update", "delete"]
    assert ops(mapped, "public.payment", "8") == ["insert"]
    assert ops(mapped, 'shop."Größe"', 'x"y', "1") == ["insert"]
    assert ops(mapped, 'shop."Größe"', 'x"y', "2") == []
    assert ops(mapped, "payment", "77") == []
    assert ops(mapped, "nowhere", "1") == []


def test_truncate_stands_in_every_history_of_its_table(mapped):
    """A truncate is shown with each key of its table, and with none of another."""
    mapped.run(PAYMENTS, "TRUNCATE payment", "INSERT INTO payment VALUES (7, 1, NULL)")
    mapped.index()
    assert ops(mapped, "payment", "7") == ["insert", "insert", "truncate"]
    assert ops(mapped, "payment", "8") == ["insert", "truncate"]
    assert ops(mapped, 'shop."Größe"', "a", "1") == []
    verified = check_history(mapped.history("payment", "8"), policy=mapped.policy())
    assert verified.is_present is False


def test_schema_changes_stand_in_it_too(mapped):
    """Control records of a table, such as of changed columns, are shown with each of its keys."""
    mapped.run(
        PAYMENTS,
        "ALTER TABLE payment ADD COLUMN paid boolean",
        f"SELECT tally.queue_control({mapped.log_id}, 1, 'schema',"
        ' \'{"columns": [["id", "bigint"]], "key": ["id"], "private": []}\')',
    )
    mapped.index()
    assert ops(mapped, "payment", "1") == ["insert", "schema"]


def test_rows_without_a_key(mapped):
    """A table keyed by full row has a history for each value that its rows had."""
    mapped.run("CREATE TABLE loose (v text)")
    with mapped.bench.database.transaction() as tx:
        add_source(tx, mapped.name, "loose", key_full_row=True)
    mapped.run("INSERT INTO loose VALUES ('a'), ('a'), ('b')", "DELETE FROM loose WHERE v = 'b'")
    mapped.index()
    keys = mapped.rows(
        "SELECT DISTINCT source_key::json ->> 0 FROM tally.merkle_log WHERE source_table = 'loose'"
    )
    found = sorted(ops(mapped, "loose", key) for (key,) in keys)
    assert found == [["insert", "delete"], ["insert", "insert"]]


def test_without_a_map_there_is_no_history(mapped):
    """A log whose map was not sealed yet has no history to show."""
    mapped.run(PAYMENTS)
    mapped.seal()
    with pytest.raises(MapNotFoundError):
        mapped.history("payment", "7")
    index_log(mapped.bench.database, mapped.name)
    with pytest.raises(MapNotFoundError):
        mapped.history("payment", "7")
    mapped.seal()
    assert ops(mapped, "payment", "7") == ["insert"]


def test_digests_are_refused(mapped):
    """A key whose leaves are digests is refused, not shown as if it had never been."""
    mapped.run("CREATE TABLE secret (id integer PRIMARY KEY, v text)")
    with mapped.bench.database.transaction() as tx:
        add_source(tx, mapped.name, "secret", leaf_form="salted")
    mapped.run("INSERT INTO secret VALUES (1, 'x')")
    mapped.index()
    for key in ("1", "2"):
        with pytest.raises(KeyNotCoveredError):
            mapped.history("secret", key)


def test_empty_key_is_no_rows(mapped):
    """The key under which a table's own leaves stand is not asked for like a row's."""
    mapped.index()
    with pytest.raises(InvalidRequestError):
        mapped.history("payment")


def test_damage_is_told(mapped):
    """Where what is kept for the map was changed, no file is made that its reader would refuse."""
    mapped.run(PAYMENTS)
    mapped.index()
    mapped.run("UPDATE tally.key_index_entries SET chain = sha256(chain)")
    with pytest.raises(DamagedMapError):
        mapped.history("payment", "7")


def test_a_lost_leaf_is_told(mapped):
    """Where a leaf that the map lists is gone, or was pruned, the history is refused."""
    mapped.run(PAYMENTS)
    mapped.index()
    mapped.tamper("DELETE FROM tally.merkle_log WHERE source_key = '[\"7\"]'")
    with pytest.raises(DamagedMapError):
        mapped.history("payment", "7")
    mapped.run(
        f"UPDATE tally.verification_logs SET minimum_index = 9 WHERE log_id = {mapped.log_id}"
    )
    with pytest.raises(PrunedError):
        mapped.history("payment", "7")
    assert ops(mapped, "payment", "8") == ["insert"]
    verified = check_history(mapped.history("payment", "8"), policy=mapped.policy())
    assert verified.predecessor is None


def test_too_many_versions(mapped, monkeypatch):
    """A key of more versions than one file shows is refused, with the number."""
    mapped.run(PAYMENTS, *["UPDATE payment SET amount = amount + 1 WHERE id = 7"] * 3)
    mapped.index()
    monkeypatch.setattr("tallystick.publish.histories.MAX_SHOWN_LEAVES", 3)
    with pytest.raises(HistoryTooLargeError, match="3"):
        mapped.history("payment", "7")


def test_too_many_bytes(mapped, monkeypatch):
    """What is too long for one file is not read: of its leaves only so many as show that."""
    mapped.run(PAYMENTS, *["UPDATE payment SET note = repeat('x', 2000) WHERE id = 7"] * 3)
    mapped.run(*["UPDATE payment SET amount = amount + 1 WHERE id = 7"] * 3)
    mapped.index()
    read: list[int] = []
    key_leaves = store.key_leaves

    def counting(*arguments, **members):
        found = key_leaves(*arguments, **members)
        read.append(len(found))
        return found

    monkeypatch.setattr(store, "key_leaves", counting)
    monkeypatch.setattr("tallystick.publish.histories.MAX_LEAF_BYTES_SHOWN", 3000)
    with pytest.raises(HistoryTooLargeError, match="3000 bytes"):
        mapped.history("payment", "7")
    assert read == [3]


def test_a_long_history_is_read_by_few_statements(mapped, monkeypatch):
    """The paths of all versions come by one statement for many of them, and are right."""
    mapped.run("INSERT INTO payment SELECT i, i, 'x' FROM generate_series(1, 300) AS i")
    for _ in range(4):
        mapped.run("UPDATE payment SET amount = amount + 1")
    mapped.index()
    asked: list[int] = []
    read_tiles = store.read_tiles

    def counting(tx, wanted):
        asked.append(len(wanted))
        return read_tiles(tx, wanted)

    monkeypatch.setattr(store, "read_tiles", counting)
    verified = check_history(mapped.history("payment", "7"), policy=mapped.policy())
    assert len(verified.versions) == 5
    assert len(asked) <= 5


@pytest.mark.parametrize(
    ("table", "recorded"),
    [
        ("payment", "public.payment"),
        ("shop.payment", "shop.payment"),
        ('"a.b"', 'public."a.b"'),
        ('"a.b".c', '"a.b".c'),
        ('"a"".b"', 'public."a"".b"'),
        ('shop."Größe"', 'shop."Größe"'),
    ],
)
def test_tables_are_named_as_records_do(mapped, table, recorded):
    """A table's name in a history is the one of its records, in Python as in SQL."""
    assert record_table(table) == recorded
    [(hashed,)] = mapped.rows(f"SELECT tally.index_key($q${table}$q$, '[\"1\"]')")
    assert bytes(hashed) == index_key(recorded, ["1"])


@pytest.mark.parametrize("table", ["Payment", ".", "a.b.c", 'a"', "public."])
def test_a_name_that_no_table_has_is_refused(mapped, table):
    """Under it every key would be absent, so that it is said and no file is made."""
    mapped.run(PAYMENTS)
    mapped.index()
    with pytest.raises(InvalidRequestError):
        mapped.history(table, "7")
