"""What operators do with transactions, and who is told (chain.md, sections 3.1 and 4.2)."""

from __future__ import annotations

import pytest

from tallystick.chain import (
    ALL_TYPES,
    bump_transaction,
    cancel_transaction,
    get_transaction,
    refresh,
    register_follower,
    send,
)
from tallystick.chain.errors import UnknownTransactionError
from tallystick.chain.values import ChainTransaction
from tallystick.db import Query, Transaction
from tallystick.db.errors import IllegalTransitionError
from tests.chain.rows import intent

pytestmark = pytest.mark.usefixtures("no_followers")


class Listener:
    """A follower that remembers what it was told, and may object."""

    def __init__(self, *, objects: bool = False) -> None:
        self.told: list[tuple[str, int, str]] = []
        self.objects = objects

    def __getattr__(self, name: str):
        if not name.startswith("on_"):
            raise AttributeError(name)

        def listen(tx: Transaction, transaction: ChainTransaction) -> None:
            assert get_transaction(tx, transaction.id) == transaction
            self.told.append((name, transaction.id, transaction.state))
            if self.objects:
                raise ValueError("not now")

        return listen


def test_a_queued_intent_is_cancelled_at_once(chain_database, chain_rows):
    """chain 10: cancelling before signing calls `on_failed` once and nothing else."""
    listener, everything = Listener(), Listener()
    register_follower("anchor_publish", listener)
    register_follower(ALL_TYPES, everything)
    with chain_database.transaction() as tx:
        number = send(tx, intent())
        found = cancel_transaction(tx, number)
    assert (found.state, found.status, found.error_message) == ("cancelled", "failed", "cancelled")
    assert listener.told == everything.told == [("on_failed", number, "cancelled")]
    with pytest.raises(IllegalTransitionError), chain_database.transaction() as tx:
        cancel_transaction(tx, number)
    assert len(listener.told) == 1


def test_a_follower_that_objects_keeps_the_intent(chain_database, chain_rows):
    """A follower's objection takes the cancellation back: both happen or neither."""
    register_follower("anchor_publish", Listener(objects=True))
    with chain_database.transaction() as tx:
        number = send(tx, intent())
    with pytest.raises(ValueError, match="not now"), chain_database.transaction() as tx:
        cancel_transaction(tx, number)
    assert chain_rows.run("SELECT state FROM tally.blockchain_transactions") == "queued"


def test_a_signed_one_is_asked_for(chain_database, chain_rows):
    """Cancelling a signed transaction, or bumping it, asks the sender and tells nobody."""
    listener = Listener()
    register_follower(ALL_TYPES, listener)
    number = chain_rows.queue("one")
    chain_rows.sign(number)
    chain_rows.run("LISTEN tally_chain")
    with chain_database.transaction() as tx:
        assert bump_transaction(tx, number).asked == "bump"
    with chain_database.transaction() as tx:
        assert cancel_transaction(tx, number).asked == "cancel"
    with chain_database.transaction() as tx:
        # The cancellation raises the fee anyway, and is not taken back.
        assert bump_transaction(tx, number).asked == "cancel"
    heard = list(chain_rows.connection.notifies(timeout=10, stop_after=3))
    assert [notice.payload for notice in heard] == ["31337"] * 3
    assert listener.told == []


@pytest.mark.parametrize("steer", [bump_transaction, cancel_transaction])
def test_what_is_mined_or_not_ours_is_left_alone(chain_database, chain_rows, steer):
    """Nothing can be asked of a transaction that is mined, final or a client's."""
    chain_rows.block(1)
    chain_rows.scan(1)
    number = chain_rows.queue("one")
    chain_rows.sign(number)
    chain_rows.include(number, 1)
    for subject in (number, chain_rows.observed()):
        with pytest.raises(IllegalTransitionError), chain_database.transaction() as tx:
            steer(tx, subject)


def test_a_queued_one_cannot_be_bumped(chain_database, chain_rows):
    """What has no fee yet has none to raise."""
    with pytest.raises(IllegalTransitionError), chain_database.transaction() as tx:
        bump_transaction(tx, send(tx, intent()))


@pytest.mark.parametrize("steer", [bump_transaction, cancel_transaction, refresh])
def test_unknown_numbers_are_named(chain_database, chain_rows, steer):
    """Each of them names a number that nothing has."""
    with pytest.raises(UnknownTransactionError), chain_database.transaction() as tx:
        steer(tx, 99)


def test_refresh_wakes_the_watcher_and_changes_nothing(chain_database, chain_rows):
    """`refresh` takes no status: it has the watcher look, and returns the row as it is."""
    number = chain_rows.observed()
    chain_rows.run("LISTEN tally_chain")
    with chain_database.transaction() as tx:
        assert refresh(tx, number).state == "broadcast"
    heard = next(chain_rows.connection.notifies(timeout=10, stop_after=1))
    assert heard.payload == "31337"


def test_only_old_observed_ones_are_dropped(chain_database, chain_rows):
    """chain 10: what a client sent is dropped after 24 h, tells nobody, and may come back."""
    listener = Listener()
    register_follower(ALL_TYPES, listener)
    old, ours = chain_rows.observed(1), chain_rows.queue("one")
    chain_rows.sign(ours)
    chain_rows.run("SELECT tally.set_test_clock(tally.clock() + interval '24 hours', true)")
    young = chain_rows.observed(2)
    dropped = chain_rows.run("SELECT tally.transaction_drop_v1(%s)", [old, ours, young])
    assert dropped == [old]
    chain_rows.block(1)
    chain_rows.scan(1)
    chain_rows.include(old, 1)
    assert (
        chain_rows.run("SELECT state FROM tally.blockchain_transactions WHERE id = %s", old)
        == "mined"
    )
    assert listener.told == []


def test_the_servers_role_may_do_all_this(chain_database, chain_rows):
    """The role of servers and workers has every right that these operations need."""
    with chain_database.transaction() as tx:
        tx.execute(Query(b"SET LOCAL ROLE tally_app"))
        number = send(tx, intent())
        assert refresh(tx, number).state == "queued"
        assert cancel_transaction(tx, number).state == "cancelled"
