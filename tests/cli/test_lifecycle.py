"""Commands of keys, succession, shards and moves (log.md, section 6.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.test_commands import PAYMENTS, sql
from tests.seal.laws.stage import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Tally


def test_key_commands(house: None, tally: Tally, tmp_path: Path) -> None:
    """log 20: a key is made, activated, retired and listed; what is refused has its exit code."""
    tally("log", "create", "payments")
    [old] = tally("key", "list", "payments", "--json").json["items"]
    made = tally("key", "create", "payments", "--json")
    assert (made.code, made.json["status"]) == (0, "pending")
    key_id = made.json["vkey"].split("+")[1]
    path = tmp_path / "data" / "keys" / f"{key_id}.key"
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    refused = tally("key", "activate", "payments", key_id)
    assert (refused.code, refused.err.split(":")[1]) == (4, " key_permissions")
    path.chmod(0o600)
    assert tally("key", "activate", "payments", key_id, "--json").json["status"] == "active"
    first = old["vkey"].split("+")[1]
    assert tally("key", "retire", "payments", first, "--json").json["status"] == "retired"
    last = tally("key", "retire", "payments", key_id)
    assert (last.code, last.err.split(":")[1]) == (4, " last_key")
    assert tally("key", "activate", "payments", "00000000").code == 3
    assert tally("key", "activate", "payments", "none").code == 2
    listed = tally("key", "list", "payments", "--json").json["items"]
    assert [(key["status"], key["from_size"]) for key in listed] == [("retired", 0), ("active", 1)]


def test_succession_commands(worker: None, database_url: str, tally: Tally) -> None:
    """log 27: `log succeed` continues a log; rows and proofs asked of the new one span both."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "50")
    tally("source", "add", "payments", "payment")
    assert tally("prove", "payments", "--key", "1", "--until", "sealed", "--json").code == 0
    made = tally("log", "succeed", "payments", "payments_2", "--json")
    assert (made.code, made.json["log_name"]) == (0, "payments_2")
    assert tally("log", "succeed", "payments", "other").code == 4
    sql(database_url, "INSERT INTO payment VALUES (2, 1, 'after')")
    proof = tally("prove", "payments_2", "--key", "2", "--until", "sealed", "--json")
    assert (proof.code, proof.json["log"]) == (0, "payments_2")
    older = tally("prove", "payments_2", "--key", "1", "--json")
    assert (older.code, older.json["log"]) == (0, "payments")

    def is_frozen() -> bool:
        return tally("log", "show", "payments", "--json").json["status"] == "frozen"

    wait_until(is_frozen, "the freeze")
    assert tally("audit", "payments").code == 0
    assert tally("audit", "payments_2").code == 0


def test_shard_commands(worker: None, database_url: str, tally: Tally) -> None:
    """A family turns by the worker's own duty at its period, and stops when it is told to."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments", "--batch-interval-ms", "50")
    tally("source", "add", "payments", "payment")
    bad = tally("log", "shard", "payments", "--family", "sales", "--period", "decade")
    assert bad.code == 2
    made = tally("log", "shard", "payments", "--family", "sales", "--period", "2s", "--json")
    assert (made.code, made.json["log_name"]) == (0, "payments")

    def current() -> str:
        [family] = tally("log", "shards", "--json").json["items"]
        return str(family["log_name"])

    wait_until(lambda: current().startswith("sales_"), "a shard")
    off = ["--family", "sales", "--period", "2s", "--off", "--json"]

    def is_off() -> bool:
        # It may turn between the question and the answer.
        return tally("log", "shard", current(), *off).code == 0

    wait_until(is_off, "the end of turning")

    def is_active() -> bool:
        [source] = tally("source", "list", current(), "--json").json["items"]
        return str(source["status"]) == "active"

    wait_until(is_active, "the backfill, which went along")


def test_move_commands(house: None, database_url: str, tally: Tally) -> None:
    """A table is moved by its name; what does not feed the log is not found."""
    sql(database_url, PAYMENTS)
    tally("log", "create", "payments")
    tally("log", "create", "other")
    tally("source", "add", "payments", "payment")
    moved = tally("source", "move", "payments", "payment", "--to", "other", "--json")
    assert (moved.code, moved.json["log_name"]) == (0, "other")
    assert tally("source", "move", "payments", "payment", "--to", "other").code == 3
    assert tally("source", "move", "other", "payment", "--to", "payments").code == 4


def test_retention_only_grows(house: None, tally: Tally) -> None:
    """What must be retained is promised for longer, never for a shorter time."""
    tally("log", "create", "payments", "--retain-until", "2030-01-01")
    longer = tally("log", "set", "payments", "--retain-until", "2031-01-01", "--json")
    assert longer.json["retain_until"].startswith("2031-01-01")
    assert tally("log", "set", "payments", "--retain-until", "2030-06-01").code == 2
    assert tally("log", "show", "payments", "--json").json["retain_until"].startswith("2031")
