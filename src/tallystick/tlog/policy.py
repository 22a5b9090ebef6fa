"""
Trust policies: which logs are believed, and which witnesses must have cosigned.

Follows C2SP tlog-policy. A policy is octets, not text: names are compared byte for byte,
whatever they mean in Unicode. Keys of logs are of type 0x01 and those of witnesses of type
0x04; a policy with others is refused rather than read as one with fewer witnesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.tlog.checkpoint import Checkpoint, parse_checkpoint
from tallystick.tlog.cosignature import Cosignature, check_cosignatures
from tallystick.tlog.encoding import parse_decimal
from tallystick.tlog.errors import (
    MalformedNoteError,
    MalformedPolicyError,
    QuorumError,
    UnverifiedNoteError,
)
from tallystick.tlog.note import (
    ALGORITHM_COSIGNATURE,
    ALGORITHM_ED25519,
    Note,
    Verifier,
    VerifierKey,
    check_note,
    format_verifier_key,
    parse_verifier_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_POLICY_BYTES: Final = 1_000_000
"""A thousand lines of keys and comments fit many times over."""
MAX_POLICY_ITEMS: Final = 1024
"""For each of logs, witnesses and groups; tlog-policy asks for at least 32."""

_NONE: Final = b"none"
_ALLOWED: Final = frozenset([0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)])


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that the policy believes; the key's name is the log's origin."""

    key: VerifierKey
    url: bytes | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness under the name that only the policy knows."""

    name: bytes
    key: VerifierKey
    url: bytes | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """A group that witnesses what at least *threshold* of its *members* witness."""

    name: bytes
    threshold: int
    members: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """Logs, witnesses and groups, in the order of their lines; *quorum* None asks for nobody."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: bytes | None


@dataclass(frozen=True, slots=True)
class TrustedCheckpoint:
    """A checkpoint that a policy accepted, and the cosignatures that it could verify."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]


def parse_policy(data: bytes) -> Policy:
    """
    The policy that *data* spells.

    Raises:
        MalformedPolicyError: Any departure from tlog-policy; the message names the line.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise MalformedPolicyError(f"the policy has {len(data)} bytes, over {MAX_POLICY_BYTES}")
    if not _ALLOWED.issuperset(data):
        raise MalformedPolicyError("the policy has a control character")
    if data and not data.endswith(b"\n"):
        raise MalformedPolicyError("the policy's last line does not end in a newline")
    draft = _Draft()
    for number, line in enumerate(data.split(b"\n"), start=1):
        # Whitespace is space and tab only; nothing else that Python would strip can be here.
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            draft.read(words)
        except (MalformedPolicyError, MalformedNoteError) as cause:
            raise MalformedPolicyError(f"line {number}: {cause.message}") from cause
    return draft.finish()


def format_policy(policy: Policy) -> bytes:
    """
    The policy file of *policy*: logs, witnesses, groups, quorum, a line each.

    Raises:
        MalformedPolicyError: *policy* cannot be written so that it parses as itself.
    """
    lines = [[b"log", _spell(log.key), log.url] for log in policy.logs]
    lines += [[b"witness", one.name, _spell(one.key), one.url] for one in policy.witnesses]
    lines += [
        [b"group", group.name, str(group.threshold).encode(), *group.members]
        for group in policy.groups
    ]
    lines.append([b"quorum", _NONE if policy.quorum is None else policy.quorum])
    data = b"".join(b" ".join(word for word in line if word is not None) + b"\n" for line in lines)
    if parse_policy(data) != policy:
        raise MalformedPolicyError("the policy does not parse as itself")
    return data


def check_policy(
    policy: Policy, note: Note, verifiers: Mapping[VerifierKey, Verifier]
) -> TrustedCheckpoint:
    """
    Check that a log of *policy* signed the checkpoint *note* and its quorum cosigned it.

    *verifiers* holds a verifier for every key of the policy (`policy_keys`), made beforehand so
    that a key which is no point of the curve is found when the policy is read.

    Raises:
        MalformedCheckpointError: The note's text is not a checkpoint.
        MalformedNoteError: A known witness's line cannot be a cosignature.
        UnverifiedNoteError: No log of the policy with the checkpoint's origin signed it, or
            a signature of a known key is false.
        QuorumError: Too few witnesses cosigned; `expected` is the quorum's name, `actual`
            the names of the witnesses that did.
    """
    checkpoint = parse_checkpoint(note.text)
    # A log may not speak for another: only keys of this origin count.
    origin_keys = [log.key for log in policy.logs if log.key.name == checkpoint.origin]
    if not origin_keys:
        raise UnverifiedNoteError(
            f"the policy knows no log {checkpoint.origin}",
            expected=tuple(log.key.name for log in policy.logs),
            actual=checkpoint.origin,
        )
    check_note(note, [verifiers[key] for key in origin_keys])
    witness_keys = [verifiers[witness.key] for witness in policy.witnesses]
    cosignatures = check_cosignatures(note, witness_keys)
    check_quorum(policy, cosignatures)
    return TrustedCheckpoint(checkpoint, cosignatures)


def check_quorum(policy: Policy, cosignatures: Iterable[Cosignature]) -> None:
    """
    Check that the *verified* cosignatures given make the quorum of *policy*.

    Raises:
        QuorumError: They do not.
    """
    keys = {(cosignature.name, cosignature.key_id) for cosignature in cosignatures}
    witnessed = {
        witness.name
        for witness in policy.witnesses
        if (witness.key.name, witness.key.key_id) in keys
    }
    cosigned = tuple(sorted(witnessed))
    # Groups name only what stands before them, so that one pass settles all.
    for group in policy.groups:
        if len(witnessed.intersection(group.members)) >= group.threshold:
            witnessed.add(group.name)
    if policy.quorum is not None and policy.quorum not in witnessed:
        raise QuorumError(expected=policy.quorum, actual=cosigned)


def policy_keys(policy: Policy) -> list[VerifierKey]:
    """Every key that *policy* names, logs first."""
    return [log.key for log in policy.logs] + [witness.key for witness in policy.witnesses]


class _Draft:
    """A policy of which some lines have been read."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorums: list[bytes] = []
        self.names: set[bytes] = set()
        self.members: set[bytes] = set()
        self.log_keys: set[bytes] = set()
        self.witness_keys: set[bytes] = set()

    def read(self, words: list[bytes]) -> None:
        match words:
            case [b"log", vkey, *url] if len(url) <= 1:
                self._read_log(vkey, *url)
            case [b"witness", name, vkey, *url] if len(url) <= 1:
                self._read_witness(name, vkey, *url)
            case [b"group", name, threshold, *members]:
                self._read_group(name, threshold, members)
            case [b"quorum", name]:
                self._read_quorum(name)
            case _:
                raise MalformedPolicyError("not a log, witness, group or quorum line")

    def finish(self) -> Policy:
        if len(self.quorums) != 1:
            raise MalformedPolicyError("a policy has exactly one quorum line")
        quorum = self.quorums[0]
        return Policy(
            logs=tuple(self.logs),
            witnesses=tuple(self.witnesses),
            groups=tuple(self.groups),
            quorum=None if quorum == _NONE else quorum,
        )

    def _read_log(self, vkey: bytes, url: bytes | None = None) -> None:
        key = _parse_key(vkey, algorithm=ALGORITHM_ED25519, seen=self.log_keys)
        self.logs.append(PolicyLog(key, url))
        _check_items(len(self.logs))

    def _read_witness(self, name: bytes, vkey: bytes, url: bytes | None = None) -> None:
        self._define(name)
        key = _parse_key(vkey, algorithm=ALGORITHM_COSIGNATURE, seen=self.witness_keys)
        self.witnesses.append(PolicyWitness(name, key, url))
        _check_items(len(self.witnesses))

    def _read_group(self, name: bytes, threshold: bytes, members: list[bytes]) -> None:
        for member in members:
            if member not in self.names:
                raise MalformedPolicyError("a group has a member that is not defined before it")
            # Once in all groups together, else one witness could count twice.
            if member in self.members:
                raise MalformedPolicyError("a member is listed twice")
            self.members.add(member)
        needed = _parse_threshold(threshold, count=len(members))
        self._define(name)
        self.groups.append(PolicyGroup(name, needed, tuple(members)))
        _check_items(len(self.groups))

    def _read_quorum(self, name: bytes) -> None:
        if name != _NONE and name not in self.names:
            raise MalformedPolicyError("the quorum is not defined before it")
        self.quorums.append(name)

    def _define(self, name: bytes) -> None:
        if name == _NONE or name in self.names:
            raise MalformedPolicyError("a name is defined twice, or is none")
        self.names.add(name)


def _spell(key: VerifierKey) -> bytes:
    return format_verifier_key(key).encode()


def _parse_key(vkey: bytes, *, algorithm: int, seen: set[bytes]) -> VerifierKey:
    try:
        key = parse_verifier_key(vkey.decode("utf-8"))
    except UnicodeDecodeError as cause:
        raise MalformedPolicyError("a verifier key is not UTF-8") from cause
    if key.algorithm != algorithm:
        raise MalformedPolicyError(f"the key's algorithm is {key.algorithm}, not {algorithm}")
    # One key under two names would be two voices of one witness.
    if key.public_key in seen:
        raise MalformedPolicyError("a public key is listed twice")
    seen.add(key.public_key)
    return key


def _parse_threshold(word: bytes, *, count: int) -> int:
    if count == 0:
        raise MalformedPolicyError("a group has at least one member")
    if word == b"any":
        return 1
    if word == b"all":
        return count
    text = word.decode("latin-1")
    threshold = parse_decimal(text, at_most=count, what="the threshold", error=MalformedPolicyError)
    if threshold == 0:
        raise MalformedPolicyError("a threshold is at least 1")
    return threshold


def _check_items(count: int) -> None:
    if count > MAX_POLICY_ITEMS:
        raise MalformedPolicyError(f"more than {MAX_POLICY_ITEMS} lines of one kind")
