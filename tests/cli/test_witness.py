"""`tally witness`, `tally monitor`, `tally log policy` (log.md, section 6.4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from tallystick.tlog import (
    Checkpoint,
    TreeSize,
    format_checkpoint,
    format_note,
    format_verifier_key,
    parse_policy,
    sign_note,
)
from tests.http.conftest import builder_of_server, server, settings
from tests.publish.witnesses.scripted import ScriptedWitness, cosigning
from tests.support.sealed import log_signer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Tally
    from tests.http.conftest import Running

__all__ = ["builder_of_server", "server", "settings"]

VKEY = ScriptedWitness("w.example/one", cosigning).vkey


@pytest.fixture
def _named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that names our own witness."""
    monkeypatch.setenv("TALLY_WITNESS_NAME", "house.example/witness")


def test_witnesses_are_added_listed_and_removed(house: None, tally: Tally) -> None:
    """A witness is added by key and URL, listed, and removed; what is none is named."""
    tally("log", "create", "payments")
    added = tally("witness", "add", "payments", VKEY, "https://w.example/", "--json")
    assert (added.code, added.json["name"], added.json["url"]) == (
        0,
        "w.example/one",
        "https://w.example",
    )
    [listed] = tally("witness", "list", "payments", "--json").json["items"]
    assert (listed["status"], listed["enabled"], listed["last_size"]) == ("active", True, None)
    assert "w.example/one" in tally("witness", "list", "payments").out
    plain = tally("witness", "add", "payments", VKEY, "http://127.0.0.1:1")
    assert (plain.code, plain.err.startswith("tally: invalid_witness: ")) == (2, True)
    private = tally(
        "witness", "add", "payments", VKEY, "http://127.0.0.1:1", "--allow-private-http"
    )
    assert private.code == 0
    assert tally("witness", "add", "payments", "nothing", "https://w.example").code == 2
    assert tally("witness", "add", "none", VKEY, "https://w.example").code == 3
    cleared = tally("witness", "clear", "payments", "w.example/one", "--reason", "x", "--json")
    assert (cleared.code, cleared.json["status"]) == (0, "active")
    assert tally("witness", "clear", "payments", "w.example/two", "--reason", "x").code == 3
    assert tally("witness", "remove", "payments", "w.example/one", "--json").json["items"] == []
    assert tally("witness", "remove", "payments", "w.example/one").code == 3


def test_a_policy_is_written(house: None, tally: Tally, tmp_path: Path) -> None:
    """`tally log policy` writes the log's keys and witnesses with the quorum that is asked for."""
    tally("log", "create", "payments")
    tally("witness", "add", "payments", VKEY, "https://w.example")
    path = tmp_path / "trust.policy"
    written = tally("log", "policy", "payments", "--quorum", "1", "-o", str(path), "--json")
    assert (written.code, written.json["policy"]) == (0, str(path))
    policy = parse_policy(path.read_bytes())
    assert [one.key.name for one in policy.witnesses] == ["w.example/one"]
    assert policy.quorum is not None
    assert tally("log", "policy", "payments", "--quorum", "2", "-o", str(path)).code == 4


@pytest.mark.usefixtures("_named")
def test_our_own_witness_has_a_key_and_watches(house: None, tally: Tally, tmp_path: Path) -> None:
    """`witness key` makes one key of type 4 once, as a file of its own; `watch` adds logs."""
    first, again = tally("witness", "key", "--json"), tally("witness", "key")
    assert (first.code, again.out.strip()) == (0, first.json["vkey"])
    assert first.json["name"] == "house.example/witness"
    file = tmp_path / "data" / "keys" / f"{first.json['key_id']}.key"
    assert file.stat().st_mode & 0o777 == 0o600
    vkey = format_verifier_key(log_signer().verifier_key)
    watched = tally("witness", "watch", vkey, "--contact", "ops@log.example", "--json")
    [one] = watched.json["items"]
    assert (one["origin"], one["tree_size"], one["enabled"]) == ("log.example/payments", 0, True)
    [stopped] = tally("witness", "watch", vkey, "--stop", "--json").json["items"]
    assert (stopped["enabled"], stopped["contact"]) == (False, "ops@log.example")
    assert "log.example/payments" in tally("witness", "watch").out
    assert tally("witness", "watch", first.json["vkey"]).code == 2


def test_a_witness_needs_a_name(house: None, tally: Tally) -> None:
    """Without WITNESS_NAME there is no key to make."""
    ran = tally("witness", "key")
    assert (ran.code, ran.err.startswith("tally: no_witness_key: ")) == (3, True)


@pytest.fixture
def quiet() -> Iterator[None]:
    """The server runs in this process: what it logs is not what the command prints."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.usefixtures("quiet")
def test_monitor_follows_and_alarms(server: Running, tally: Tally, tmp_path: Path) -> None:
    """`tally monitor --once` follows growth with exit 0, and a fork ends with 1 and both notes."""
    builder = server.builder
    builder.filled("shop", [b"a", b"b"], visibility="public")
    server.services.publisher.refresh()
    [(vkey, key_id)] = builder.execute(
        "SELECT vkey, key_id FROM tally.log_keys WHERE purpose = 'log'"
    )
    state = tmp_path / "shop.state"
    arguments = ("monitor", f"{server.url}/logs/shop", "--vkey", vkey, "--state", str(state))
    first = tally.bare(*arguments, "--once", "--json")
    assert (first.code, first.json["outcome"], first.json["size"]) == (0, "first", 2)
    builder.append("shop", [b"c"])
    server.seal("shop")
    assert tally.bare(*arguments, "--once").out.startswith("grown: log.example/shop from 2 at 3")
    # What the monitor saw before is another history of the same key.
    text = format_checkpoint(Checkpoint("log.example/shop", TreeSize(2), os.urandom(32)))
    forked = format_note(sign_note(text, [builder.keys.signer(bytes(key_id))]))
    state.write_bytes(forked)
    alarm = tally.bare(*arguments, "--interval", "1")
    assert (alarm.code, alarm.err.startswith("tally: monitored_fork: ")) == (1, True)
    assert state.read_bytes() == forked
    assert (tmp_path / "shop.state.fork").read_bytes().startswith(forked)
    assert tally.bare(*arguments, "--interval", "0").code == 2
    gone = ("monitor", "http://127.0.0.1:1/logs/shop", "--vkey", vkey, "--state", str(state))
    assert tally.bare(*gone, "--once").code == 5
