"""A log whose keys have a map, and whose past is pruned: the map never lies of what went."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tallystick.publish.errors import PrunedError
from tallystick.publish.export import (
    check_export,
    export_log,
    open_destination,
    prune_to_export,
    record_check,
)
from tallystick.record.key_index import KeyIndex
from tallystick.seal.audit import audit_log
from tallystick.seal.errors import IndexRefusedError, PruneRefusedError
from tallystick.seal.index import due_indexes, forget_index, index_log, set_index_interval
from tallystick.seal.logs import configure_log
from tallystick.verify import check_history
from tests.support.mapped import Mapped, mapped_log

YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
PATIENCE_SECONDS = 30
CHURN = "UPDATE payment SET amount = amount + 1"


@pytest.fixture
def mapped(database_url: str, tmp_path: Path) -> Iterator[Mapped]:
    """A log of some 600 leaves, two versions of each row, which nobody has to retain."""
    with mapped_log(database_url, tmp_path / "keys") as made:
        with made.bench.database.transaction() as tx:
            configure_log(tx, made.name, retain_until=YESTERDAY)
        made.run("INSERT INTO payment SELECT i, i, 'x' FROM generate_series(1, 300) AS i", CHURN)
        made.seal()
        yield made


def prune(mapped: Mapped, to_index: int, place: Path) -> int:
    """Export the log, check that, and prune to it; return how many leaves went."""
    address = str(place)
    export_log(mapped.bench.database, mapped.name, open_destination(address))
    check = functools.partial(check_export, address, mapped.policy())
    record_check(mapped.bench.database, mapped.name, address, check)
    return prune_to_export(
        mapped.bench.database,
        mapped.name,
        to_index=to_index,
        export=address,
        actor="ada",
        reason="old",
    ).leaves_deleted


def test_no_map_is_made_of_what_pruning_left(mapped: Mapped, tmp_path: Path) -> None:
    """A log that was pruned before its first map has none: it would deny what was pruned."""
    assert prune(mapped, 256, tmp_path / "export") > 0
    with pytest.raises(IndexRefusedError, match="pruned leaves below 256"):
        index_log(mapped.bench.database, mapped.name)
    with (
        mapped.bench.database.transaction() as tx,
        pytest.raises(IndexRefusedError, match="pruned leaves below 256"),
    ):
        set_index_interval(tx, mapped.name, 60)
    with mapped.bench.database.transaction() as tx:
        assert [] == due_indexes(tx)


def test_what_the_map_does_not_cover_is_not_pruned(mapped: Mapped, tmp_path: Path) -> None:
    """Pruning waits for the map; the next map is still the one of all leaves that ever were."""
    size = mapped.index().tree_size
    mapped.run(CHURN)
    mapped.seal()
    with pytest.raises(PruneRefusedError, match=f"covers only the leaves below {size}"):
        prune(mapped, 768, tmp_path / "export")
    leaves = mapped.leaves()
    mapped.index()
    assert prune(mapped, 768, tmp_path / "export") > 0
    mapped.run(CHURN)
    leaves += mapped.leaves_from(len(leaves))
    done = mapped.index()
    index = KeyIndex()
    leaves += mapped.leaves_from(len(leaves))
    for leaf in leaves[: done.tree_size]:
        index.add_leaf(leaf)
    assert index.root() == done.root
    assert audit_log(mapped.bench.database, mapped.name).is_clean
    # Its pruned versions cannot be shown, and are not denied; what never was is shown as absent.
    with pytest.raises(PrunedError):
        mapped.history("payment", "1")
    absent = check_history(mapped.history("payment", "9999"), policy=mapped.policy())
    assert ((), done.tree_size) == (absent.versions, absent.map_size)


def test_pruning_waits_for_the_first_map_where_one_is_wanted(
    mapped: Mapped, tmp_path: Path
) -> None:
    """A log with an interval of maps is pruned once it has one."""
    with mapped.bench.database.transaction() as tx:
        set_index_interval(tx, mapped.name, 60)
    with pytest.raises(PruneRefusedError, match="covers only the leaves below 0"):
        prune(mapped, 256, tmp_path / "export")
    mapped.index()
    assert prune(mapped, 256, tmp_path / "export") > 0


def test_the_map_of_a_pruned_log_is_not_thrown_away(mapped: Mapped, tmp_path: Path) -> None:
    """What cannot be made from the leaves any more is kept, and goes on to be extended."""
    mapped.index()
    prune(mapped, 512, tmp_path / "export")
    with (
        mapped.bench.database.transaction() as tx,
        pytest.raises(IndexRefusedError, match="cannot be made anew"),
    ):
        forget_index(tx, mapped.name)
    mapped.run(CHURN)
    assert "queued" == mapped.index().outcome
    assert audit_log(mapped.bench.database, mapped.name).is_clean


def test_a_pruning_meets_a_map_that_is_being_computed(mapped: Mapped, tmp_path: Path) -> None:
    """It waits for the step, and then finds that there is a map which does not cover enough."""
    with (
        psycopg.connect(mapped.bench.url) as computing,
        ThreadPoolExecutor(1) as pool,
    ):
        computing.execute("SELECT pg_advisory_xact_lock(1952541820, %s)", (mapped.log_id,))
        computing.execute("INSERT INTO tally.key_indexes VALUES (%s, 100)", (mapped.log_id,))
        pruned = pool.submit(prune, mapped, 256, tmp_path / "export")
        waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until = time.monotonic() + PATIENCE_SECONDS
        while not mapped.rows(waiting) and time.monotonic() < until and not pruned.done():
            time.sleep(0.05)
        assert not pruned.done()
        computing.commit()
        with pytest.raises(PruneRefusedError, match="covers only the leaves below 0"):
            pruned.result(PATIENCE_SECONDS)
