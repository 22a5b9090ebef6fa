"""
The verifier `signature`: control of a wallet, assurance 1 (identity.md, section 4.5).

Whoever signs holds the key. That says nothing of a person, and `has_valid` does not count it
unless it is asked for assurance 1.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from tallystick.identity.verifiers.challenge import Challenge, ChallengeTerms, Submission
from tallystick.identity.verifiers.control import check_control
from tallystick.identity.verifiers.facts import ChainFacts
from tallystick.identity.verifiers.message import format_sign_in
from tallystick.identity.verifiers.verdict import Verdict, accept, refuse
from tallystick.record import wallet_nullifier


@dataclass(frozen=True, slots=True)
class SignatureVerifier:
    """EIP-4361, signed by EIP-191 or ERC-1271."""

    name: str = field(default="signature", init=False)
    version: int = field(default=1, init=False)
    assurance: int = field(default=1, init=False)
    validity: datetime.timedelta = field(default=datetime.timedelta(hours=24), init=False)

    def challenge_message(self, terms: ChallengeTerms) -> str:
        """The text of a new challenge."""
        return format_sign_in(terms)

    def verify(self, challenge: Challenge, submission: Submission, facts: ChainFacts) -> Verdict:
        """
        Accept where the wallet signed the message.

        Raises:
            Error: A node was to be asked and did not answer.
        """
        control = check_control(challenge, submission, facts)
        if control.refusal is not None:
            return refuse(self, challenge, submission, control.refusal)
        assert challenge.address is not None, "nobody signs for no wallet"
        return accept(
            self,
            challenge,
            submission,
            wallet=challenge.address,
            nullifier=wallet_nullifier(challenge.chain_id, challenge.address),
            signed_by_key=control.signed_by_key,
            measured={"standard": control.standard},
        )
