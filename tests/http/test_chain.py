"""The chain over a real server: each route's success, its problems, and who is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import SecretStr

from tallystick.chain import ChainIntent, send
from tallystick.chain.contracts import encode_call, load_artifact
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender.worker import run_sender
from tallystick.chain.signers import Signers
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.chain.watcher import run_watcher
from tallystick.config import EnvSigner, Settings
from tallystick.record import Wei, format_address
from tallystick.runtime.chain import register_built_in_followers
from tallystick.verify import check_inclusion_evidence
from tests.chain.rows import CHAIN, CONTRACT, OURS, ChainRows, hash_of
from tests.http.conftest import TOKEN, free_port, running
from tests.http.exchanges import play
from tests.support.evm import DEV_ACCOUNTS, running_anvil
from tests.support.keys import issue, make_user
from tests.support.log_builder import LogBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Running
    from tests.support.evm import Anvil
    from tests.support.server import TestServer

KEY_VARIABLE = "TEST_HTTP_CHAIN_KEY"
PATIENCE_SECONDS = 60
SECRET_ENDPOINT = "http://operator:hunter2@127.0.0.1:1/v3/0123456789abcdef"
"""Where nobody listens; no part of it may ever be told."""
CHAIN_PATH = "/api/v1/chain"


@pytest.fixture
def callers(shared: Running) -> dict[str, dict[str, str]]:
    """Who asks, each with what he sends."""
    return callers_of(shared)


def callers_of(server: Running) -> dict[str, dict[str, str]]:
    """Who asks a server, each with what he sends."""
    database = server.services.database
    user = make_user(database)
    return {
        "nobody": {},
        "free": issue(database, user).headers,
        "reader": issue(database, user, "chain:read").headers,
        "admin": issue(database, user, "chain:admin").headers,
        "operator": {"Authorization": f"Bearer {TOKEN}"},
    }


@pytest.fixture(scope="module")
def rows(shared: Running) -> Iterator[ChainRows]:
    """The rows of a network that no node serves."""
    with psycopg.connect(shared.builder.url, autocommit=True) as connection:
        yield ChainRows(connection)


def test_networks_and_prices_are_managed_with_a_reason(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 22: GET networks is open; pause, resume and prices need chain:admin and say why."""
    script = """
        nobody GET /chain/networks -> 200
        reader POST /chain/networks/56/resume {"reason": "begin"} -> 403 scope
        admin POST /chain/networks/56/resume {"reason": "begin"} -> 503 price_unavailable
        nobody POST /chain/prices {"symbol": "BNB", "usd": "3000.5"} -> 401 unauthenticated
        reader POST /chain/prices {"symbol": "BNB", "usd": "3000.5"} -> 403 scope
        admin POST /chain/prices {"symbol": "bnb", "usd": "3000.5"} -> 422 invalid_chain_value
        admin POST /chain/prices {"symbol": "BNB", "usd": "0"} -> 422 invalid_chain_value
        admin POST /chain/prices {"symbol": "BNB", "usd": "NaN"} -> 422 invalid_chain_value
        admin POST /chain/prices {"symbol": "BNB"} -> 400 invalid_request
        admin POST /chain/prices {"symbol": "BNB", "usd": "3000.5"} -> 202
        admin POST /chain/networks/56/resume {"reason": ""} -> 422 invalid_chain_value
        admin POST /chain/networks/56/resume {} -> 400 invalid_request
        admin POST /chain/networks/56/resume {"reason": "begin"} -> 202
        admin POST /chain/networks/99/resume {"reason": "x"} -> 404 unknown_network
        admin POST /chain/networks/56/pause {"reason": " "} -> 422 invalid_chain_value
        admin POST /chain/networks/56/pause {"reason": "look"} -> 202
        free POST /chain/networks/56/pause {"reason": "look"} -> 403 scope
        admin POST /chain/networks/56/resume {"reason": "go on"} -> 202
        reader GET /chain/prices -> 200
        reader GET /chain/prices?symbol=BNB&latest=true -> 200
        reader GET /chain/prices?after=x -> 400 invalid_request
        free GET /chain/prices -> 403 scope
    """
    play(shared, callers, script)
    rows.run("SELECT tally.network_halt_v1(56, 'block 7 changed')")
    halted = network_in(shared, "nobody", callers, 56)
    assert (halted["status"], halted["halted_reason"]) == ("halted", "block 7 changed")
    play(
        shared,
        callers,
        """
        admin POST /chain/networks/56/pause {"reason": "look"} -> 409 illegal_transition
        admin POST /chain/networks/56/resume {"reason": "the node was wrong"} -> 202
        """,
    )
    assert "status_reason" not in network_in(shared, "nobody", callers, 56)
    assert network_in(shared, "reader", callers, 56)["status_reason"] == "the node was wrong"
    [price] = ask(shared, callers["reader"], "/prices?symbol=BNB&latest=true")["items"]
    assert (price["usd"], price["source"][:10]) == ("3000.50000000", "fixed:key:")


def test_what_a_network_says_names_no_endpoint(
    shared: Running, callers: dict[str, dict[str, str]]
) -> None:
    """chain 20: Every shipped network is told with its exact id, and not where its nodes are."""
    items = ask(shared, callers["nobody"], "/networks")["items"]
    assert {1, 8453, CHAIN, DEV_CHAIN_ID} <= {one["chain_id"] for one in items}
    assert 131277322940537 in {one["chain_id"] for one in items}
    for one in items:
        assert not [name for name in one if "endpoint" in name or "url" in name]


def test_whom_a_transaction_is_for_is_told_to_who_manages_alone(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 22: user_id, challenge_id and the slice's key are shown to chain:admin only."""
    database = shared.services.database
    rows.open()
    number = rows.observed(500)
    with database.transaction() as tx:
        intent = ChainIntent(
            chain_id=CHAIN,
            transaction_type="anchor_publish",
            idempotency_key="for alice",
            to=CONTRACT,
            call_data=b"\x01",
            user_id="alice",
            challenge_id=7,
        )
        send(tx, intent)
    one = f"/transactions/{CHAIN}/{hash_of(500)}"
    for path, found in (
        (one, lambda body: [body["transaction"]]),
        ("/transactions?chain_id=31337", lambda body: body["items"]),
    ):
        read, managed = (ask(shared, callers[who], path) for who in ("reader", "operator"))
        for row in found(read):
            assert row.keys().isdisjoint({"user_id", "challenge_id", "idempotency_key"})
        assert "alice" not in str(read)
        assert {row["user_id"] for row in found(managed)} == {"alice"}
        assert {row["challenge_id"] for row in found(managed)} == {7}
    assert number in [row["id"] for row in ask(shared, callers["reader"], "/transactions")["items"]]


def test_transactions_are_found_listed_cancelled_and_bumped(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 22: Each route of transactions, with its problems; any attempt's hash finds the row."""
    rows.open()
    queued, signed = rows.queue("route one"), rows.queue("route two")
    first = rows.sign(signed)
    second = rows.sign(signed, attempt=2)
    no_hash = "0x" + "12" * 32
    script = f"""
        reader GET /chain/transactions?status=pending&type=anchor_publish&limit=1 -> 200
        reader GET /chain/transactions?status=lost -> 400 invalid_request
        reader GET /chain/transactions?limit=1001 -> 400 invalid_request
        reader GET /chain/transactions?after=x -> 400 invalid_request
        free GET /chain/transactions -> 403 scope
        nobody GET /chain/transactions -> 401 unauthenticated
        reader GET /chain/transactions/{CHAIN}/{first} -> 200
        reader GET /chain/transactions/{CHAIN}/{second} -> 200
        reader GET /chain/transactions/{CHAIN}/{no_hash} -> 404 unknown_transaction
        reader GET /chain/transactions/99/{no_hash} -> 404 unknown_network
        reader GET /chain/transactions/{2**70}/{no_hash} -> 404 unknown_network
        reader GET /chain/transactions/{CHAIN}/0x12 -> 422 invalid_hash
        reader GET /chain/transactions/{CHAIN}/{first}/evidence -> 503 no_endpoint
        reader GET /chain/transactions/99/{first}/evidence -> 404 unknown_network
        free GET /chain/transactions/{CHAIN}/{first}/evidence -> 403 scope
        reader POST /chain/transactions/{queued}/cancel -> 403 scope
        admin POST /chain/transactions/{queued}/bump -> 409 illegal_transition
        admin POST /chain/transactions/{queued}/cancel -> 202
        admin POST /chain/transactions/{queued}/cancel -> 409 illegal_transition
        admin POST /chain/transactions/{signed}/bump -> 202
        admin POST /chain/transactions/{signed}/cancel -> 202
        admin POST /chain/transactions/{2**62}/cancel -> 404 unknown_transaction
        admin POST /chain/transactions/0/bump -> 404 unknown_transaction
        reader GET /chain/statistics -> 200
        reader GET /chain/statistics?chain_id={CHAIN}&since=2026-01-01 -> 200
        reader GET /chain/statistics?since=then -> 400 invalid_request
        nobody GET /chain/statistics -> 401 unauthenticated
    """
    play(shared, callers, script)
    found = ask(shared, callers["reader"], f"/transactions/{CHAIN}/{first}")
    assert found == ask(shared, callers["reader"], f"/transactions/{CHAIN}/{second}")
    assert [one["transaction_hash"] for one in found["attempts"]] == [first, second]
    assert found["transaction"]["transaction_hash"] == second
    assert found["transaction"]["from_address"] == format_address(OURS)
    assert found["transaction"]["asked"] == "cancel"
    assert "raw" not in found["attempts"][0]


def test_pages_of_transactions_lose_and_repeat_nothing(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """A list in pages of two is the list, newest first, and ends with next null."""
    rows.open()
    for number in range(5):
        rows.queue(f"page {number}")
    whole = ask(shared, callers["reader"], f"/transactions?chain_id={CHAIN}")["items"]
    paged: list[Any] = []
    after = ""
    for _ in range(100):
        page = ask(shared, callers["reader"], f"/transactions?chain_id={CHAIN}&limit=2{after}")
        paged += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert whole == paged
    ids = [one["id"] for one in whole]
    assert ids == sorted(ids, reverse=True)


def test_the_same_key_has_one_effect(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """A write that is sent again under its Idempotency-Key answers the same and does nothing."""
    rows.open()
    queued = rows.queue("once")
    headers = {**callers["admin"], "Idempotency-Key": "cancel-once"}
    path = f"{CHAIN_PATH}/transactions/{queued}/cancel"
    first = shared.anonymous.post(path, headers=headers)
    again = shared.anonymous.post(path, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    price = {"symbol": "POL", "usd": "0.5"}
    headers["Idempotency-Key"] = "price-once"
    for _ in range(2):
        shared.anonymous.post(f"{CHAIN_PATH}/prices", json=price, headers=headers)
    assert rows.rows("SELECT usd FROM tally.price_snapshots WHERE symbol = 'POL'") == [(0.5,)]


def test_amounts_beyond_any_float_pass_unchanged(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 20: A fee of 1 wei and one of 2^200 wei are told exactly, as decimal text."""
    rows.open()
    rows.block(900)
    for gas_used, gas_price in ((1, 1), (2**40, 2**160)):
        number = rows.queue(f"fee {gas_price}")
        signed = rows.sign(number)
        rows.include(number, 900, gas_used=gas_used, gas_price=gas_price)
        body = ask(shared, callers["reader"], f"/transactions/{CHAIN}/{signed}")
        told = body["transaction"]
        assert told["fee_wei"] == str(gas_used * gas_price)
        assert int(told["transaction_fee"].replace(".", "")) == gas_used * gas_price
        assert told["price_id"] == body["price"]["id"]
        assert told["cost_usd"] is not None
        rows.state(number, "broadcast", changes=CLEARED)


def test_the_dev_chains_id_and_one_wei_pass_every_route(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 20: Chain id 131277322940537 and a fee of 1 wei are told unchanged by every route."""
    dev = ChainRows(rows.connection, DEV_CHAIN_ID).open()
    dev.block(1)
    dev.scan(1)
    dev.event(dev.contract(), 1, 0, "final")
    number, queued, bumped = (dev.queue(f"dev {each}") for each in range(3))
    signed, _ = dev.sign(number), dev.sign(bumped)
    dev.include(number, 1, gas_used=1, gas_price=1)
    here = f"chain_id={DEV_CHAIN_ID}"
    at = f"/transactions/{DEV_CHAIN_ID}/{signed}"
    told = [
        network_in(shared, "nobody", callers, DEV_CHAIN_ID),
        *ask(shared, callers["nobody"], f"/contracts?{here}")["items"],
        ask(shared, callers["nobody"], f"/contracts/{DEV_CHAIN_ID}/{CONTRACT}")["contract"],
        *ask(shared, callers["reader"], f"/events?contract=TallyAnchor&{here}")["items"],
        *ask(shared, callers["reader"], f"/transactions?{here}")["items"],
        ask(shared, callers["reader"], at)["transaction"],
        *ask(shared, callers["reader"], f"/statistics?{here}")["items"],
    ]
    for path, body in (
        (f"/networks/{DEV_CHAIN_ID}/pause", {"reason": "look"}),
        (f"/networks/{DEV_CHAIN_ID}/resume", {"reason": "go on"}),
        (f"/transactions/{queued}/cancel", None),
        (f"/transactions/{bumped}/bump", None),
    ):
        url = f"{CHAIN_PATH}{path}"
        done = shared.anonymous.post(url, json=body, headers=callers["admin"]).json()
        told.append(done.get("network") or done["transaction"])
    assert [131277322940537] * len(told) == [one["chain_id"] for one in told]
    one = ask(shared, callers["reader"], at)["transaction"]
    assert (one["fee_wei"], one["transaction_fee"]) == ("1", "0." + "0" * 17 + "1")
    sums = ask(shared, callers["reader"], f"/statistics?{here}")["items"]
    assert "1" in [each["fee_wei"] for each in sums]


def test_a_mistyped_address_is_refused(shared: Running, callers: dict[str, dict[str, str]]) -> None:
    """chain 20: The two false addresses of section 5.2 fail their checksum; Base's USDC passes."""
    contract = "GET /chain/contracts/8453"
    script = f"""
        nobody {contract}/0x833589fCD6eDb6E08f4c7C32D4f71b3566dA8860 -> 422 invalid_address
        nobody {contract}/0x3c499c542cEF5E3811e1192ce70d8cC7d307B653 -> 422 invalid_address
        nobody {contract}/0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913 -> 404 unknown_contract
    """
    play(shared, callers, script)


CLEARED = (
    ", receipt_status = NULL, block_number = NULL, block_hash = NULL, transaction_index = NULL,"
    " gas_used = NULL, gas_price = NULL, mined_at = NULL, price_id = NULL, cost_usd = NULL"
)


def test_contracts_and_events_are_told(
    shared: Running, callers: dict[str, dict[str, str]], rows: ChainRows
) -> None:
    """chain 22: Contracts are open to everybody, with their ABI; events need chain:read."""
    contract = rows.contract()
    for block in (901, 902):
        rows.block(block)
    rows.event(contract, 901, 0, "observed")
    rows.event(contract, 902, 0, "final")
    rows.event(contract, 902, 1, "final")
    events = "/chain/events?contract=TallyAnchor"
    script = f"""
        nobody GET /chain/contracts -> 200
        nobody GET /chain/contracts/{CHAIN}/{format_address(CONTRACT)} -> 200
        nobody GET /chain/contracts/{CHAIN}/{CONTRACT} -> 200
        nobody GET /chain/contracts/{CHAIN}/{OURS} -> 404 unknown_contract
        nobody GET /chain/contracts/99/{CONTRACT} -> 404 unknown_network
        nobody GET /chain/contracts/{CHAIN}/0xAb{CONTRACT[4:]} -> 422 invalid_address
        reader GET {events}&chain_id={CHAIN} -> 200
        reader GET {events}&chain_id={CHAIN}&state=gone -> 400 invalid_request
        reader GET /chain/events?contract=Other&chain_id={CHAIN} -> 404 unknown_contract
        reader GET {events}&chain_id=99 -> 404 unknown_network
        reader GET {events} -> 400 invalid_request
        free GET {events}&chain_id={CHAIN} -> 403 scope
    """
    play(shared, callers, script)
    listed = ask(shared, callers["nobody"], f"/contracts?chain_id={CHAIN}")["items"]
    place = f"/contracts/{CHAIN}/{CONTRACT}"
    assert listed == [ask(shared, callers["nobody"], place)["contract"]]
    assert listed[0]["contract_address"] == format_address(CONTRACT)
    path = f"/events?contract=TallyAnchor&chain_id={CHAIN}&limit=1"
    seen, after = [], ""
    for _ in range(5):
        page = ask(shared, callers["reader"], path + after)
        seen += [(one["block_number"], one["log_index"], one["state"]) for one in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [(901, 0, "observed"), (902, 0, "final"), (902, 1, "final")]
    finals = ask(shared, callers["reader"], f"{path}&state=final&name=Anchored&limit=9")["items"]
    assert len(finals) == 2


@dataclass
class Working:
    """A server beside a node of the dev chain's id, on which an account of ours sends."""

    server: Running
    node: Anvil
    callers: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def working(test_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Working]:
    """A server, a node, and what a worker does for them."""
    place = tmp_path_factory.mktemp("chain")
    with (
        test_server.database() as url,
        running_anvil(chain_id=DEV_CHAIN_ID) as node,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv(KEY_VARIABLE, DEV_ACCOUNTS[0].key)
        with served(url, place, node) as working:
            yield working


@contextmanager
def served(url: str, place: Path, node: Anvil) -> Iterator[Working]:
    """Serve, send and watch until the block ends."""
    key_file = place / "operator.key"
    key_file.touch(mode=0o600)
    key_file.write_text(TOKEN + "\n")
    settings = Settings(
        database_url=url, data_dir=place, port=free_port(), origin_prefix="log.example"
    )
    builder = LogBuilder(url, place / "keys")
    with psycopg.connect(url, autocommit=True) as connection:
        ChainRows(connection, DEV_CHAIN_ID).open(address=DEV_ACCOUNTS[0].address)
    stop = threading.Event()
    register_built_in_followers()
    endpoints = {DEV_CHAIN_ID: [SecretStr(node.url)], CHAIN: [SecretStr(SECRET_ENDPOINT)]}
    signers = Signers({"test": EnvSigner(kind="env", key_env=KEY_VARIABLE)})
    with Nodes(endpoints) as nodes, running(settings, builder, nodes=nodes) as server:
        database = server.services.database
        of_chain = (database, nodes.of(DEV_CHAIN_ID), DEV_CHAIN_ID, stop)
        threads = [
            threading.Thread(target=run_watcher, args=of_chain, daemon=True),
            threading.Thread(target=run_sender, args=(database, nodes, signers, stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        yield Working(server, node, callers_of(server))
        stop.set()
        for thread in threads:
            thread.join(20)
    builder.close()


def test_evidence_of_a_transaction_holds(working: Working) -> None:
    """chain 17, 20: A transaction ends final by the routes' word, and its evidence holds."""
    data = encode_call(load_artifact("TallyAnchor"), "anchor", [b"\x01" * 32, b"\x02" * 32, 3])
    with working.server.services.database.transaction() as tx:
        send(
            tx,
            ChainIntent(
                chain_id=DEV_CHAIN_ID,
                transaction_type="anchor_publish",
                idempotency_key="evidence",
                to=OURS,
                call_data=data,
                value=Wei(1),
            ),
        )
    row = until_final(working)
    assert (row["chain_id"], row["value_transferred"]) == (131277322940537, "1")
    found = f"/transactions/{DEV_CHAIN_ID}/{row['transaction_hash']}"
    evidence = ask(working.server, working.callers["reader"], f"{found}/evidence")
    assert evidence["block_hash"] == row["block_hash"]
    verified = check_inclusion_evidence(
        header_rlp=bytes.fromhex(evidence["header_rlp"][2:]),
        receipt_rlp=bytes.fromhex(evidence["receipt_rlp"][2:]),
        receipt_proof=[bytes.fromhex(node[2:]) for node in evidence["receipt_proof"]],
        block_hash=evidence["block_hash"],
        transaction_index=evidence["transaction_index"],
    )
    assert verified.receipt.status == 1
    unknown = f"/chain/transactions/{DEV_CHAIN_ID}/0x{'ab' * 32}/evidence"
    script = f"reader GET {unknown} -> 404 unknown_transaction"
    play(working.server, working.callers, script)
    network = network_in(working.server, "nobody", working.callers, DEV_CHAIN_ID)
    assert network["head"] == network["finalized"] == working.node.head
    assert network["lag_seconds"] >= 0
    assert working.node.url not in str(network)
    metrics = working.server.operator.get("/metrics").text
    assert f'tally_chain_head{{chain_id="{DEV_CHAIN_ID}"}} ' in metrics
    assert f'tally_chain_halted{{chain_id="{DEV_CHAIN_ID}"}} 0.0' in metrics
    assert f'tally_chain_intents{{chain_id="{DEV_CHAIN_ID}",state="queued"}} 0.0' in metrics
    assert working.node.url not in metrics


def test_a_node_that_is_down_is_a_problem_without_its_endpoint(
    working: Working, capfd: pytest.CaptureFixture[str]
) -> None:
    """chain 19: A node that does not answer is a 503, and nothing says where it is."""
    path = f"{CHAIN_PATH}/transactions/{CHAIN}/0x{'cd' * 32}/evidence"
    answer = working.server.anonymous.get(path, headers=working.callers["reader"])
    assert (answer.status_code, answer.json()["code"]) == (503, "node_unavailable")
    told = [answer.text, *capfd.readouterr(), working.server.operator.get("/metrics").text]
    told.append(str(ask(working.server, {}, "/networks")))
    for part in ("hunter2", "operator:", "0123456789abcdef", "127.0.0.1:1/"):
        assert not [text for text in told if part in text]


def test_a_cancel_over_http_tells_followers(working: Working) -> None:
    """chain 10: A queued transaction that a route cancels is told to the outbox, once."""
    with psycopg.connect(working.server.builder.url, autocommit=True) as connection:
        rows = ChainRows(connection)
        rows.open(address=DEV_ACCOUNTS[1].address)
        number = rows.queue("told")
        play(
            working.server,
            working.callers,
            f"""
            admin POST /chain/transactions/{number}/cancel -> 202
            admin POST /chain/transactions/{number}/cancel -> 409 illegal_transition
            """,
        )
        events = rows.rows(
            "SELECT payload->>'transaction_id' FROM tally.outbox_events"
            " WHERE topic = 'chain.transaction.failed'"
        )
    assert events == [(str(number),)]


def until_final(working: Working) -> dict[str, Any]:
    """The newest transaction, once it is final."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        [row] = ask(working.server, working.callers["reader"], "/transactions?limit=1")["items"]
        if row["state"] == "finalized":
            return dict(row)
        assert time.monotonic() < deadline, row
        time.sleep(0.05)


def ask(server: Running, headers: dict[str, str], path: str) -> dict[str, Any]:
    """The body of a success."""
    answer = server.anonymous.get(f"{CHAIN_PATH}{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def network_in(
    server: Running, who: str, callers: dict[str, dict[str, str]], chain_id: int = CHAIN
) -> dict[str, Any]:
    """A network as it is told."""
    items = ask(server, callers[who], "/networks")["items"]
    return next(one for one in items if one["chain_id"] == chain_id)
