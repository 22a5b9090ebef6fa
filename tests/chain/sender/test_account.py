"""One account's sender, round by round, on a real node."""

from __future__ import annotations

import itertools

import pytest

from tallystick import metrics
from tallystick.chain.contracts.artifacts import load_artifact
from tallystick.chain.errors import InsufficientGasFundsError, NodeUnavailableError
from tallystick.chain.followers import ALL_TYPES, register_follower
from tallystick.chain.intents import bump_transaction, cancel_transaction
from tallystick.chain.sender.decision import MAX_UNMINED
from tests.chain.sender.support import ACCOUNT, OTHER, until
from tests.chain.watcher.support import meddling
from tests.support.evm import ETHER

REVERTS = "0x60006000fd"
"""Code that reverts without a reason."""
GWEI = 10**9


class Recorder:
    """A follower that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def __getattr__(self, name: str):
        if not name.startswith("on_") or name == "on_many":
            raise AttributeError(name)
        return lambda _tx, transaction: self.calls.append((name, transaction.id))


@pytest.fixture
def recorder() -> Recorder:
    """A follower of every type."""
    recorder = Recorder()
    register_follower(ALL_TYPES, recorder)
    return recorder


def test_an_intent_becomes_final(desk):
    """A queued intent is signed, sent, mined and final, and its one attempt is kept."""
    (number,) = desk.queue()
    desk.sender.catch_up()
    desk.sender.round()
    assert desk.states() == ["broadcast"]
    desk.finish()
    assert desk.states() == ["finalized"]
    assert len(desk.attempts(number)) == 1
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1
    desk.check_laws()


def test_intents_are_sent_in_the_order_of_their_numbers(desk):
    """Nonces follow on one another in id order, and no more than 64 wait for a block."""
    numbers = desk.queue(MAX_UNMINED + 6)
    desk.anvil.automine(on=False)
    assert [desk.sender.round() for _ in range(2)] == [0.0, 0.02], "a half, and the other"
    desk.sender.round()
    assert desk.states() == ["broadcast"] * MAX_UNMINED + ["queued"] * 6
    desk.anvil.mine()
    desk.watch()
    desk.sender.round()
    assert desk.states() == ["mined"] * MAX_UNMINED + ["broadcast"] * 6
    given = desk.rows("SELECT id, nonce FROM tally.blockchain_transactions ORDER BY id")
    assert given == list(zip(numbers, range(MAX_UNMINED + 6), strict=True))
    desk.check_laws()


def test_a_deployment_has_no_receiver(desk):
    """An intent without a receiver makes a contract."""
    desk.queue(to=None, data=bytes.fromhex("600160005260206000f3"), value=0)
    desk.sender.round()
    desk.finish()
    assert desk.states() == ["finalized"]
    made = desk.value("SELECT contract_address::text FROM tally.blockchain_transactions")
    assert len(desk.anvil.rpc("eth_getCode", made, "latest")) == 2 + 2 * 32


def test_an_intent_that_reverts_is_refused(desk, recorder):
    """chain 10: A revert at estimate fails the intent, spends no nonce and calls on_failed once."""
    desk.anvil.rpc("anvil_setCode", OTHER.address, REVERTS)
    before, bad, after = desk.queue(), desk.queue(data=b"\1"), desk.queue(to=ACCOUNT.address)
    desk.anvil.rpc("anvil_setCode", OTHER.address, "0x")
    desk.anvil.rpc("anvil_setCode", "0x" + "99" * 20, REVERTS)
    (bad,) = desk.queue(to="0x" + "99" * 20)
    desk.sender.round()
    assert desk.states() == ["broadcast", "broadcast", "broadcast", "failed"]
    assert recorder.calls == [("on_failed", bad)]
    message, nonce = desk.rows(
        "SELECT error_message, nonce FROM tally.blockchain_transactions WHERE id = %s", bad
    )[0]
    assert (message.split(":")[0], nonce) == ("refused", None)
    recorder.calls.clear()
    desk.finish()
    assert [call for call, _ in recorder.calls] == ["on_included"] * 3 + ["on_finalized"] * 3
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 3
    assert before
    assert after


def test_a_refusal_names_the_contracts_own_error(desk):
    """chain 10: What a contract of ours reverts with is in the refused intent, in words."""
    artifact = load_artifact("TallyAnchor")
    made = desk.anvil.send(**{"from": OTHER.address, "data": "0x" + artifact.bytecode.hex()})
    contract = desk.anvil.rpc("eth_getTransactionReceipt", made)["contractAddress"]
    word = (7).to_bytes(32, "big")
    for _ in range(2):
        desk.queue(to=contract, data=bytes.fromhex("15954b2c") + 3 * word, value=0)
        desk.sender.round()
    assert desk.states() == ["broadcast", "failed"]
    said = "SELECT error_message FROM tally.blockchain_transactions WHERE id = 2"
    assert desk.value(said) == f"refused: AlreadyAnchored({desk.anvil.head})"


def test_a_follower_that_raises_leaves_the_refused_intent_queued(desk):
    """chain 10: What on_failed does and the failure stand together or not at all."""
    told = []

    class Raising(Recorder):
        def on_failed(self, _tx, transaction):
            told.append(transaction.id)
            if len(told) == 1:
                raise RuntimeError("not now")

    register_follower("anchor_publish", Raising())
    desk.anvil.rpc("anvil_setCode", OTHER.address, REVERTS)
    (bad,) = desk.queue()
    with pytest.raises(Exception, match="anchor_publish"):
        desk.sender.round()
    assert desk.states() == ["queued"]
    desk.sender.round()
    assert desk.states() == ["failed"]
    assert told == [bad, bad]


def test_a_stuck_transaction_is_replaced(desk):
    """chain 5: After the base fee rose a new attempt offers more; all are kept, one is mined."""
    desk.set_network(resubmit_seconds=30)
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    cap = desk.attempts(number)[0][2]
    desk.anvil.set_next_base_fee(int(cap) * 3)
    desk.anvil.mine()
    desk.anvil.set_next_base_fee(int(cap) * 3)
    desk.sender.round()
    assert len(desk.attempts(number)) == 1
    desk.age(31)
    desk.restart()
    desk.sender.round()
    first, second = desk.attempts(number)
    assert (first[:2], second[:2]) == ((1, "send"), (2, "send"))
    assert second[2] > 3 * cap
    assert second[3] > first[3]
    desk.anvil.mine()
    desk.finish()
    assert desk.states() == ["finalized"]
    mined = [each["hash"] for each in desk.anvil.transactions_from(ACCOUNT.address)]
    assert mined == [second[4]]
    assert (
        desk.value("SELECT transaction_hash::text FROM tally.blockchain_transactions") == mined[0]
    )
    desk.check_laws()


def test_a_cancel_of_a_signed_transaction_ends_cancelled(desk, recorder):
    """chain 5: A cancel is an empty payment to oneself on the same nonce, and ends cancelled."""
    desk.anvil.automine(on=False)
    (number,) = desk.queue(value=ETHER)
    desk.sender.round()
    with desk.database.transaction() as tx:
        cancel_transaction(tx, number)
    desk.sender.round()
    first, second = desk.attempts(number)
    assert (first[1], second[1]) == ("send", "cancel")
    desk.anvil.mine()
    desk.finish()
    assert desk.states() == ["cancelled"]
    (mined,) = desk.anvil.transactions_from(ACCOUNT.address)
    assert (mined["hash"], mined["to"], mined["value"]) == (second[4], ACCOUNT.address, "0x0")
    assert recorder.calls == [("on_failed", number)]
    desk.check_laws()


def test_a_cancel_may_come_too_late(desk):
    """chain 5: Where the first attempt is mined after all, the transaction becomes final."""
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    desk.anvil.mine()
    with desk.database.transaction() as tx:
        cancel_transaction(tx, number)
    desk.restart()
    desk.sender.round()
    desk.finish()
    assert desk.states() == ["finalized"]
    assert len(desk.attempts(number)) == 1
    desk.check_laws()


def test_a_bump_offers_more_at_once(desk):
    """chain 5: An operator's bump does not wait for resubmit_seconds, and is done once."""
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    with desk.database.transaction() as tx:
        bump_transaction(tx, number)
    desk.sender.round()
    desk.sender.round()
    first, second = desk.attempts(number)
    assert second[1] == "send"
    assert second[2] >= first[2] * 11 / 10
    assert desk.value("SELECT asked FROM tally.blockchain_transactions") is None
    desk.anvil.mine()
    desk.finish()
    assert desk.states() == ["finalized"]


def test_fees_pass_neither_cap(desk):
    """chain 6: However often replaced, none passes the limit or five times the suggestion."""
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    first_cap = int(desk.attempts(number)[0][2])
    desk.set_network(resubmit_seconds=30, max_fee=2 * first_cap)
    for _ in range(12):
        desk.age()
        desk.sender.round()
    caps = [int(cap) for _, _, cap, _, _ in desk.attempts(number)]
    assert len(caps) > 2
    assert max(caps) <= 2 * first_cap
    assert all(after >= before * 11 / 10 for before, after in itertools.pairwise(caps))
    waiting = metrics.REGISTRY.get_sample_value(
        "tally_chain_fee_capped",
        {"chain_id": str(desk.anvil.chain_id), "address": ACCOUNT.address},
    )
    assert waiting == 1
    desk.set_network(resubmit_seconds=30, max_fee=10**30)
    for _ in range(25):
        desk.age()
        desk.sender.round()
    desk.anvil.mine()
    base_fee = int(desk.anvil.rpc("eth_getBlockByNumber", "0x0", False)["baseFeePerGas"], 16)
    caps = [int(cap) for _, _, cap, _, _ in desk.attempts(number)]
    assert max(caps) <= 5 * (2 * base_fee + GWEI)


def test_a_fee_above_the_limit_keeps_intents_queued(desk):
    """chain 6: While a block takes more than max_fee_per_gas_wei nothing is signed."""
    desk.set_network(max_fee=1)
    desk.queue()
    desk.sender.round()
    assert desk.states() == ["queued"]
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 0
    desk.set_network()
    desk.sender.round()
    assert desk.states() == ["broadcast"]


def test_a_foreign_transaction_on_our_nonce_requeues_the_intent(desk):
    """chain 6: Once the foreign one is final the intent is queued again, and finishes."""
    desk.set_network(confirmations=4)
    desk.queue(2)
    desk.anvil.send(**{"from": ACCOUNT.address, "to": OTHER.address, "value": "0x5"})
    desk.sender.round()
    assert desk.states() == ["signed", "broadcast"]
    for _ in range(5):
        desk.sender.round()
    assert desk.states() == ["signed", "broadcast"], "the foreign transaction is not final yet"
    desk.anvil.mine(3)
    desk.watch()
    for _ in range(5):
        desk.sender.round()
    desk.finish()
    desk.finish()
    assert desk.states() == ["finalized", "finalized"]
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 3
    assert len(desk.attempts(1)) == 2
    desk.check_laws()


def test_a_nonce_that_we_took_ourselves_is_not_requeued(desk, tmp_path):
    """chain 3: Killed between sending and marking, "nonce too low" is answered by the receipt."""
    desk.queue()
    with desk.process("sender", pause_at="chain.sender.sent", place=tmp_path):
        until((tmp_path / "chain.sender.sent").exists)
    assert desk.states() == ["signed"]
    desk.anvil.mine(3)
    for _ in range(6):
        desk.sender.round()
    assert desk.states() == ["signed"]
    desk.watch()
    desk.finish()
    assert desk.states() == ["finalized"]
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1


def test_a_node_that_refuses_bytes_is_not_asked_without_end(desk, tmp_path):
    """Bytes that a node refuses are handed to it again twice a block, not at each round."""
    desk.queue()
    with desk.process("sender", pause_at="chain.sender.signed", place=tmp_path):
        until((tmp_path / "chain.sender.signed").exists)
    desk.anvil.set_balance(ACCOUNT.address, 1)
    with meddling(desk.anvil.url) as meddler:
        sender = desk.sender_at(meddler.url)
        for _ in range(5):
            sender.round()
        assert meddler.methods.count("eth_sendRawTransaction") == 1
        desk.anvil.set_balance(ACCOUNT.address, ETHER)
        until(lambda: sender.round() is not None and desk.states() == ["broadcast"])


def test_a_node_without_receipts_takes_no_nonce_away(desk, tmp_path):
    """
    A node that has lost its receipts says nothing of who took a nonce: nothing is sent anew
    before the watcher has recorded the blocks, in which our hash stands.
    """
    desk.queue()
    with desk.process("sender", pause_at="chain.sender.sent", place=tmp_path):
        until((tmp_path / "chain.sender.sent").exists)
    desk.anvil.mine(3)
    with meddling(desk.anvil.url) as meddler:
        meddler.change = lambda method, _, result: (
            None if method == "eth_getTransactionReceipt" else result
        )
        sender = desk.sender_at(meddler.url)
        for _ in range(10):
            sender.round()
    assert desk.states() == ["signed"]
    desk.watch()
    desk.sender.round()
    assert desk.states() == ["finalized"]
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1


def test_one_endpoint_alone_takes_no_nonce_away(desk):
    """With finality_quorum 2 an endpoint that names a higher nonce than the other one lies."""
    desk.run("UPDATE tally.networks SET finality_quorum = 2 WHERE chain_id = 31337")
    desk.anvil.automine(on=False)
    desk.queue()
    desk.sender.round()
    desk.age()
    with meddling(desk.anvil.url) as liar:
        liar.change = lambda method, _, result: {
            "eth_getTransactionCount": "0x9",
            "eth_getTransactionReceipt": None,
        }.get(method, result)
        sender = desk.sender_at(liar.url, desk.anvil.url)
        for _ in range(10):
            sender._surroundings = None
            sender.round()
    assert desk.states() == ["broadcast"]


def test_bytes_that_the_node_knows_are_broadcast(desk, tmp_path):
    """chain 3: Killed between sending and marking, "already known" is as good as taken."""
    desk.anvil.automine(on=False)
    desk.queue()
    with desk.process("sender", pause_at="chain.sender.sent", place=tmp_path):
        until((tmp_path / "chain.sender.sent").exists)
    assert desk.states() == ["signed"]
    desk.sender.round()
    assert desk.states() == ["broadcast"]
    assert desk.value("SELECT last_error FROM tally.blockchain_transaction_attempts") is None


def test_a_requeued_cancel_is_cancelled(desk, recorder):
    """chain 6: What was to be cancelled is not sent again on another nonce."""
    desk.anvil.automine(on=False)
    (number,) = desk.queue()
    desk.sender.round()
    with desk.database.transaction() as tx:
        cancel_transaction(tx, number)
    desk.anvil.rpc("anvil_dropAllTransactions")
    desk.anvil.automine(on=True)
    desk.anvil.send(**{"from": ACCOUNT.address, "to": OTHER.address, "value": "0x5"})
    desk.anvil.mine(3)
    desk.watch()
    desk.age()
    for _ in range(4):
        desk.restart_surroundings()
        desk.sender.round()
    assert desk.states() == ["cancelled"]
    assert recorder.calls == [("on_failed", number)]
    desk.check_laws()


def test_an_account_without_funds_sends_nothing(desk):
    """Below minimum_balance_wei nothing is signed; with enough again it goes on."""
    desk.run("UPDATE tally.chain_accounts SET minimum_balance_wei = %s", 2 * ETHER)
    desk.anvil.set_balance(ACCOUNT.address, 2 * ETHER - 1)
    desk.queue()
    with pytest.raises(InsufficientGasFundsError):
        desk.sender.round()
    assert desk.states() == ["queued"]
    seen = metrics.REGISTRY.get_sample_value(
        "tally_chain_account_balance_wei",
        {"chain_id": str(desk.anvil.chain_id), "address": ACCOUNT.address},
    )
    assert seen == float(2 * ETHER - 1)
    desk.anvil.set_balance(ACCOUNT.address, 2 * ETHER)
    desk.restart_surroundings()
    desk.sender.round()
    assert desk.states() == ["broadcast"]


def test_an_intent_that_cannot_be_paid_does_not_hold_up_others(desk):
    """An intent that hands over more than the account has stays queued, the next one is sent."""
    desk.queue(value=10**30)
    desk.queue(value=1)
    with pytest.raises(InsufficientGasFundsError):
        desk.sender.round()
    assert desk.states() == ["queued", "broadcast"]


@pytest.mark.parametrize(
    "stop",
    [
        "SELECT tally.network_set_v1(31337, 'paused', 'test', NULL, NULL, NULL, NULL, NULL, NULL,"
        " NULL)",
        "UPDATE tally.chain_accounts SET is_paused = true",
    ],
)
def test_who_is_paused_signs_nothing_and_sends_what_is_signed(desk, stop):
    """A paused network or account signs no intent and no replacement; signed bytes are sent."""
    desk.anvil.automine(on=False)
    desk.queue()
    desk.sender.round()
    desk.anvil.rpc("anvil_dropAllTransactions")
    desk.run("UPDATE tally.blockchain_transaction_attempts SET broadcast_at = NULL")
    desk.queue()
    desk.age()
    desk.run(stop)
    desk.sender.round()
    assert desk.states() == ["broadcast", "queued"]
    assert len(desk.attempts(1)) == 1
    desk.anvil.mine()
    assert len(desk.anvil.transactions_from(ACCOUNT.address)) == 1


def test_a_node_that_is_away_loses_nothing(desk):
    """Without a node the intent waits; when one is back it is sent once."""
    desk.queue()
    sender = desk.sender_at("http://127.0.0.1:1")
    with pytest.raises(NodeUnavailableError):
        sender.round()
    assert desk.states() == ["queued"]
    desk.sender.round()
    assert desk.states() == ["broadcast"]


def test_an_account_begins_at_the_nonce_that_is_final(desk):
    """chain 21: After a restore next_nonce is raised to the chain's, and nothing is sent twice."""
    for _ in range(3):
        desk.anvil.send(**{"from": ACCOUNT.address, "to": OTHER.address, "value": "0x5"})
    desk.anvil.mine(3)
    desk.queue()
    desk.sender.catch_up()
    assert desk.value("SELECT next_nonce FROM tally.chain_accounts") == 3
    desk.watch()
    desk.sender.round()
    desk.finish()
    assert desk.states() == ["finalized"]


def test_no_call_to_a_node_is_inside_a_transaction(desk, monkeypatch):
    """No database transaction of the sender is open while it asks its node."""
    from tallystick.chain.node.client import Node

    open_now = []
    asked = []
    transaction, ask = type(desk.database).transaction, Node._ask

    def counted(self, **options):
        context = transaction(self, **options)

        class Counted:
            def __enter__(self):
                open_now.append(1)
                return context.__enter__()

            def __exit__(self, *raised):
                open_now.pop()
                return context.__exit__(*raised)

        return Counted()

    def checked(self, endpoint, calls):
        asked.append(len(open_now))
        return ask(self, endpoint, calls)

    monkeypatch.setattr(type(desk.database), "transaction", counted)
    monkeypatch.setattr(Node, "_ask", checked)
    desk.anvil.automine(on=False)
    desk.queue(3)
    desk.sender.round()
    desk.age()
    desk.sender.round()
    assert asked
    assert set(asked) == {0}
