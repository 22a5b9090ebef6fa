"""
Steps 1 to 3 of every verification: from the bytes of a note to a checkpoint that one may trust.

Follows log.md, section 4.3, and C2SP signed-note, tlog-checkpoint and tlog-cosignature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.tlog.checkpoint import Checkpoint, parse_checkpoint
from tallystick.tlog.cosignature import Cosignature, check_cosignatures
from tallystick.tlog.errors import MalformedError, QuorumError, UnverifiedNoteError
from tallystick.tlog.note import Note, check_note, parse_note
from tallystick.tlog.policy import check_quorum
from tallystick.verify.errors import (
    CosignatureError,
    LogSignatureError,
    ProofFormatError,
    QuorumMissingError,
    UntrustedLogError,
)

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick.verify.trust import Trust


@dataclass(frozen=True, slots=True)
class VerifiedHead:
    """A checkpoint that its log signed, and the known witnesses' cosignatures on it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    log_name: str


def parse_head(note: bytes | Note) -> tuple[Note, Checkpoint]:
    """
    Step 1: the note and its checkpoint; nothing is verified.

    Raises:
        ProofFormatError: One of them is malformed.
    """
    try:
        parsed = parse_note(note) if isinstance(note, bytes) else note
        return parsed, parse_checkpoint(parsed.text)
    except MalformedError as cause:
        raise ProofFormatError(cause.message) from cause


def check_log(note: Note, checkpoint: Checkpoint, trust: Trust) -> None:
    """
    Step 2: the policy trusts the origin, and a key whose period covers the size signed.

    Raises:
        UntrustedLogError: No log of the policy has this origin.
        LogSignatureError: A signature of a known key of the log is false, or none of those
            whose period covers the size signed.
    """
    known = trust.log_verifiers(checkpoint.origin)
    if not known:
        raise UntrustedLogError(f"the policy knows no log {checkpoint.origin}")
    covering = trust.log_verifiers(checkpoint.origin, covering=checkpoint.size)
    try:
        # A false signature rejects the note, whatever the key's period is.
        check_note(note, known, at_least=0)
        check_note(note, covering, at_least=1)
    except UnverifiedNoteError as cause:
        raise LogSignatureError(
            f"no key of {checkpoint.origin} good for size {checkpoint.size} signed it"
        ) from cause


def check_witnesses(
    note: Note, trust: Trust, *, at: datetime | None = None
) -> tuple[Cosignature, ...]:
    """
    Step 3: every known cosignature verifies, and the policy's quorum holds.

    With *at*, a moment with a zone, only cosignatures that claim to be from *at* or before
    count, and none without a time. Returned are those that count.

    Raises:
        CosignatureError: A known witness's cosignature is malformed or false.
        QuorumMissingError: Too few count.
    """
    try:
        verified = check_cosignatures(note, trust.witness_verifiers())
    except (MalformedError, UnverifiedNoteError) as cause:
        raise CosignatureError(cause.message) from cause
    counted = tuple(item for item in verified if at is None or _is_by(item, at))
    try:
        check_quorum(trust.policy, counted)
    except QuorumError as cause:
        names = ", ".join(sorted({item.name for item in counted})) or "nobody"
        raise QuorumMissingError(f"the quorum is not reached: cosigned by {names}") from cause
    return counted


def check_head(note: bytes | Note, trust: Trust, *, at: datetime | None = None) -> VerifiedHead:
    """
    Steps 1 to 3.

    Raises:
        ProofFormatError, UntrustedLogError, LogSignatureError, CosignatureError,
        QuorumMissingError: As the steps.
        UnusablePolicyError: The policy gives several log names to the origin.
    """
    parsed, checkpoint = parse_head(note)
    check_log(parsed, checkpoint, trust)
    cosignatures = check_witnesses(parsed, trust, at=at)
    return VerifiedHead(checkpoint, cosignatures, trust.log_name(checkpoint.origin))


def _is_by(cosignature: Cosignature, at: datetime) -> bool:
    assert at.tzinfo is not None
    return 0 < cosignature.time_seconds <= at.timestamp()
