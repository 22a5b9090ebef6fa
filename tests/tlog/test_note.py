"""Signed notes and the keys that sign them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.tlog import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    MalformedNoteError,
    Note,
    Signature,
    SignerKey,
    UnverifiedNoteError,
    check_note,
    format_note,
    format_signature_line,
    format_signer_key,
    format_verifier_key,
    make_key_id,
    parse_note,
    parse_signature_lines,
    parse_signer_key,
    parse_verifier_key,
    sign_note,
)
from tests.tlog.signing import LOG, TestSigner

OTHER = TestSigner("other.example/log", bytes(32))
STRANGER = Signature("stranger.example", b"abcd", b"anything")
TEXT = "an example\n\nwith an empty line\n"


def mutations(data, number, byte):
    """*data* with a byte set, removed, inserted and cut."""
    at = number % len(data)
    yield data[:at] + bytes([byte]) + data[at + 1 :]
    yield data[:at] + data[at + 1 :]
    yield data[:at] + bytes([byte]) + data[at:]
    yield data[:at]


def test_a_note_is_text_empty_line_and_signatures():
    """The bytes are the text, an empty line, and a line `— name base64` for each signature."""
    note = Note("hello\n", (Signature("a.example", b"\x00\x01\x02\x03", b"\xff"),))
    assert "hello\n\n— a.example AAECA/8=\n".encode() == format_note(note)
    assert note == parse_note(format_note(note))


def test_the_last_empty_line_divides():
    """A text may have empty lines, even end in them; the signatures follow the last one."""
    for text in (TEXT, "\n", "text\n\n", "\n\n\n"):
        note = sign_note(text, [LOG])
        assert note == parse_note(format_note(note))


def test_every_signer_signs_the_text():
    """Several keys sign one text, each line verifies, and the order is the signers'."""
    note = sign_note(TEXT, [OTHER, LOG])
    assert [OTHER.name, LOG.name] == [signature.name for signature in note.signatures]
    assert note.signatures == check_note(note, [LOG.verifier, OTHER.verifier], at_least=2)


def test_signatures_of_unknown_keys_are_left_out():
    """A stranger's line changes nothing, even under a known name or a known id."""
    note = sign_note(TEXT, [LOG])
    same_name = Signature(LOG.name, b"abcd", bytes(64))
    same_id = Signature("stranger.example", LOG.key_id, bytes(64))
    crowded = Note(TEXT, (STRANGER, same_name, *note.signatures, same_id))
    assert note.signatures == check_note(crowded, [LOG.verifier])


@pytest.mark.parametrize("signatures", [(), (STRANGER,)])
def test_a_note_of_strangers_is_unverified(signatures):
    """Without one known key the note is refused, with what was asked and what was found."""
    with pytest.raises(UnverifiedNoteError) as caught:
        check_note(Note(TEXT, signatures), [LOG.verifier])
    assert (caught.value.expected, caught.value.actual) == (1, 0)


def test_a_bad_signature_of_a_known_key_rejects_the_note():
    """One false line of a known key refuses the note, good lines before and after or not."""
    good = sign_note(TEXT, [LOG, OTHER])
    log_line, other_line = good.signatures
    for bad in (bytes(64), log_line.signature[:-1], log_line.signature + b"\x00", b"x"):
        line = Signature(LOG.name, LOG.key_id, bad)
        for lines in ((line,), (log_line, line), (line, log_line), (other_line, line)):
            with pytest.raises(UnverifiedNoteError) as caught:
                check_note(Note(TEXT, lines), [LOG.verifier, OTHER.verifier])
            assert bad == caught.value.actual


def test_a_key_that_signed_twice_counts_once():
    """Repeated lines of one key are all checked, and are one signer."""
    note = sign_note(TEXT, [LOG])
    twice = Note(TEXT, note.signatures * 2)
    assert twice.signatures == check_note(twice, [LOG.verifier, LOG.verifier])
    with pytest.raises(UnverifiedNoteError) as caught:
        check_note(twice, [LOG.verifier, OTHER.verifier], at_least=2)
    assert (caught.value.expected, caught.value.actual) == (2, 1)


def test_a_changed_text_is_unverified():
    """The signature is over every byte of the text."""
    note = sign_note(TEXT, [LOG])
    with pytest.raises(UnverifiedNoteError):
        check_note(Note(TEXT.replace("a", "b", 1), note.signatures), [LOG.verifier])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"text\n",
        b"text\n\n",
        b"text\n\n\n",
        "text\n— a AAECAwQ=\n".encode(),
        "text\n\n— a AAECAwQ=".encode(),
        "\n— a AAECAwQ=\n".encode(),
        b"text\n\n- a AAECAwQ=\n",
        "text\n\n—  AAECAwQ=\n".encode(),
        "text\n\n— a\n".encode(),
        "text\n\n— a+b AAECAwQ=\n".encode(),
        "text\n\n— a\u00a0b AAECAwQ=\n".encode(),
        "text\n\n— a\u2003b AAECAwQ=\n".encode(),
        "text\n\n— a AAECAw==\n".encode(),
        "text\n\n— a AAECAwQ\n".encode(),
        "text\n\n— a AAECAwR=\n".encode(),
        "text\n\n— a AAEC AwQ=\n".encode(),
        "text\n\n— a AAECAwQ=\r\n".encode(),
        "te\txt\n\n— a AAECAwQ=\n".encode(),
        "te\x00xt\n\n— a AAECAwQ=\n".encode(),
        b"te\xffxt\n\n" + "— a AAECAwQ=\n".encode(),
        b"te\xed\xa0\x80xt\n\n" + "— a AAECAwQ=\n".encode(),
    ],
)
def test_other_bytes_are_malformed(data):
    """Each departure from the format of signed-note ends in MalformedNoteError."""
    with pytest.raises(MalformedNoteError):
        parse_note(data)


def test_limits_of_a_note():
    """A note has at most 64 signatures and 1,000,000 bytes; one more is malformed."""
    line = format_signature_line(STRANGER)
    block = line * MAX_SIGNATURES
    assert len(parse_note(f"t\n\n{block}".encode()).signatures) == MAX_SIGNATURES
    with pytest.raises(MalformedNoteError):
        parse_note(f"t\n\n{block}{line}".encode())
    longest = ("t" * (MAX_NOTE_BYTES - len(line.encode()) - 2) + f"\n\n{line}").encode()
    assert len(longest) == MAX_NOTE_BYTES
    assert longest == format_note(parse_note(longest))
    with pytest.raises(MalformedNoteError):
        parse_note(b"t" + longest)


@pytest.mark.parametrize("text", ["", "no newline", "control \x01\n", "\ud800\n", "tab\t\n"])
def test_a_text_that_no_note_can_carry_is_not_signed(text):
    """Signing or writing such a text ends in MalformedNoteError."""
    with pytest.raises(MalformedNoteError):
        sign_note(text, [LOG])
    with pytest.raises(MalformedNoteError):
        format_note(Note(text, (STRANGER,)))


def test_signature_lines_alone():
    """A witness's answer is signature lines, and nothing else."""
    lines = "".join(map(format_signature_line, [STRANGER, STRANGER])).encode()
    assert parse_signature_lines(lines) == (STRANGER, STRANGER)
    for data in (b"", lines[:-1], lines + b"\n", b"\n" + lines):
        with pytest.raises(MalformedNoteError):
            parse_signature_lines(data)


@given(st.binary(max_size=200) | st.text(alphabet="ab \n—+=A").map(str.encode))
def test_bytes_are_one_note_or_malformed(data):
    """What parses as a note is exactly what would be written; all else is named malformed."""
    try:
        note = parse_note(data)
    except MalformedNoteError:
        return
    assert data == format_note(note)


@given(number=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_changed_note_never_verifies_as_another_text(number, byte):
    """A signed note with any byte changed is malformed, unverified, or the same signed text."""
    data = format_note(sign_note(TEXT, [LOG]))
    for changed in mutations(data, number, byte):
        try:
            note = parse_note(changed)
            check_note(note, [LOG.verifier])
        except (MalformedNoteError, UnverifiedNoteError):
            continue
        assert note.text == TEXT
        assert data == changed


def test_a_key_id_is_a_hash_over_name_algorithm_and_key():
    """The same key has another id under another name or algorithm."""
    ids = {
        make_key_id(name, algorithm=algorithm, public_key=LOG.public_key)
        for name in ("a", "b")
        for algorithm in (1, 4)
    }
    assert len(ids) == 4
    assert bytes.fromhex("37b1640e") == LOG.key_id


def vkey(name="a.example", *, key_id=None, material=None, **ids):
    """A vkey, right unless told otherwise."""
    public_key = LOG.public_key
    right = make_key_id(name, algorithm=ids.get("algorithm", 1), public_key=public_key).hex()
    data = bytes([ids.get("algorithm", 1)]) + public_key if material is None else material
    return f"{name}+{right if key_id is None else key_id}+{base64.b64encode(data).decode()}"


def test_a_vkey_may_have_plus_signs_in_its_base64():
    """Only the first two plus signs divide a vkey."""
    for secret in range(64):
        signer = TestSigner("plus.example", bytes([secret]) * 32)
        text = format_verifier_key(signer.key)
        assert signer.key == parse_verifier_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a+b",
        vkey(""),
        vkey("a b"),
        vkey(key_id="00000000"),
        vkey(key_id="37B1640E"),
        vkey(key_id="123"),
        vkey(key_id="\u0663\u0663\u0663\u0663\u0663\u0663\u0663\u0663"),
        vkey(material=b""),
        vkey(material=b"\x01"),
        vkey(material=b"\x01" + bytes(31)),
        vkey(material=b"\x01" + bytes(33)),
        vkey(algorithm=2),
        vkey(algorithm=6),
        vkey() + "=",
        vkey() + "\n",
        "\ud800+00000000+AQ==",
    ],
)
def test_other_vkeys_are_malformed(text):
    """Another form, algorithm, length, or an id that is not the key's, is malformed."""
    with pytest.raises(MalformedNoteError):
        parse_verifier_key(text)


@given(st.text(max_size=100) | st.text(alphabet="aAQ+/=0123").map("a+00000000+{}".format))
def test_text_is_one_key_or_malformed(text):
    """Whatever the text, key parsers give what would be written the same, or name it."""
    for parse, write in (
        (parse_verifier_key, format_verifier_key),
        (parse_signer_key, format_signer_key),
    ):
        try:
            key = parse(text)
        except MalformedNoteError:
            continue
        assert text == write(key)


def test_a_secret_is_never_shown():
    """Neither the repr of a private key nor the error about a broken one holds the secret."""
    key = SignerKey(LOG.name, LOG.key_id, 1, LOG.secret)
    line = format_signer_key(key)
    assert key == parse_signer_key(line)
    assert str(LOG.secret)[2:-1] not in repr(key)
    assert "secret" not in repr(key)
    for broken in (line[:-4], line + "AAAA", line.replace("+37b1640e", ""), line[1:]):
        with pytest.raises(MalformedNoteError) as caught:
            parse_signer_key(broken)
        assert line.rpartition("+")[2][:8] not in caught.value.message
