"""Redaction: what a leaf hid is gone everywhere, and the leaf stays proven (log.md, 5.3)."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.db.errors import AppendOnlyError, PermissionDeniedError
from tallystick.db.sqlstate import translate
from tallystick.publish.errors import RedactedError
from tallystick.record import parse_record
from tallystick.seal.audit import audit_log, reconcile_source
from tallystick.seal.errors import (
    InvalidRequestError,
    LogNotFoundError,
    NothingToRedactError,
    RowsWaitError,
)
from tallystick.seal.logs import freeze_log
from tallystick.seal.redaction import MAX_REDACTED, redact_leaves, redacted_indexes
from tallystick.seal.sources import detach_source
from tallystick.verify import check_leaf
from tests.support.privacy import CANARY, WHY, Hidden, places_with

if TYPE_CHECKING:
    from pathlib import Path

INSERT = f"INSERT INTO person VALUES (1, '{CANARY}', '555', 'Bern', NULL)"


@pytest.fixture
def hidden(database_url: str, tmp_path: Path) -> Hidden:
    """A log that hides things, empty but for its genesis."""
    return Hidden(database_url, tmp_path / "keys")


def findings(hidden: Hidden) -> list[str]:
    """The kinds of what an audit of the log finds."""
    report = audit_log(hidden.bench.database, "payments")
    return [finding.kind for finding in report.findings]


def test_a_redacted_leaf_stays_proven(hidden):
    """log 28: after redaction the leaf's proof verifies, and disclosure raises RedactedError."""
    index = hidden.sealed(INSERT)
    hidden.disclose(index, "email")
    done = hidden.redact(index)
    assert (done.redacted, done.redacted_before, done.standing) == ((index,), (), 1)
    hidden.bench.seal_all()
    proof, leaf, policy = hidden.proof(index)
    verified = check_leaf(proof, leaf=leaf, policy=policy)
    assert verified.record is not None
    assert set(verified.record.private) == {"email", "phone"}
    with pytest.raises(RedactedError):
        hidden.disclose(index, "email")


def test_a_redaction_is_evidence(hidden):
    """A redaction is a row that says who, why and on what basis, and one leaf of the log."""
    first = hidden.sealed(INSERT)
    second = hidden.sealed("UPDATE person SET phone = '556'")
    assert hidden.redact(second, first).is_in_log
    rows = hidden.rows("SELECT leaf_index, actor, reason, legal_basis FROM tally.redactions")
    assert sorted(rows) == [(i, *WHY.values()) for i in (first, second)]
    hidden.bench.seal_all()
    [(leaf,)] = hidden.rows("SELECT leaf FROM tally.merkle_log ORDER BY leaf_index DESC LIMIT 1")
    record = parse_record(leaf)
    assert record is not None
    assert (record.op, record.detail) == (
        "redact",
        {"indexes": [first, second], "reason": "request 17"},
    )


@pytest.mark.parametrize("table", ["person", "patient"])
def test_no_copy_of_the_value_is_left(hidden, table, tmp_path):
    """log 28: no column of any table, no statistic and no file holds the value afterwards."""
    hidden.sealed(
        INSERT.replace("NULL", f"repeat('{CANARY}', 1000)"),
        f"INSERT INTO patient VALUES (1, '{CANARY}', '{CANARY}')",
        f"UPDATE {table} SET id = id",
        f"UPDATE patient SET note = '{CANARY}!'; UPDATE person SET email = '{CANARY}!'",
        "ANALYZE tally.leaf_records; ANALYZE tally.merkle_log; ANALYZE tally.capture",
    )
    hidden.sealed(f"DELETE FROM {table}")
    audit_log(hidden.bench.database, "payments")
    other = "patient" if table == "person" else "person"
    assert places_with(hidden.bench.url, CANARY) == ["leaf_records.record"]
    assert hidden.redact_row(other, "1").standing == 1
    assert hidden.redact_row(table, "1").standing == 0
    hidden.bench.seal_all()
    hidden.sql("ANALYZE")
    assert places_with(hidden.bench.url, CANARY) == []
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file


def test_the_audit_knows_redactions(hidden):
    """An audit finds nothing wrong with erased records, whether their rows still stand or not."""
    first = hidden.sealed(INSERT, "INSERT INTO person VALUES (2, 'b', NULL, 'Genf', NULL)")
    last = hidden.sealed("INSERT INTO patient VALUES (1, 'c', 'd'), (2, 'e', 'f')")
    hidden.redact(first, first - 1, last)
    hidden.bench.seal_all()
    report = audit_log(hidden.bench.database, "payments")
    assert report.findings == ()
    assert (report.redacted, report.redacted_rows) == (3, 3)


def test_clear_columns_of_a_redacted_row_are_still_compared(hidden):
    """A change behind the log's back of what stands in clear is found as ever."""
    index = hidden.sealed(INSERT)
    hidden.redact(index)
    hidden.bench.seal_all()
    hidden.sql(
        "ALTER TABLE person DISABLE TRIGGER USER; UPDATE person SET city = 'Basel', phone = '1'"
    )
    report = audit_log(hidden.bench.database, "payments")
    changed = [finding for finding in report.findings if finding.kind == "row_changed"]
    assert [finding.columns for finding in changed] == [("city",)]


def test_a_record_gone_without_redaction_is_found(hidden):
    """A record that somebody deleted without a redaction is a finding still."""
    hidden.sealed(INSERT)
    hidden.sql(
        "ALTER TABLE tally.leaf_records DISABLE TRIGGER USER; DELETE FROM tally.leaf_records;"
        "ALTER TABLE tally.leaf_records ENABLE ALWAYS TRIGGER guard_erasure"
    )
    assert findings(hidden) == ["leaf_missing"]


@pytest.mark.parametrize("table", ["person", "patient"])
def test_a_missing_row_whose_record_was_erased_can_be_repaired(hidden, table):
    """Reconcile seals the delete of a row whose last record was erased; the audit is clean then."""
    index = hidden.sealed(
        INSERT if table == "person" else "INSERT INTO patient VALUES (1, 'c', 'd')"
    )
    hidden.redact(index)
    hidden.bench.seal_all()
    hidden.sql(f"ALTER TABLE {table} DISABLE TRIGGER USER; DELETE FROM {table}")
    hidden.sql(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    reconcile_source(hidden.bench.database, "payments", table, repair=True)
    last = hidden.bench.seal_all() - 1
    assert {kind for kind in findings(hidden) if kind != "trigger_disabled"} == set()
    if table == "person":
        with pytest.raises(RedactedError):
            hidden.disclose(last, "email")


def test_what_repeats_a_record_goes_with_it(hidden):
    """A reconciled delete repeats salt and record of the leaf before it: both are erased."""
    index = hidden.sealed(INSERT)
    hidden.sql("ALTER TABLE person DISABLE TRIGGER USER; DELETE FROM person")
    reconcile_source(hidden.bench.database, "payments", "person", repair=True)
    with pytest.raises(RowsWaitError):
        hidden.redact(index)
    copy = hidden.bench.seal_all() - 1
    assert hidden.redact(index).redacted == (index, copy)
    assert hidden.redact(copy, index).redacted_before == (index, copy)


def test_redaction_is_idempotent(hidden):
    """What was erased before is told apart, adds no evidence and no leaf, and fails nothing."""
    index = hidden.sealed(INSERT)
    hidden.redact(index)
    size = hidden.bench.seal_all()
    again = hidden.redact(index, index)
    assert (again.redacted, again.redacted_before, again.is_in_log) == ((), (index,), False)
    assert hidden.bench.seal_all() == size
    assert hidden.redact_row("public.person", "1").redacted_before == (index,)


def test_clear_leaves_are_refused_by_name(hidden):
    """Leaves that hide nothing are named, and nothing at all is erased then."""
    index = hidden.sealed(INSERT)
    with pytest.raises(NothingToRedactError) as raised:
        hidden.redact(0, index, 999)
    assert raised.value.evidence["indexes"] == [0, 999]
    hidden.disclose(index, "email")
    with pytest.raises(NothingToRedactError):
        hidden.redact_row("person", "77")
    hidden.sql("CREATE TABLE plain (id int PRIMARY KEY)")


def test_versions_that_wait_are_not_left_behind(hidden):
    """All versions of a row can be erased only once none of them waits to be sealed."""
    index = hidden.sealed(INSERT)
    hidden.sql("UPDATE person SET phone = '1'")
    with pytest.raises(RowsWaitError) as raised:
        hidden.redact_row("person", "1")
    assert raised.value.evidence["rows"] == 1
    assert hidden.redact(index).redacted == (index,)
    hidden.bench.seal_all()
    assert len(hidden.redact_row("person", "1").redacted) == 1


def test_a_row_that_only_waits_is_not_nothing(hidden):
    """A row of which no version is sealed yet is told to wait for, not that it hides nothing."""
    hidden.sql(INSERT)
    with pytest.raises(RowsWaitError) as raised:
        hidden.redact_row("person", "1")
    assert raised.value.evidence["rows"] == 1


def test_a_version_sealed_meanwhile_goes_too(hidden):
    """A version that is sealed between the look at a row and its redaction is erased as well."""
    first = hidden.sealed(INSERT)
    hidden.sql("UPDATE person SET phone = '1'")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(hidden.bench.url) as holder:
        holder.execute("SELECT FROM tally.verification_logs FOR SHARE")
        redacting = pool.submit(hidden.redact_row, "person", "1")
        wait_for_lock(hidden)
        last = hidden.bench.seal_all() - 1
        holder.rollback()
        assert redacting.result().redacted == (first, last)
    assert hidden.rows("SELECT count(*) FROM tally.leaf_records") == [(0,)]


def test_a_copy_made_meanwhile_is_waited_for(hidden):
    """While a reconcile copies a record to the delete that it queues, none erases the original."""
    index = hidden.sealed(INSERT)
    hidden.sql("ALTER TABLE person DISABLE TRIGGER USER; DELETE FROM person")
    [(source_no,)] = hidden.rows(
        "SELECT source_no FROM tally.verification_sources WHERE source_table = 'person'"
    )
    with ThreadPoolExecutor(1) as pool, psycopg.connect(hidden.bench.url) as repair:
        repair.execute("SELECT tally.repair_rows_v1(%s, ARRAY['[\"1\"]'])", (source_no,))
        redacting = pool.submit(hidden.redact, index)
        wait_for_lock(hidden)
        repair.commit()
        with pytest.raises(RowsWaitError):
            redacting.result()
    hidden.bench.seal_all()
    assert len(hidden.redact(index).redacted) == 2
    assert places_with(hidden.bench.url, CANARY) == []


def wait_for_lock(hidden):
    """Wait until a session of the test's database waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(1000):
        if hidden.rows(waiting) != [(0,)]:
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits for a lock")


def test_quarantined_rows_lose_their_bytes(hidden):
    """Rows of the key that could not be sealed keep nothing of it either."""
    index = hidden.sealed(INSERT)
    hidden.sql(
        "INSERT INTO tally.capture_quarantine (log_id, xid, seq, source_no, op, via, source_key,"
        " record, problem, captured_at, source_table) SELECT log_id, '1', -1, source_no, 'U', 't',"
        f" '[\"1\"]', '{CANARY}', 'x', now(), source_table FROM tally.verification_sources"
        " WHERE source_table = 'person'"
    )
    assert hidden.redact(index).quarantined == 1
    assert places_with(hidden.bench.url, CANARY) == []


def test_other_logs_that_keep_the_row_are_named(hidden):
    """A table that feeds two logs is erased in each on its own: the other one is named."""
    from tallystick.seal.sources import add_source
    from tests.support.logs import make_bench

    second = make_bench(hidden.bench.url, hidden.bench.keys.directory, "copies")
    with second.database.transaction() as tx:
        add_source(tx, "copies", "person", private=("email",))
    index = hidden.sealed(INSERT)
    second.seal_all()
    assert hidden.redact(index).elsewhere == ("copies",)


def test_a_frozen_log_is_redacted_without_a_leaf(hidden):
    """A frozen log takes no leaf, so its redaction is evidence in `redactions` alone."""
    index = hidden.sealed(INSERT)
    with hidden.bench.database.transaction() as tx:
        detach_source(tx, "payments", "person")
        detach_source(tx, "payments", "patient")
        freeze_log(tx, "payments")
    hidden.bench.seal_all()
    done = hidden.redact(index)
    assert (done.redacted, done.is_in_log) == ((index,), False)
    assert hidden.rows("SELECT count(*) FROM tally.capture") == [(0,)]


def test_words_and_numbers_have_limits(hidden):
    """Empty or endless words, no leaf, too many leaves and an unknown log are refused by name."""
    for words in ({"reason": " "}, {"actor": ""}, {"legal_basis": "x" * 201}, {"reason": "\x00"}):
        with pytest.raises(InvalidRequestError):
            hidden.redact(1, **words)
    for indexes in ([], [-1], [2**63], range(MAX_REDACTED + 1)):
        with pytest.raises(InvalidRequestError):
            hidden.redact(*indexes)
    with pytest.raises(LogNotFoundError), hidden.bench.database.transaction() as tx:
        redact_leaves(tx, "nowhere", [0], **WHY)


def test_a_thousand_leaves_fit_one_redact_leaf(hidden):
    """As many leaves as one call takes are one statement, one control leaf, one redaction each."""
    hidden.sealed(
        "INSERT INTO person SELECT i, 'a', 'b', NULL, NULL"
        f" FROM generate_series(1, {MAX_REDACTED}) AS i"
    )
    indexes = [i for (i,) in hidden.rows("SELECT leaf_index FROM tally.leaf_records")]
    assert len(hidden.redact(*indexes).redacted) == MAX_REDACTED
    hidden.bench.seal_all()
    assert findings(hidden) == []


def test_records_go_by_redaction_alone(hidden):
    """No role changes a kept record, and none deletes one that has no redaction."""
    hidden.sealed(INSERT)
    for role, expected in (("tally_owner", AppendOnlyError), ("tally_app", PermissionDeniedError)):
        for statement in (
            "DELETE FROM tally.leaf_records",
            "UPDATE tally.leaf_records SET record = ''",
            "TRUNCATE tally.leaf_records",
        ):
            with psycopg.connect(hidden.bench.url) as connection:
                connection.execute(f"SET ROLE {role}")
                with pytest.raises(psycopg.Error) as raised:
                    connection.execute(statement)
                assert isinstance(translate(raised.value), expected)


def test_redactions_are_read_in_one_statement(hidden):
    """Which of many leaves were erased is asked for all of them at once."""
    first = hidden.sealed(INSERT)
    second = hidden.sealed("UPDATE person SET phone = '1'")
    hidden.redact(second)
    with hidden.bench.database.transaction() as tx:
        found = redacted_indexes(tx, [("payments", first), ("payments", second), ("x", second)])
        assert found == {("payments", second)}
        assert redacted_indexes(tx, []) == frozenset()


def test_findings_of_salted_rows_cannot_be_guessed(hidden):
    """A finding's digests of a salted row need its salt, so that none confirms a guess later."""
    import hashlib

    hidden.sealed("INSERT INTO patient VALUES (1, 'c', 'd')")
    hidden.sql(
        "ALTER TABLE patient DISABLE TRIGGER USER; UPDATE patient SET note = 'x';"
        "INSERT INTO patient VALUES (2, 'u', 'v')"
    )
    assert "row_changed" in findings(hidden)
    guesses = [
        json.dumps({"row": row}, separators=(",", ":"))
        for row in (
            {"id": "1", "name": "c", "note": "d"},
            {"id": "1", "name": "c", "note": "x"},
            {"id": "2", "name": "u", "note": "v"},
        )
    ]
    digests = {hashlib.sha256(guess.encode()).digest() for guess in guesses}
    stored = hidden.rows("SELECT expected_digest, actual_digest FROM tally.audit_findings")
    assert not digests & {digest for pair in stored for digest in pair}


def test_two_redactions_of_one_leaf_are_one(hidden):
    """Of two at once one erases, and the other finds it erased: one row, one leaf."""
    import threading

    index = hidden.sealed(INSERT)
    done = []
    threads = [threading.Thread(target=lambda: done.append(hidden.redact(index))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.redacted for one in done) == [(), (), (), (index,)]
    assert hidden.rows("SELECT count(*) FROM tally.redactions") == [(1,)]
    assert hidden.rows("SELECT count(*) FROM tally.capture") == [(1,)]


def test_the_servers_role_may_redact(hidden):
    """`tally_app` redacts by the function alone; `tally_auditor` cannot."""
    index = hidden.sealed(INSERT)
    call = (
        "SELECT redacted FROM tally.redact_leaves_v1("
        f"{hidden.bench.log.log_id}, ARRAY[{index}], 'a', 'b', 'c')"
    )
    with psycopg.connect(hidden.bench.url) as connection:
        connection.execute("SET ROLE tally_auditor")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(call)
    with psycopg.connect(hidden.bench.url) as connection:
        connection.execute("SET ROLE tally_app")
        assert connection.execute(call).fetchall() == [([index],)]
