"""What a stretch of transactions shows, in integers (identity.md, section 4.5, rules 1 to 4)."""

from __future__ import annotations

import datetime
import math
import statistics
import types
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.identity.errors import InvalidValueError
from tallystick.identity.verifiers import BehaviourVerifier, SeenTransaction, Submission
from tallystick.identity.verifiers.behaviour import (
    Measured,
    Use,
    cut_variation,
    measure,
    refuse_measured,
    refuse_order,
    thousandths,
)
from tests.identity.verifiers.test_control import CHALLENGE, GOOD
from tests.support.verifiers import NoFacts

DAY = 86400
MIDNIGHT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def use(nonce: int, **changes: object) -> Use:
    """A transaction of a wallet, one a day."""
    values = {
        "transaction_hash": f"0x{nonce:064x}",
        "nonce": nonce,
        "block_number": 100 + nonce,
        "time_seconds": nonce * DAY,
        "recipient": f"0x{nonce % 5:040x}",
        "gas_used": 21000,
        **changes,
    }
    return Use(**values)


def measured(**changes: int) -> Measured:
    """A stretch that is accepted."""
    values = {
        "transactions": 50,
        "first_nonce": 0,
        "last_nonce": 49,
        "first_block": 1,
        "last_block": 99,
        "span_seconds": 7 * DAY,
        "interval_cv": 1000,
        "gas_cv": 500,
        "gas_ratio": 1000,
        "recipients": 10,
        **changes,
    }
    return Measured(**values)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=100), st.sampled_from([1000, 2000]))
def test_variation_is_the_reference_cut(values, parts):
    """The integer root is the exact population deviation over the mean, cut, never rounded."""
    total = sum(values)
    expected = 0
    if total:
        mean = Fraction(total, len(values))
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        expected = math.isqrt(math.floor(parts**2 * variance / mean**2))
        assert math.isclose(
            statistics.pstdev(values) / float(mean), expected / parts, abs_tol=1.0001 / parts
        )
    assert cut_variation(values, parts=parts) == expected


def test_the_best_stretch_scores_one():
    """Fifty transactions, varied in time, gas and recipients, have the full score."""
    assert measured().score == 1000
    assert refuse_measured(measured()) is None


@pytest.mark.parametrize(
    ("changes", "score"),
    [
        ({"transactions": 10}, 800),
        ({"transactions": 30}, 900),
        ({"transactions": 11}, 805),
        ({"transactions": 100}, 1000),
        ({"interval_cv": 300}, 755),
        ({"interval_cv": 2500}, 1000),
        ({"gas_ratio": 0}, 800),
        ({"gas_ratio": 500}, 900),
        ({"recipients": 3}, 781),
        ({"recipients": 6}, 875),
        ({"recipients": 99}, 1000),
    ],
)
def test_each_part_has_its_weight(changes, score):
    """identity 16: rule 4: .20 number, .35 intervals, .20 gas, .25 recipients, each ratio cut."""
    assert measured(**changes).score == score


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"span_seconds": 7 * DAY - 1}, "span_too_short"),
        ({"interval_cv": 299}, "too_regular"),
        ({"recipients": 2}, "too_few_recipients"),
        # 200 * 0 + 350 * 1000 + 200 * 499 + 250 * 1000, and one thousandth of gas more.
        ({"transactions": 10, "gas_ratio": 499}, "score_too_low"),
        ({"transactions": 10, "gas_ratio": 500}, None),
    ],
)
def test_each_rule_refuses_at_its_edge(changes, code):
    """identity 16: rules 3 and 4 refuse one unit below their bounds."""
    assert refuse_measured(measured(**changes)) == code


@pytest.mark.parametrize(
    ("nonces", "final_nonce", "code"),
    [
        (range(5, 15), 15, None),
        (range(5, 15), 14, "not_finalized"),
        (range(5, 15), 16, "nonces_not_contiguous"),
        ([5, *range(7, 16)], 16, "nonces_not_contiguous"),
        ([5, 5, *range(6, 14)], 14, "nonces_not_contiguous"),
        (range(10), 10, None),
    ],
)
def test_nobody_chooses_a_good_stretch(nonces, final_nonce, code):
    """identity 16: rule 2: the nonces are the last final ones without gap or double."""
    assert refuse_order([use(nonce) for nonce in nonces], final_nonce=final_nonce) == code


@pytest.mark.parametrize("changes", [{"block_number": 1}, {"time_seconds": 1}])
def test_a_chain_does_not_run_backwards(changes):
    """identity 16: rule 2: a later nonce in an earlier block is no answer of an honest node."""
    uses = [use(nonce) for nonce in range(5, 14)] + [use(14, **changes)]
    assert refuse_order(uses, final_nonce=15) == "node_disagrees"


def test_what_is_measured():
    """Span, variation and recipients are the stretch's; a contract's birth goes to nobody."""
    uses = [use(nonce) for nonce in range(10)]
    uses[9] = use(9, recipient=None, time_seconds=20 * DAY, gas_used=42000)
    found = measure(uses)
    assert (found.transactions, found.first_nonce, found.last_nonce) == (10, 0, 9)
    assert (found.first_block, found.last_block) == (100, 109)
    assert (found.span_seconds, found.recipients) == (20 * DAY, 5)
    intervals = [DAY] * 8 + [12 * DAY]
    variation = statistics.pstdev(intervals) / statistics.fmean(intervals)
    assert found.interval_cv == math.floor(1000 * variation)
    assert found.facts()["interval_cv"] == str(thousandths(found.interval_cv))
    assert thousandths(300) == Decimal("0.300")


@pytest.mark.parametrize("count", [0, 9, 101])
def test_too_few_or_too_many_transactions(count):
    """Ten to a hundred transactions are read; otherwise no node is asked and no attempt spent."""
    submission = Submission(GOOD, tuple(f"0x{n:064x}" for n in range(count)))
    with pytest.raises(InvalidValueError) as raised:
        BehaviourVerifier().verify(CHALLENGE, submission, NoFacts())
    assert raised.value.field == "transactions"


class TellingNode:
    """A node that tells ten good transactions of the wallet, but for what a test changes."""

    def __init__(self, **lie: object) -> None:
        self.lie = lie

    def nonce_at(self, *_: object) -> int:
        """Ten transactions are final."""
        return 10

    def look_up(self, chain_id: int, transaction_hash: str) -> SeenTransaction:
        """The transaction with the nonce that its hash is; the last one is the lie."""
        nonce = int(transaction_hash, 16)
        told = {
            "chain_id": chain_id,
            "transaction_hash": transaction_hash,
            "from_address": CHALLENGE.address,
            "to_address": f"0x{nonce:040x}",
            "nonce": nonce,
            "block_number": 100 + nonce,
            "block_time": MIDNIGHT + datetime.timedelta(days=nonce**4),
            "gas_used": 21000 + 90000 * (nonce % 2),
        }
        return types.SimpleNamespace(**(told | (self.lie if nonce == 9 else {})))


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({}, None),
        ({"transaction_hash": "0x" + "ab" * 32}, "node_disagrees"),
        ({"chain_id": 2}, "node_disagrees"),
        ({"block_time": None}, "node_disagrees"),
        ({"gas_used": None}, "node_disagrees"),
        ({"block_number": 1}, "node_disagrees"),
        ({"block_number": None}, "not_finalized"),
        ({"from_address": "0x" + "ab" * 20}, "not_the_wallet"),
        ({"nonce": 10}, "not_finalized"),
        ({"nonce": 8}, "nonces_not_contiguous"),
    ],
)
def test_a_node_that_contradicts_itself_is_not_believed(lie, code):
    """identity 16: answers that do not fit what was asked, or each other, prove nothing."""
    submission = Submission(GOOD, tuple(f"0x{nonce:064x}" for nonce in range(10)))
    verdict = BehaviourVerifier().verify(CHALLENGE, submission, TellingNode(**lie))
    assert verdict.code == code
