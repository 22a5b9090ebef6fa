"""After a restore from an older backup: what the chain knows is taken up (chain.md, 4.5)."""

from __future__ import annotations

import contextlib
import json

import pytest
from pydantic import SecretStr

from tallystick.chain.contracts.artifacts import load_artifact
from tallystick.chain.errors import UnsettledNonceError
from tallystick.chain.node.nodes import Nodes
from tallystick.config import load_settings
from tallystick.db import connect
from tallystick.runtime.chain import reconcile_network
from tests.chain.sender.support import ACCOUNT, OTHER, Desk, until
from tests.chain.watcher.support import CHAIN_ID, anchor_call, wait_for_block
from tests.support.chain_worker import KEY_VARIABLE
from tests.support.evm import running_anvil


class Backups:
    """A live desk whose database is copied, and then continued from the copy."""

    def __init__(self, server, url, anvil):
        self.server, self.url, self.anvil = server, url, anvil
        self.copy = url.rsplit("/", 1)[1].partition("?")[0] + "_copy"
        self.stack = contextlib.ExitStack()

    def open(self, url):
        """A desk at *url*."""
        desk = Desk.__new__(Desk)
        database = self.stack.enter_context(connect(url, pool_size=4))
        desk.url, desk.database, desk.anvil, desk.next_key = url, database, self.anvil, 0
        return desk

    def live(self):
        """The desk before the disaster."""
        desk = self.open(self.url)
        desk.__post_init__()
        self.stack.callback(desk.nodes.close)
        self.stack.callback(desk.signers.close)
        return desk

    def take(self):
        """Keep a copy of the database as it is now."""
        self.stack.close()
        source = self.url.rsplit("/", 1)[1].partition("?")[0]
        self.server._create(self.copy, source)

    def again(self, desk, url=None):
        """A desk on the live database, or on the copy, that has only what is in it."""
        fresh = self.open(url or self.url)
        fresh.nodes = self.stack.enter_context(Nodes({CHAIN_ID: [SecretStr(self.anvil.url)]}))
        fresh.signers = desk.signers
        fresh.next_key = 1_000
        fresh.restart()
        return fresh

    def restored(self, desk):
        """A desk on the copy."""
        return self.again(
            desk, self.url.replace(self.url.rsplit("/", 1)[1].partition("?")[0], self.copy)
        )


@pytest.fixture
def backups(test_server, database_url, monkeypatch):
    """A node, a database, and what copies it."""
    monkeypatch.setenv(KEY_VARIABLE, ACCOUNT.key)
    with running_anvil() as anvil:
        kept = Backups(test_server, database_url, anvil)
        yield kept
        kept.stack.close()
        test_server._drop(kept.copy)


def follow_anchor(desk):
    """Deploy the contract and let it be followed; its address."""
    artifact = load_artifact("TallyAnchor")
    sent = desk.anvil.send(**{"from": OTHER.address, "data": "0x" + artifact.bytecode.hex()})
    wait_for_block(desk.anvil, sent)
    address = desk.anvil.rpc("eth_getTransactionReceipt", sent)["contractAddress"].lower()
    desk.run(
        "INSERT INTO tally.contract_deployments (chain_id, contract_name, contract_address,"
        " contract_version, abi, abi_hash, code_hash, block_number)"
        " VALUES (%s, 'TallyAnchor', %s, '1', %s, %s, %s, NULL)",
        CHAIN_ID,
        address,
        json.dumps([dict(each) for each in artifact.abi]),
        artifact.abi_hash,
        artifact.code_hash,
    )
    return address


def send_all(desk):
    """Send what is queued, and wait until the node has mined it."""
    desk.sender.round()
    until(
        lambda: (
            desk.anvil.number("eth_getTransactionCount", ACCOUNT.address, "pending")
            == desk.anvil.number("eth_getTransactionCount", ACCOUNT.address, "latest")
        )
    )


def sent_by_us(desk):
    """How many transactions of ours the chain has."""
    return len(desk.anvil.transactions_from(ACCOUNT.address))


def test_what_was_sent_after_the_backup_is_taken_up(backups):
    """
    chain 21: Intents that are queued in the backup and were sent since are found on the chain:
    nonces, receipts and events are taken up, and nothing is sent twice.
    """
    desk = backups.live()
    address = follow_anchor(desk)
    desk.watch()
    for number in range(3):
        desk.queue(to=address, data=anchor_call(number), value=0)
    backups.take()
    live = backups.again(desk)
    live.sender.catch_up()
    send_all(live)
    live.finish()
    assert live.states() == ["finalized"] * 3
    restored = backups.restored(desk)
    assert restored.states() == ["queued"] * 3
    restored.sender.catch_up()
    send_all(restored)
    restored.finish()
    assert restored.states() == ["finalized"] * 3
    assert sent_by_us(restored) == 3
    assert restored.value("SELECT next_nonce FROM tally.chain_accounts") == 3
    events = restored.rows("SELECT event_name, state FROM tally.contract_events")
    assert events == [("Anchored", "final")] * 3
    restored.check_laws()
    restored.queue()
    send_all(restored)
    restored.finish()
    assert (restored.states()[-1], sent_by_us(restored)) == ("finalized", 4)
    restored.check_laws()


@pytest.mark.slow
def test_equal_intents_are_told_apart_by_their_order(backups):
    """chain 21: Of intents with one content as many as were sent are taken up, the oldest first."""
    desk = backups.live()
    desk.queue(5)
    backups.take()
    live = backups.again(desk)
    live.run(
        "UPDATE tally.blockchain_transactions SET state = 'cancelled', error_message = 'x'"
        " WHERE id > 2"
    )
    send_all(live)
    restored = backups.restored(desk)
    restored.sender.catch_up()
    assert restored.states() == ["broadcast"] * 2 + ["queued"] * 3
    send_all(restored)
    restored.finish()
    assert restored.states() == ["finalized"] * 5
    assert sent_by_us(restored) == 5
    restored.check_laws()


@pytest.mark.parametrize("asked", [pytest.param("bump", marks=pytest.mark.slow), "cancel"])
def test_a_replacement_after_the_backup_is_taken_up(backups, asked):
    """chain 21: An attempt that was signed after the backup and mined is kept as an attempt."""
    desk = backups.live()
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    backups.take()
    live = backups.again(desk)
    live.run("SELECT tally.transaction_ask_v1(%s, %s)", number, asked)
    live.sender.round()
    assert len(live.attempts(number)) == 2
    live.anvil.mine(1)
    restored = backups.restored(desk)
    assert len(restored.attempts(number)) == 1
    restored.sender.catch_up()
    restored.sender.round()
    restored.finish()
    assert [kind for _, kind, *_ in restored.attempts(number)] == [
        "send",
        "cancel" if asked == "cancel" else "send",
    ]
    assert restored.attempts(number) == live.attempts(number)
    assert restored.states() == ["cancelled" if asked == "cancel" else "finalized"]
    assert sent_by_us(restored) == 1
    restored.check_laws()


def test_what_waits_in_a_pool_is_waited_for(backups):
    """chain 21: While a pool has transactions that nobody here knows, nothing is sent."""
    desk = backups.live()
    desk.anvil.automine(on=False)
    desk.queue()
    backups.take()
    live = backups.again(desk)
    live.sender.round()
    restored = backups.restored(desk)
    with pytest.raises(UnsettledNonceError):
        restored.sender.catch_up()
    restored.anvil.mine(1)
    restored.sender.catch_up()
    restored.sender.round()
    restored.finish()
    assert (restored.states(), sent_by_us(restored)) == (["finalized"], 1)
    restored.check_laws()


def test_reconcile_brings_a_network_up_to_its_head(backups):
    """chain 21: `reconcile` adopts, reads receipts and events to the head, and tells followers."""
    desk = backups.live()
    (number,) = desk.queue()
    backups.take()
    live = backups.again(desk)
    send_all(live)
    live.anvil.mine(3)
    restored = backups.restored(desk)
    settings = load_settings(chain_endpoints={CHAIN_ID: (restored.anvil.url,)})
    found = reconcile_network(restored.database, settings, CHAIN_ID)
    assert (found.adopted, found.is_caught_up) == ((number,), True)
    assert restored.states() == ["finalized"]
    assert restored.rows("SELECT topic FROM tally.outbox_events ORDER BY event_id") == [
        ("chain.transaction.included",),
        ("chain.transaction.finalized",),
    ]
    again = reconcile_network(restored.database, settings, CHAIN_ID)
    assert again.adopted == ()
    restored.check_laws()


def test_a_foreign_nonce_is_passed_over(backups):
    """Transactions of the account that carry out no intent of ours raise its nonce, once final."""
    desk = backups.live()
    sent = desk.anvil.send(**{"from": ACCOUNT.address, "to": OTHER.address, "value": "0x7"})
    wait_for_block(desk.anvil, sent)
    desk.anvil.mine(2)
    desk.queue()
    desk.sender.catch_up()
    assert desk.states() == ["queued"]
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 1


def test_a_watcher_that_runs_ahead_hides_nothing(backups):
    """
    chain 21: What was sent after the backup is found though the watcher has read past its block
    before the sender looked.
    """
    desk = backups.live()
    desk.queue()
    backups.take()
    live = backups.again(desk)
    send_all(live)
    restored = backups.restored(desk)
    restored.anvil.mine(3)
    restored.watch()
    restored.sender.catch_up()
    restored.sender.round()
    restored.finish()
    assert (sent_by_us(restored), restored.states()) == (1, ["broadcast"])
    restored.restart()
    restored.watch()
    assert restored.states() == ["finalized"]
    restored.check_laws()


def test_a_replacement_that_waits_in_a_pool_is_no_foreign_transaction(backups):
    """
    chain 21: An attempt that was signed after the backup, and mined after the restore, is
    adopted; its intent is not queued again.
    """
    desk = backups.live()
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    backups.take()
    live = backups.again(desk)
    live.run("SELECT tally.transaction_ask_v1(%s, 'bump')", number)
    live.sender.round()
    restored = backups.restored(desk)
    restored.sender.catch_up()
    restored.anvil.mine(4)
    restored.watch()
    restored.age()
    for _ in range(8):
        restored.restart_surroundings()
        restored.sender.round()
        restored.anvil.mine(3)
        restored.watch()
    assert sent_by_us(restored) == 1
    restored.restart()
    restored.watch()
    assert restored.states() == ["finalized"]
    restored.check_laws()
