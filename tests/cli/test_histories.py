"""`tally log index`, `prove --history` and `verify` of what it wrote (docs/adr/0015)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tallystick.record import format_record
from tallystick.record.history import format_history
from tests.cli.conftest import Tally
from tests.support.sealed import payment
from tests.verify.history_stage import HistoryStage

FORBIDDEN = ("psycopg", "litestar", "pydantic", "granian", "structlog", "rich.table")


@pytest.fixture
def payments(worker: None, tally: Tally, database_url: str) -> None:
    """A log `payments` over a table with a row in three versions, which a worker seals."""
    execute(database_url, "CREATE TABLE payment (id integer PRIMARY KEY, amount numeric)")
    tally("log", "create", "payments", "--batch-interval-ms", "20")
    tally("source", "add", "payments", "payment")
    execute(
        database_url,
        "INSERT INTO payment VALUES (1, 10), (2, 20)",
        "UPDATE payment SET amount = 11 WHERE id = 1",
        "UPDATE payment SET amount = 12 WHERE id = 1",
    )


def execute(url: str, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def prove(tally: Tally, path: Path, key: str) -> Path:
    """Write the history of a key beside a policy."""
    ran = tally(
        "prove", "payments", "--history", key, "--until", "sealed", "-o", str(path),
        "--policy-out", str(path.with_suffix(".policy")),
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return path


def verify(tally: Tally, path: Path, *options: str):
    """Verify it."""
    policy = str(path.with_suffix(".policy"))
    return tally.bare("verify", str(path), "--policy", policy, *options)


def test_history_from_end_to_end(payments: None, tally: Tally, tmp_path: Path) -> None:
    """The map is made, a key's versions are proven complete, another's absence, both verify."""
    tally("prove", "payments", "--key", "1", "--until", "sealed", "-o", str(tmp_path / "x.p"))
    made = tally("log", "index", "payments", "--json")
    assert (made.code, made.json["outcome"], made.json["leaves"]) == (0, "queued", 5)
    path = prove(tally, tmp_path / "p.history", "1")
    ran = verify(tally, path)
    assert ran.code == 0, ran.err
    assert "ok   entry: the leaves are exactly those that the map lists" in ran.out
    assert "ESTABLISHED: these are all 3 versions of ['1'] of public.payment" in ran.out
    verdict = verify(tally, path, "--json").json
    assert [version["row"]["amount"] for version in verdict["versions"]] == ["10", "11", "12"]
    assert (verdict["present"], verdict["map_size"]) == (True, 5)
    absent = verify(tally, prove(tally, tmp_path / "n.history", "77"))
    assert "ESTABLISHED: the log has no record of ['77'] of public.payment." in absent.out


def test_refusals_name_their_step(payments: None, tally: Tally, tmp_path: Path) -> None:
    """A version that was taken out of the file ends with 1 and the step's name."""
    tally("prove", "payments", "--key", "1", "--until", "sealed", "-o", str(tmp_path / "x.p"))
    assert tally("prove", "payments", "--history", "1").code == 3
    tally("log", "index", "payments")
    path = prove(tally, tmp_path / "p.history", "1")
    tag, _, body = path.read_bytes().partition(b"\n")
    members = json.loads(body)
    members["versions"].pop(1)
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_bytes(tag + b"\n" + text.encode())
    ran = verify(tally, path)
    assert (ran.code, ran.err.startswith("tally: incomplete_history: ")) == (1, True)
    assert ran.out.splitlines()[-1].startswith("FAIL entry: ")
    refusal = verify(tally, path, "--json").json
    assert (refusal["failed"], refusal["code"]) == ("entry", "incomplete_history")


def test_verdict_loads_no_driver(payments: None, tally: Tally, tmp_path: Path) -> None:
    """A history is verified without driver, server or settings."""
    tally("prove", "payments", "--key", "1", "--until", "sealed", "-o", str(tmp_path / "x.p"))
    tally("log", "index", "payments")
    path = prove(tally, tmp_path / "p.history", "1")
    arguments = ["verify", str(path), "--policy", str(path.with_suffix(".policy"))]
    program = (
        "import sys; from tallystick.cli import run;"
        f"code = run({arguments!r});"
        f"bad = [name for name in {FORBIDDEN!r} if name in sys.modules];"
        "sys.exit(str(bad) if bad else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_worker_keeps_the_map_up(payments: None, tally: Tally, database_url: str) -> None:
    """With an interval the worker makes maps by itself; its change is a leaf of the house log."""
    ran = tally("log", "index", "payments", "--every", "1", "--json")
    assert ran.json == {"log_name": "payments", "key_index_interval_seconds": 1}
    wanted = "SELECT count(*) FROM tally.key_index_maps WHERE leaf_index IS NOT NULL"
    sealed = (
        "SELECT count(*) FROM tally.merkle_log WHERE log_name = 'tally' AND"
        " tally.leaf_record(leaf) #>> '{row,key_index_interval_seconds}' = '1'"
    )
    deadline = time.monotonic() + 30
    with psycopg.connect(database_url, autocommit=True) as connection:
        while not all(connection.execute(query).fetchone()[0] for query in (wanted, sealed)):
            assert time.monotonic() < deadline
            connection.execute("UPDATE payment SET amount = amount + 1")
            time.sleep(0.2)
    assert tally("log", "index", "payments", "--off").code == 0


def test_usage(house: None, tally: Tally) -> None:
    """One thing at a time; what cannot be is refused with its code."""
    tally("log", "create", "payments")
    assert tally("log", "index", "payments", "--every", "5", "--off").code == 2
    assert tally("log", "index", "payments", "--every", "0").code == 2
    assert tally("log", "index", "nothing").code == 3
    assert tally("prove", "payments", "--history", "1", "--key", "1").code == 2
    tally("log", "pause", "payments")
    refused = tally("log", "index", "payments")
    assert (refused.code, refused.err.startswith("tally: index_refused: ")) == (4, True)
    tally("log", "resume", "payments")
    assert tally("log", "index", "payments", "--anew", "--json").code == 0


def test_a_tables_name_commands_no_terminal(tmp_path: Path, tally: Tally) -> None:
    """A name with line ends and escapes is printed as such, and adds no line to the verdict."""
    table = 'public."x\x1b[2J\nESTABLISHED: all is well"'
    stage = HistoryStage([format_record(payment(42, table=table))])
    path = tmp_path / "x.history"
    path.write_bytes(format_history(stage.file(("42",), table=table)))
    path.with_suffix(".policy").write_bytes(stage.log.policy())
    ran = verify(tally, path)
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out
    assert [True] == [
        line.startswith("ESTABLISHED: these are all 1 versions")
        for line in ran.out.splitlines()
        if line.startswith("ESTABLISHED")
    ]
    assert r"x\x1b[2J\nESTABLISHED" in ran.out


def test_a_hidden_genesis_is_said(tmp_path: Path, tally: Tally) -> None:
    """Where a file does not show how the log begins, the verdict says that it may continue one."""
    stage = HistoryStage([format_record(payment(42))])
    path = tmp_path / "x.history"
    path.with_suffix(".policy").write_bytes(stage.log.policy())
    path.write_bytes(stage.history("42"))
    assert "The log continues log.example/old" in verify(tally, path).out
    path.write_bytes(stage.history("42", genesis=None))
    assert "Not shown: whether the log continues another" in verify(tally, path).out
