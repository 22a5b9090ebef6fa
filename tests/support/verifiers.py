"""Verifiers that no installation may have."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from tallystick.identity.verifiers import (
    ChainFacts,
    Challenge,
    ChallengeTerms,
    Submission,
    Verdict,
    accept,
    format_sign_in,
    refuse,
)
from tallystick.record import wallet_nullifier

REFUSED = b"refuse"
"""The signature that even this verifier refuses, so that tests can have a refusal."""


@dataclass(frozen=True)
class UnsafeAcceptAllVerifier:
    """Believes everything: for tests of what happens around a verdict."""

    name: str = "unsafe"
    version: int = 1
    assurance: int = 2
    validity: datetime.timedelta = datetime.timedelta(hours=24)

    def challenge_message(self, terms: ChallengeTerms) -> str:
        """The usual text."""
        return format_sign_in(terms)

    def verify(self, challenge: Challenge, submission: Submission, facts: ChainFacts) -> Verdict:
        """Accept anything but the one signature."""
        del facts
        if submission.signature == REFUSED:
            return refuse(self, challenge, submission, "wrong_signer")
        assert challenge.address is not None
        return accept(
            self,
            challenge,
            submission,
            wallet=challenge.address,
            nullifier=wallet_nullifier(challenge.chain_id, challenge.address),
            measured={"wallet": challenge.address},
        )


class NoFacts:
    """A chain that nobody may ask: a test with it shows that no node is needed."""

    def is_valid_signature(self, *_: object):
        """Fail."""
        raise AssertionError("the node was asked for a signature")

    def look_up(self, *_: object):
        """Fail."""
        raise AssertionError("the node was asked for a transaction")

    def nonce_at(self, *_: object):
        """Fail."""
        raise AssertionError("the node was asked for a nonce")


class NoContract(NoFacts):
    """A chain on which no contract stands in any wallet's place."""

    def is_valid_signature(self, *_: object):
        """No contract takes it."""
        return False
