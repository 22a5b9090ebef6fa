"""Logs: made once, configured, frozen, failed and recovered (log.md, sections 2.1 and 3.1)."""

from __future__ import annotations

import datetime
from pathlib import Path

import psycopg
import pytest

from tallystick.db import Query, connect
from tallystick.record import KeyPermissionsError, parse_record
from tallystick.seal.audit import audit_log
from tallystick.seal.errors import (
    DamagedLogError,
    InvalidLogError,
    LastKeyError,
    LogExistsError,
    LogFailedError,
    LogNotFoundError,
    RollbackError,
)
from tallystick.seal.logs import (
    HOUSE_LOGS,
    KeyRing,
    LogSettings,
    configure_log,
    create_house_logs,
    create_log,
    create_outbox_key,
    fail_log,
    freeze_log,
    get_log,
    has_log,
    list_keys,
    list_logs,
    open_new_logs,
    outbox_signer,
    recover_log,
)
from tallystick.seal.logs.guard import check_guard, read_guard, write_guard
from tallystick.tlog import Checkpoint, format_checkpoint, format_note, parse_checkpoint, sign_note
from tests.support.logs import ORIGIN_PREFIX, LogBench, make_bench


@pytest.fixture
def database(database_url):
    """A pool on the test's database."""
    with connect(database_url) as opened:
        yield opened


@pytest.fixture
def keys(tmp_path: Path) -> KeyRing:
    """An empty key directory."""
    return KeyRing(tmp_path / "keys")


def create(database, keys: KeyRing, name: str = "payments", **settings: object):
    """Make a log in a transaction of its own."""
    with database.transaction() as tx:
        return create_log(
            tx, name, keys=keys, origin_prefix=ORIGIN_PREFIX, settings=LogSettings(**settings)
        )


def test_log_is_made_with_key_and_checkpoint(database, keys):
    """A new log has an active key whose file is its owner's alone, and a checkpoint of size 0."""
    log = create(database, keys)
    with database.transaction() as tx:
        [key] = list_keys(tx, "payments")
    assert (log.origin, log.status, key.status) == ("log.example/payments", "active", "active")
    path = keys.directory / f"{key.key_id.hex()}.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.directory.stat().st_mode & 0o777 == 0o700


def test_making_it_again_is_idempotent(database, keys):
    """The same log made twice is one log; other fields under the name are refused by name."""
    first = create(database, keys, description="payments of the shop")
    assert create(database, keys, description="payments of the shop") == first
    with pytest.raises(LogExistsError) as raised:
        create(database, keys, description="other", batch_size=5)
    assert raised.value.evidence["fields"] == ["batch_size", "description"]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Payments", {}),
        ("1st", {}),
        ("a" * 49, {}),
        ("", {}),
        ("a-b", {}),
        ("ok", {"batch_size": 0}),
        ("ok", {"batch_interval_ms": 19}),
        ("ok", {"mode": "half"}),
        ("ok", {"visibility": "open"}),
        ("ok", {"witness_quorum": -1}),
    ],
)
def test_bad_fields_are_named(database, keys, name, settings):
    """A name or a setting out of its range is refused in words, and nothing is made."""
    with pytest.raises(InvalidLogError):
        create(database, keys, name, **settings)
    with database.transaction() as tx:
        assert list_logs(tx) == []


def test_unknown_log_is_named(database):
    """A log that is not there is LogNotFoundError, and `has_log` is false."""
    with database.transaction() as tx:
        assert not has_log(tx, "nothing")
        with pytest.raises(LogNotFoundError):
            get_log(tx, "nothing")


def test_configuring_changes_what_may_change(database, keys):
    """Batch, visibility and description change; a value out of range does not."""
    create(database, keys)
    with database.transaction() as tx:
        log = configure_log(
            tx, "payments", batch_interval_ms=100, visibility="public", enabled=False
        )
    assert (log.batch_interval_ms, log.visibility, log.enabled) == (100, "public", False)
    with pytest.raises(InvalidLogError), database.transaction() as tx:
        configure_log(tx, "payments", batch_size=2_000_000)


def test_genesis_is_the_first_leaf(database_url, tmp_path):
    """A full log's first leaf is its genesis, without a neighbour where it continues no other."""
    bench = make_bench(database_url, tmp_path / "keys")
    bench.seal_all()
    leaf = bench.value("SELECT leaf FROM tally.merkle_log WHERE log_id = %s AND leaf_index = 0")
    record = parse_record(bytes(leaf))
    assert record is not None
    assert (record.op, record.log, record.detail) == (
        "genesis",
        "payments",
        {"origin": None, "size": None, "root": None},
    )


def test_house_logs_are_made_once(database, keys):
    """`tally` and the logs of the slices exist after init, however often it runs."""
    for _ in range(2):
        with database.transaction() as tx:
            made = create_house_logs(tx, keys=keys, origin_prefix=ORIGIN_PREFIX)
    assert sorted(log.log_name for log in made) == sorted(HOUSE_LOGS)


def test_plainly_inserted_log_is_opened(database, keys):
    """log 29: the earlier service's INSERT makes a log that the next look opens."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("INSERT INTO tally.verification_logs (log_name) VALUES ('old')")
    assert open_new_logs(database, keys, origin_prefix=ORIGIN_PREFIX) == ["old"]
    assert open_new_logs(database, keys, origin_prefix=ORIGIN_PREFIX) == []
    with database.transaction() as tx:
        assert get_log(tx, "old").origin == "log.example/old"


def test_log_that_cannot_be_opened_stops_no_other(database, keys):
    """log 29: a plain row keeps the origin that it names; one whose origin is taken is failed."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO tally.verification_logs (log_name, origin) VALUES"
            " ('squatter', 'log.example/taken'), ('taken', NULL), ('own', 'own.example/log'),"
            " ('spaced', E'own.example/\u2028'), ('last', NULL)"
        )
    opened = open_new_logs(database, keys, origin_prefix=ORIGIN_PREFIX)
    assert opened == ["squatter", "own", "last"]
    made = sorted(keys.directory.glob("*.key"))
    assert open_new_logs(database, keys, origin_prefix=ORIGIN_PREFIX) == []
    assert sorted(keys.directory.glob("*.key")) == made
    with database.transaction() as tx:
        assert get_log(tx, "own").origin == "own.example/log"
        codes = [get_log(tx, name).failure["code"] for name in ("taken", "spaced")]
    assert codes == ["origin_taken", "invalid_log"]


def test_open_key_directory_is_refused(database, keys):
    """A key directory that others may read makes no key."""
    keys.directory.mkdir(mode=0o755)
    keys.directory.chmod(0o755)
    with pytest.raises(KeyPermissionsError):
        create(database, keys)


def test_outbox_key_is_made_once_and_signs(database, keys):
    """log 31: init makes the key that signs webhooks, once; its file is the worker's signer."""
    with database.transaction() as tx:
        assert outbox_signer(tx, keys) is None
        first = create_outbox_key(tx, keys=keys, origin_prefix=ORIGIN_PREFIX)
    with database.transaction() as tx:
        assert create_outbox_key(tx, keys=keys, origin_prefix=ORIGIN_PREFIX) == first
        signer = outbox_signer(tx, KeyRing(keys.directory))
    assert signer is not None
    assert (signer.name, signer.key_id) == ("log.example/outbox", first)


def test_last_key_of_a_log_cannot_be_retired(database, keys):
    """A log keeps an active key: retiring the only one is LastKeyError."""
    create(database, keys)
    with database.transaction() as tx:
        [key] = list_keys(tx, "payments")
    with pytest.raises(LastKeyError), database.transaction() as tx:
        tx.execute(Query(b"SELECT tally.retire_key_v1(name, key_id) FROM tally.log_keys"))
    assert key.status == "active"


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> LogBench:
    """A log without control leaves."""
    return make_bench(database_url, tmp_path / "keys", control_leaves=False)


def test_freeze_seals_the_last_leaf_once_the_queue_is_empty(database_url, tmp_path):
    """A frozen log's last leaf is `freeze`: what waited stands before it, and nothing after it."""
    bench = make_bench(database_url, tmp_path / "keys")
    bench.push(b"one", b"two")
    with bench.database.transaction() as tx:
        freeze_log(tx, bench.log.log_name)
    assert bench.seal_all() == 4
    assert bench.value("SELECT status::text FROM tally.verification_logs WHERE log_id = %s") == (
        "frozen"
    )
    last = bench.value("SELECT leaf FROM tally.merkle_log WHERE log_id = %s AND leaf_index = 3")
    record = parse_record(bytes(last))
    assert record is not None
    assert record.op == "freeze"
    bench.push(b"three")
    assert bench.seal_all() == 4


def test_freeze_without_control_leaves_adds_none(bench):
    """A log that seals no control leaves freezes without one."""
    bench.push(b"one")
    with bench.database.transaction() as tx:
        freeze_log(tx, bench.log.log_name)
    assert bench.seal_all() == 1
    assert bench.value("SELECT status::text FROM tally.verification_logs WHERE log_id = %s") == (
        "frozen"
    )


def test_failed_log_needs_a_clean_audit_to_recover(bench):
    """A failed log goes back only after an audit that began since the failure was clean."""
    bench.push(b"one")
    bench.seal_all()
    audit_log(bench.database, bench.log.log_name)
    with bench.database.transaction() as tx:
        assert fail_log(tx, bench.log.log_id, DamagedLogError("seen", expected="a", actual="b"))
    with pytest.raises(LogFailedError), bench.database.transaction() as tx:
        recover_log(tx, bench.log.log_name, actor="user:1", reason="looked at it")
    assert audit_log(bench.database, bench.log.log_name).is_clean
    with bench.database.transaction() as tx:
        log = recover_log(tx, bench.log.log_name, actor="user:1", reason="looked at it")
    assert (log.status, log.failure) == ("active", None)


def note_of(bench: LogBench, *, size: int, root: bytes) -> str:
    """A note of the log's own key over any size and root."""
    with bench.database.transaction() as tx:
        [key] = list_keys(tx, bench.log.log_name)
    text = format_checkpoint(Checkpoint(bench.log.origin, size, root))
    return format_note(sign_note(text, [bench.keys.signer(key.key_id)])).decode()


@pytest.mark.parametrize(
    ("size", "root", "is_legal"),
    [
        (4, b"\x01" * 32, True),
        (5, b"\x05" * 32, True),
        (5, b"\x01" * 32, False),
        (6, b"\x01" * 32, False),
    ],
    ids=["behind", "equal", "another root", "beyond"],
)
def test_guard_compares_size_and_root(bench, tmp_path, size, root, is_legal):
    """A guard that is behind or equal is legal; beyond, or with another root, it stops the log."""
    path = tmp_path / "guard.head"
    write_guard(path, note_of(bench, size=size, root=root))
    head = note_of(bench, size=5, root=b"\x05" * 32)
    if is_legal:
        check_guard(path, size=5, root=b"\x05" * 32, note=head)
        return
    with pytest.raises(RollbackError) as raised:
        check_guard(path, size=5, root=b"\x05" * 32, note=head)
    assert parse_checkpoint(raised.value.expected.partition("\n\n")[0] + "\n").size == size


def test_missing_guard_is_legal(bench, tmp_path):
    """A log whose guard was never written is sealed: there is nothing to compare with."""
    assert read_guard(tmp_path / "none.head") is None
    check_guard(tmp_path / "none.head", size=5, root=b"\x05" * 32, note="")


def test_times_are_utc(database, keys):
    """Times of a log carry their zone."""
    assert create(database, keys).created_at.tzinfo == datetime.UTC
