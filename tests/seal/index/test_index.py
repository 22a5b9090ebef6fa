"""The map of a log's keys: what it covers, how it grows, when it is sealed (docs/adr/0015)."""

from __future__ import annotations

import random
import threading

import psycopg
import pytest

from tallystick.record import parse_record
from tallystick.record.key_index import KeyIndex
from tallystick.seal.errors import (
    IndexRefusedError,
    InvalidLogError,
    LogFailedError,
    LogFrozenError,
    LogNotFoundError,
)
from tallystick.seal.index import (
    decision,
    due_indexes,
    forget_index,
    index_log,
    set_index_interval,
)
from tallystick.seal.index.operations import advance
from tallystick.seal.logs import configure_log, freeze_log
from tallystick.seal.sources import add_source
from tallystick.verify import check_history
from tests.seal.index.naive import naive_root
from tests.support.logs import make_bench
from tests.support.mapped import Mapped

PAYMENTS = "INSERT INTO payment SELECT i, i, 'note' FROM generate_series(1, 40) AS i"


def sealed_maps(mapped: Mapped) -> list[tuple[int, dict]]:
    """Index and detail of each control leaf that names a map."""
    found = [(index, parse_record(leaf)) for index, leaf in enumerate(mapped.leaves())]
    return [(index, record.detail) for index, record in found if record and record.op == "index"]


def test_root_is_sealed_as_a_control_leaf(mapped):
    """A map covers the leaves below the size that it was computed at, and its root is a leaf."""
    mapped.run(PAYMENTS, "UPDATE payment SET amount = 0 WHERE id % 3 = 0")
    size = mapped.seal()
    done = mapped.index()
    assert (done.outcome, done.tree_size, done.leaves) == ("queued", size, size)
    [(index, detail)] = sealed_maps(mapped)
    assert index == size
    assert detail == {"size": size, "buckets": 65536, "root": done.root.hex()}
    assert done.root == naive_root(mapped.leaves(size))


def random_change(rng: random.Random) -> str:
    """One statement of a workload that reaches every kind of leaf."""
    key = rng.randrange(30)
    return rng.choice(
        [
            f"INSERT INTO payment VALUES ({key}, 1, NULL) ON CONFLICT (id) DO UPDATE SET"
            f" amount = payment.amount + {key}",
            f"DELETE FROM payment WHERE id = {key}",
            f"UPDATE payment SET id = id + 100 WHERE id = {key}",
            f"INSERT INTO shop.\"Größe\" VALUES ('k\"\\ü{key}', {key % 3}, 'x')"
            " ON CONFLICT DO NOTHING",
            f"UPDATE shop.\"Größe\" SET c = '{rng.random()}' WHERE b = {key % 3}",
            "TRUNCATE payment" if key < 5 else "SELECT",
        ]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_any_growth_gives_the_map_of_all_leaves(mapped, monkeypatch, seed):
    """After any changes, in steps of any length, the map equals the one made from all leaves."""
    rng = random.Random(seed)
    offline = KeyIndex()
    for _ in range(5):
        monkeypatch.setattr(decision, "STEP_LEAVES", rng.randrange(1, 40))
        mapped.run(*(random_change(rng) for _ in range(rng.randrange(1, 40))))
        mapped.bench.push(b"an entry that is no record")
        done = mapped.index()
        covered = mapped.leaves(done.tree_size)
        for leaf in covered[offline.size :]:
            offline.add_leaf(leaf)
        assert done.root == naive_root(covered)
        assert done.root == offline.root()


def test_only_touched_tiles_are_written(mapped):
    """A change of one key rewrites the tile of its bucket and the one above, no other."""
    mapped.run(PAYMENTS)
    mapped.index()
    tiles = mapped.rows("SELECT count(*) FROM tally.key_index_tiles")[0][0]
    mapped.run("UPDATE payment SET amount = 7 WHERE id = 1")
    done = mapped.index()
    touched = mapped.rows(
        f"SELECT level FROM tally.key_index_tiles WHERE at_size = {done.tree_size} ORDER BY level"
    )
    # The second map covers the leaf of the first one too, which is of no key.
    assert (done.leaves, [level for (level,) in touched]) == (2, [0, 1])
    assert tiles > 10


def test_idle_log_stays_as_it_is(mapped):
    """A log in which nothing but its own map was sealed gets no further map."""
    mapped.run(PAYMENTS)
    first = mapped.index()
    size = mapped.bench.size()
    again = mapped.index()
    assert (again.outcome, again.tree_size, again.root) == ("current", first.tree_size, first.root)
    assert mapped.bench.size() == size


def test_a_log_without_rows_has_an_empty_map(mapped):
    """The map of a log that holds no row's record is made of empty buckets."""
    done = mapped.index()
    assert done.tree_size == 1
    assert done.root == naive_root([])


def test_next_map_waits_for_the_one_before(mapped):
    """While a map's leaf is not in the published tree, none is begun: its state is still served."""
    mapped.run(PAYMENTS)
    mapped.seal()
    first = index_log(mapped.bench.database, mapped.name)
    mapped.run("DELETE FROM payment")
    again = index_log(mapped.bench.database, mapped.name)
    assert (again.outcome, again.tree_size) == ("waiting", first.tree_size)
    mapped.seal()
    assert index_log(mapped.bench.database, mapped.name).outcome == "queued"


def test_the_map_before_is_served_until_the_next_is_sealed(mapped, monkeypatch):
    """Computing a map, or being interrupted in it, takes no history away and changes none."""
    mapped.run(PAYMENTS)
    first = mapped.index()
    histories = {key: mapped.history("payment", key) for key in ("1", "39", "77")}
    mapped.run(
        "UPDATE payment SET amount = amount + 1",
        "UPDATE payment SET amount = amount + 1",
        "INSERT INTO payment VALUES (77, 1, NULL)",
    )
    mapped.seal()
    monkeypatch.setattr(decision, "STEP_LEAVES", 30)
    for _ in range(2):
        with mapped.bench.database.transaction() as tx:
            assert advance(tx, mapped.name).step.is_last is False
        for key, before in histories.items():
            now = check_history(mapped.history("payment", key), policy=mapped.policy())
            then = check_history(before, policy=mapped.policy())
            assert (now.map_size, now.versions) == (first.tree_size, then.versions)
    done = index_log(mapped.bench.database, mapped.name)
    assert done.outcome == "queued"
    assert check_history(mapped.history("payment", "77"), policy=mapped.policy()).versions == ()
    mapped.seal()
    assert done.root == naive_root(mapped.leaves(done.tree_size))
    assert len(check_history(mapped.history("payment", "77"), policy=mapped.policy()).versions) == 1
    assert len(check_history(mapped.history("payment", "39"), policy=mapped.policy()).versions) == 3


def test_two_workers_never_double(mapped, monkeypatch):
    """Several processes that compute one map at once put each leaf into it once."""
    mapped.run(PAYMENTS, "UPDATE payment SET amount = 0")
    size = mapped.seal()
    monkeypatch.setattr(decision, "STEP_LEAVES", 7)
    outcomes = []
    barrier = threading.Barrier(4)

    def compute(*, wait: bool) -> None:
        barrier.wait()
        outcomes.append(index_log(mapped.bench.database, mapped.name, wait=wait).outcome)

    threads = [threading.Thread(target=compute, kwargs={"wait": number > 1}) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mapped.seal()
    assert outcomes.count("queued") == 1
    assert set(outcomes) <= {"queued", "waiting", "busy"}
    [(_, detail)] = sealed_maps(mapped)
    assert detail["root"] == naive_root(mapped.leaves(size)).hex()


def test_a_worker_passes_by_a_map_that_another_computes(mapped):
    """Without waiting, a process leaves the map to the one that holds its lock."""
    mapped.run(PAYMENTS)
    mapped.seal()
    with psycopg.connect(mapped.bench.url) as other:
        other.execute("SELECT pg_advisory_xact_lock(1952541820, %s)", (mapped.log_id,))
        assert index_log(mapped.bench.database, mapped.name, wait=False).outcome == "busy"
    assert index_log(mapped.bench.database, mapped.name, wait=False).outcome == "queued"


def test_leaves_that_come_meanwhile_are_for_the_next_map(mapped, monkeypatch):
    """A map that is computed while its log grows ends at the size at which it was begun."""
    mapped.run(PAYMENTS)
    size = mapped.seal()
    monkeypatch.setattr(decision, "STEP_LEAVES", 10)
    with mapped.bench.database.transaction() as tx:
        begun = advance(tx, mapped.name)
    mapped.run("UPDATE payment SET amount = -1")
    mapped.seal()
    while True:
        with mapped.bench.database.transaction() as tx:
            done = advance(tx, mapped.name, target=begun.state.size)
        if done.step.is_last:
            break
    assert done.step.end == size
    assert done.root == naive_root(mapped.leaves(size))


def test_where_no_root_can_be_sealed(mapped, tmp_path):
    """A log that is paused, frozen, failed or without control leaves refuses, and says why."""
    database = mapped.bench.database
    with pytest.raises(LogNotFoundError):
        index_log(database, "nothing")
    with database.transaction() as tx:
        configure_log(tx, mapped.name, enabled=False)
    with pytest.raises(IndexRefusedError, match="paused"):
        index_log(database, mapped.name)
    with database.transaction() as tx:
        configure_log(tx, mapped.name, enabled=True)
        freeze_log(tx, mapped.name)
    with pytest.raises(LogFrozenError):
        index_log(database, mapped.name)
    silent = make_bench(mapped.bench.url, tmp_path / "silent", "silent", control_leaves=False)
    with pytest.raises(IndexRefusedError, match="control leaves"):
        index_log(silent.database, "silent")
    mapped.run(
        f'SELECT tally.fail_log_v1({silent.log.log_id}, \'{{"code": "x"}}\')',
    )
    with pytest.raises(LogFailedError):
        index_log(silent.database, "silent")
    silent.database.close()


def test_interval(mapped):
    """Off by default; a log with an interval is due until its map is made, and when it is over."""
    database = mapped.bench.database

    def due() -> list[str]:
        with database.transaction() as tx:
            return due_indexes(tx)

    assert due() == []
    with pytest.raises(InvalidLogError), database.transaction() as tx:
        set_index_interval(tx, mapped.name, 0)
    with database.transaction() as tx:
        set_index_interval(tx, mapped.name, 3600)
    assert due() == [mapped.name]
    mapped.run(PAYMENTS)
    mapped.index()
    assert due() == []
    mapped.run("UPDATE tally.key_index_maps SET computed_at = computed_at - interval '1 hour'")
    assert due() == [mapped.name]
    with database.transaction() as tx:
        set_index_interval(tx, mapped.name, None)
    assert due() == []


def test_what_was_derived_can_be_made_anew(mapped):
    """What is kept for a map may be thrown away: the next one is the same as if it had not been."""
    mapped.run(PAYMENTS)
    mapped.index()
    mapped.run(
        "UPDATE tally.key_index_entries SET chain = sha256('')",
        "UPDATE payment SET amount = 99",
    )
    with mapped.bench.database.transaction() as tx:
        forget_index(tx, mapped.name)
    done = mapped.index()
    assert done.leaves == done.tree_size
    assert done.root == naive_root(mapped.leaves(done.tree_size))
    assert len(check_history(mapped.history("payment", "1"), policy=mapped.policy()).versions) == 2


def test_digests_are_not_covered(mapped):
    """Leaves of a salted source show no key, so that the map does not have them."""
    mapped.run("CREATE TABLE secret (id integer PRIMARY KEY, v text)")
    with mapped.bench.database.transaction() as tx:
        add_source(tx, mapped.name, "secret", leaf_form="salted")
    mapped.run(PAYMENTS, "INSERT INTO secret VALUES (1, 'x')")
    done = mapped.index()
    assert done.root == naive_root(mapped.leaves(done.tree_size))
    assert len(mapped.rows("SELECT FROM tally.key_index_entries")) == 40


def test_server_role_is_enough(mapped, test_server):
    """The role of servers and workers computes maps; it cannot change where their roots stand."""
    mapped.run(PAYMENTS)
    mapped.seal()
    with mapped.bench.database.transaction() as tx:
        tx.execute(b"SET LOCAL ROLE tally_app")
        advance(tx, mapped.name)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        mapped.run("SET ROLE tally_app; UPDATE tally.key_index_maps SET root_hash = sha256('')")
