"""
The signatures of a log's checkpoints: notes, key periods, cosignatures (log.md 4.7, step 3).

Pure: the keys and notes come in as values, what is wrong goes out as findings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tallystick.record import SigningKeyError, cosignature_verifier, ed25519_verifier
from tallystick.seal.audit.blocks import Finding
from tallystick.tlog import (
    FalseClaimError,
    Hash,
    MalformedError,
    TreeSize,
    Verifier,
    check_cosignatures,
    check_note,
    parse_checkpoint,
    parse_note,
)


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """A log key and the sizes whose checkpoints it may sign, both ends included."""

    vkey: str
    from_size: TreeSize
    to_size: TreeSize | None


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A row of `checkpoints`."""

    size: TreeSize
    root: Hash
    note: str


@dataclass(frozen=True, slots=True)
class StoredCosignature:
    """
    A row of `cosignatures`, with its witness's key and the note it is over; the key is None
    where the log has no such witness.
    """

    size: TreeSize
    witness: str
    line: str
    vkey: str | None
    note: str


def check_notes(
    checkpoints: Iterable[StoredCheckpoint], keys: Iterable[KeyPeriod], *, origin: str
) -> Iterator[Finding]:
    """Yield `bad_signature` for each checkpoint that its row or its keys do not bear out."""
    verifiers: list[tuple[KeyPeriod, Verifier]] = []
    for key in keys:
        try:
            verifiers.append((key, ed25519_verifier(key.vkey)))
        except SigningKeyError:
            yield Finding("bad_signature", detail=f"the key {key.vkey[:60]} is not sound")
    for checkpoint in checkpoints:
        trusted = [
            verifier
            for key, verifier in verifiers
            if key.from_size <= checkpoint.size
            and (key.to_size is None or checkpoint.size <= key.to_size)
        ]
        problem = note_problem(checkpoint, trusted, origin=origin)
        if problem is not None:
            yield signature_finding(checkpoint.size, checkpoint.note, problem)


def note_problem(
    checkpoint: StoredCheckpoint, trusted: list[Verifier], *, origin: str
) -> str | None:
    """Return what is wrong with one stored note; None where nothing is."""
    try:
        note = parse_note(checkpoint.note.encode())
        signed = parse_checkpoint(note.text)
        check_note(note, trusted)
    except (MalformedError, FalseClaimError) as error:
        return error.message
    if (signed.origin, signed.size, signed.root) != (origin, checkpoint.size, checkpoint.root):
        return "the note speaks of another checkpoint than its row"
    return None


def check_stored_cosignatures(cosignatures: Iterable[StoredCosignature]) -> Iterator[Finding]:
    """Yield `bad_signature` for each cosignature that is not its witness's over its checkpoint."""
    for cosignature in cosignatures:
        problem = cosignature_problem(cosignature)
        if problem is not None:
            yield signature_finding(
                cosignature.size, cosignature.line, f"{cosignature.witness}: {problem}"
            )


def cosignature_problem(cosignature: StoredCosignature) -> str | None:
    """Return what is wrong with one stored cosignature; None where nothing is."""
    if cosignature.vkey is None:
        return "the log has no such witness"
    note = cosignature.note + cosignature.line.rstrip("\n") + "\n"
    try:
        verified = check_cosignatures(
            parse_note(note.encode()), [cosignature_verifier(cosignature.vkey)]
        )
    except (MalformedError, FalseClaimError, SigningKeyError) as error:
        return error.message
    return None if verified else "the line is not the witness's"


def signature_finding(size: TreeSize, text: str, problem: str) -> Finding:
    """Return the finding that a signature of the checkpoint of *size* is bad."""
    digest = hashlib.sha256(text.encode()).digest()
    return Finding("bad_signature", actual_digest=digest, detail=f"size {size}: {problem}")
