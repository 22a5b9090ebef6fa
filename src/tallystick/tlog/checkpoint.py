"""
Checkpoints: the text that a log signs to commit to one tree.

Follows C2SP tlog-checkpoint. Our own checkpoints have no extension lines (log.md, section
5.8); those of others may, and we keep them, because a signature covers them.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.tlog.encoding import format_base64, parse_decimal, parse_hash
from tallystick.tlog.errors import MalformedCheckpointError, MalformedNoteError
from tallystick.tlog.note import check_note_text
from tallystick.tlog.tree import MAX_TREE_SIZE, Hash, TreeSize


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of *size* leaves with *root* that the log *origin* commits to."""

    origin: str
    size: TreeSize
    root: Hash
    extensions: tuple[str, ...] = ()


def parse_checkpoint(text: str) -> Checkpoint:
    """
    The checkpoint in the text of a note. Nothing is verified: see `check_note`.

    Raises:
        MalformedCheckpointError: Not three non-empty lines of origin, size and root, or an
            extension line is empty, or the text cannot be a note's.
    """
    try:
        check_note_text(text)
    except MalformedNoteError as cause:
        raise MalformedCheckpointError(cause.message) from cause
    lines = text[:-1].split("\n")
    match lines:
        case [origin, size_text, root_text, *extensions] if all(lines):
            size = parse_decimal(
                size_text,
                at_most=MAX_TREE_SIZE,
                what="the tree size",
                error=MalformedCheckpointError,
            )
            root = parse_hash(root_text, what="the root hash", error=MalformedCheckpointError)
            return Checkpoint(origin, TreeSize(size), root, tuple(extensions))
        case _:
            raise MalformedCheckpointError("a checkpoint has three or more lines, none empty")


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """
    The text of *checkpoint*, ready for `sign_note`.

    Raises:
        MalformedCheckpointError: *checkpoint* cannot be written so that it parses as itself.
    """
    lines = (
        checkpoint.origin,
        str(checkpoint.size),
        format_base64(checkpoint.root),
        *checkpoint.extensions,
    )
    text = "".join(f"{line}\n" for line in lines)
    if parse_checkpoint(text) != checkpoint:
        raise MalformedCheckpointError("a line of the checkpoint has a newline in it")
    return text
