"""One account's sender, round by round, on a real node."""

from __future__ import annotations

from tests.chain.sender.support import ACCOUNT


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
