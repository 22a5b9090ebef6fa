"""
Whether our witness cosigns: the checks of C2SP tlog-witness, in its order, over frozen values.

Answers by their errors: malformed 400, unknown origin 404, untrusted signature 403, an old size
beyond the new one 400, another size than the last one cosigned 409, inconsistent 422.
"""

from __future__ import annotations

from tallystick.publish.errors import (
    InconsistentCheckpointError,
    OldSizeError,
    StaleSizeError,
    UnknownOriginError,
    UntrustedCheckpointError,
)
from tallystick.publish.witness.store import WatchedLog
from tallystick.record import ed25519_verifier
from tallystick.tlog import (
    EMPTY_ROOT,
    AddCheckpoint,
    Checkpoint,
    ConsistencyError,
    MalformedProofError,
    Note,
    UnverifiedNoteError,
    check_consistency,
    check_note,
)


def check_trusted(
    request: AddCheckpoint, checkpoint: Checkpoint, watched: WatchedLog | None
) -> Note:
    """
    Check that a watched log's key signed *checkpoint*; return the note with that signature alone.

    Raises:
        UnknownOriginError: The log is not watched.
        UntrustedCheckpointError: No key of it signed, or a signature of one is false.
        OldSizeError: The old size of the request is beyond the checkpoint's.
    """
    if watched is None or not watched.enabled:
        raise UnknownOriginError
    # One signature sixty-four times is one: a stranger could have it verified as often.
    note = Note(request.note.text, tuple(dict.fromkeys(request.note.signatures)))
    try:
        signatures = check_note(note, map(ed25519_verifier, watched.vkeys))
    except UnverifiedNoteError as cause:
        raise UntrustedCheckpointError(cause.message) from cause
    if request.old_size > checkpoint.size:
        raise OldSizeError
    return Note(request.note.text, signatures)


def check_extends(request: AddCheckpoint, checkpoint: Checkpoint, watched: WatchedLog) -> None:
    """
    Check that *checkpoint* extends what was cosigned last, by what is known of the log.

    Only under the lock of the log's row is it the last word. Before it, what is refused is
    refused for good, but for who knows more than was read: sizes never go back.

    Raises:
        StaleSizeError: The old size of the request is not the size that was cosigned last.
        InconsistentCheckpointError: The proof does not lead from that tree to this one, or the
            empty tree has another root than the hash of nothing.
    """
    if request.old_size != watched.size:
        raise StaleSizeError(known=watched.size)
    try:
        check_consistency(
            request.hashes,
            old_size=watched.size,
            old_root=EMPTY_ROOT if watched.root is None else watched.root,
            new_size=checkpoint.size,
            new_root=checkpoint.root,
        )
    except (MalformedProofError, ConsistencyError) as cause:
        raise InconsistentCheckpointError(cause.message) from cause
