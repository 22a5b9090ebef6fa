"""The same laws on Anvil and on the embedded dev chain, through one client class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.chain.intents import cancel_transaction
from tests.chain.sender.support import ACCOUNT, OTHER, Desk, until
from tests.support.devchain import KINDS, running_node

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(params=KINDS)
def anvil(request) -> Iterator:
    """A node of each kind; what `desk` sends to."""
    with running_node(request.param) as node:
        yield node


def sent_by_us(desk: Desk) -> list[dict]:
    """What the chain has of the account."""
    return desk.anvil.transactions_from(ACCOUNT.address)


def test_killed_between_sending_and_marking_it_is_sent_once(desk, tmp_path):
    """chain 3: On each node, one transaction is on chain and final; chain 14 wants the same."""
    desk.queue()
    point = "chain.sender.sent"
    with desk.process(pause_at=point, place=tmp_path):
        until((tmp_path / point).exists, what=point)
    assert len(sent_by_us(desk)) == 1
    with desk.process():
        desk.anvil.mine(3)
        until(lambda: desk.states() == ["finalized"], what="finality")
    assert len(sent_by_us(desk)) == 1
    desk.check_laws()


def test_of_two_senders_one_waits(desk):
    """chain 4: On each node, two processes give 30 intents the nonces 0 to 29."""
    with desk.process(), desk.process():
        desk.queue(30)
        until(lambda: not {"queued", "signed", "broadcast"} & set(desk.states()), what="inclusion")
        desk.anvil.mine(3)
        until(lambda: set(desk.states()) == {"finalized"}, what="finality")
    assert sorted(int(each["nonce"], 16) for each in sent_by_us(desk)) == list(range(30))
    desk.check_laws()


def test_what_is_stuck_is_replaced_and_what_is_cancelled_is_not_done(desk):
    """chain 5: On each node, all attempts are kept and one of them is mined."""
    desk.anvil.automine(on=False)
    stuck, unwanted = desk.queue(2)
    desk.sender.round()
    desk.age()
    desk.sender.round()
    with desk.database.transaction() as tx:
        cancel_transaction(tx, unwanted)
    desk.sender.round()
    assert [len(desk.attempts(each)) for each in (stuck, unwanted)] == [2, 3]
    desk.anvil.mine(4)
    desk.watch()
    assert desk.states() == ["finalized", "cancelled"]
    mined = [each["hash"] for each in sent_by_us(desk)]
    assert mined == [desk.attempts(each)[-1][4] for each in (stuck, unwanted)]
    desk.check_laws()


def test_a_foreign_transaction_on_our_nonce_requeues_the_intent(desk):
    """chain 6: On each node, the intent is queued again once the foreign one is final."""
    desk.queue()
    desk.anvil.send(**{"from": ACCOUNT.address, "to": OTHER.address, "value": 5})
    desk.anvil.mine(3)
    for _ in range(6):
        # That the foreign one is final is believed once it was recorded.
        desk.watch()
        desk.sender.round()
    desk.anvil.mine(3)
    desk.watch()
    assert desk.states() == ["finalized"]
    assert len(sent_by_us(desk)) == 2
    assert len(desk.attempts(1)) == 2
    desk.check_laws()
