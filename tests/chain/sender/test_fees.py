"""What is offered for gas: suggestions, replacements, and the two caps that nothing passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.chain.sender.fees import (
    Fees,
    Suggestion,
    bump,
    first_fees,
    replacement_fees,
    suggest,
)

GWEI = 10**9
fees = st.integers(min_value=0, max_value=10**15)
suggestions = st.builds(Suggestion, base_fee=fees, tip=fees)


@pytest.mark.parametrize(
    ("fee", "raised"), [(0, 1), (1, 3), (9, 11), (10, 12), (100, 111), (10**9, 1_100_000_001)]
)
def test_a_fee_is_raised_by_a_tenth_rounded_up_and_one(fee, raised):
    """chain 6: A replacement's fee is x + ceil(x / 10) + 1: 1 gives 3, 100 gives 111."""
    assert bump(fee) == raised


@pytest.mark.parametrize(
    ("rewards", "tip"),
    [([], 7), ([100], 100), ([5, 1, 3], 7), ([30, 10, 20], 20), ([10, 21, 20, 40], 20), ([9], 9)],
)
def test_the_tip_is_the_median_of_the_rewards_or_the_minimum(rewards, tip):
    """The tip is the median, of an even number the mean of the middle two, or min_tip_wei."""
    suggestion = suggest(base_fee=50, rewards=rewards, min_tip=7)
    assert suggestion == Suggestion(base_fee=50, tip=tip)
    assert suggestion.fees == Fees(100 + tip, tip)


def test_a_first_offer_gives_up_headroom_and_nothing_else():
    """The cap is lowered to the network's limit as long as it takes what a block takes today."""
    suggestion = Suggestion(base_fee=60 * GWEI, tip=GWEI)
    assert first_fees(suggestion, limit=200 * GWEI) == Fees(121 * GWEI, GWEI)
    assert first_fees(suggestion, limit=100 * GWEI) == Fees(100 * GWEI, GWEI)
    assert first_fees(suggestion, limit=61 * GWEI) == Fees(61 * GWEI, GWEI)
    assert first_fees(suggestion, limit=61 * GWEI - 1) is None


def test_a_replacement_takes_the_new_suggestion_where_that_is_higher():
    """After the base fee rose tenfold the replacement is the suggestion, not a tenth more."""
    before = Fees(21 * GWEI, GWEI)
    suggestion = Suggestion(base_fee=100 * GWEI, tip=2 * GWEI)
    assert replacement_fees(before, suggestion, limit=10**13) == suggestion.fees


@given(before=st.builds(Fees, fees, fees), suggestion=suggestions, limit=fees)
def test_no_replacement_passes_a_cap_or_would_be_refused(before, suggestion, limit):
    """chain 6: A replacement is a tenth more in both fees and passes neither cap, or waits."""
    offer = replacement_fees(before, suggestion, limit=limit)
    if offer is None:
        return
    assert offer.max_fee_per_gas <= limit
    assert offer.max_fee_per_gas <= 5 * suggestion.fees.max_fee_per_gas
    assert offer.max_priority_fee_per_gas <= 5 * max(1, suggestion.tip)
    assert offer.max_priority_fee_per_gas <= offer.max_fee_per_gas
    assert offer.max_fee_per_gas >= bump(before.max_fee_per_gas)
    assert offer.max_priority_fee_per_gas >= bump(before.max_priority_fee_per_gas)


@given(suggestion=suggestions, limit=fees)
def test_no_first_offer_passes_the_limit_or_is_below_the_base_fee(suggestion, limit):
    """chain 6: A first offer is within max_fee_per_gas_wei and pays the next block, or waits."""
    offer = first_fees(suggestion, limit=limit)
    if offer is None:
        assert suggestion.base_fee + suggestion.tip > limit
    else:
        assert suggestion.base_fee + suggestion.tip <= offer.max_fee_per_gas <= limit
        assert offer.max_priority_fee_per_gas == suggestion.tip


@given(suggestion=suggestions)
def test_replacements_in_a_row_come_to_rest(suggestion):
    """chain 6: However often it is replaced, the offer ends below five times the suggestion."""
    offer, count = first_fees(suggestion, limit=10**30), 0
    while offer is not None:
        last, count = offer, count + 1
        offer = replacement_fees(offer, suggestion, limit=10**30)
    assert last.max_fee_per_gas <= 5 * suggestion.fees.max_fee_per_gas
    assert count < 40
