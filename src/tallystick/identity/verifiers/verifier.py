"""
Verifiers: who decides what counts as a proof, and whom the operator named (identity.md, 4.5).

A package offers verifiers in the entry-point group `tallystick.human_verifiers`. None of them
counts before the setting `identity_verifiers` names it, the built-in ones included.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

from tallystick.identity.errors import InvalidValueError, UnknownVerifierError
from tallystick.identity.verifiers.challenge import Challenge, ChallengeTerms, Submission
from tallystick.identity.verifiers.facts import ChainFacts
from tallystick.identity.verifiers.verdict import Verdict

GROUP: Final = "tallystick.human_verifiers"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
EVERY_VERIFIER: Final = "wallet"
"""Nobody's name: under it a wallet whose own key signed is one user's at all verifiers."""
ASSURANCES: Final = range(1, 4)
SHORTEST_VALIDITY: Final = datetime.timedelta(hours=1)
LONGEST_VALIDITY: Final = datetime.timedelta(days=365)


class HumanProofVerifier(Protocol):
    """What decides on submissions; it holds no state and may run in any thread."""

    @property
    def name(self) -> str:
        """The name of its entry point: lower-case letters, digits and underscores."""
        ...

    @property
    def version(self) -> int:
        """From 1; a change of what it accepts is another version."""
        ...

    @property
    def assurance(self) -> int:
        """1: control of the wallet; 2: behaviour; 3: evidence from elsewhere."""
        ...

    @property
    def validity(self) -> datetime.timedelta:
        """For how long its proofs count, 1 hour to 365 days."""
        ...

    def challenge_message(self, terms: ChallengeTerms) -> str:
        """The text of a new challenge; what is signed is exactly this."""
        ...

    def verify(self, challenge: Challenge, submission: Submission, facts: ChainFacts) -> Verdict:
        """
        The verdict, made by `accept` or `refuse`; no transaction is open meanwhile.

        Raises:
            InvalidValueError: The submission lacks what this verifier needs; no attempt is spent.
            Error: A fact that it needs cannot be had; no attempt is spent.
        """
        ...


Verifiers = Mapping[str, HumanProofVerifier]
"""The verifiers that the operator named, by name."""

NO_VERIFIERS: Final[Verifiers] = MappingProxyType({})
"""What an installation has that was told nothing: nothing is accepted."""


def load_verifiers(names: Iterable[str]) -> Verifiers:
    """
    Return the installed verifiers called *names*.

    Raises:
        UnknownVerifierError: No installed package offers one of them; it is named.
        InvalidValueError: What is offered breaks the bounds of a verifier.
    """
    found = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    named: dict[str, HumanProofVerifier] = {}
    for name in names:
        if name not in found:
            raise UnknownVerifierError(f"no installed package offers a verifier {name!r}")
        named[name] = check_verifier(name, found[name].load()())
    return MappingProxyType(named)


def get_verifier(verifiers: Verifiers, name: str) -> HumanProofVerifier:
    """
    Return the verifier called *name*.

    Raises:
        UnknownVerifierError: The operator has not named it.
    """
    if name not in verifiers:
        raise UnknownVerifierError(f"no verifier {name[:63]!r} is named in identity_verifiers")
    return verifiers[name]


def check_verifier(name: str, verifier: HumanProofVerifier) -> HumanProofVerifier:
    """
    Return *verifier*, whose entry point is called *name*.

    Raises:
        InvalidValueError: Name, version, assurance or validity is outside of its bounds.
    """
    broken = {
        "name": (verifier.name != name or NAME.fullmatch(name) is None or name == EVERY_VERIFIER),
        "version": verifier.version < 1,
        "assurance": verifier.assurance not in ASSURANCES,
        "validity": not SHORTEST_VALIDITY <= verifier.validity <= LONGEST_VALIDITY,
    }
    for field, is_broken in broken.items():
        if is_broken:
            message = f"the {field} of the verifier {name} is out of bounds"
            raise InvalidValueError(message, evidence={"field": field})
    return verifier
