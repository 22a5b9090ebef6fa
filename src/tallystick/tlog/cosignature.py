"""
Cosignatures: what a witness says about a checkpoint, and when.

Follows C2SP tlog-cosignature, the Ed25519 type (0x04). A cosignature is a signature line of
the checkpoint's note, whose bytes are a time and a signature over time and checkpoint.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.tlog.checkpoint import parse_checkpoint
from tallystick.tlog.errors import MalformedNoteError, UnverifiedNoteError
from tallystick.tlog.note import (
    ALGORITHM_COSIGNATURE,
    SIGNATURE_BYTES,
    Note,
    Signature,
    Signer,
    Verifier,
    known_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_TIME_SECONDS: Final = 2**63 - 1
"""The latest time that tlog-cosignature allows."""

_TIME: Final = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's statement that at *time_seconds* (POSIX) a checkpoint was the largest it saw."""

    name: str
    key_id: bytes
    time_seconds: int
    signature: bytes


def parse_cosignature(signature: Signature) -> Cosignature:
    """
    The cosignature in a signature line. Nothing is verified: see `check_cosignature`.

    Raises:
        MalformedNoteError: Not 72 bytes, or a time beyond 2**63 - 1.
    """
    blob = signature.signature
    if len(blob) != _TIME.size + SIGNATURE_BYTES:
        raise MalformedNoteError(f"a cosignature has 72 bytes, not {len(blob)}")
    time_seconds: int = _TIME.unpack_from(blob)[0]
    if time_seconds > MAX_TIME_SECONDS:
        raise MalformedNoteError("a cosignature's time is beyond 2**63 - 1")
    return Cosignature(signature.name, signature.key_id, time_seconds, blob[_TIME.size :])


def format_cosignature(cosignature: Cosignature) -> Signature:
    """The signature line of *cosignature*."""
    blob = _TIME.pack(cosignature.time_seconds) + cosignature.signature
    return Signature(cosignature.name, cosignature.key_id, blob)


def sign_cosignature(text: str, signer: Signer, *, time_seconds: int) -> Signature:
    """
    The cosignature of *signer* on the checkpoint *text*, as a line for its note.

    Raises:
        MalformedCheckpointError: *text* is not a checkpoint; nothing was signed.
    """
    assert signer.algorithm == ALGORITHM_COSIGNATURE
    # A time of 0 would say nothing about the witness's latest tree.
    assert 0 < time_seconds <= MAX_TIME_SECONDS
    parse_checkpoint(text)
    signature = signer.sign(_signed_message(text, time_seconds))
    return format_cosignature(Cosignature(signer.name, signer.key_id, time_seconds, signature))


def check_cosignature(text: str, signature: Signature, verifier: Verifier) -> Cosignature:
    """
    Check that *signature* is *verifier*'s cosignature on the checkpoint *text*.

    Whether its time is late enough, or not in the future, is the caller's to judge.

    Raises:
        MalformedNoteError: *signature* cannot be a cosignature.
        UnverifiedNoteError: It names another key, or is not that key's over *text*.
    """
    assert verifier.algorithm == ALGORITHM_COSIGNATURE
    cosignature = parse_cosignature(signature)
    message = _signed_message(text, cosignature.time_seconds)
    is_named = (signature.name, signature.key_id) == (verifier.name, verifier.key_id)
    if not is_named or not verifier.verify(message, cosignature.signature):
        raise UnverifiedNoteError(
            f"the cosignature of {signature.name} is false",
            expected=f"{verifier.name}+{verifier.key_id.hex()}",
            actual=signature.signature,
        )
    return cosignature


def check_cosignatures(note: Note, verifiers: Iterable[Verifier]) -> tuple[Cosignature, ...]:
    """
    The cosignatures of the witnesses *verifiers* on *note*, each verified, in its order.

    Signatures of other keys are left out. There may be several of one witness, of different
    times. How many witnesses are enough is the policy's to say: see `check_policy`.

    Raises:
        MalformedNoteError: A known witness's line cannot be a cosignature.
        UnverifiedNoteError: A known witness's cosignature is false, which rejects the note.
    """
    trusted = list(verifiers)
    return tuple(
        check_cosignature(note.text, signature, verifier)
        for signature in note.signatures
        for verifier in known_keys(signature, trusted)
    )


def _signed_message(text: str, time_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()
