"""Entries of one caller: what may be pushed, where it stands, what the log's state says of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from tallystick.db import connect
from tallystick.seal.audit import audit_log
from tallystick.seal.door import append_entry, await_index
from tallystick.seal.errors import (
    EntriesNotAcceptedError,
    EntryPendingError,
    EntryTooLargeError,
    InvalidEntryError,
    LogBusyError,
    LogFailedError,
    LogFrozenError,
    LogNotFoundError,
)
from tallystick.seal.logs import freeze_log
from tests.seal.laws.stage import running_worker, wait_until
from tests.seal.laws.stage import sql as sql_rows
from tests.support.logs import LogBench, make_bench, queue_leaf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[LogBench]:
    """A log that takes entries; what is in it was pushed."""
    made = make_bench(
        database_url, tmp_path / "keys", "receipts", accepts_entries=True, control_leaves=False
    )
    yield made
    made.database.close()


def push(bench: LogBench, *entries: bytes, deduplicate: bool = False) -> list[object]:
    """Push entries in one transaction and return their tickets."""
    with bench.database.transaction() as tx:
        return [append_entry(tx, "receipts", e, deduplicate=deduplicate) for e in entries]


def leaves(bench: LogBench) -> list[bytes]:
    """The leaves in the order of their indexes."""
    with psycopg.connect(bench.url) as connection:
        rows = connection.execute("SELECT leaf FROM tally.merkle_log ORDER BY leaf_index")
        return [bytes(leaf) for (leaf,) in rows]


def test_an_entry_is_its_own_leaf(bench: LogBench) -> None:
    """A pushed entry's bytes are its leaf, from 1 to 65,535 of them, and its index is found."""
    entries = [b"x", b"\x00\xff" * 100, b"y" * 65_535, b"tallystic", b"Tallystick/"]
    tickets = push(bench, *entries)
    bench.seal_all()
    assert leaves(bench) == entries
    assert [await_index(bench.database, ticket) for ticket in tickets] == [0, 1, 2, 3, 4]
    assert audit_log(bench.database, "receipts").findings == ()


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (b"", InvalidEntryError),
        (b"tallystick/", InvalidEntryError),
        (b"tallystick/seal-record/v1\n{}", InvalidEntryError),
        (b"x" * 65_536, EntryTooLargeError),
    ],
)
def test_what_is_no_entry_is_refused(bench: LogBench, entry: bytes, error: type) -> None:
    """Nothing pushed passes for a record, and nothing is queued that no leaf can hold."""
    with pytest.raises(error):
        push(bench, entry)
    with psycopg.connect(bench.url) as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT * FROM tally.append_entry_v1('receipts', %b)", (entry,))
    assert bench.seal_all() == 0


def test_an_entry_of_a_transaction_that_rolls_back_is_not_sealed(bench: LogBench) -> None:
    """An entry is sealed if and only if the caller's transaction commits."""
    with pytest.raises(ZeroDivisionError), bench.database.transaction() as tx:
        append_entry(tx, "receipts", b"never")
        raise ZeroDivisionError
    push(bench, b"once")
    assert (bench.seal_all(), leaves(bench)) == (1, [b"once"])


def test_sql_pushes_too(bench: LogBench) -> None:
    """SQL pushes by append_entry_v1, as tally_app and no lesser role."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        for role in ("tally_reader", "tally_auditor"):
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM tally.append_entry_v1('receipts', 'a')")
        connection.execute("SET ROLE tally_app")
        found = connection.execute("SELECT * FROM tally.append_entry_v1('receipts', 'a')")
        assert found.fetchone() == (0, 1, None)
        none = connection.execute("SELECT * FROM tally.append_entry_v1('nowhere', 'a')")
        assert none.fetchall() == []
    assert bench.seal_all() == 1


def test_deduplication_gives_the_earlier_index(bench: LogBench) -> None:
    """The same bytes give the index they have, sealed or waiting; without the word a new one."""
    [first] = push(bench, b"a", deduplicate=True)
    [waits] = push(bench, b"a", deduplicate=True)
    assert waits.seq == first.seq
    push(bench, b"a")
    bench.seal_all()
    [known] = push(bench, b"a", deduplicate=True)
    assert (known.index, known.seq) == (0, None)
    assert await_index(bench.database, known) == await_index(bench.database, waits) == 0
    [other] = push(bench, b"b", deduplicate=True)
    bench.seal_all()
    assert await_index(bench.database, other) == 2
    assert leaves(bench) == [b"a", b"a", b"b"]


def test_one_group_knows_its_own_duplicates(bench: LogBench) -> None:
    """Within one call equal bytes share a place where they ask for it, and only there."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT seqs FROM tally.append_entries_v1(%s, %s::bytea[], %s, 100)",
            (
                bench.log.log_id,
                [b"a", b"b", b"a", b"b", b"b"],
                [True, False, True, True, False],
            ),
        ).fetchone()
    assert row is not None
    a, b, again, same, new = row[0]
    assert (again, same) == (a, b)
    assert len({a, b, new}) == 3
    bench.seal_all()
    assert leaves(bench) == [b"a", b"b", b"b"]


def test_concurrent_duplicates_become_one_leaf(bench: LogBench) -> None:
    """Of two transactions with the same bytes at once, the second waits and finds the first."""
    found: list[object] = []
    with connect(bench.url) as other:
        thread = threading.Thread(target=lambda: found.extend(push_from(other)))
        with bench.database.transaction() as tx:
            ours = append_entry(tx, "receipts", b"same", deduplicate=True)
            thread.start()
            wait_for_lock(bench.url)
        thread.join(30)
    assert [ticket.seq for ticket in found] == [ours.seq]
    assert bench.seal_all() == 1


def push_from(database: object) -> list[object]:
    """Push the bytes of the test once more, from another pool."""
    with database.transaction() as tx:
        return [append_entry(tx, "receipts", b"same", deduplicate=True)]


def wait_for_lock(url: str) -> None:
    """Wait until a session waits for an advisory lock."""
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    wait_until(lambda: bool(sql_rows(url, waiting)), "somebody who waits for a lock")


def test_a_log_takes_entries_only_where_it_says_so(bench: LogBench) -> None:
    """A log without accepts_entries, a failed one and an unknown one take no entry."""
    with psycopg.connect(bench.url, autocommit=True) as connection:
        connection.execute("UPDATE tally.verification_logs SET accepts_entries = false")
        with pytest.raises(EntriesNotAcceptedError):
            push(bench, b"a")
        connection.execute("UPDATE tally.verification_logs SET accepts_entries = true")
        connection.execute("SELECT tally.fail_log_v1(%s, '{}')", (bench.log.log_id,))
    with pytest.raises(LogFailedError):
        push(bench, b"a")
    with pytest.raises(LogNotFoundError), bench.database.transaction() as tx:
        append_entry(tx, "nowhere", b"a")


def test_a_freeze_waits_for_pushes_and_keeps_later_ones_out(bench: LogBench) -> None:
    """log 27: A freeze request waits for open pushes; they are sealed, later ones are TS107."""
    with bench.database.transaction() as tx:
        append_entry(tx, "receipts", b"in time")
        freezing = threading.Thread(target=request_freeze, args=(bench.url,))
        freezing.start()
        wait_for_lock(bench.url)
    freezing.join(30)
    with pytest.raises(LogFrozenError):
        push(bench, b"too late")
    bench.seal_all()
    assert leaves(bench)[0] == b"in time"
    with pytest.raises(LogFrozenError):
        push(bench, b"too late")
    assert bench.value("SELECT status::text FROM tally.verification_logs WHERE log_id = %s") == (
        "frozen"
    )


def request_freeze(url: str) -> None:
    """Ask for the freeze from another pool."""
    with connect(url) as database, database.transaction() as tx:
        freeze_log(tx, "receipts")


def test_an_older_snapshot_does_not_pass_a_freeze(bench: LogBench) -> None:
    """A push under REPEATABLE READ whose snapshot is older than the freeze request is refused."""
    with (
        pytest.raises(psycopg.errors.SerializationFailure),
        bench.database.transaction(isolation="repeatable read") as tx,
    ):
        tx.execute(b"SELECT 1")
        request_freeze(bench.url)
        append_entry(tx, "receipts", b"too late")
    assert bench.value("SELECT count(*) FROM tally.capture WHERE log_id = %s") == 0


def test_a_full_queue_is_busy(bench: LogBench) -> None:
    """With max_backlog rows waiting a push is LogBusyError; when they are sealed it passes."""
    bench.push(b"1", b"2", b"3")

    def push_below(limit: int) -> None:
        with bench.database.transaction() as tx:
            append_entry(tx, "receipts", b"one more", max_backlog=limit)

    with pytest.raises(LogBusyError):
        push_below(3)
    push_below(4)
    bench.seal_all()
    push_below(1)
    with pytest.raises(LogBusyError):
        push_below(1)


def test_rows_of_other_logs_do_not_count(bench: LogBench, tmp_path: Path) -> None:
    """What waits in other logs makes this one not busy, though they share a sequence."""
    other = make_bench(bench.url, tmp_path / "keys", "other", accepts_entries=True)
    with psycopg.connect(bench.url) as connection:
        for number in range(10):
            queue_leaf(connection, other.log.log_id, b"%d" % number)
    with bench.database.transaction() as tx:
        assert append_entry(tx, "receipts", b"a", max_backlog=1).size == 0
    other.database.close()


def test_a_ticket_is_found_however_much_was_sealed_since(bench: LogBench) -> None:
    """A ticket is found by its seq from its size on, below and above it whatever was sealed."""
    push(bench, *(b"before %d" % n for n in range(5)))
    bench.seal_all()
    [ticket] = push(bench, b"mine")
    assert ticket.size == 5
    for round_number in range(3):
        push(bench, *(b"after %d %d" % (round_number, n) for n in range(300)))
        bench.seal_all()
    assert await_index(bench.database, ticket) == 5


def test_waiting_ends_with_what_is_known(bench: LogBench) -> None:
    """An entry that nobody seals in time is EntryPendingError; its ticket finds it later."""
    [ticket] = push(bench, b"a")
    with pytest.raises(EntryPendingError, match=f"seq {ticket.seq}"):
        await_index(bench.database, ticket, 0.2)
    bench.seal_all()
    assert await_index(bench.database, ticket, 0.2) == 0


def test_waiting_wakes_the_sequencer(database_url: str, tmp_path: Path) -> None:
    """Whoever waits for an index is not left to the interval of the log, here an hour."""
    bench = make_bench(
        database_url,
        tmp_path / "keys",
        "receipts",
        accepts_entries=True,
        control_leaves=False,
        batch_interval_ms=3_600_000,
    )
    with running_worker(bench):
        for number in range(3):
            [ticket] = push(bench, b"%d" % number)
            assert await_index(bench.database, ticket, 60) == number
    bench.database.close()
