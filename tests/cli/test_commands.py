"""The commands on a real database: what they do, print, and refuse (log.md, section 6.4)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import psycopg
import pytest

from tallystick.cli.app import COMMAND_PACKAGE, COMMANDS, GROUPS
from tallystick.cli.place import Place
from tallystick.db import Database
from tallystick.runtime.house import HOUSE_SOURCES
from tests.cli.conftest import Tally

PAYMENTS = (
    "CREATE TABLE payment (id integer PRIMARY KEY, amount numeric, note text);"
    "INSERT INTO payment VALUES (1, 10.50, 'before')"
)


def sql(database_url: str, text: str) -> None:
    """Run *text*, as an application would."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(text.encode())


def all_commands() -> list[tuple[str, str]]:
    """Every command by its words and where its function is."""
    grouped = [
        (f"{group} {name}", place) for group, _, commands in GROUPS for name, place, _ in commands
    ]
    return [(name, place) for name, place, _ in COMMANDS] + grouped


@pytest.mark.parametrize(("name", "place"), all_commands())
def test_every_command_prints_json(name: str, place: str) -> None:
    """Each command that prints facts takes --json, and has words for --help."""
    module, _, function = f"{COMMAND_PACKAGE}.{place}".partition(":")
    command = getattr(__import__(module, fromlist=[function]), function)
    parameters = inspect.signature(command).parameters
    assert inspect.getdoc(command), name
    assert "json" in parameters or isinstance(parameters["place"].default, Place)


def test_help_names_every_command(tally: Tally) -> None:
    """`tally --help` and that of each group list every command."""
    assert all(name in tally.bare("--help").out for name, _, _ in COMMANDS)
    for group, _, commands in GROUPS:
        out = tally.bare(group, "--help").out
        assert all(name in out for name, _, _ in commands)


def test_unknown_command_is_usage(tally: Tally) -> None:
    """What is no command ends with 2 and names it."""
    ran = tally.bare("log", "destroy")
    assert ran.code == 2
    assert ran.err == "tally: usage: there is no command 'destroy' (see --help)\n"


def test_unmigrated_database_is_unavailable(empty_database_url: str, tally: Tally) -> None:
    """A worker on a database without the schema says so and ends with 5."""
    ran = tally.bare("worker", "--database-url", empty_database_url)
    assert ran.code == 5
    assert ran.err.splitlines()[-1].startswith("tally: not_migrated: ")


def test_no_database_is_unavailable(tally: Tally, tmp_path: Path) -> None:
    """Where no database is set and none is embedded, the words say what to do."""
    ran = tally.bare("status", "--data", str(tmp_path / "nothing"))
    assert ran.code == 5
    assert ran.err.startswith("tally: no_database: ")


def test_init_makes_the_house(tally: Tally, database: Database) -> None:
    """`tally init` makes the house logs, attaches the house's tables, and changes nothing twice."""
    first = tally("init", "--json")
    assert first.code == 0
    assert first.json["logs"] == ["tally", "gate", "settle", "threat", "proof"]
    assert first.json["sources"] == sorted(HOUSE_SOURCES)
    again = tally("init", "--json")
    assert (again.code, again.json["migrations"]) == (0, [])
    listed = {
        (source["source_table"], log, source["on_update"])
        for log in ("tally", "settle")
        for source in tally("source", "list", log, "--json").json["items"]
    }
    assert {(name, kept.log, kept.on_update) for name, kept in HOUSE_SOURCES.items()} == listed


def test_log_commands(house: None, tally: Tally) -> None:
    """A log is made once, shown, set, paused, resumed; other fields under its name are refused."""
    made = tally("log", "create", "payments", "--description", "paid", "--json")
    assert (made.code, made.json["description"], made.json["enabled"]) == (0, "paid", True)
    assert tally("log", "create", "payments", "--description", "paid").code == 0
    refused = tally("log", "create", "payments", "--description", "other")
    assert (refused.code, refused.err.startswith("tally: log_exists: ")) == (4, True)
    assert tally("log", "create", "Bad-Name").code == 2
    changed = tally("log", "set", "payments", "--batch-interval-ms", "100", "--json")
    assert changed.json["batch_interval_ms"] == 100
    assert tally("log", "set", "payments", "--batch-interval-ms", "1").code == 2
    assert tally("log", "pause", "payments", "--json").json["enabled"] is False
    assert tally("log", "resume", "payments", "--json").json["enabled"] is True
    names = [log["log_name"] for log in tally("log", "list", "--json").json["items"]]
    assert names == ["gate", "payments", "proof", "settle", "tally", "threat"]
    assert "payments" in tally("log", "list").out
    assert "origin" in tally("log", "show", "payments").out
    assert tally("log", "show", "nothing").code == 3
    assert tally("log", "recover", "payments", "--reason", "none").code == 0
    assert tally("log", "freeze", "payments", "--json").json["freeze_requested_at"] is not None


def test_origin_is_the_houses(house: None, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is made when the port has changed still has the origin of its house."""
    monkeypatch.setenv("TALLY_PORT", "9999")
    made = tally("log", "create", "payments", "--json")
    assert made.json["origin"] == "127.0.0.1:7421/logs/payments"


def test_key_list(house: None, tally: Tally) -> None:
    """A log's keys are listed with the sizes that they sign, never a private half."""
    tally("log", "create", "payments")
    [key] = tally("key", "list", "payments", "--json").json["items"]
    assert (key["status"], key["from_size"], key["to_size"]) == ("active", 0, None)
    assert key["vkey"].startswith("127.0.0.1:7421/logs/payments+")
    assert "PRIVATE" not in tally("key", "list", "payments").out


def test_source_commands(house: None, tally: Tally, database_url: str) -> None:
    """A source is tried, added, listed, checked, refreshed and detached; bad options are named."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments")
    tried = tally("source", "add", "payments", "payment", "--dry-run", "--json")
    assert (tried.code, tried.json["source_no"]) == (0, 0)
    assert tally("source", "list", "payments", "--json").json["items"] == []
    added = tally(
        "source", "add", "payments", "payment", "--key", "id", "--private", "note",
        "--on-delete", "refuse", "--json",
    )  # fmt: skip
    assert (added.json["private_columns"], added.json["on_delete"]) == (["note"], "refuse")
    assert "cannot be erased" in added.json["note"]
    other = tally("source", "add", "payments", "payment", "--key", "id")
    assert (other.code, other.err.startswith("tally: source_exists: ")) == (4, True)
    assert tally("source", "add", "payments", "payment", "--on-delete", "maybe").code == 2
    assert tally("source", "add", "payments", "payment", "--key", "id,,x").code == 2
    assert tally("source", "add", "payments", "nothing").code == 3
    [checked] = tally("source", "check", "payments", "payment", "--json").json["items"]
    assert checked["problems"] == []
    assert "payment" in tally("source", "check", "payments").out
    assert tally("source", "refresh", "payments", "payment").code == 0
    assert tally("source", "requeue", "payments", "payment").code == 0
    with pytest.raises(psycopg.Error, match="refuse"):
        sql(database_url, "DELETE FROM payment")
    detached = tally("source", "detach", "payments", "payment", "--json")
    assert detached.json["status"] == "detached"
    assert tally("source", "show", "payments", "payment", "--json").json["status"] == "detached"


def test_prove_and_verify(worker: None, tally: Tally, database_url: str, tmp_path: Path) -> None:
    """log 1: A row that was there before, and one that came since, are proven and verified."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "20")
    tally("source", "add", "payments", "payment")
    sql(database_url, "INSERT INTO payment VALUES (42, 10.50, 'café')")
    proof, policy = tmp_path / "p.tlog-proof", tmp_path / "policy"
    for key in ("1", "42"):
        written = tally(
            "prove", "payments", "--key", key, "--until", "sealed", "-o", str(proof),
            "--policy-out", str(policy), "--json",
        )  # fmt: skip
        assert written.code == 0, written.err
        assert proof.with_suffix(".leaf").exists()
        verified = tally.bare("verify", str(proof), "--policy", str(policy), "--json")
        assert (0, [key]) == (verified.code, verified.json["record"]["key"])
        assert written.json["index"] == verified.json["index"]
    assert tally("prove", "payments", "--key", "7").code == 3
    assert tally("prove", "payments").code == 2
    assert tally("prove", "payments", "--key", "1", "--version", "newest").code == 2
    assert (
        tally("prove", "payments", "--index", "0", "-o", str(tmp_path / "g.tlog-proof")).code == 0
    )


def test_prove_waits_for_the_change_at_hand(
    worker: None, tally: Tally, database_url: str, tmp_path: Path
) -> None:
    """`--until sealed` proves the version that was committed before, never an older one."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "300")
    tally("source", "add", "payments", "payment")
    for amount in range(5):
        sql(database_url, f"UPDATE payment SET amount = {amount}")
        tally("prove", "payments", "--key", "1", "--until", "sealed", "-o", f"{tmp_path}/p.x")
        leaf = json.loads((tmp_path / "p.leaf").read_bytes().partition(b"\n")[2])
        assert str(amount) == leaf["row"]["amount"]


def test_prove_gives_up_in_time(house: None, tally: Tally) -> None:
    """Without a worker waiting ends with 5 after the time that was given."""
    ran = tally("prove", "tally", "--index", "0", "--until", "sealed", "--timeout", "0.2")
    assert ran.code == 5
    assert ran.err.startswith("tally: not_sealed: ")


def test_rows(worker: None, tally: Tally, database_url: str, tmp_path: Path) -> None:
    """The versions of a row are shown by index, with what each leaf says."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "20")
    tally("source", "add", "payments", "payment")
    tally("prove", "payments", "--key", "1", "--until", "sealed", "-o", f"{tmp_path}/p.x")
    sql(database_url, "UPDATE payment SET note = NULL; DELETE FROM payment")
    tally("prove", "payments", "--index", "0", "--until", "sealed", "-o", f"{tmp_path}/p.x")
    versions = tally("rows", "payments", "1", "--json").json["items"]
    assert [version["op"] for version in versions] == ["insert", "update", "delete"]
    assert versions[1]["row"] == {"id": "1", "amount": "10.50", "note": None}
    assert "delete" in tally("rows", "payments", "1").out
    assert tally("rows", "payments", "9").code == 3


def test_status_and_doctor(worker: None, tally: Tally, database_url: str) -> None:
    """Status shows size and lag of every log; doctor is content with a fresh house."""
    state = tally("status", "--json").json
    assert state["sealing"] == "running"
    assert {"tally", "gate"} <= {log["log_name"] for log in state["logs"]}
    assert "sealing is running" in tally("status").out
    healthy = tally("doctor", "--json")
    assert (
        healthy.code,
        [f for f in healthy.json["items"] if f["level"] == "problem"],
    ) == (0, [])
    sql(database_url, "ALTER TABLE tally.witnesses DISABLE TRIGGER USER")
    sick = tally("doctor")
    assert (sick.code, "tally.witnesses" in sick.out) == (4, True)
    assert sick.err.splitlines()[-1].startswith("tally: unhealthy: ")


def test_audit_and_reconcile(worker: None, tally: Tally, database_url: str, tmp_path: Path) -> None:
    """log 13: A row that was changed unseen is named, explained and repaired; then all is clean."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "20")
    tally("source", "add", "payments", "payment")
    waiting = ("prove", "payments", "--index", "0", "--until", "sealed", "-o", f"{tmp_path}/p.x")
    assert tally(*waiting).code == 0
    assert tally("audit").code == 0
    sql(database_url, "ALTER TABLE payment DISABLE TRIGGER USER")
    sql(database_url, "UPDATE payment SET amount = 99")
    found = tally("audit", "payments", "--explain", "--json")
    assert (found.code, found.err.startswith("tally: findings: ")) == (1, True)
    [report] = found.json["items"]
    kinds = {finding["kind"] for finding in report["findings"]}
    assert {"row_changed", "trigger_disabled"} <= kinds
    changed = next(n for n, f in enumerate(report["findings"]) if f["kind"] == "row_changed")
    assert report["findings"][changed]["columns"] == ["amount"]
    assert report["explained"][changed]["row now"]["amount"] == 99
    assert report["explained"][changed]["logged row"]["amount"] == "10.50"
    assert "row_changed" in tally("audit", "payments", "--explain").out
    tally("source", "check", "payments", "payment")
    assert tally("reconcile", "payments", "payment").code == 1
    tally("source", "refresh", "payments", "payment")
    repaired = tally("reconcile", "payments", "payment", "--repair", "--json")
    assert (repaired.code, repaired.json["status"]) == (0, "active"), repaired.out
    assert tally(*waiting).code == 0
    assert tally("audit", "payments").code == 0
    assert tally("audit", "nothing").code == 3


def test_outbox_commands(house: None, tally: Tally, tmp_path: Path) -> None:
    """A sink is added, paused, resumed and listed; only its next event can be skipped."""
    config = json.dumps({"path": str(tmp_path / "events.jsonl")})
    added = tally("outbox", "add", "lines", "file", "--config", config, "--json")
    assert (added.code, added.json["status"]) == (0, "active"), added.err
    assert tally("outbox", "pause", "lines", "--json").json["status"] == "paused"
    assert tally("outbox", "resume", "lines", "--json").json["status"] == "active"
    assert [s["sink"] for s in tally("outbox", "list", "--json").json["items"]] == ["lines"]
    assert "lines" in tally("outbox", "list").out
    assert tally("outbox", "skip", "lines", "999", "--reason", "none").code == 4
    assert tally("outbox", "pause", "nothing").code == 3
    assert tally("outbox", "add", "x", "file", "--config", "{").code == 2
    assert tally("outbox", "add", "x", "pigeon").code == 2
    refused = tally("outbox", "add", "hook", "webhook", "--config", '{"url": "https://a.example/"}')
    assert refused.err.startswith("tally: target_refused: ")
