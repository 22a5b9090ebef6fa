"""
The verifier `behaviour`: how a wallet was used, assurance 2 (identity.md, section 4.5).

The wallet names its last 10 to 100 transactions, all of them final. What they look like is
read from the node; integers alone decide, so that every machine finds the same score. It
raises the cost of many accounts, and proves no person.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from tallystick.identity.verifiers.challenge import (
    MAX_TRANSACTIONS,
    Challenge,
    ChallengeTerms,
    Submission,
    invalid,
)
from tallystick.identity.verifiers.control import check_control
from tallystick.identity.verifiers.facts import ChainFacts, SeenTransaction
from tallystick.identity.verifiers.message import format_sign_in
from tallystick.identity.verifiers.verdict import (
    NODE_DISAGREES,
    NONCES_NOT_CONTIGUOUS,
    NOT_FINALIZED,
    NOT_THE_WALLET,
    SCORE_TOO_LOW,
    SPAN_TOO_SHORT,
    TOO_FEW_RECIPIENTS,
    TOO_REGULAR,
    Verdict,
    accept,
    refuse,
)
from tallystick.record import Address, ChainId, TransactionHash, wallet_nullifier

MIN_TRANSACTIONS: Final = 10
MIN_SPAN_SECONDS: Final = 7 * 86400
MIN_INTERVAL_CV: Final = 300
"""Thousandths. A script that waits the same time each day stays far below."""
MIN_RECIPIENTS: Final = 3
MIN_SCORE: Final = 700
"""Thousandths."""

WHOLE: Final = 1000
"""One, in the thousandths to which every ratio is cut."""
WEIGHT_OF_NUMBER: Final = 200
WEIGHT_OF_INTERVALS: Final = 350
WEIGHT_OF_GAS: Final = 200
WEIGHT_OF_RECIPIENTS: Final = 250
FULL_NUMBER: Final = 40
"""So many above the least count in full."""
FULL_RECIPIENTS: Final = 8
"""So many above two count in full."""
LOOKS_AT_ONCE: Final = 8
"""A hundred answers of a public node, one by one, would take a client's patience."""


@dataclass(frozen=True, slots=True)
class Use:
    """One transaction, as far as it matters here."""

    transaction_hash: TransactionHash
    nonce: int
    block_number: int
    time_seconds: int
    recipient: str | None
    gas_used: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stretch of transactions shows; ratios in thousandths, cut."""

    transactions: int
    first_nonce: int
    last_nonce: int
    first_block: int
    last_block: int
    span_seconds: int
    interval_cv: int
    gas_cv: int
    gas_ratio: int
    """The same divided by one half, before it was cut."""
    recipients: int

    @property
    def score(self) -> int:
        """Thousandths, 0 to 1000 (section 4.5, rule 4)."""
        number = min(WHOLE, WHOLE * (self.transactions - MIN_TRANSACTIONS) // FULL_NUMBER)
        recipients = min(WHOLE, WHOLE * (self.recipients - 2) // FULL_RECIPIENTS)
        weighed = (
            WEIGHT_OF_NUMBER * number
            + WEIGHT_OF_INTERVALS * min(WHOLE, self.interval_cv)
            + WEIGHT_OF_GAS * min(WHOLE, self.gas_ratio)
            + WEIGHT_OF_RECIPIENTS * recipients
        )
        return weighed // WHOLE

    def facts(self) -> dict[str, Any]:
        """What the proof keeps of it: numbers, and ratios as decimal text."""
        return {
            "transactions": self.transactions,
            "first_nonce": self.first_nonce,
            "last_nonce": self.last_nonce,
            "first_block": self.first_block,
            "last_block": self.last_block,
            "span_seconds": self.span_seconds,
            "interval_cv": str(thousandths(self.interval_cv)),
            "gas_cv": str(thousandths(self.gas_cv)),
            "recipients": self.recipients,
        }


@dataclass(frozen=True, slots=True)
class BehaviourVerifier:
    """The signature of `signature`, and the wallet's last 10 to 100 transactions."""

    name: str = field(default="behaviour", init=False)
    version: int = field(default=1, init=False)
    assurance: int = field(default=2, init=False)
    validity: datetime.timedelta = field(default=datetime.timedelta(hours=24), init=False)

    def challenge_message(self, terms: ChallengeTerms) -> str:
        """The text of a new challenge."""
        return format_sign_in(terms)

    def verify(self, challenge: Challenge, submission: Submission, facts: ChainFacts) -> Verdict:
        """
        Accept where the wallet signed and its last transactions meet every rule.

        Raises:
            InvalidValueError: There are fewer than 10 transactions, or more than 100.
            Error: The node did not answer.
        """
        if not MIN_TRANSACTIONS <= len(submission.transactions) <= MAX_TRANSACTIONS:
            raise invalid("transactions", f"{MIN_TRANSACTIONS} to {MAX_TRANSACTIONS} hashes")
        control = check_control(challenge, submission, facts)
        if control.refusal is not None:
            return refuse(self, challenge, submission, control.refusal)
        assert challenge.address is not None, "nobody signs for no wallet"
        uses, code = read_uses(
            challenge.chain_id, challenge.address, submission.transactions, facts
        )
        if code is not None:
            return refuse(self, challenge, submission, code)
        measured = measure(uses)
        code = refuse_measured(measured)
        if code is not None:
            return refuse(self, challenge, submission, code)
        return accept(
            self,
            challenge,
            submission,
            score=thousandths(measured.score),
            wallet=challenge.address,
            nullifier=wallet_nullifier(challenge.chain_id, challenge.address),
            signed_by_key=control.signed_by_key,
            measured={
                "standard": control.standard,
                "last_transaction": uses[-1].transaction_hash,
                **measured.facts(),
            },
        )


def read_uses(
    chain_id: ChainId,
    address: Address,
    hashes: Sequence[TransactionHash],
    facts: ChainFacts,
) -> tuple[list[Use], str | None]:
    """
    Return the transactions in the order of their nonces, or the code they are refused with.

    Raises:
        Error: The node did not answer.
    """
    # The final nonce first: what is final now stays so while the transactions are read, and
    # one that becomes final meanwhile makes the stretch no longer than it was.
    final_nonce = facts.nonce_at(chain_id, address, "finalized")
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as threads:
        found = list(threads.map(lambda one: facts.look_up(chain_id, one), hashes))
    uses: list[Use] = []
    for transaction_hash, seen in zip(hashes, found, strict=True):
        if seen is None:
            return [], NOT_FINALIZED
        if seen.transaction_hash != transaction_hash or seen.chain_id != chain_id:
            return [], NODE_DISAGREES
        if seen.from_address != address:
            return [], NOT_THE_WALLET
        if seen.block_number is None:
            return [], NOT_FINALIZED
        use = read_use(seen)
        if use is None:
            return [], NODE_DISAGREES
        uses.append(use)
    uses.sort(key=lambda use: use.nonce)
    return uses, refuse_order(uses, final_nonce=final_nonce)


def read_use(seen: SeenTransaction) -> Use | None:
    """Return a mined transaction; None where the node left out what each of them has."""
    if seen.block_number is None or seen.block_time is None or seen.gas_used is None:
        return None
    return Use(
        transaction_hash=TransactionHash(seen.transaction_hash),
        nonce=seen.nonce,
        block_number=seen.block_number,
        time_seconds=int(seen.block_time.timestamp()),
        recipient=seen.to_address,
        gas_used=seen.gas_used,
    )


def refuse_order(uses: Sequence[Use], *, final_nonce: int) -> str | None:
    """Return why these, in the order of their nonces, are not the wallet's last final ones."""
    if uses[-1].nonce >= final_nonce:
        return NOT_FINALIZED
    expected = range(final_nonce - len(uses), final_nonce)
    if [use.nonce for use in uses] != list(expected):
        return NONCES_NOT_CONTIGUOUS
    pairs = itertools.pairwise(uses)
    if any(b.block_number < a.block_number or b.time_seconds < a.time_seconds for a, b in pairs):
        return NODE_DISAGREES
    return None


def measure(uses: Sequence[Use]) -> Measured:
    """Measure transactions that stand in the order of their nonces."""
    intervals = [b.time_seconds - a.time_seconds for a, b in itertools.pairwise(uses)]
    gas = [use.gas_used for use in uses]
    # A transaction that makes a contract goes to nobody.
    recipients = {use.recipient for use in uses if use.recipient is not None}
    return Measured(
        transactions=len(uses),
        first_nonce=uses[0].nonce,
        last_nonce=uses[-1].nonce,
        first_block=uses[0].block_number,
        last_block=uses[-1].block_number,
        span_seconds=sum(intervals),
        interval_cv=cut_variation(intervals, parts=WHOLE),
        gas_cv=cut_variation(gas, parts=WHOLE),
        gas_ratio=cut_variation(gas, parts=2 * WHOLE),
        recipients=len(recipients),
    )


def refuse_measured(measured: Measured) -> str | None:
    """Return the first rule of 3 and 4 that the measured stretch breaks."""
    if measured.span_seconds < MIN_SPAN_SECONDS:
        return SPAN_TOO_SHORT
    if measured.interval_cv < MIN_INTERVAL_CV:
        return TOO_REGULAR
    if measured.recipients < MIN_RECIPIENTS:
        return TOO_FEW_RECIPIENTS
    if measured.score < MIN_SCORE:
        return SCORE_TOO_LOW
    return None


def cut_variation(values: Sequence[int], *, parts: int) -> int:
    """
    Return the coefficient of variation in *parts* of one, cut to an integer.

    It is the population's standard deviation over the mean: with n values of sum S and sum of
    squares Q, the root of (nQ - S^2) / S^2. Values that sum to zero do not vary.
    """
    total = sum(values)
    if total == 0:
        return 0
    spread = len(values) * sum(value * value for value in values) - total * total
    # The root of a cut number, cut, is the root of the number, cut.
    return math.isqrt(parts * parts * spread // (total * total))


def thousandths(number: int) -> Decimal:
    """Return *number* thousandths as an exact decimal: 300 is 0.300."""
    return Decimal(number).scaleb(-3)
