"""What `tally up` puts on the dev chain, by the same sender and watcher as on any network."""

from __future__ import annotations

import contextlib
import threading
import time
from decimal import Decimal

import psycopg
import pytest
from pydantic import SecretStr

from tallystick.chain import (
    ChainIntent,
    find_transaction,
    get_network,
    get_transaction,
    list_accounts,
    send,
    set_network,
)
from tallystick.chain.contracts import encode_call, get_contract, load_artifact
from tallystick.chain.evidence import inclusion_evidence
from tallystick.chain.followers import clear_followers
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.prices import latest_price
from tallystick.chain.sender.worker import run_sender
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.chain.watcher import run_watcher
from tallystick.config import load_settings
from tallystick.db import connect
from tallystick.runtime.chain import chain_duties, register_built_in_followers
from tallystick.runtime.devchain.accounts import DevSigners, key_path, load_key
from tallystick.runtime.devchain.furnishing import FUNDS_WEI, furnish_once
from tests.support.devchain import running_devchain, start_devchain

ANCHOR = load_artifact("TallyAnchor")
PATIENCE_SECONDS = 60


@contextlib.contextmanager
def working(database, node):
    """Send and watch on the dev chain *node* for the block, as a worker does."""
    stop = threading.Event()
    keys = node.directory / "keys"
    clear_followers()
    register_built_in_followers()
    with Nodes({DEV_CHAIN_ID: [SecretStr(node.url)]}) as nodes:
        signers = DevSigners({}, keys)
        client = nodes.of(DEV_CHAIN_ID)
        duties = (
            lambda: run_watcher(database, client, DEV_CHAIN_ID, stop),
            lambda: run_sender(database, nodes, signers, stop),
        )
        threads = [threading.Thread(target=duty) for duty in duties]
        for thread in threads:
            thread.start()
        try:
            yield client
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            clear_followers()


def until(condition):
    """Wait until *condition* gives something true, and return that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it does not come to be"
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_the_chain_is_furnished_once_and_used(tmp_path, database_url):
    """chain 14: accounts, funds, price and TallyAnchor are there, after a restart too."""
    with (
        running_devchain(tmp_path, funded=False) as node,
        connect(database_url, pool_size=20) as db,
    ):
        keys = tmp_path / "keys"
        with working(db, node) as client:
            until(lambda: furnish_once(db, client, keys))
            until(lambda: is_registered(db))
            number = anchor(db, b"\1" * 32)
            row = until(lambda: is_final(db, number))
            evidence = inclusion_evidence(client, row.transaction_hash)
            height = node.head
            assert furnish_once(db, client, keys)
            assert height == node.head, "nothing is done twice"
        facts = seen(db)
        node.kill()
        again = start_devchain(tmp_path)
        try:
            assert height == again.head
            with working(db, again) as client:
                assert evidence == inclusion_evidence(client, row.transaction_hash)
                assert furnish_once(db, client, keys)
                assert facts == seen(db)
                until(lambda: is_final(db, anchor(db, b"\2" * 32)))
        finally:
            again.end()
    with psycopg.connect(database_url) as connection:
        assert [] == connection.execute("SELECT * FROM tally.v_chain_violations").fetchall()


def seen(database):
    """Contract, accounts, price and network as they stand."""
    with database.transaction() as tx:
        contract = get_contract(tx, "TallyAnchor", DEV_CHAIN_ID)
        price = latest_price(tx, "ETH")
        accounts = list_accounts(tx, DEV_CHAIN_ID)
        assert (Decimal(2500), "fixed:dev") == (price.usd, price.source)
        assert {f"devchain-{one.purpose}" for one in accounts} == {
            one.signer_name for one in accounts
        }
        deployer = next(one.address for one in accounts if one.purpose == "deployer")
        assert (deployer, ANCHOR.code_hash) == (contract.deployer_address, contract.code_hash)
        made = find_transaction(tx, DEV_CHAIN_ID, contract.deployment_tx_hash)
        assert (made.block_number, "finalized") == (contract.block_number, made.state)
        return contract, price, [(one.address, one.purpose) for one in accounts]


def is_registered(database):
    """Whether TallyAnchor is there."""
    with database.transaction() as tx:
        return [] != tx.values(b"SELECT id FROM tally.contract_deployments")


def anchor(database, statement):
    """Intend to anchor, as proof does."""
    with database.transaction() as tx:
        contract = get_contract(tx, "TallyAnchor", DEV_CHAIN_ID)
        return send(
            tx,
            ChainIntent(
                chain_id=DEV_CHAIN_ID,
                transaction_type="anchor_publish",
                idempotency_key=f"anchor {statement.hex()}",
                to=contract.contract_address,
                call_data=encode_call(ANCHOR, "anchor", [statement, b"\3" * 32, 5]),
            ),
        )


def is_final(database, number):
    """The transaction once it is final; None until then."""
    with database.transaction() as tx:
        row = get_transaction(tx, number)
        assert row.error_message is None
        return row if row.state == "finalized" else None


def test_accounts_have_what_they_need_and_no_more_is_given(tmp_path, database_url):
    """Each account is given funds once, and again only when it has little."""
    with running_devchain(tmp_path, funded=False) as node, connect(database_url, pool_size=4) as db:
        keys = tmp_path / "keys"
        with Nodes({DEV_CHAIN_ID: [SecretStr(node.url)]}) as nodes:
            client = nodes.of(DEV_CHAIN_ID)
            assert not furnish_once(db, client, keys), "nobody watches yet"
            first = node.head
            assert not furnish_once(db, client, keys)
            assert first == node.head
        with db.transaction() as tx:
            accounts = list_accounts(tx, DEV_CHAIN_ID)
            assert "active" == get_network(tx, DEV_CHAIN_ID).status
        purposes = {one.purpose for one in accounts}
        assert {"anchor", "settle", "threat", "bounty", "deployer"} <= purposes
        assert len(accounts) == first
        for one in accounts:
            assert FUNDS_WEI == node.number("eth_getBalance", one.address, "latest")
            assert 32 == len(load_key(key_path(keys, one.purpose)))


def test_a_network_that_an_operator_paused_stays_paused(tmp_path, database_url):
    """Furnishing opens the network the first time, and not over somebody's decision."""
    with (
        running_devchain(tmp_path, funded=False) as node,
        connect(database_url, pool_size=20) as db,
    ):
        keys = tmp_path / "keys"
        with working(db, node) as client:
            until(lambda: furnish_once(db, client, keys))
            with db.transaction() as tx:
                set_network(tx, DEV_CHAIN_ID, status="paused", reason="maintenance")
            assert furnish_once(db, client, keys)
        with db.transaction() as tx:
            assert "paused" == get_network(tx, DEV_CHAIN_ID).status


def test_signers_of_the_dev_chain_are_files(tmp_path):
    """A signer of the dev chain is there when its file is, and signs for that key's address."""
    from tallystick.chain.errors import UnknownSignerError
    from tallystick.runtime.devchain.accounts import address_of, load_or_create_key

    signers = DevSigners({}, tmp_path)
    assert "devchain-anchor" not in signers
    with pytest.raises(UnknownSignerError):
        signers.get("devchain-anchor")
    key = load_or_create_key(tmp_path, "anchor")
    assert "devchain-anchor" in signers
    assert address_of(key) == signers.get("devchain-anchor").address
    for name in ("devchain-../devchain-anchor", "anchor", 7):
        assert name not in signers


def test_a_worker_without_endpoints_does_nothing_of_it(tmp_path, database_url):
    """Without endpoints no duty is added, and a foreign dev chain is not furnished."""
    stop = threading.Event()
    with connect(database_url, pool_size=2) as db:
        assert {} == chain_duties(db, load_settings(data_dir=tmp_path), stop)
        foreign = load_settings(
            data_dir=tmp_path, chain_endpoints={DEV_CHAIN_ID: ["http://127.0.0.1:1"]}
        )
        assert "dev chain" not in chain_duties(db, foreign, stop)
