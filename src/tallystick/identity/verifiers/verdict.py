"""
What a verifier found (identity.md, section 4.5): accepted with measured facts, or refused by code.

A verdict belongs to one submission of one challenge, and only `submit` makes it count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from tallystick.identity.verifiers.challenge import Challenge, ChallengeId, Submission
from tallystick.record import Address, ChainId, TransactionHash, wallet_nullifier

if TYPE_CHECKING:
    from tallystick.identity.verifiers.verifier import HumanProofVerifier

WRONG_SIGNER: Final = "wrong_signer"
"""Neither the wallet's key nor the contract in its place stands behind the signature."""
WRONG_MESSAGE: Final = "wrong_message"
"""What was signed is another text, or one for a wallet that the user no longer has."""
HIGH_S: Final = "high_s"
"""The signature's second spelling, which anybody can make of the first."""
NOT_FINALIZED: Final = "not_finalized"
"""A transaction that no final block holds yet."""
NOT_THE_WALLET: Final = "not_the_wallet"
"""A transaction that somebody else sent."""
NONCES_NOT_CONTIGUOUS: Final = "nonces_not_contiguous"
"""The transactions are not the wallet's last ones without a gap."""
SPAN_TOO_SHORT: Final = "span_too_short"
"""Too little time lies between first and last."""
TOO_REGULAR: Final = "too_regular"
"""The intervals are as even as a machine's."""
TOO_FEW_RECIPIENTS: Final = "too_few_recipients"
"""They go to the same few."""
SCORE_TOO_LOW: Final = "score_too_low"
"""Every rule is met, and all together are not enough."""
NULLIFIER_TAKEN: Final = "nullifier_taken"
"""The wallet belongs to a proof of another user."""
NODE_DISAGREES: Final = "node_disagrees"
"""The node contradicts itself."""

REFUSAL_CODES: Final = (
    WRONG_SIGNER,
    WRONG_MESSAGE,
    HIGH_S,
    NOT_FINALIZED,
    NOT_THE_WALLET,
    NONCES_NOT_CONTIGUOUS,
    SPAN_TOO_SHORT,
    TOO_REGULAR,
    TOO_FEW_RECIPIENTS,
    SCORE_TOO_LOW,
    NULLIFIER_TAKEN,
    NODE_DISAGREES,
)
"""Every code that the built-in verifiers and the database refuse with."""

FULL_SCORE: Final = Decimal("1.000")
EVERY_CHAIN: Final = ChainId(0)
"""No chain's id: in a nullifier it says that the wallet is the same one on all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The finding of one verifier on one submission; *code* is None where it is accepted."""

    challenge_id: ChallengeId
    submission_sha256: bytes
    verifier: str
    verifier_version: int
    code: str | None = None
    score: Decimal | None = None
    wallet: Address | None = None
    """The wallet that it is about; it counts only while that is the user's."""
    nullifier: bytes | None = field(default=None, repr=False)
    signed_by_key: bool = False
    """Whether the wallet's own key signed: it is then its user's on every chain, for ever."""
    verifier_address: Address | None = None
    """The contract that verified, where one did."""
    tx_hash: TransactionHash | None = None
    """The transaction in which it did."""
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_accepted(self) -> bool:
        """Whether nothing was found against it."""
        return self.code is None

    @property
    def wallet_nullifier(self) -> bytes | None:
        """What stands for the wallet on every chain, at every verifier; None where it is none."""
        return None if self.wallet is None else wallet_nullifier(EVERY_CHAIN, self.wallet)


def accept(
    verifier: HumanProofVerifier,
    challenge: Challenge,
    submission: Submission,
    *,
    score: Decimal = FULL_SCORE,
    wallet: Address | None,
    nullifier: bytes | None,
    signed_by_key: bool = False,
    verifier_address: Address | None = None,
    tx_hash: TransactionHash | None = None,
    measured: Mapping[str, Any],
) -> Verdict:
    """
    The verdict that *submission* is a proof; *measured* is what the verifier itself found, and
    *wallet*, where it is about one, is kept beside it. Say *signed_by_key* where an EIP-191
    signature of the wallet was checked.
    """
    return Verdict(
        challenge_id=challenge.challenge_id,
        submission_sha256=submission.sha256(),
        verifier=verifier.name,
        verifier_version=verifier.version,
        score=score,
        wallet=wallet,
        nullifier=nullifier,
        signed_by_key=signed_by_key,
        verifier_address=verifier_address,
        tx_hash=tx_hash,
        measured={**measured, **({} if wallet is None else {"wallet": wallet})},
    )


def refuse(
    verifier: HumanProofVerifier, challenge: Challenge, submission: Submission, code: str
) -> Verdict:
    """The verdict that *submission* is none, because of *code*."""
    return Verdict(
        challenge_id=challenge.challenge_id,
        submission_sha256=submission.sha256(),
        verifier=verifier.name,
        verifier_version=verifier.version,
        code=code,
    )
