"""`tally prove --through-heads`, `tally verify` of a chain, `tally init --log-of-logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Tally

from tallystick.runtime import heads
from tests.cli.test_commands import PAYMENTS, sql


def test_a_chain_is_written_and_checked(
    tally: Tally,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    """A leaf is proven through the log of logs, offline; a flipped byte names the step."""
    monkeypatch.setattr(heads, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(heads, "PAUSE_SECONDS", 0.0)
    assert tally("init", "--log-of-logs", "--json").json["logs"][-1] == "tally_heads"
    assert tally("init", "--log-of-logs").code == 0
    request.getfixturevalue("worker")
    sql(database_url, PAYMENTS)
    assert tally("log", "create", "payments").code == 0
    assert tally("source", "add", "payments", "payment").code == 0
    chain, policy = tmp_path / "p.tlog-chain", tmp_path / "policy"
    where = ("-o", str(chain), "--policy-out", str(policy), "--until", "sealed")
    ran = tally("prove", "payments", "--key", "1", "--through-heads", *where, "--timeout", "30")
    assert ran.code == 0, ran.err
    check = ("verify", str(chain), "--policy", str(policy))
    ran = tally.bare(*check)
    assert ran.code == 0, ran.err
    assert "ok   heads: the log's own checkpoint is a leaf of the log of logs" in ran.out
    assert "its checkpoint is leaf" in ran.out
    verdict = tally.bare(*check, "--json").json
    assert verdict["heads"]["origin"].endswith("/tally_heads")
    assert verdict["steps"][4:6] == ["heads", "inner"]
    leaf = chain.with_suffix(".leaf")
    leaf.write_bytes(leaf.read_bytes()[:-1] + b" ")
    ran = tally.bare(*check)
    assert (ran.code, "FAIL tree" in ran.out) == (1, True)
    assert tally.bare(*check, "--json").json["failed"] == "tree"
    policy.write_text(policy.read_text().splitlines()[0] + "\nquorum none\n")
    assert "FAIL log" in tally.bare(*check).out
