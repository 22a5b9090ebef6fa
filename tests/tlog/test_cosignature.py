"""Cosignatures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    MalformedCheckpointError,
    MalformedNoteError,
    Note,
    Signature,
    UnverifiedNoteError,
    check_cosignature,
    check_cosignatures,
    format_checkpoint,
    format_cosignature,
    parse_cosignature,
    sign_cosignature,
    sign_note,
)
from tests.tlog.signing import LOG, SECOND_WITNESS, WITNESS

TEXT = format_checkpoint(Checkpoint(LOG.name, 0, EMPTY_ROOT))


def test_the_message_is_header_time_and_checkpoint():
    """A cosignature signs `cosignature/v1`, the time and the whole note text."""
    line = sign_cosignature(TEXT, WITNESS, time_seconds=1679315147)
    message = f"cosignature/v1\ntime 1679315147\n{TEXT}".encode()
    assert (1679315147).to_bytes(8) + WITNESS.sign(message) == line.signature


def test_a_cosignature_checks():
    """What a witness signed, its key verifies, and the time comes out."""
    line = sign_cosignature(TEXT, WITNESS, time_seconds=5)
    cosignature = check_cosignature(TEXT, line, WITNESS.verifier)
    assert cosignature.time_seconds == 5
    assert line == format_cosignature(cosignature)


def test_any_other_claim_is_unverified():
    """Another text, time, key or signature is refused."""
    line = sign_cosignature(TEXT, WITNESS, time_seconds=5)
    later = Signature(line.name, line.key_id, (6).to_bytes(8) + line.signature[8:])
    forged = Signature(line.name, line.key_id, line.signature[:-1] + b"\x00")
    other_text = format_checkpoint(Checkpoint(LOG.name, 0, bytes(32)))
    renamed = Signature("witness.example/w9", line.key_id, line.signature)
    for text, signature, signer in (
        (TEXT, renamed, WITNESS),
        (other_text, line, WITNESS),
        (TEXT, later, WITNESS),
        (TEXT, forged, WITNESS),
        (TEXT, line, SECOND_WITNESS),
    ):
        with pytest.raises(UnverifiedNoteError) as caught:
            check_cosignature(text, signature, signer.verifier)
        assert signature.signature == caught.value.actual


@pytest.mark.parametrize("blob", [b"x", bytes(64), bytes(71), bytes(73), b"\x80" + bytes(71)])
def test_other_bytes_are_no_cosignature(blob):
    """A cosignature has 72 bytes and a time of at most 2**63 - 1."""
    line = Signature(WITNESS.name, WITNESS.key_id, blob)
    with pytest.raises(MalformedNoteError):
        check_cosignature(TEXT, line, WITNESS.verifier)
    with pytest.raises(MalformedNoteError):
        check_cosignatures(Note(TEXT, (line,)), [WITNESS.verifier])


@given(st.binary(min_size=72, max_size=72).map(lambda blob: blob[:0] + b"\x00" + blob[1:]))
def test_lines_parse_as_themselves(blob):
    """Format and parse are a pair."""
    line = Signature("w", b"abcd", blob)
    assert line == format_cosignature(parse_cosignature(line))


def test_only_checkpoints_are_cosigned():
    """A text that is no checkpoint is not signed."""
    with pytest.raises(MalformedCheckpointError):
        sign_cosignature("hello\n", WITNESS, time_seconds=5)


def test_the_cosignatures_of_a_note():
    """All known witnesses' lines are verified; the log's and strangers' are left out."""
    first = sign_cosignature(TEXT, WITNESS, time_seconds=5)
    second = sign_cosignature(TEXT, SECOND_WITNESS, time_seconds=6)
    again = sign_cosignature(TEXT, WITNESS, time_seconds=7)
    log_line = sign_note(TEXT, [LOG]).signatures
    note = Note(TEXT, (*log_line, first, second, again))
    known = check_cosignatures(note, [WITNESS.verifier])
    assert [cosignature.time_seconds for cosignature in known] == [5, 7]
    both = check_cosignatures(note, [WITNESS.verifier, SECOND_WITNESS.verifier])
    assert [cosignature.time_seconds for cosignature in both] == [5, 6, 7]


def test_one_false_cosignature_rejects_the_note():
    """A known witness's false line refuses the note, whatever else is right."""
    good = sign_cosignature(TEXT, WITNESS, time_seconds=5)
    false = Signature(WITNESS.name, WITNESS.key_id, (6).to_bytes(8) + good.signature[8:])
    with pytest.raises(UnverifiedNoteError):
        check_cosignatures(Note(TEXT, (good, false)), [WITNESS.verifier])
