"""Lists, sums and events (chain.md, section 4.2)."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pytest

from tallystick.chain import (
    get_transaction_statistics,
    list_attempts,
    list_events,
    list_transactions,
)
from tallystick.chain.errors import UnknownContractError
from tallystick.chain.intents import EventPlace, find_transaction
from tests.chain.rows import CHAIN, hash_of

LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


def test_lists_are_newest_first_and_paged(chain_database, chain_rows):
    """A list goes from the newest down; `after` begins behind a number, and filters combine."""
    numbers = [chain_rows.queue(str(place)) for place in range(5)]
    observed = chain_rows.observed()
    with chain_database.transaction() as tx:
        assert [row.id for row in list_transactions(tx, limit=2)] == [observed, numbers[4]]
        rest = list_transactions(tx, after=numbers[4])
        assert [row.id for row in rest] == numbers[3::-1]
        assert [row.id for row in list_transactions(tx, user_id="alice")] == [observed]
        assert list_transactions(tx, user_id="alice", transaction_type="anchor_publish") == []
        assert len(list_transactions(tx, chain_id=CHAIN, status="pending")) == 6
        assert list_transactions(tx, chain_id=1) == []


def test_any_attempts_hash_finds_the_transaction(chain_database, chain_rows):
    """Each hash that was ever signed leads to its transaction, whose attempts are in order."""
    number = chain_rows.queue("one")
    hashes = [chain_rows.sign(number), chain_rows.sign(number, attempt=2)]
    with chain_database.transaction() as tx:
        assert [find_transaction(tx, CHAIN, each).id for each in hashes] == [number, number]
        attempts = list_attempts(tx, number)
    assert [attempt.transaction_hash for attempt in attempts] == hashes
    assert [(a.attempt, a.kind, a.raw, a.max_fee_per_gas) for a in attempts] == [
        (1, "send", b"raw", 2),
        (2, "send", b"raw", 2),
    ]


def test_sums_are_exact(chain_database, chain_rows):
    """Counts, gas, fees and USD add up by type and status, with medians where there are any."""
    chain_rows.block(1)
    chain_rows.scan(1)
    for place, price in enumerate((2**70, 2**70 + 1, 3)):
        number = chain_rows.queue(str(place))
        chain_rows.sign(number)
        chain_rows.include(number, 1, gas_used=1, gas_price=price)
        if place < 2:
            chain_rows.finish(number)
    chain_rows.queue("waiting")
    with chain_database.transaction() as tx:
        found = get_transaction_statistics(tx, CHAIN, LONG_AGO)
        assert get_transaction_statistics(tx, None, LONG_AGO) == found
        assert get_transaction_statistics(tx, 1, LONG_AGO) == []
        later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        assert get_transaction_statistics(tx, CHAIN, later) == []
    pending, success = sorted(found, key=lambda row: row.status)
    assert (success.count, success.gas_used, success.fee_wei) == (2, 2, 2**71 + 1)
    cost = chain_rows.run(
        "SELECT sum(cost_usd) FROM tally.blockchain_transactions WHERE state = 'finalized'"
    )
    assert success.cost_usd == cost > 0
    assert success.median_inclusion_seconds is not None
    assert success.median_finality_seconds is not None
    assert (pending.count, pending.fee_wei, pending.cost_usd) == (2, 3, Decimal(0))
    assert pending.median_finality_seconds is None


def test_the_summary_view_says_the_same(chain_database, chain_rows):
    """The view of earlier users has a row for each network, type and status."""
    chain_rows.queue("one")
    chain_rows.observed()
    assert chain_rows.rows(
        "SELECT chain_id, transaction_type, status, tx_count, total_value"
        " FROM tally.v_blockchain_tx_summary ORDER BY transaction_type"
    ) == [(CHAIN, "anchor_publish", "pending", 1, 0), (CHAIN, "payout_claim", "pending", 1, 5)]


def test_events_go_by_block_and_place(chain_database, chain_rows):
    """A contract's events come oldest first over all of its deployments, paged without a gap."""
    for block in (1, 2):
        chain_rows.block(block)
    chain_rows.block(2, mark=1, is_canonical=False)
    chain_rows.scan(2, final=1)
    first = chain_rows.contract()
    chain_rows.run("UPDATE tally.contract_deployments SET is_active = false")
    second = chain_rows.contract(address="0x" + "dd" * 20)
    chain_rows.event(second, 2, 1, "observed")
    chain_rows.event(first, 1, 3, "final")
    chain_rows.event(second, 2, 0, "observed")
    chain_rows.event(second, 2, 0, "orphaned", mark=1)
    with chain_database.transaction() as tx:
        everything = list_events(tx, contract_name="TallyAnchor", chain_id=CHAIN)
        pages, after = [], None
        while page := list_events(
            tx, contract_name="TallyAnchor", chain_id=CHAIN, after=after, limit=1
        ):
            pages += page
            after = EventPlace(page[-1].block_number, page[-1].log_index, page[-1].block_hash)
        final = list_events(tx, contract_name="TallyAnchor", chain_id=CHAIN, state="final")
        named = list_events(tx, contract_name="TallyAnchor", chain_id=CHAIN, event_name="Other")
    assert [(e.block_number, e.log_index, e.block_hash) for e in everything] == [
        (1, 3, hash_of(1001)),
        (2, 0, hash_of(2001)),
        (2, 0, hash_of(2002)),
        (2, 1, hash_of(2001)),
    ]
    assert pages == everything
    assert [event.contract_id for event in everything] == [first, second, second, second]
    assert (final, named) == (everything[:1], [])
    assert everything[0].block_time.tzinfo is not None


def test_a_contract_that_was_never_registered_is_named(chain_database, chain_rows):
    """A name that no contract has is an error; a contract without events is an empty list."""
    chain_rows.contract()
    with chain_database.transaction() as tx:
        assert list_events(tx, contract_name="TallyAnchor", chain_id=CHAIN) == []
        with pytest.raises(UnknownContractError):
            list_events(tx, contract_name="Other", chain_id=CHAIN)
