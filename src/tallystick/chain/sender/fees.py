"""
What is offered for gas: suggestions, replacements and their bounds (chain.md, section 4.3.4).

Pure arithmetic on whole wei. A transaction is never offered at more than the network's limit,
nor at more than five times what the chain suggests now: beyond that it waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FEE_HISTORY_BLOCKS: Final = 20
FEE_HISTORY_PERCENTILE: Final = 50
BASE_FEE_HEADROOM: Final = 2
"""The cap lasts for five full blocks in a row, each of which raises the base fee by an eighth."""
MOST_TIMES_SUGGESTION: Final = 5
"""A replacement that others outbid for so long is not a matter of price."""
BUMP_DIVISOR: Final = 10
"""Nodes take a replacement from a tenth more on, in both fees."""


@dataclass(frozen=True, slots=True)
class Fees:
    """What a transaction offers for a unit of gas, in wei."""

    max_fee_per_gas: int
    """The cap: base fee and tip together."""
    max_priority_fee_per_gas: int
    """The tip."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the chain asks now."""

    base_fee: int
    """Of the next block."""
    tip: int

    @property
    def fees(self) -> Fees:
        """The offer that a new transaction makes."""
        return Fees(BASE_FEE_HEADROOM * self.base_fee + self.tip, self.tip)


def suggest(*, base_fee: int, rewards: Sequence[int], min_tip: int) -> Suggestion:
    """
    Return the suggestion: tip is the median of *rewards*, each block's tip at the 50th
    percentile, and at least *min_tip*; of an even number the mean of the middle two, rounded down.
    """
    ordered = sorted(rewards)
    middle = len(ordered) // 2
    if not ordered:
        median = 0
    elif len(ordered) % 2:
        median = ordered[middle]
    else:
        median = (ordered[middle - 1] + ordered[middle]) // 2
    return Suggestion(base_fee=base_fee, tip=max(min_tip, median))


def first_fees(suggestion: Suggestion, *, limit: int) -> Fees | None:
    """
    Return what a first attempt offers; None where it has to wait.

    The suggested cap has room for a base fee that doubles. Where only this room passes *limit*,
    the network's max_fee_per_gas_wei, the cap is the limit; where what a block takes today
    passes it, nothing is offered.
    """
    return within(
        suggestion.fees,
        at_least=suggestion.base_fee + suggestion.tip,
        suggestion=suggestion,
        limit=limit,
    )


def replacement_fees(before: Fees, suggestion: Suggestion, *, limit: int) -> Fees | None:
    """
    Return what replaces *before*: both fees raised, or as suggested where that is higher.

    None where the least that nodes would take passes one of the bounds: then it waits.
    """
    suggested = suggestion.fees
    least = bump(before.max_fee_per_gas)
    raised = Fees(
        max(least, suggested.max_fee_per_gas),
        max(bump(before.max_priority_fee_per_gas), suggested.max_priority_fee_per_gas),
    )
    return within(raised, at_least=least, suggestion=suggestion, limit=limit)


def bump(fee: int) -> int:
    """Return the least fee that replaces *fee*: x + ceil(x / 10) + 1."""
    return fee + -(-fee // BUMP_DIVISOR) + 1


def within(wanted: Fees, *, at_least: int, suggestion: Suggestion, limit: int) -> Fees | None:
    """Return *wanted* with its cap lowered to the bounds, not below *at_least*; else None."""
    suggested = suggestion.fees
    most = min(limit, MOST_TIMES_SUGGESTION * suggested.max_fee_per_gas)
    # Where no tip is asked at all, five times nothing would forbid every replacement.
    most_tip = MOST_TIMES_SUGGESTION * max(1, suggested.max_priority_fee_per_gas)
    cap, tip = min(wanted.max_fee_per_gas, most), wanted.max_priority_fee_per_gas
    if cap < at_least or tip > min(most_tip, cap):
        return None
    return Fees(cap, tip)
