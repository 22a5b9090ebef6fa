"""
Proof files: one leaf's index and path, and the checkpoint that they lead to.

Follows C2SP tlog-proof v1. The file proves nothing by itself: `check_policy` must accept the
checkpoint and `check_inclusion` the path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.tlog.encoding import format_base64, parse_base64, parse_decimal, parse_hash
from tallystick.tlog.errors import MalformedProofError
from tallystick.tlog.note import MAX_NOTE_BYTES, Note, format_note, parse_note
from tallystick.tlog.tree import MAX_PROOF_HASHES, MAX_TREE_SIZE, Hash, LeafIndex

MAX_EXTRA_BYTES: Final = 1_000_000
"""Disclosures of one record travel here; nobody can trust them, so nobody needs more."""

_HEADER: Final = "c2sp.org/tlog-proof@v1"
_MAX_HEAD_BYTES: Final = MAX_EXTRA_BYTES // 3 * 4 + 64 * (MAX_PROOF_HASHES + 3)


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That the leaf at *index* is below the checkpoint in *note*; *extra* is not authenticated."""

    index: LeafIndex
    hashes: tuple[Hash, ...]
    note: Note
    extra: bytes | None = None


def parse_tlog_proof(data: bytes) -> TlogProof:
    """
    The proof in a `.tlog-proof` file. Nothing is verified.

    Raises:
        MalformedProofError: The lines before the checkpoint are not of their form.
        MalformedNoteError: What follows is not a signed note.
    """
    head, note = split_before_note(data, max_head_bytes=_MAX_HEAD_BYTES)
    lines = head.split("\n")
    if lines[0] != _HEADER:
        raise MalformedProofError(f"the first line is not {_HEADER}")
    rest = lines[1:]
    extra = None
    if rest and rest[0].startswith("extra "):
        extra = parse_base64(
            rest[0].removeprefix("extra "), what="the extra data", error=MalformedProofError
        )
        rest = rest[1:]
        if not 0 < len(extra) <= MAX_EXTRA_BYTES:
            raise MalformedProofError(f"the extra data has {len(extra)} bytes")
    if not rest or not rest[0].startswith("index "):
        raise MalformedProofError("the index line is missing")
    index = parse_decimal(
        rest[0].removeprefix("index "),
        at_most=MAX_TREE_SIZE - 1,
        what="the index",
        error=MalformedProofError,
    )
    return TlogProof(LeafIndex(index), parse_proof_lines(rest[1:]), note, extra)


def format_tlog_proof(proof: TlogProof) -> bytes:
    """
    The `.tlog-proof` file of *proof*.

    Raises:
        MalformedProofError: *proof* cannot be written so that it parses as itself.
        MalformedNoteError: Its note cannot.
    """
    extra = [] if proof.extra is None else [f"extra {format_base64(proof.extra)}"]
    head = [_HEADER, *extra, f"index {proof.index}", *map(format_base64, proof.hashes)]
    data = join_before_note(head, proof.note)
    if parse_tlog_proof(data) != proof:
        raise MalformedProofError("the proof does not parse as itself")
    return data


def split_before_note(data: bytes, *, max_head_bytes: int) -> tuple[str, Note]:
    """
    The lines before the first empty line of *data*, and the signed note after it.

    Raises:
        MalformedProofError: There is no empty line, or the head is too long or not ASCII.
        MalformedNoteError: What follows is not a signed note.
    """
    if len(data) > max_head_bytes + MAX_NOTE_BYTES:
        raise MalformedProofError(f"{len(data)} bytes are too many")
    head, divider, note = data.partition(b"\n\n")
    if not divider or len(head) > max_head_bytes:
        raise MalformedProofError("no empty line ends the proof")
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError as cause:
        raise MalformedProofError("the proof is not ASCII") from cause
    return text, parse_note(note)


def join_before_note(head: list[str], note: Note) -> bytes:
    """The lines *head*, an empty line and *note*; what `split_before_note` takes apart."""
    return "".join(f"{line}\n" for line in [*head, ""]).encode() + format_note(note)


def parse_proof_lines(lines: list[str]) -> tuple[Hash, ...]:
    """
    The hashes of *lines*, one in base64 on each.

    Raises:
        MalformedProofError: More than 63, or one is not the base64 of 32 bytes.
    """
    if len(lines) > MAX_PROOF_HASHES:
        raise MalformedProofError(f"a proof has at most {MAX_PROOF_HASHES} hashes")
    return tuple(parse_hash(line, what="a proof line", error=MalformedProofError) for line in lines)
