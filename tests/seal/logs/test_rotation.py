"""Keys in turn: what the periods say is what the notes carry (log.md, sections 3.2 and 5.8)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tallystick.db.errors import IllegalTransitionError
from tallystick.publish import Publisher
from tallystick.record import KeyNotFoundError, KeyPermissionsError, ed25519_verifier
from tallystick.seal.audit import audit_log
from tallystick.seal.errors import LastKeyError, LogKeyNotFoundError, LogNotFoundError
from tallystick.seal.logs import KeyRing, LogKey, activate_key, create_key, list_keys, retire_key
from tallystick.tlog import TreeSize, UnverifiedNoteError, check_note, parse_note, parse_policy
from tallystick.verify import KeyPeriod, TrustedPolicy, check_leaf
from tallystick.verify.errors import VerificationError
from tests.seal.laws.stage import Writers, attach, drained, sql, wait_until, worker_process
from tests.support.logs import LogBench, make_bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import psycopg


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[LogBench]:
    """A log without control leaves."""
    made = make_bench(database_url, tmp_path / "keys", control_leaves=False, batch_interval_ms=20)
    yield made
    made.database.close()


def keys_of(bench: LogBench) -> list[LogKey]:
    """The log's keys, the oldest first."""
    with bench.database.transaction() as tx:
        return list_keys(tx, bench.log.log_name)


def create(bench: LogBench) -> LogKey:
    """Make another key of the log, as `tally key create` does: in a process of its own."""
    with bench.database.transaction() as tx:
        return create_key(tx, bench.log.log_name, keys=KeyRing(bench.keys.directory))


def activate(bench: LogBench, key: LogKey) -> LogKey:
    """Let a key sign."""
    with bench.database.transaction() as tx:
        return activate_key(tx, bench.log.log_name, key.key_id, keys=KeyRing(bench.keys.directory))


def retire(bench: LogBench, key: LogKey) -> LogKey:
    """Let a key sign no more."""
    with bench.database.transaction() as tx:
        return retire_key(tx, bench.log.log_name, key.key_id)


def notes(bench: LogBench) -> dict[int, str]:
    """Every stored note by its size."""
    return dict(
        sql(
            bench.url,
            "SELECT tree_size, note FROM tally.checkpoints WHERE log_id = %s ORDER BY tree_size",
            (bench.log.log_id,),
        )
    )


def signed_by(bench: LogBench, key: LogKey) -> list[int]:
    """The sizes of the checkpoints that carry a good signature of the key."""
    sizes = []
    for size, note in notes(bench).items():
        try:
            check_note(parse_note(note.encode()), [ed25519_verifier(key.vkey)])
        except UnverifiedNoteError:
            continue
        sizes.append(size)
    return sizes


def within(bench: LogBench, key: LogKey) -> list[int]:
    """The sizes of the checkpoints that lie in the period of the key."""
    assert key.from_size is not None
    return [
        size
        for size in notes(bench)
        if key.from_size <= size and (key.to_size is None or size <= key.to_size)
    ]


def test_a_new_key_is_pending_and_signs_nothing(bench):
    """A key that was made has a file that is its owner's alone, and signs no checkpoint yet."""
    key = create(bench)
    path = bench.keys.directory / f"{key.key_id.hex()}.key"
    assert (key.status, key.from_size, key.to_size) == ("pending", None, None)
    assert (key.name, path.stat().st_mode & 0o777) == ("log.example/payments", 0o600)
    bench.push(b"one")
    bench.seal_all()
    assert signed_by(bench, key) == []


def test_old_and_new_sign_between_activation_and_retirement(bench):
    """log 20: from the next checkpoint on both sign; a retired key's period ends with its last."""
    bench.push(b"one")
    bench.seal_all()
    new = activate(bench, create(bench))
    assert (new.status, new.from_size) == ("active", 2)
    bench.push(b"two")
    bench.seal_all()
    [old, _] = keys_of(bench)
    old = retire(bench, old)
    assert (old.status, old.from_size, old.to_size) == ("retired", 0, 2)
    bench.push(b"three")
    bench.seal_all()
    [old, new] = keys_of(bench)
    assert signed_by(bench, old) == within(bench, old) == [0, 1, 2]
    assert signed_by(bench, new) == within(bench, new) == [2, 3]
    assert audit_log(bench.database, bench.log.log_name).findings == ()


def test_a_log_keeps_an_active_key(bench):
    """The last active key cannot be retired, nor each of two by two who think of the other."""
    [first] = keys_of(bench)
    with pytest.raises(LastKeyError):
        retire(bench, first)
    second = activate(bench, create(bench))
    refused: list[BaseException] = []

    def try_to_retire(key: LogKey) -> None:
        try:
            retire(bench, key)
        except LastKeyError as error:
            refused.append(error)

    threads = [threading.Thread(target=try_to_retire, args=[key]) for key in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert sorted(key.status for key in keys_of(bench)) == ["active", "retired"]


def test_states_go_one_way(bench):
    """A pending key is not retired, a retired one never signs again; what holds already holds."""
    [first] = keys_of(bench)
    pending = create(bench)
    with pytest.raises(IllegalTransitionError):
        retire(bench, pending)
    second = activate(bench, pending)
    assert activate(bench, second) == second
    retired = retire(bench, first)
    assert retire(bench, first) == retired
    with pytest.raises(IllegalTransitionError):
        activate(bench, first)


def test_a_key_that_signed_nothing_has_an_empty_period(bench):
    """A key activated by mistake is retired before any checkpoint: its period holds no size."""
    key = retire(bench, activate(bench, create(bench)))
    assert (key.status, key.from_size, key.to_size) == ("retired", 1, 0)
    bench.push(b"one")
    bench.seal_all()
    assert signed_by(bench, key) == within(bench, key) == []
    assert audit_log(bench.database, bench.log.log_name).findings == ()


def test_unknown_keys_are_named(bench):
    """A log or a key that is not there is told by name."""
    with pytest.raises(LogKeyNotFoundError), bench.database.transaction() as tx:
        retire_key(tx, "payments", b"\x00" * 4)
    with pytest.raises(LogNotFoundError), bench.database.transaction() as tx:
        create_key(tx, "nothing", keys=bench.keys)


def test_a_key_whose_file_is_open_to_others_is_refused(bench):
    """log 20: a key file of mode 0644 is not activated, and a worker does not sign with it."""
    key = create(bench)
    path = bench.keys.directory / f"{key.key_id.hex()}.key"
    path.chmod(0o644)
    with pytest.raises(KeyPermissionsError):
        activate(bench, key)
    assert keys_of(bench)[1].status == "pending"
    path.chmod(0o600)
    activate(bench, key)
    path.chmod(0o644)
    bench.push(b"one")
    with pytest.raises(KeyPermissionsError):
        LogBench(bench.url, bench.database, KeyRing(bench.keys.directory), bench.log).seal_all()
    assert bench.size() == 0
    path.rename(path.with_suffix(".away"))
    with pytest.raises(KeyNotFoundError):
        LogBench(bench.url, bench.database, KeyRing(bench.keys.directory), bench.log).seal_all()
    # What was activated by mistake can be retired, and the log goes on.
    retire(bench, key)
    assert bench.seal_all() == 1


def test_a_batch_in_flight_is_waited_for(bench):
    """An activation during a batch counts from the checkpoint behind it, whatever its size is."""
    bench.push(*[b"leaf"] * 5)
    key = create(bench)
    with bench.database.transaction() as tx:
        tx.connection.execute("SELECT pg_advisory_xact_lock(1952541817, %s)", (bench.log.log_id,))
        thread = threading.Thread(target=activate, args=[bench, key])
        thread.start()
        blocked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: sql(bench.url, blocked) == [(1,)], "the activation")
        assert keys_of(bench)[1].status == "pending"
    thread.join()
    assert keys_of(bench)[1].from_size == 1
    bench.seal_all()
    assert signed_by(bench, key) == [5]


def write_payment(connection: psycopg.Connection, number: int, turn: int) -> int:
    """Insert a few rows."""
    first = number * 10_000_000 + turn * 4
    connection.execute(
        f"INSERT INTO payment SELECT i FROM generate_series({first}, {first + 3}) AS i".encode()
    )
    return 4


def trusted(key: LogKey) -> TrustedPolicy:
    """The policy of a verifier who knows one key and its period."""
    policy = parse_policy(f"log {key.vkey}\nquorum none\n".encode())
    period = KeyPeriod(
        TreeSize(key.from_size or 0), None if key.to_size is None else TreeSize(key.to_size)
    )
    return TrustedPolicy(policy, {policy.logs[0].key: period})


def test_rotation_under_load(bench):
    """log 20: create, activate, retire under load: each note carries exactly its periods' keys."""
    sql(bench.url, "CREATE TABLE payment (id bigint PRIMARY KEY)")
    attach(bench, "payment")
    writers = Writers(bench.url, write_payment, pause_seconds=0.002)
    with worker_process(bench):
        with writers.running(4):
            wait_until(lambda: len(notes(bench)) > 5, "checkpoints")
            for _ in range(4):
                old = next(key for key in keys_of(bench) if key.status == "active")
                activate(bench, create(bench))
                size = bench.size()
                wait_until(lambda size=size: bench.size() > size + 50, "checkpoints of both")
                retire(bench, old)
                size = bench.size()
                wait_until(lambda size=size: bench.size() > size + 50, "checkpoints of the new")
        drained(bench)
    assert bench.size() == writers.committed
    keys = keys_of(bench)
    assert [key.status for key in keys] == [*["retired"] * 4, "active"]
    for key in keys:
        assert signed_by(bench, key) == within(bench, key)
        assert len(within(bench, key)) > 1
    assert audit_log(bench.database, bench.log.log_name).findings == ()


def test_verifiers_follow_the_periods(bench):
    """log 20: who knows one key verifies the heads of its period, and refuses all others."""
    bench.push(b"one")
    bench.seal_all()
    [old] = keys_of(bench)
    new = activate(bench, create(bench))
    bench.push(b"two")
    bench.seal_all()
    old = retire(bench, old)
    bench.push(b"three")
    bench.seal_all()
    publisher = Publisher(bench.database)
    publisher.refresh()
    head = publisher.published_head("payments")
    accepted: dict[str, list[int]] = {"old": [], "new": []}
    steps = set()
    for name, key in (("old", old), ("new", keys_of(bench)[1])):
        assert key.key_id in {old.key_id, new.key_id}
        for size in (1, 2, 3):
            file = publisher.proof_file(head, 0, size)
            try:
                check_leaf(file, leaf=b"one", policy=trusted(key))
            except VerificationError as refused:
                steps.add(refused.step_name)
            else:
                accepted[name].append(size)
    assert (accepted, steps) == ({"old": [1, 2], "new": [2, 3]}, {"log"})
