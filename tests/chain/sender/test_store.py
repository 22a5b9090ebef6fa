"""What the database keeps of the sender's laws, whatever a sender does."""

from __future__ import annotations

import threading

import psycopg
import pytest

from tallystick.chain.sender import store
from tallystick.chain.sender.decision import unsigned
from tallystick.chain.sender.fees import Fees
from tallystick.chain.sender.store import Made
from tallystick.chain.sender.transaction import SignedTransaction
from tallystick.chain.signers.signature import transaction_hash
from tests.chain.sender.support import ACCOUNT, Desk

PAUSE = (
    "SELECT tally.network_set_v1(31337, 'paused', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
)


def made_for(desk: Desk, ids: list[int], *, first: int) -> list[Made]:
    """First attempts at intents with nonces from *first* on."""
    with desk.database.transaction() as tx:
        queued = store.read_queued(tx, desk.anvil.chain_id, ACCOUNT.address, limit=100)
    signer, made = desk.signers.get("test"), []
    for intent in queued:
        if intent.id in ids:
            transaction = unsigned(
                intent,
                chain_id=desk.anvil.chain_id,
                nonce=first + len(made),
                gas_limit=21_000,
                fees=Fees(10**10, 1),
            )
            raw = transaction.signed(signer.sign([transaction.payload()])[0])
            signed = SignedTransaction(transaction, raw, transaction_hash(raw))
            made.append(Made(intent.id, "send", signed))
    return made


def sign(desk: Desk, made: list[Made]) -> bool:
    """Store attempts in a transaction of their own."""
    with desk.database.transaction() as tx:
        return store.sign(tx, desk.anvil.chain_id, ACCOUNT.address, made)


def test_nonces_are_taken_by_comparison(desk):
    """Bytes for another nonce than the account's next one are not stored, nor is any of them."""
    ids = desk.queue(3)
    assert not sign(desk, made_for(desk, ids, first=1))
    assert desk.states() == ["queued"] * 3
    assert sign(desk, made_for(desk, ids, first=0))
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 3
    assert not sign(desk, made_for(desk, desk.queue(1), first=0))
    desk.check_laws()


@pytest.mark.parametrize(
    "meanwhile",
    [
        "SELECT tally.transaction_cancel_v1(2)",
        PAUSE,
        "UPDATE tally.chain_accounts SET is_paused = true",
    ],
)
def test_what_changed_since_it_was_read_is_not_signed(desk, meanwhile):
    """An intent cancelled, an account or a network paused in between: the batch is not stored."""
    made = made_for(desk, desk.queue(3), first=0)
    desk.run(meanwhile)
    assert not sign(desk, made)
    assert "signed" not in desk.states()
    assert desk.value("SELECT count(*) FROM tally.blockchain_transaction_attempts") == 0
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 0


def test_of_two_senders_with_the_same_nonces_one_is_refused(desk):
    """chain 4: Even without the advisory lock, two commits cannot take one nonce."""
    ids = desk.queue(6)
    batches = [made_for(desk, ids[:3], first=0), made_for(desk, ids[3:], first=0)]
    results: list[bool] = []
    start = threading.Barrier(2)

    def contend(made: list[Made]) -> None:
        start.wait()
        results.append(sign(desk, made))

    threads = [threading.Thread(target=contend, args=(made,)) for made in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False, True]
    assert sorted(desk.states()) == ["queued"] * 3 + ["signed"] * 3
    desk.check_laws()


def test_an_inclusion_that_was_faster_stays(desk):
    """Marking as broadcast does not take a transaction back that the watcher found mined."""
    desk.queue()
    desk.sender.round()
    desk.anvil.mine()
    desk.watch()
    (attempt,) = desk.attempts(1)
    with desk.database.transaction() as tx:
        store.broadcast(tx, desk.anvil.chain_id, [(attempt[4], None), (attempt[4], "late")])
    assert desk.states() != ["broadcast"]


def test_no_attempt_is_added_to_what_is_mined(desk):
    """A replacement that comes too late is not stored, and so never sent."""
    desk.queue()
    desk.sender.round()
    desk.anvil.mine()
    with desk.database.transaction() as tx:
        (row,) = store.read_unmined(tx, desk.anvil.chain_id, ACCOUNT.address)
    desk.watch()
    made = Made(
        row.id,
        "cancel",
        SignedTransaction(
            unsigned(
                row,  # its receiver, value and data are an intent's
                chain_id=desk.anvil.chain_id,
                nonce=0,
                gas_limit=21_000,
                fees=Fees(1, 1),
            ),
            b"\2",
            "0x" + "12" * 32,
        ),
    )
    with desk.database.transaction() as tx:
        assert store.replace(tx, desk.anvil.chain_id, [made]) == set()
    assert len(desk.attempts(1)) == 1


def test_attempts_are_evidence(desk):
    """Nobody changes or deletes signed bytes; only broadcast_at and last_error move."""
    desk.queue()
    desk.sender.round()
    for statement in (
        "UPDATE tally.blockchain_transaction_attempts SET raw = ''",
        "DELETE FROM tally.blockchain_transaction_attempts",
    ):
        with pytest.raises(psycopg.DatabaseError) as raised:
            desk.run(statement)
        assert raised.value.sqlstate == "TS002"
    desk.run("UPDATE tally.blockchain_transaction_attempts SET last_error = 'x'")
