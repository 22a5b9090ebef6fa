"""
What a witness's answer means: pure decisions over status and bytes (C2SP tlog-witness).

Nothing that a witness says is believed by itself. A cosignature counts when its key verifies
it; that the log forked is proven when the log's own key signed what is none of our tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from tallystick.publish.witnesses.values import Answer, Ask, Contradicted, Cosigned, Declined
from tallystick.record import SigningKeyError, cosignature_verifier, ed25519_verifier
from tallystick.tlog import (
    Checkpoint,
    FalseClaimError,
    MalformedError,
    Note,
    TreeSize,
    check_cosignatures,
    check_note,
    format_cosignature,
    format_signature_line,
    parse_checkpoint,
    parse_note,
    parse_signature_lines,
    parse_witness_size,
)

LARGER: Final = "it knows a larger size than the log has"
INCONSISTENT: Final = "it answers 422: our checkpoint does not extend what it cosigned"


def read_cosignatures(ask: Ask, body: bytes) -> Cosigned | Declined:
    """Return the newest cosignature in an answer 200, verified, or why there is none."""
    try:
        verifier = cosignature_verifier(ask.vkey)
        note = Note(ask.offer.note.text, parse_signature_lines(body))
        found = check_cosignatures(note, [verifier])
    except (MalformedError, FalseClaimError, SigningKeyError) as error:
        return Declined(ask, f"its cosignature is refused: {error.message}", seen=True)
    # A time of 0 would not say that it is the largest tree that the witness saw.
    timed = [cosignature for cosignature in found if cosignature.time_seconds]
    if not timed:
        return Declined(ask, "it answers 200 without a cosignature of its key", seen=True)
    newest = max(timed, key=lambda cosignature: cosignature.time_seconds)
    line = format_signature_line(format_cosignature(newest))
    return Cosigned(ask, line, newest.time_seconds)


def read_size(body: bytes) -> TreeSize | None:
    """Return the size in an answer 409; None where there is none."""
    try:
        return parse_witness_size(body)
    except MalformedError:
        return None


def declined(ask: Ask, status: int) -> Declined:
    """Return what any other status means."""
    known = status in {one.value for one in HTTPStatus}
    words = f" {HTTPStatus(status).phrase}" if known else ""
    return Declined(ask, f"it answers {status}{words}", seen=True)


def signed_by_log(ask: Ask, body: bytes, vkeys: Sequence[str]) -> Checkpoint | None:
    """Return the checkpoint in *body* if it is one of this log that a key of *vkeys* signed."""
    try:
        note = parse_note(body)
        checkpoint = parse_checkpoint(note.text)
        check_note(note, [ed25519_verifier(vkey) for vkey in vkeys])
    except (MalformedError, FalseClaimError, SigningKeyError):
        return None
    return checkpoint if checkpoint.origin == ask.offer.origin else None


def contradiction(
    ask: Ask, *, told: TreeSize | None, known: str | None = None, proven: bool = False
) -> Answer:
    """Return the contradiction of a witness that answered 409 with *told*, or 422."""
    message = INCONSISTENT if told is None else LARGER
    return Contradicted(ask, message, told, known, proven)
