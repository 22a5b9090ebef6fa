"""`tally chain`: the operator's way to networks, accounts, transactions and contracts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.chain.contracts import load_artifact, register_contract
from tallystick.chain.followers import clear_followers
from tallystick.record import Address, format_address
from tests.chain.rows import CHAIN, CONTRACT, OURS, THEIRS, ChainRows
from tests.support.evm import running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.db import Database
    from tests.cli.conftest import Tally


@pytest.fixture
def rows(database_url: str) -> Iterator[ChainRows]:
    """The rows of the local network."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield ChainRows(connection)
    clear_followers()


def code_of(error: str) -> str:
    """The code in what a command says of its error."""
    return error.split(":")[1].strip()


def test_a_network_is_added_priced_opened_and_paused(tally: Tally, rows: ChainRows) -> None:
    """chain 20: A network with an id above 2^31 needs a price to be opened, and a reason always."""
    big = "9007199254740991"
    added = tally("chain", "add", big, "Far", "--symbol", "FAR", "--min-tip", str(2**200), "--json")
    assert (added.code, added.json["chain_id"], added.json["status"]) == (0, int(big), "paused")
    assert added.json["min_tip_wei"] == str(2**200)
    assert tally("chain", "resume", big).code == 2
    ran = tally("chain", "resume", big, "--reason", "begin")
    assert (ran.code, code_of(ran.err)) == (5, "price_unavailable")
    assert tally("chain", "price", "FAR", "much").code == 2
    assert tally("chain", "price", "FAR", "-1").code == 4
    priced = tally("chain", "price", "FAR", "0.000000015", "--json").json
    assert (priced["usd"], priced["source"][:17]) == ("0.00000002", "fixed:system:cli/")
    assert tally("chain", "resume", big, "--reason", "begin", "--json").json["status"] == "active"
    ran = tally("chain", "pause", big, "--reason", "look", "--json")
    assert (ran.json["status"], ran.json["status_reason"]) == ("paused", "look")
    assert code_of(tally("chain", "pause", "99", "--reason", "x").err) == "unknown_network"
    assert tally("chain", "pause", "99", "--reason", "x").code == 3
    listed = tally("chain", "networks", "--json").json["items"]
    assert {int(big), 131277322940537} <= {one["chain_id"] for one in listed}
    assert "Dev chain" in tally("chain", "networks").out


def test_an_account_is_added_changed_and_listed(tally: Tally) -> None:
    """An account has a purpose and a signer's name; its address is shown with its checksum."""
    to = ("--chain", str(CHAIN), "--json")
    assert tally("chain", "account", OURS, "--purpose", "anchor", *to).code == 2
    made = tally("chain", "account", OURS, "--purpose", "anchor", "--signer", "hot", *to).json
    assert (made["address"], made["signer_name"]) == (format_address(OURS), "hot")
    ran = tally("chain", "account", THEIRS, "--purpose", "anchor", "--signer", "hot", *to)
    assert (ran.code, code_of(ran.err)) == (4, "unknown_account")
    changed = tally("chain", "account", OURS, "--minimum", str(2**70), "--paused", *to).json
    assert (changed["minimum_balance_wei"], changed["is_paused"]) == (str(2**70), True)
    assert tally("chain", "account", THEIRS, "--paused", *to).code == 4
    assert tally("chain", "account", "0x12", "--paused", *to).code == 4
    [listed] = tally("chain", "accounts", "--json").json["items"]
    assert listed == changed
    assert tally("chain", "accounts", "--chain", "1", "--json").json["items"] == []


def test_transactions_are_listed_shown_bumped_and_cancelled(tally: Tally, rows: ChainRows) -> None:
    """chain 10: A cancel of a queued one is told once; the hash of any signing shows the row."""
    rows.open()
    queued, signed = rows.queue("one"), rows.queue("two")
    first, second = rows.sign(signed), rows.sign(signed, attempt=2)
    assert code_of(tally("chain", "bump", str(queued)).err) == "illegal_transition"
    assert tally("chain", "bump", str(signed), "--json").json["asked"] == "bump"
    assert tally("chain", "cancel", str(signed), "--json").json["asked"] == "cancel"
    assert tally("chain", "cancel", str(queued), "--json").json["state"] == "cancelled"
    again = tally("chain", "cancel", str(queued))
    assert (again.code, code_of(again.err)) == (4, "illegal_transition")
    assert tally("chain", "cancel", "999").code == 3
    told = "SELECT count(*) FROM tally.outbox_events WHERE topic = 'chain.transaction.failed'"
    assert rows.run(told) == 1
    for transaction_hash in (first, second):
        ran = tally("chain", "show", transaction_hash, "--json")
        assert (ran.json["id"], len(ran.json["attempts"])) == (signed, 2)
        assert "raw" not in ran.json["attempts"][0]
    assert second in tally("chain", "show", first).out
    assert tally("chain", "show", "0x" + "ee" * 32).code == 3
    assert tally("chain", "show", first, "--chain", "1").code == 3
    assert tally("chain", "show", "0x12").code == 4
    page = tally("chain", "transactions", "--limit", "1", "--json").json
    assert ([one["id"] for one in page["items"]], page["next"]) == ([signed], signed)
    rest = tally("chain", "transactions", "--after", str(page["next"]), "--json").json
    assert ([one["id"] for one in rest["items"]], rest["next"]) == ([queued], None)
    failed = tally("chain", "transactions", "--status", "failed", "--json").json["items"]
    assert [one["id"] for one in failed] == [queued]
    assert tally("chain", "transactions", "--status", "lost").code == 2
    assert tally("chain", "transactions", "--limit", "1001").code == 2
    assert "anchor_publish" in tally("chain", "transactions").out


def test_a_deployment_is_queued_once(tally: Tally, rows: ChainRows) -> None:
    """The same contract on the same network is one deployment, unless another key is given."""
    rows.open("deployer")
    rows.run(
        "SELECT tally.account_add_v1(%s, %s, purpose, 'test', 0) FROM"
        " tally.blockchain_transaction_types WHERE name = 'contract_deploy'",
        CHAIN,
        THEIRS,
    )
    deploy = ("chain", "deploy", "TallyAnchor", "--chain", str(CHAIN), "--json")
    first = tally(*deploy)
    assert first.code == 0, first.err
    assert tally(*deploy).json == first.json
    assert tally(*deploy, "--key", "second").json != first.json
    assert tally("chain", "deploy", "Nothing", "--chain", str(CHAIN)).code == 3
    assert tally(*deploy, "--arguments", "[1]").code == 4
    assert tally(*deploy, "--arguments", "no").code == 2


def test_check_compares_sources_and_chains(
    tally: Tally, rows: ChainRows, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chain 15: Same code is exit 0, other code on the chain 1, and a chain without node 6."""
    artifact = load_artifact("TallyAnchor")
    rows.open()
    code = artifact.runtime_bytecode
    with database.transaction() as tx:
        register_contract(tx, code, name="TallyAnchor", chain_id=CHAIN, address=Address(CONTRACT))
    unknown = tally("chain", "check", "--json")
    assert (unknown.code, code_of(unknown.err)) == (6, "not_compared")
    assert [one["is_same"] for one in unknown.json["items"]] == [True, None]
    with running_anvil() as node:
        monkeypatch.setenv("TALLY_CHAIN_ENDPOINTS", json.dumps({CHAIN: [node.url]}))
        node.rpc("anvil_setCode", CONTRACT, "0x" + code.hex())
        assert tally("chain", "check").code == 0
        node.rpc("anvil_setCode", CONTRACT, "0x" + code[:-1].hex())
        differing = tally("chain", "check", "--json")
        assert (differing.code, code_of(differing.err)) == (1, "findings")
        assert [one["is_same"] for one in differing.json["items"]] == [True, False]
        ran = tally("chain", "reconcile", "--json")
        assert ran.code == 0, ran.err
        assert ran.json["items"] == [{"chain_id": CHAIN, "adopted": [], "is_caught_up": True}]
        assert node.url not in ran.out + ran.err + differing.out + differing.err
    [listed] = tally("chain", "contracts", "--json").json["items"]
    assert listed["contract_address"] == format_address(CONTRACT)
    assert len(listed["abi"]) == len(artifact.abi)
    assert "TallyAnchor" in tally("chain", "contracts", "--chain", str(CHAIN)).out
    assert tally("chain", "reconcile", "--chain", str(CHAIN)).code == 5


def test_reconcile_without_nodes_says_so(tally: Tally) -> None:
    """Without an endpoint there is no chain to ask: exit code 2."""
    ran = tally("chain", "reconcile")
    assert (ran.code, code_of(ran.err)) == (2, "usage")


@pytest.mark.slow
def test_the_dev_chain_runs_in_the_foreground(tmp_path: Path) -> None:
    """chain 14: `tally chain dev` goes on with its chain; with --reset it begins another."""
    genesis = [genesis_of(tmp_path, *options) for options in ((), (), ("--reset",))]
    assert genesis[0] == genesis[1]
    assert genesis[1] != genesis[2]


def genesis_of(data: Path, *options: str) -> str:
    """Run the dev chain, ask for its first block, and end it as Ctrl-C does."""
    program = "import sys; from tallystick.cli import run; sys.exit(run(sys.argv[1:]))"
    arguments = ["chain", "dev", "--json", "--data", str(data), *options]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = []
        while not (lines and lines[-1] == "}\n"):
            lines.append(process.stdout.readline())
            assert lines[-1], "it ended"
        url = json.loads("".join(lines))["url"]
        assert (data / "devchain" / "url").read_text().strip() == url
        request = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber"}
        asked = {**request, "params": ["0x0", False]}
        answer = httpx.post(url, json=asked, timeout=30, trust_env=False).json()
        process.terminate()
        assert process.wait(30) == 0
        return str(answer["result"]["hash"])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
