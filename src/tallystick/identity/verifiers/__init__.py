"""Verifiers of human proofs, and what they ask of a chain (identity.md, sections 4.5 and 5.1)."""

from tallystick.identity.verifiers.behaviour import BehaviourVerifier
from tallystick.identity.verifiers.challenge import (
    Challenge,
    ChallengeId,
    ChallengeTerms,
    Submission,
    parse_submission,
)
from tallystick.identity.verifiers.control import Control, check_control
from tallystick.identity.verifiers.facts import ChainFacts, SeenTransaction
from tallystick.identity.verifiers.message import format_sign_in
from tallystick.identity.verifiers.signature import SignatureVerifier
from tallystick.identity.verifiers.verdict import REFUSAL_CODES, Verdict, accept, refuse
from tallystick.identity.verifiers.verifier import (
    GROUP,
    NO_VERIFIERS,
    HumanProofVerifier,
    Verifiers,
    get_verifier,
    load_verifiers,
)

__all__ = [
    "GROUP",
    "NO_VERIFIERS",
    "REFUSAL_CODES",
    "BehaviourVerifier",
    "ChainFacts",
    "Challenge",
    "ChallengeId",
    "ChallengeTerms",
    "Control",
    "HumanProofVerifier",
    "SeenTransaction",
    "SignatureVerifier",
    "Submission",
    "Verdict",
    "Verifiers",
    "accept",
    "check_control",
    "format_sign_in",
    "get_verifier",
    "load_verifiers",
    "parse_submission",
    "refuse",
]
