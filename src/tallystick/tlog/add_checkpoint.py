"""
The request that asks a witness to cosign: old size, consistency proof, checkpoint.

Follows C2SP tlog-witness, add-checkpoint. A witness answers with signature lines
(`parse_signature_lines`), or with the size that it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.tlog.encoding import format_base64, parse_decimal
from tallystick.tlog.errors import MalformedProofError
from tallystick.tlog.tlog_proof import join_before_note, parse_proof_lines, split_before_note
from tallystick.tlog.tree import MAX_PROOF_HASHES, MAX_TREE_SIZE, Hash, TreeSize

if TYPE_CHECKING:
    from tallystick.tlog.note import Note

_MAX_HEAD_BYTES: Final = 64 * (MAX_PROOF_HASHES + 1)


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The checkpoint in *note*, and the proof that it extends the tree of *old_size* leaves."""

    old_size: TreeSize
    hashes: tuple[Hash, ...]
    note: Note


def parse_add_checkpoint(data: bytes) -> AddCheckpoint:
    """
    The request in the body of a POST to add-checkpoint. Nothing is verified.

    Raises:
        MalformedProofError: The lines before the checkpoint are not of their form.
        MalformedNoteError: What follows is not a signed note.
    """
    head, note = split_before_note(data, max_head_bytes=_MAX_HEAD_BYTES)
    old_line, *proof_lines = head.split("\n")
    if not old_line.startswith("old "):
        raise MalformedProofError("the first line is not the old size")
    old_size = _parse_size(old_line.removeprefix("old "))
    return AddCheckpoint(old_size, parse_proof_lines(proof_lines), note)


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """
    The body of *request*.

    Raises:
        MalformedProofError: *request* cannot be written so that it parses as itself.
        MalformedNoteError: Its note cannot.
    """
    head = [f"old {request.old_size}", *map(format_base64, request.hashes)]
    data = join_before_note(head, request.note)
    if parse_add_checkpoint(data) != request:
        raise MalformedProofError("the request does not parse as itself")
    return data


def parse_witness_size(data: bytes) -> TreeSize:
    """
    The size that a witness answers with status 409: decimal digits and a newline.

    Raises:
        MalformedProofError: Any other bytes.
    """
    digits, newline, rest = data.partition(b"\n")
    if not newline or rest:
        raise MalformedProofError("the size is not one line")
    return _parse_size(digits.decode("latin-1"))


def format_witness_size(size: TreeSize) -> bytes:
    """The body of a witness's answer 409: the size that it knows."""
    return f"{size}\n".encode()


def _parse_size(text: str) -> TreeSize:
    return TreeSize(
        parse_decimal(text, at_most=MAX_TREE_SIZE, what="the old size", error=MalformedProofError)
    )
