"""
What a verifier believes before it sees any evidence: a policy, and periods of its keys.

A policy is C2SP tlog-policy text. That format has no key periods, and a line of our own
would make other tools refuse the file: periods are given beside it, in Python or by a trust
file, and keys of a bare policy have none, so that they are good for every size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tallystick.record.errors import MalformedKeyError
from tallystick.record.keys import Ed25519Verifier, verifiers_of
from tallystick.tlog.errors import MalformedPolicyError
from tallystick.tlog.policy import Policy, parse_policy, policy_keys
from tallystick.tlog.tree import TreeSize
from tallystick.verify.errors import UntrustedLogError, UnusablePolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tallystick.tlog.note import VerifierKey
    from tallystick.tlog.policy import PolicyLog


_NO_LEAVES: Final = TreeSize(0)


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """The tree sizes whose checkpoints a log key may sign, both ends included."""

    from_size: TreeSize = _NO_LEAVES
    to_size: TreeSize | None = None
    """None: the key is still in use."""

    def covers(self, size: TreeSize) -> bool:
        """Whether a checkpoint of *size* falls into the period."""
        return self.from_size <= size and (self.to_size is None or size <= self.to_size)


@dataclass(frozen=True, slots=True)
class TrustedPolicy:
    """A policy and the *periods* of its log keys; a key without one is good for every size."""

    policy: Policy
    periods: Mapping[VerifierKey, KeyPeriod] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trust:
    """A policy that can judge: each of its keys is known to be a sound one."""

    policy: Policy
    periods: Mapping[VerifierKey, KeyPeriod]
    verifiers: Mapping[VerifierKey, Ed25519Verifier]

    def log_verifiers(
        self, origin: str, *, covering: TreeSize | None = None
    ) -> list[Ed25519Verifier]:
        """The keys of the log *origin*; with *covering* those whose period has that size."""
        return [
            self.verifiers[log.key]
            for log in self.policy.logs
            if log.key.name == origin
            and (covering is None or self.periods.get(log.key, KeyPeriod()).covers(covering))
        ]

    def witness_verifiers(self) -> list[Ed25519Verifier]:
        """The keys of all witnesses."""
        return [self.verifiers[witness.key] for witness in self.policy.witnesses]

    def log_name(self, origin: str) -> str:
        """
        The name that records of the log *origin* must bear.

        It is the last segment of the path of the URL that the policy gives to the log, and
        without one that of the origin, which Tallystick makes as `<prefix>/<log name>`.

        Raises:
            UntrustedLogError: The policy has no such log.
            UnusablePolicyError: Its lines for *origin* lead to different names.
        """
        names = {_name_of(log.url) or last_segment(origin) for log in self._logs(origin)}
        if not names:
            raise UntrustedLogError(f"the policy knows no log {origin}")
        if len(names) > 1:
            raise UnusablePolicyError(f"the policy gives several log names to {origin}")
        return names.pop()

    def _logs(self, origin: str) -> Iterable[PolicyLog]:
        return (log for log in self.policy.logs if log.key.name == origin)


def read_trust(policy: bytes | Policy | TrustedPolicy) -> Trust:
    """
    The trust that *policy* gives: text, a parsed policy, or one with key periods.

    Raises:
        UnusablePolicyError: The text is malformed, or a key is weak.
    """
    try:
        parsed = parse_policy(policy) if isinstance(policy, bytes) else policy
    except MalformedPolicyError as cause:
        raise UnusablePolicyError(cause.message) from cause
    given = TrustedPolicy(parsed) if isinstance(parsed, Policy) else parsed
    try:
        verifiers = verifiers_of(policy_keys(given.policy))
    except MalformedKeyError as cause:
        raise UnusablePolicyError(cause.message) from cause
    return Trust(given.policy, given.periods, verifiers)


def last_segment(path: str) -> str:
    """What stands after the last slash of *path*, slashes at its end aside."""
    return path.rstrip("/").rpartition("/")[2]


def _name_of(url: bytes | None) -> str:
    """The last segment of the path of *url*; empty without a path."""
    text = (url or b"").decode("utf-8", errors="replace")
    address = text.partition("#")[0].partition("?")[0].partition("://")[2]
    return last_segment(address.partition("/")[2])
