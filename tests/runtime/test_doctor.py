"""What `tally doctor` finds: each fault planted, and nothing where all is well (log.md, 6.4)."""

from __future__ import annotations

import psycopg
import pytest

from tallystick.config import Settings
from tallystick.db import Database, connect
from tallystick.runtime import doctor
from tallystick.runtime.doctor import Finding, Level, examine, examine_database
from tallystick.runtime.postgres import EmbeddedPostgres
from tests.support.server import TestServer


def found(settings: Settings, check: str, level: Level) -> list[str]:
    """What doctor says at this level of this check."""
    return [f.message for f in examine(settings) if (f.check, f.level) == (check, level)]


def run(url: str, text: str) -> None:
    """Run *text* as the superuser."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(text.encode())


def test_fresh_house_has_no_problem(settings: Settings) -> None:
    """In a fresh house nothing must be mended, and every check says what it looked at."""
    findings = examine(settings)
    assert [f for f in findings if f.level is Level.PROBLEM] == []
    expected = {
        "settings", "schema", "database", "clock", "rights", "keys", "logs", "sources", "queue",
        "transactions",
    }  # fmt: skip
    assert {f.check for f in findings} == expected


def test_names_idle_writer_and_open_dump(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log 17: An idle writing transaction and an open dump are both named, with their holders."""
    monkeypatch.setattr(doctor, "LONG_TRANSACTION_SECONDS", 0.0)
    with (
        psycopg.connect(database_url, application_name="shop") as writer,
        psycopg.connect(database_url, application_name="pg_dump") as dump,
    ):
        writer.execute("CREATE TABLE t0 (id integer)")
        dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        dump.execute("SELECT count(*) FROM tally.merkle_log")
        holder = f"process {writer.info.backend_pid} "
        notes = found(settings, "transactions", Level.NOTE)
    shop = next(note for note in notes if "(shop)" in note)
    backup = next(note for note in notes if "(pg_dump)" in note)
    assert "has written" in shop
    assert "of role postgres" in shop
    assert "has only read" in backup
    assert holder in shop


def test_names_prepared_transactions(
    settings: Settings, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """log 17: A prepared transaction, which no process holds, is named too."""
    monkeypatch.setattr(doctor, "LONG_TRANSACTION_SECONDS", 0.0)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE t0 (id integer)")
        connection.execute("PREPARE TRANSACTION 'left behind'")
    notes = found(settings, "transactions", Level.NOTE)
    run(database_url, "ROLLBACK PREPARED 'left behind'")
    assert any("prepared transaction left behind of role postgres" in note for note in notes)


def test_young_transactions_are_nobodys_business(settings: Settings, database_url: str) -> None:
    """A transaction of less than 60 s is not named."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT 1")
        assert found(settings, "transactions", Level.NOTE) == []


def test_key_files(settings: Settings) -> None:
    """A key file that is gone, open to others, or of another key is a problem that is named."""
    first, second, third, *_ = sorted(settings.keys.glob("*.key"))
    first.unlink()
    second.chmod(0o644)
    third.write_bytes(next(settings.keys.glob("[!.]*.key")).read_bytes())
    problems = found(settings, "keys", Level.PROBLEM)
    assert len(problems) == 3 or len(problems) == 2
    assert any(first.name in problem for problem in problems)
    assert any(second.name in problem for problem in problems)


def test_triggers(settings: Settings, database_url: str) -> None:
    """Triggers that are disabled, silenced for replicas or dropped are each named by table."""
    run(database_url, "ALTER TABLE tally.witnesses DISABLE TRIGGER USER")
    run(database_url, "ALTER TABLE tally.prunings ENABLE TRIGGER USER")
    problems = found(settings, "sources", Level.PROBLEM)
    assert sorted(problem.split(" of log")[0] for problem in problems) == [
        "tally.prunings",
        "tally.witnesses",
    ]


def test_sealing_state(settings: Settings, database: Database) -> None:
    """Paused sealing is a warning, because nobody wants to find out by the lag."""
    run(database.url, "SELECT tally.set_sealing_v1('paused', 'user:1')")
    assert found(settings, "logs", Level.WARNING) == ["sealing is paused"]


def test_lag_without_worker(settings: Settings, database_url: str) -> None:
    """Changes that wait for over 30 s with nobody to seal them are a problem."""
    run(database_url, "UPDATE tally.capture SET captured_at = captured_at - interval '1 minute'")
    assert any("is a worker running?" in said for said in found(settings, "logs", Level.PROBLEM))


def test_sequence_cache(settings: Settings, database_url: str) -> None:
    """Another CACHE of the queue's sequence, which breaks the order, is a problem."""
    run(database_url, "ALTER SEQUENCE tally.capture_seq CACHE 10")
    assert any("CACHE 10" in said for said in found(settings, "database", Level.PROBLEM))


def test_test_clock_is_no_production(settings: Settings) -> None:
    """A database whose clock can be set says so."""
    assert found(settings, "clock", Level.WARNING) == [
        "the database was made with --test: its clock can be set"
    ]


def test_missing_rights(settings: Settings, test_server: TestServer, database_url: str) -> None:
    """A role that lacks what a worker does is told what, and the other checks go on."""
    run(database_url, "DROP ROLE IF EXISTS doctor_reader")
    run(database_url, "CREATE ROLE doctor_reader LOGIN PASSWORD 'x' IN ROLE tally_auditor")
    server: EmbeddedPostgres = test_server.server
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    url = server.url(str(name), user="doctor_reader").replace("@", ":x@", 1)
    with connect(url) as database:
        findings = examine_database(database, settings.keys)
    run(database_url, "DROP ROLE doctor_reader")
    [problem] = [f for f in findings if f.check == "rights"]
    assert problem.level is Level.PROBLEM
    assert "INSERT on tally.merkle_log" in problem.message


def test_database_that_is_away(settings: Settings) -> None:
    """A database that does not answer, or was never migrated, is the one finding that counts."""
    away = settings.model_copy(update={"database_url": "postgresql://nobody@/x?host=/nonexistent"})
    last: Finding = examine(away)[-1]
    assert (last.check, last.level) == ("database", Level.PROBLEM)


def test_unmigrated_database(settings: Settings, empty_database_url: str) -> None:
    """A database without the schema is named as such."""
    empty = settings.model_copy(update={"database_url": empty_database_url})
    last = examine(empty)[-1]
    assert (last.check, last.level) == ("schema", Level.PROBLEM)
    assert "tally migrate" in last.message
