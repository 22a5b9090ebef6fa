"""Proof files and the witness's request, which share their shape."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.tlog import (
    EMPTY_ROOT,
    MAX_TREE_SIZE,
    AddCheckpoint,
    Checkpoint,
    MalformedNoteError,
    MalformedProofError,
    TlogProof,
    format_add_checkpoint,
    format_checkpoint,
    format_note,
    format_tlog_proof,
    format_witness_size,
    parse_add_checkpoint,
    parse_tlog_proof,
    parse_witness_size,
    sign_note,
)
from tests.tlog.signing import LOG
from tests.tlog.test_note import mutations

NOTE = sign_note(format_checkpoint(Checkpoint(LOG.name, 3, EMPTY_ROOT)), [LOG])
SIGNED = format_note(NOTE).decode()
LINE = base64.b64encode(EMPTY_ROOT).decode() + "\n"
HEADER = "c2sp.org/tlog-proof@v1\n"


def test_the_shape_of_a_proof_file():
    """A proof is header, extra, index, hashes, an empty line and the checkpoint verbatim."""
    proof = TlogProof(7, (EMPTY_ROOT, EMPTY_ROOT), NOTE, b"extra")
    text = f"{HEADER}extra ZXh0cmE=\nindex 7\n{LINE}{LINE}\n{SIGNED}"
    assert text.encode() == format_tlog_proof(proof)
    assert proof == parse_tlog_proof(text.encode())


def test_the_shape_of_a_request():
    """A request is the old size, hashes, an empty line and the checkpoint verbatim."""
    request = AddCheckpoint(7, (EMPTY_ROOT,), NOTE)
    text = f"old 7\n{LINE}\n{SIGNED}"
    assert text.encode() == format_add_checkpoint(request)
    assert request == parse_add_checkpoint(text.encode())


hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)
sizes = st.integers(0, MAX_TREE_SIZE - 1)


@given(st.builds(TlogProof, sizes, hashes, st.just(NOTE), st.none() | st.binary(min_size=1)))
def test_every_proof_parses_as_itself(proof):
    """Format and parse of proof files are a pair."""
    assert proof == parse_tlog_proof(format_tlog_proof(proof))


@given(st.builds(AddCheckpoint, sizes, hashes, st.just(NOTE)))
def test_every_request_parses_as_itself(request):
    """Format and parse of requests are a pair."""
    assert request == parse_add_checkpoint(format_add_checkpoint(request))


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER,
        f"{HEADER}index 0\n",
        f"{HEADER}\n{SIGNED}",
        f"c2sp.org/tlog-proof@v2\nindex 0\n\n{SIGNED}",
        f"{HEADER}index 00\n\n{SIGNED}",
        f"{HEADER}index \n\n{SIGNED}",
        f"{HEADER}index {MAX_TREE_SIZE}\n\n{SIGNED}",
        f"{HEADER}index 0 \n\n{SIGNED}",
        f"{HEADER}index 0\r\n\n{SIGNED}",
        f"{HEADER}index 0\nextra AAAA\n\n{SIGNED}",
        f"{HEADER}extra AAAA\nextra AAAA\nindex 0\n\n{SIGNED}",
        f"{HEADER}extra \nindex 0\n\n{SIGNED}",
        f"{HEADER}extra A\nindex 0\n\n{SIGNED}",
        f"{HEADER}index 0\nAAAA\n\n{SIGNED}",
        f"{HEADER}index 0\n{LINE * 64}\n{SIGNED}",
        f"{HEADER}index 0\né\n\n{SIGNED}",
        f"{HEADER}extra {'AAAA' * 400_000}\nindex 0\n\n{SIGNED}",
    ],
)
def test_other_proof_files_are_malformed(text):
    """Each departure from tlog-proof before the checkpoint is a malformed proof."""
    with pytest.raises(MalformedProofError):
        parse_tlog_proof(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "old 0\n",
        f"\n\n{SIGNED}",
        f"old\n\n{SIGNED}",
        f"old 01\n\n{SIGNED}",
        f"old -1\n\n{SIGNED}",
        f"old {MAX_TREE_SIZE + 1}\n\n{SIGNED}",
        f"OLD 0\n\n{SIGNED}",
        f"old 0\n{LINE * 64}\n{SIGNED}",
        f"old 0\nAAAA\n\n{SIGNED}",
        f"old 0\n{LINE.strip()}A\n\n{SIGNED}",
        f"old 0\n{'A' * 10_000}\n\n{SIGNED}",
    ],
)
def test_other_requests_are_malformed(text):
    """Each departure from add-checkpoint before the checkpoint is a malformed proof."""
    with pytest.raises(MalformedProofError):
        parse_add_checkpoint(text.encode())


def test_what_follows_must_be_a_note():
    """Without a signed note after the empty line, the note is what is malformed."""
    for rest in ("", "text\n", SIGNED[:-1], "\n" + SIGNED.replace("— ", "- ")):
        with pytest.raises(MalformedNoteError):
            parse_tlog_proof(f"{HEADER}index 0\n\n{rest}".encode())
        with pytest.raises(MalformedNoteError):
            parse_add_checkpoint(f"old 0\n\n{rest}".encode())


def test_limits_of_a_proof():
    """A proof or request has at most 63 hashes, and size and extra data have limits."""
    full = (EMPTY_ROOT,) * 63
    for parse, write, value in (
        (parse_tlog_proof, format_tlog_proof, TlogProof(0, full, NOTE, bytes(1_000_000))),
        (parse_add_checkpoint, format_add_checkpoint, AddCheckpoint(0, full, NOTE)),
    ):
        assert value == parse(write(value))
        with pytest.raises(MalformedProofError):
            parse(bytes(5_000_000))
    for write, value in (
        (format_tlog_proof, TlogProof(0, (*full, EMPTY_ROOT), NOTE)),
        (format_tlog_proof, TlogProof(-1, (), NOTE)),
        (format_tlog_proof, TlogProof(0, (), NOTE, b"")),
        (format_tlog_proof, TlogProof(0, (), NOTE, bytes(1_000_001))),
        (format_add_checkpoint, AddCheckpoint(0, (*full, EMPTY_ROOT), NOTE)),
        (format_add_checkpoint, AddCheckpoint(-1, (), NOTE)),
    ):
        with pytest.raises(MalformedProofError):
            write(value)


@given(number=st.integers(0, 10_000), byte=st.integers(0, 255), junk=st.binary(max_size=300))
@settings(max_examples=150, deadline=None)
def test_bytes_are_one_value_or_malformed(number, byte, junk):
    """Changed or random bytes parse to what writes them again, or are named malformed."""
    proof = format_tlog_proof(TlogProof(7, (EMPTY_ROOT,), NOTE, b"extra"))
    request = format_add_checkpoint(AddCheckpoint(7, (EMPTY_ROOT,), NOTE))
    for data, parse, write in (
        (proof, parse_tlog_proof, format_tlog_proof),
        (request, parse_add_checkpoint, format_add_checkpoint),
    ):
        for changed in (*mutations(data, number, byte), junk):
            try:
                value = parse(changed)
            except (MalformedProofError, MalformedNoteError):
                continue
            assert changed == write(value)


def test_the_size_that_a_witness_answers():
    """An answer 409 is decimal digits and a newline, nothing else."""
    assert format_witness_size(42) == b"42\n"
    assert parse_witness_size(b"42\n") == 42
    for data in (b"", b"42", b"42\n\n", b"042\n", b"-1\n", b" 42\n", b"\xb2\n", b"9" * 20 + b"\n"):
        with pytest.raises(MalformedProofError):
            parse_witness_size(data)
