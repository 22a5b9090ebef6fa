"""Pruning: what goes, what stays, who may, and what is answered afterwards (log.md, 4.8)."""

from __future__ import annotations

import datetime
import functools
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError
from tallystick.db.sqlstate import translate
from tallystick.publish import Publisher
from tallystick.publish.errors import LeafNotFoundError, PrunedError
from tallystick.publish.export import (
    check_export,
    export_log,
    open_destination,
    prune_to_export,
    record_check,
)
from tallystick.publish.values import RowKey
from tallystick.seal.audit import audit_log, reconcile_source
from tallystick.seal.errors import LogFailedError, PruneRefusedError
from tallystick.seal.logs import configure_log
from tallystick.seal.pruning import PruneReport, prune_log
from tallystick.seal.sources import add_source, run_backfills
from tallystick.tlog import LeafIndex, Tile, hash_leaf, parse_entry_bundle
from tallystick.verify import MissingObjectError
from tests.support.logs import LogBench, make_bench
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    from pathlib import Path

YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
PATIENCE_SECONDS = 60


def leaves(count: int) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(count)]


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log of 1,000 pushed leaves, which nobody has to retain any longer."""
    made = make_bench(database_url, tmp_path / "keys", control_leaves=False, retain_until=YESTERDAY)
    with made.database.transaction() as tx:
        execute_in(tx.connection, made.log.log_id, leaves(1000))
    made.seal_all()
    return made


def execute_in(connection: psycopg.Connection, log_id: int, pushed: list[bytes]) -> None:
    """Queue pushed leaves as one statement."""
    connection.execute(
        "INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)"
        " SELECT %s, 'A', 'a', '[]', l, tally.clock() FROM unnest(%s::bytea[]) AS l",
        (log_id, pushed),
    )


def execute(bench: LogBench, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(bench: LogBench, query: str) -> list[tuple]:
    """All rows of a query."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def checked_export(bench: LogBench, address: str) -> str:
    """Export the bench's log, record a clean check of it, and return the address."""
    export_log(bench.database, "payments", open_destination(address))
    vkeys = rows(bench, f"SELECT vkey FROM tally.log_keys WHERE log_id = {bench.log.log_id}")
    policy = "".join(f"log {vkey}\n" for (vkey,) in vkeys).encode() + b"quorum none\n"
    check = functools.partial(check_export, address, policy)
    record_check(bench.database, "payments", address, check)
    return address


def prune(bench: LogBench, to_index: int, address: str) -> PruneReport:
    """Prune the bench's log."""
    return prune_to_export(
        bench.database, "payments", to_index=to_index, export=address, actor="ada", reason="old"
    )


def minimum_index(bench: LogBench) -> int:
    """The log's minimum index."""
    return int(bench.value("SELECT minimum_index FROM tally.verification_logs WHERE log_id = %s"))


def kept_indexes(bench: LogBench, below: int) -> list[int]:
    """The leaves below an index that are still stored."""
    query = (
        f"SELECT leaf_index FROM tally.merkle_log WHERE log_id = {bench.log.log_id}"
        f" AND leaf_index < {below} ORDER BY leaf_index"
    )
    return [index for (index,) in rows(bench, query)]


def test_entries_go_and_every_proof_stays(bench: LogBench, address: str) -> None:
    """log 26: Pruned entries answer 410, and every old proof is made as before and verifies."""
    report = prune(bench, 768, checked_export(bench, address))
    assert (0, 768, 768, 0) == (
        report.from_index,
        report.to_index,
        report.leaves_deleted,
        report.leaves_kept,
    )
    assert [] == kept_indexes(bench, 768)
    publisher = Publisher(bench.database)
    publisher.refresh()
    head = publisher.published_head("payments")
    naive = NaiveTree(leaves(1000))
    for index in (0, 300, 767, 768, 999):
        assert naive.inclusion(index, 1000) == publisher.prove_index(head, LeafIndex(index)).hashes
    assert naive.consistency(100, 1000) == publisher.prove_growth(head, 100).hashes
    for tile in (Tile(0, 0), Tile(0, 2)):
        with pytest.raises(PrunedError):
            publisher.read_bundle(head, tile)
        assert naive.tile(0, tile.index, 256) == publisher.read_tile(head, tile)
    with pytest.raises(PrunedError):
        publisher.entry(head, 767)
    assert b"leaf 768" == publisher.entry(head, 768).leaf
    assert leaves(1000)[768:] == parse_entry_bundle(publisher.read_bundle(head, Tile(0, 3, 232)))
    assert audit_log(bench.database, "payments").is_clean


def test_what_is_pruned_is_not_called_absent(bench: LogBench, tmp_path: Path) -> None:
    """A pruned log never says of a leaf that it was never there: it says that it cannot know."""
    publisher = Publisher(bench.database)
    publisher.refresh()
    head = publisher.published_head("payments")
    with pytest.raises(LeafNotFoundError):
        publisher.prove_hash(head, hash_leaf(b"never"))
    assert not publisher.find_leaf(head, hash_leaf(b"never"))
    prune(bench, 256, checked_export(bench, str(tmp_path / "export")))
    publisher.refresh()
    head = publisher.published_head("payments")
    for leaf in (b"leaf 255", b"never"):
        with pytest.raises(PrunedError):
            publisher.prove_hash(head, hash_leaf(leaf))
        with pytest.raises(PrunedError):
            publisher.find_leaf(head, hash_leaf(leaf))
    assert 256 == publisher.prove_hash(head, hash_leaf(b"leaf 256")).proof.index
    with pytest.raises(PrunedError):
        publisher.row_at(head, RowKey.of("payment", ["1"]))


def refusal(bench: LogBench, to_index: int, address: str) -> str:
    """The words with which pruning is refused; nothing may have changed by then."""
    before = minimum_index(bench)
    with pytest.raises(PruneRefusedError) as caught:
        prune(bench, to_index, address)
    assert (before, 1000 - before) == (
        minimum_index(bench),
        len(kept_indexes(bench, 1000)),
    )
    return caught.value.message


def test_nothing_is_pruned_without_a_checked_export(bench: LogBench, tmp_path: Path) -> None:
    """Without a recorded, clean check of this very export, which holds what goes: TS105."""
    address = str(tmp_path / "export")
    export_log(bench.database, "payments", open_destination(address))
    assert "no clean check" in refusal(bench, 256, address)
    bundle = (tmp_path / "export/tile/entries/000").read_bytes()
    (tmp_path / "export/tile/entries/000").unlink()
    with pytest.raises(MissingObjectError):
        checked_export(bench, address)
    assert "no clean check" in refusal(bench, 256, address)
    (tmp_path / "export/tile/entries/000").write_bytes(bundle)
    checked_export(bench, address)
    # Another place, however equal, was not checked; nor was this one, if it is another now.
    shutil.copytree(address, tmp_path / "copy")
    assert "no clean check" in refusal(bench, 256, str(tmp_path / "copy"))
    manifest = (tmp_path / "export/log.json").read_bytes()
    (tmp_path / "export/log.json").write_bytes(manifest.replace(b'"full"', b'"digest"'))
    assert "no clean check" in refusal(bench, 256, address)
    (tmp_path / "export/log.json").unlink()
    with pytest.raises(MissingObjectError):
        prune(bench, 256, address)
    (tmp_path / "export/log.json").write_bytes(manifest)
    assert 256 == prune(bench, 256, address).leaves_deleted


def test_an_export_of_another_tree_does_not_count(bench: LogBench, tmp_path: Path) -> None:
    """A check that was recorded for a tree which the log does not have allows nothing."""
    address = checked_export(bench, str(tmp_path / "export"))
    execute(
        bench,
        "ALTER TABLE tally.audits DISABLE TRIGGER ALL",
        "UPDATE tally.audits SET root_hash = sha256('x')",
    )
    assert "no clean check" in refusal(bench, 256, address)


@pytest.mark.parametrize(
    ("to_index", "words"), [(300, "multiple of 256"), (1024, "holds a tree of 1000 leaves")]
)
def test_bounds_lie_between_bundles(
    bench: LogBench, tmp_path: Path, to_index: int, words: str
) -> None:
    """A bundle is pruned whole or not at all, and never beyond what was exported."""
    assert words in refusal(bench, to_index, checked_export(bench, str(tmp_path / "export")))


def test_what_must_be_retained_stays(database_url: str, tmp_path: Path) -> None:
    """Where nobody has said how long to retain a log, and before that time, nothing is pruned."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    with bench.database.transaction() as tx:
        execute_in(tx.connection, bench.log.log_id, leaves(1000))
    bench.seal_all()
    address = checked_export(bench, str(tmp_path / "export"))
    assert "nobody has said" in refusal(bench, 256, address)
    tomorrow = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
    with bench.database.transaction() as tx:
        configure_log(tx, "payments", retain_until=tomorrow)
    assert "retained until" in refusal(bench, 256, address)
    execute(bench, "SELECT tally.set_test_clock(now() + interval '2 days')")
    assert 256 == prune(bench, 256, address).leaves_deleted


def test_a_failed_log_is_not_pruned(bench: LogBench, tmp_path: Path) -> None:
    """What contradicts itself is kept whole for whoever looks into it."""
    address = checked_export(bench, str(tmp_path / "export"))
    execute(bench, f"SELECT tally.fail_log_v1({bench.log.log_id}, '{{}}')")
    with pytest.raises(LogFailedError):
        prune(bench, 256, address)


def test_a_pruning_has_a_reason(bench: LogBench, tmp_path: Path) -> None:
    """What is recorded for good says why; blanks do not."""
    address = checked_export(bench, str(tmp_path / "export"))
    with pytest.raises(PruneRefusedError, match="reason"):
        prune_to_export(
            bench.database, "payments", to_index=256, export=address, actor="ada", reason=" "
        )
    assert 0 == minimum_index(bench)


def test_a_failed_log_is_not_even_cleared(bench: LogBench, tmp_path: Path) -> None:
    """Nor are leaves deleted then that an earlier pruning left."""
    address = checked_export(bench, str(tmp_path / "export"))
    prune(bench, 256, address)
    execute(bench, f"SELECT tally.fail_log_v1({bench.log.log_id}, '{{}}')")
    with pytest.raises(LogFailedError):
        prune(bench, 256, address)


def test_the_bound_only_grows(bench: LogBench, tmp_path: Path) -> None:
    """Each pruning goes on where the one before ended, and is evidence; none goes back."""
    address = checked_export(bench, str(tmp_path / "export"))
    prune(bench, 512, address)
    with pytest.raises(PruneRefusedError, match="only grows"):
        prune(bench, 256, address)
    assert (512, 768) == (
        prune(bench, 768, address).from_index,
        minimum_index(bench),
    )
    told = rows(bench, "SELECT from_index, to_index, actor, reason FROM tally.prunings ORDER BY 1")
    assert [(0, 512, "ada", "old"), (512, 768, "ada", "old")] == told
    # An export that begins later does not hold what an older one does.
    new = checked_export(bench, str(tmp_path / "new"))
    assert 768 == check_minimum(bench, new)


def check_minimum(bench: LogBench, address: str) -> int:
    """The index from which on an export has the entries, as its last check says."""
    return int(
        rows(
            bench,
            "SELECT counts #>> '{export,minimum_index}' FROM tally.audits"
            f" WHERE counts #>> '{{export,url}}' = '{open_destination(address).url}'"
            " ORDER BY audit_id DESC LIMIT 1",
        )[0][0]
    )


@pytest.mark.parametrize("point", ["prune.raised", "prune.batch_deleted"])
def test_an_interrupted_pruning_goes_on(
    bench: LogBench, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind any step, the entries are pruned, and the same command deletes the rest."""
    address = checked_export(bench, str(tmp_path / "export"))
    reached = tmp_path / "reached"
    command = [sys.executable, "-m", "tallystick", "prune", "payments", "--to", "768"]
    command += ["--export", address, "--reason", "old"]
    environment = {
        **os.environ,
        "TALLY_PAUSE_AT": point,
        "TALLY_PAUSE_FILE": str(reached),
        "TALLY_DATABASE_URL": bench.url,
    }
    process = subprocess.Popen(command, env=environment, cwd=tmp_path)
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while not reached.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert reached.exists(), "the command ended before it came to the pause point"
    finally:
        process.kill()
        process.wait()
    assert 768 == minimum_index(bench)
    assert audit_log(bench.database, "payments").is_clean
    environment.pop("TALLY_PAUSE_AT")
    said = subprocess.run(
        command, env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "entries below 768 are pruned" in said.stdout
    assert [] == kept_indexes(bench, 768)
    assert [(0, 768)] == rows(bench, "SELECT from_index, to_index FROM tally.prunings")


def test_leaves_go_in_batches(
    bench: LogBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many leaves go, a transaction deletes a bounded number of them."""
    monkeypatch.setattr("tallystick.seal.pruning.prune.BATCH_LEAVES", 100)
    done: list[int] = []
    address = checked_export(bench, str(tmp_path / "export"))
    manifest = rows(bench, "SELECT counts #>> '{export,manifest_sha256}' FROM tally.audits")[0][0]
    report = prune_log(
        bench.database,
        "payments",
        to_index=512,
        export_url=open_destination(address).url,
        manifest_sha256=bytes.fromhex(manifest),
        actor="ada",
        reason="old",
        progress=lambda position, _total: done.append(position),
    )
    assert [100, 200, 300, 400, 500, 512, 512] == done
    assert 512 == report.leaves_deleted


def test_the_servers_role_prunes_by_the_functions_alone(bench: LogBench, tmp_path: Path) -> None:
    """tally_app prunes, and an auditor does not, whatever he may read."""
    url = open_destination(checked_export(bench, str(tmp_path / "export"))).url
    manifest = rows(bench, "SELECT counts #>> '{export,manifest_sha256}' FROM tally.audits")[0][0]
    prune_sql = (
        f"SELECT tally.prune_log_v1({bench.log.log_id}, 256, '{url}',"
        f" decode('{manifest}', 'hex'), 'ada', 'old')"
    )
    delete_sql = f"SELECT * FROM tally.delete_pruned_v1({bench.log.log_id}, 0, 1000)"
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("SET ROLE tally_auditor")
        for statement in (prune_sql, delete_sql):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("SET ROLE tally_app")
        assert [(0,)] == connection.execute(prune_sql).fetchall()
        assert [(256, 256, 0)] == connection.execute(delete_sql).fetchall()


@pytest.mark.parametrize("role", ["tally_app", "tally_owner"])
def test_facts_decide_what_may_be_deleted(bench: LogBench, tmp_path: Path, role: str) -> None:
    """Nobody deletes a leaf at or above the minimum index, and tally_app none by itself."""
    prune(bench, 256, checked_export(bench, str(tmp_path / "export")))
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {role}")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("DELETE FROM tally.merkle_log WHERE leaf_index = 256")
        if role == "tally_owner":
            assert isinstance(translate(caught.value), AppendOnlyError)
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE tally.verification_logs SET minimum_index = 512")
        with pytest.raises(psycopg.Error):
            connection.execute("UPDATE tally.verification_logs SET minimum_index = 0")


@pytest.mark.parametrize(
    ("tampering", "kind"),
    [
        ("UPDATE tally.log_tiles SET hashes = set_byte(hashes, 40, 0) WHERE level = 0", "tile"),
        ("UPDATE tally.log_tiles SET hashes = set_byte(hashes, 40, 0) WHERE level = 1", "tile"),
        ("DELETE FROM tally.log_tiles WHERE level = 0 AND tile_index = 1", "tile"),
        ("UPDATE tally.checkpoints SET root_hash = sha256('x') WHERE tree_size = 1000", "root"),
        ("DELETE FROM tally.merkle_log WHERE leaf_index = 768", "leaf_missing"),
        ("UPDATE tally.merkle_log SET leaf = 'x' WHERE leaf_index = 900", "leaf_changed"),
    ],
)
def test_a_pruned_log_is_audited_all_the_same(
    bench: LogBench, tmp_path: Path, tampering: str, kind: str
) -> None:
    """Below the minimum index tiles stand for leaves: what is changed there or above is named."""
    prune(bench, 768, checked_export(bench, str(tmp_path / "export")))
    assert audit_log(bench.database, "payments").is_clean
    table = tampering.split()[1] if tampering.startswith("UPDATE") else tampering.split()[2]
    execute(bench, f"ALTER TABLE {table} DISABLE TRIGGER USER", tampering)
    findings = audit_log(bench.database, "payments").findings
    assert any(finding.kind.startswith(kind) for finding in findings), findings


def test_a_bound_that_nobody_pruned_to_hides_nothing(bench: LogBench, tmp_path: Path) -> None:
    """Who raises the minimum index behind the log's back and deletes leaves is found out."""
    prune(bench, 256, checked_export(bench, str(tmp_path / "export")))
    execute(
        bench,
        "UPDATE tally.verification_logs SET minimum_index = 512",
        "DELETE FROM tally.merkle_log WHERE leaf_index = 300",
    )
    findings = audit_log(bench.database, "payments").findings
    assert [("leaf_missing", 300)] == [(found.kind, found.leaf_index) for found in findings]


TABLE = "CREATE TABLE payment (id bigint PRIMARY KEY, amount numeric(12, 2), note text)"


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> LogBench:
    """A log over the table `payment`: rows that stand, that were changed, that are gone."""
    made = make_bench(database_url, tmp_path / "keys", control_leaves=False, retain_until=YESTERDAY)
    execute(made, TABLE)
    with made.database.transaction() as tx:
        add_source(tx, "payments", "payment")
    run_backfills(made.database)
    execute(
        made,
        "INSERT INTO payment SELECT i, i, repeat('x', 10) FROM generate_series(1, 400) AS i",
        "UPDATE payment SET amount = amount + 1 WHERE id <= 100",
        "DELETE FROM payment WHERE id BETWEEN 101 AND 200",
        "INSERT INTO payment VALUES (201, 9, 'again') ON CONFLICT (id) DO UPDATE SET note = 'y'",
    )
    made.seal_all()
    execute(made, "INSERT INTO payment SELECT i, i, 'new' FROM generate_series(1000, 1200) AS i")
    made.seal_all()
    return made


def test_the_last_word_on_each_row_is_kept(shop: LogBench, tmp_path: Path) -> None:
    """The leaf that a row which stands is compared with stays, so audit and reconcile go on."""
    report = prune(shop, 512, checked_export(shop, str(tmp_path / "export")))
    # 100 updated rows at 400..499, 199 untouched ones at 201..399; what was deleted went.
    assert [*range(201, 400), *range(400, 500)] == kept_indexes(shop, 512)
    assert (512 - 299, 299) == (report.leaves_deleted, report.leaves_kept)
    assert audit_log(shop.database, "payments").is_clean
    assert 0 == reconcile_source(shop.database, "payments", "payment").queued
    execute(
        shop,
        "ALTER TABLE payment DISABLE TRIGGER USER",
        "UPDATE payment SET amount = 999 WHERE id = 300",
        "DELETE FROM payment WHERE id = 301",
        "INSERT INTO payment VALUES (105, 1, 'back again')",
    )
    found = {
        (finding.kind, finding.source_key)
        for finding in audit_log(shop.database, "payments").findings
        if finding.source_key
    }
    assert {
        ("row_changed", '["300"]'),
        ("row_missing", '["301"]'),
        ("row_unlogged", '["105"]'),
    } == found


def test_a_later_pruning_takes_what_was_kept(shop: LogBench, tmp_path: Path) -> None:
    """What an earlier pruning kept goes with the next one, once the row has a later leaf."""
    address = checked_export(shop, str(tmp_path / "export"))
    prune(shop, 256, address)
    assert [*range(201, 256)] == kept_indexes(shop, 256)
    execute(shop, "UPDATE payment SET note = 'z' WHERE id BETWEEN 210 AND 219")
    shop.seal_all()
    prune(shop, 512, checked_export(shop, address))
    assert not set(kept_indexes(shop, 256)) & set(range(209, 219))
    assert audit_log(shop.database, "payments").is_clean


def test_a_truncate_ends_what_was_kept(shop: LogBench, tmp_path: Path) -> None:
    """Behind a truncate no leaf before it is anybody's last word."""
    execute(shop, "TRUNCATE payment", "INSERT INTO payment VALUES (1, 1, 'first')")
    shop.seal_all()
    prune(shop, 512, checked_export(shop, str(tmp_path / "export")))
    assert [] == kept_indexes(shop, 512)
    assert audit_log(shop.database, "payments").is_clean


def test_rows_without_a_key_keep_their_leaves(database_url: str, tmp_path: Path) -> None:
    """Rows of a table without a key are counted, so each of their leaves counts and stays."""
    bench = make_bench(
        database_url, tmp_path / "keys", control_leaves=False, retain_until=YESTERDAY
    )
    execute(bench, "CREATE TABLE event (word text)")
    with bench.database.transaction() as tx:
        add_source(tx, "payments", "event", key_full_row=True)
    run_backfills(bench.database)
    execute(
        bench,
        "INSERT INTO event SELECT 'w' || i % 7 FROM generate_series(1, 400) AS i",
        "DELETE FROM event WHERE ctid IN (SELECT ctid FROM event WHERE word = 'w3' LIMIT 20)",
    )
    bench.seal_all()
    size = bench.size()
    report = prune(bench, 256, checked_export(bench, str(tmp_path / "export")))
    assert (0, 256) == (report.leaves_deleted, report.leaves_kept)
    assert audit_log(bench.database, "payments").is_clean
    execute(bench, "TRUNCATE event")
    bench.seal_all()
    assert size + 1 == bench.size()
    prune(bench, 256, str(tmp_path / "export"))
    assert [] == kept_indexes(bench, 256)
    assert audit_log(bench.database, "payments").is_clean


def test_a_row_is_told_while_its_last_word_is_kept(shop: LogBench, tmp_path: Path) -> None:
    """A row that stands is told with its proof; of an older state nobody can tell any more."""
    prune(shop, 512, checked_export(shop, str(tmp_path / "export")))
    publisher = Publisher(shop.database)
    publisher.refresh()
    head = publisher.published_head("payments")
    key = RowKey.of("payment", ["1"])
    state = publisher.row_at(head, key)
    assert (400, True) == (state.version.index, state.exists)
    with pytest.raises(PrunedError):
        publisher.row_at(head, key, 300)
    with pytest.raises(PrunedError):
        publisher.row_at(head, RowKey.of("payment", ["105"]))
    with pytest.raises(PrunedError):
        publisher.prove_row(head, RowKey.of("payment", ["105"]), "last")


def test_pruned_records_go_with_their_leaves(database_url: str, tmp_path: Path) -> None:
    """The salts and records beside pruned leaves go with them; those of kept leaves stay."""
    bench = make_bench(
        database_url, tmp_path / "keys", control_leaves=False, retain_until=YESTERDAY
    )
    execute(bench, TABLE)
    with bench.database.transaction() as tx:
        add_source(tx, "payments", "payment", private=["note"])
    run_backfills(bench.database)
    execute(
        bench,
        "INSERT INTO payment SELECT i, i, 'secret' FROM generate_series(1, 300) AS i",
        "UPDATE payment SET note = 'other' WHERE id > 10",
    )
    bench.seal_all()
    prune(bench, 256, checked_export(bench, str(tmp_path / "export")))
    beside = rows(bench, "SELECT leaf_index FROM tally.leaf_records WHERE leaf_index < 256")
    assert list(range(10)) == sorted(index for (index,) in beside)
    assert audit_log(bench.database, "payments").is_clean
