"""`tally disclose`, `tally redact` and `tally verify --disclosure` (log.md, sections 5.3, 6.4)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.cli.test_commands import sql
from tests.support.privacy import CANARY, Hidden, places_with

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Tally

WHY = ("--reason", "request 17", "--legal-basis", "GDPR Art. 17")


@pytest.fixture
def hidden(database_url: str, tmp_path: Path) -> Hidden:
    """A log that hides things, with one leaf of each kind."""
    made = Hidden(database_url, tmp_path / "data" / "keys")
    made.sealed(
        f"INSERT INTO person VALUES (1, '{CANARY}', NULL, 'Bern', NULL)",
        "INSERT INTO patient VALUES (1, 'Anna', 'well')",
    )
    return made


def test_a_disclosure_is_checked_offline(hidden: Hidden, tally: Tally, tmp_path: Path) -> None:
    """What `disclose` writes, `verify --disclosure` opens; each falsehood is named, exit 1."""
    proof, file = tmp_path / "p.tlog-proof", tmp_path / "d.json"
    policy = tmp_path / "policy"
    tally("prove", "payments", "--index", "1", "-o", str(proof), "--policy-out", str(policy))
    written = tally(
        "disclose", "payments", "--index", "1", "--column", "email,phone", "-o", str(file), "--json"
    )
    assert written.json["columns"] == ["email", "phone"]
    check = ("verify", str(proof), "--policy", str(policy), "--disclosure", str(file))
    ran = tally.bare(*check)
    assert ran.code == 0, ran.err
    assert f"disclosed email: {CANARY}\ndisclosed phone: NULL\n" in ran.out
    assert tally.bare(*check, "--json").json["disclosed"] == {"email": CANARY, "phone": None}
    value = json.loads(file.read_text())
    value["columns"][0]["value"] = "bob"
    file.write_text(json.dumps(value))
    ran = tally.bare(*check)
    assert ran.code == 1
    assert "FAIL disclosure" in ran.out
    assert "email" in ran.err
    ran = tally("disclose", "payments", "--index", "2", "-o", str(file))
    assert "the whole record" in ran.out
    ran = tally.bare(*check)
    assert (ran.code, ran.err.split(":")[1]) == (1, " other_leaf_disclosed")


def test_a_long_value_is_shown_shortened(hidden: Hidden, tally: Tally, tmp_path: Path) -> None:
    """A disclosed value cannot take over the terminal: it is shortened, its controls escaped."""
    index = hidden.sealed("UPDATE person SET email = E'\\033[2J' || repeat('x', 300)")
    proof, file = tmp_path / "p.tlog-proof", tmp_path / "d.json"
    policy = tmp_path / "policy"
    at = ("--index", str(index))
    tally("prove", "payments", *at, "-o", str(proof), "--policy-out", str(policy))
    tally("disclose", "payments", *at, "--column", "email", "-o", str(file))
    ran = tally.bare("verify", str(proof), "--policy", str(policy), "--disclosure", str(file))
    assert "\\x1b[2Jxxx" in ran.out
    assert "... (304 characters)" in ran.out
    assert "\x1b" not in ran.out


def test_redact_tells_what_it_did(hidden: Hidden, tally: Tally) -> None:
    """log 28: `redact` erases leaves, or all versions of a row, and says what it did not."""
    ran = tally("redact", "payments", "--index", "1", *WHY)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("redacted 1 leaves of log payments: 1\n1 of these rows still stand")
    again = tally("redact", "payments", "--key", "1", "--table", "person", *WHY, "--json")
    assert again.json["redacted_before"] == [1]
    ran = tally("disclose", "payments", "--index", "1", "--column", "email")
    assert (ran.code, ran.err.split(":")[1]) == (3, " redacted")
    hidden.bench.seal_all()
    ran = tally("audit", "payments")
    assert ran.code == 0, ran.out
    assert "1 leaves were redacted; of 1 rows only" in ran.out


def test_a_redaction_is_sealed_in_the_house_log(
    worker: None, database_url: str, tally: Tally, tmp_path: Path
) -> None:
    """log 28: The house log has the record of each redaction; the worker's lines have no value."""
    sql(database_url, "CREATE TABLE person (id int PRIMARY KEY, email text)")
    assert tally("log", "create", "people").code == 0
    ran = tally("source", "add", "people", "person", "--private", "email", "--json")
    assert (ran.json["clear_columns"], ran.json["personal_columns"]) == (["id"], [])
    sql(database_url, f"INSERT INTO person VALUES (7, '{CANARY}'); DELETE FROM person")
    proof = str(tmp_path / "p.tlog-proof")
    sealed = tally("prove", "people", "--key", "7", "--until", "sealed", "-o", proof)
    ran = tally("redact", "people", "--key", "7", *WHY)
    assert ran.code == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(300):
            found = connection.execute(
                "SELECT tally.leaf_record(leaf) -> 'row' FROM tally.merkle_log"
                " WHERE log_name = 'tally' AND source_table = 'tally.redactions'"
            ).fetchall()
            if len(found) == 2:
                break
            time.sleep(0.1)
    said = [(row["reason"], row["legal_basis"]) for (row,) in found]
    assert said == [("request 17", "GDPR Art. 17")] * 2
    assert places_with(database_url, CANARY) == []
    audited = tally("audit")
    assert audited.code == 0
    assert all(CANARY not in one.err + one.out for one in (sealed, ran, audited))


def test_redact_is_refused_in_words(hidden: Hidden, tally: Tally) -> None:
    """Neither or both ways to name leaves, no number, a clear leaf, a row that waits."""
    assert tally("redact", "payments", *WHY).code == 2
    assert tally("redact", "payments", "--index", "1", "--key", "1", *WHY).code == 2
    assert tally("redact", "payments", "--index", "one", *WHY).code == 2
    ran = tally("redact", "payments", "--index", "0", *WHY)
    assert (ran.code, ran.err.split(":")[1]) == (4, " nothing_to_redact")
    hidden.sql("UPDATE person SET phone = '1'")
    ran = tally("redact", "payments", "--key", "1", "--table", "person", *WHY)
    assert (ran.code, ran.err.split(":")[1]) == (5, " rows_wait")
