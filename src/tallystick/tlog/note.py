"""
Signed notes: a text and the signatures of one or more keys over it.

Follows C2SP signed-note v1. The kernel builds and takes apart the bytes; the arithmetic of
Ed25519 enters through the protocols `Signer` and `Verifier` (made in `record/keys.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from tallystick.tlog.encoding import format_base64, parse_base64
from tallystick.tlog.errors import MalformedNoteError, UnverifiedNoteError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ALGORITHM_ED25519: Final = 0x01
"""Ed25519 over the note's text (signed-note)."""
ALGORITHM_COSIGNATURE: Final = 0x04
"""Timestamped Ed25519 over a checkpoint (tlog-cosignature)."""

MAX_NOTE_BYTES: Final = 1_000_000
"""No checkpoint comes near it; more than this only costs a verifier memory."""
MAX_SIGNATURES: Final = 64
"""A log key or two, and every witness of a large network; each may cost a verification."""

KEY_ID_BYTES: Final = 4
SIGNATURE_BYTES: Final = 64
PUBLIC_KEY_BYTES: Final = 32
SECRET_BYTES: Final = 32

_PRIVATE_KEY_TAG: Final = "PRIVATE+KEY"
_DASH: Final = "— "
_LOWER_HEX: Final = frozenset("0123456789abcdef")
_FIRST_PRINTABLE: Final = 0x20


class Signer(Protocol):
    """One private key: it says who it is, and signs."""

    @property
    def name(self) -> str:
        """The key's name; a log key's is the log's origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before each signature."""
        ...

    @property
    def algorithm(self) -> int:
        """`ALGORITHM_ED25519` or `ALGORITHM_COSIGNATURE`."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of an Ed25519 signature over exactly *message*."""
        ...


class Verifier(Protocol):
    """One trusted public key."""

    @property
    def name(self) -> str:
        """The key's name; a log key's is the log's origin."""
        ...

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before each signature."""
        ...

    @property
    def algorithm(self) -> int:
        """`ALGORITHM_ED25519` or `ALGORITHM_COSIGNATURE`."""
        ...

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether *signature*, of 64 bytes, is the key's over exactly *message*; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: nothing in it is verified."""

    name: str
    key_id: bytes
    signature: bytes
    """What follows the key id: 64 bytes for a log key, 72 for a cosignature, any for others."""


@dataclass(frozen=True, slots=True)
class Note:
    """A text, its final newline included, and the signatures that claim to be over it."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key as a vkey spells it; its key id is the hash that it must be."""

    name: str
    key_id: bytes
    algorithm: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key as its file spells it; the secret stays out of the repr."""

    name: str
    key_id: bytes
    algorithm: int
    secret: bytes = field(repr=False)


def make_key_id(name: str, *, algorithm: int, public_key: bytes) -> bytes:
    """The 4 bytes that identify a key under its name: a hash over name, algorithm and key."""
    preimage = name.encode() + b"\n" + bytes([algorithm]) + public_key
    return hashlib.sha256(preimage).digest()[:KEY_ID_BYTES]


def parse_note(data: bytes) -> Note:
    """
    The text and the signatures of a signed note. Nothing is verified: see `check_note`.

    Raises:
        MalformedNoteError: *data* is over a limit, is not UTF-8, has a control character, or
            has no block of signature lines after its last empty line.
    """
    decoded = _decode(data)
    # The last empty line divides: the text itself may have empty lines.
    text, divider, lines = decoded.rpartition("\n\n")
    if not divider:
        raise MalformedNoteError("the note has no empty line before its signatures")
    return Note(text=text + "\n", signatures=_parse_lines(lines))


def format_note(note: Note) -> bytes:
    """
    The bytes of *note*: text, empty line, signature lines.

    Raises:
        MalformedNoteError: *note* cannot be written so that it parses as itself.
    """
    lines = "".join(format_signature_line(signature) for signature in note.signatures)
    try:
        data = f"{note.text}\n{lines}".encode()
    except UnicodeEncodeError as cause:
        raise MalformedNoteError("the note's text is not Unicode") from cause
    if parse_note(data) != note:
        raise MalformedNoteError("the note's text does not end in one newline")
    return data


def parse_signature_lines(data: bytes) -> tuple[Signature, ...]:
    """
    The signatures of a block of signature lines alone, as a witness answers.

    Raises:
        MalformedNoteError: *data* is over a limit, or a line is not a signature line.
    """
    return _parse_lines(_decode(data))


def format_signature_line(signature: Signature) -> str:
    """The line of *signature*, its newline included."""
    blob = format_base64(signature.key_id + signature.signature)
    return f"{_DASH}{signature.name} {blob}\n"


def sign_note(text: str, signers: Iterable[Signer]) -> Note:
    """
    *text* signed by each of *signers*, in their order.

    Raises:
        MalformedNoteError: *text* cannot be the text of a note; nothing was signed.
    """
    signers = list(signers)
    assert all(signer.algorithm == ALGORITHM_ED25519 for signer in signers)
    check_note_text(text)
    message = text.encode()
    signatures = tuple(
        Signature(signer.name, signer.key_id, signer.sign(message)) for signer in signers
    )
    return Note(text=text, signatures=signatures)


def check_note(
    note: Note, verifiers: Iterable[Verifier], *, at_least: int = 1
) -> tuple[Signature, ...]:
    """
    Check that at least *at_least* of the log keys *verifiers* signed *note*.

    Returns the signatures of known keys, each verified, in the note's order. Signatures of
    other keys are left out: they say nothing.

    Raises:
        UnverifiedNoteError: A known key's signature is false, which rejects the whole note,
            or too few known keys signed. A key that signed twice counts once.
    """
    trusted = list(verifiers)
    assert all(verifier.algorithm == ALGORITHM_ED25519 for verifier in trusted)
    message = note.text.encode()
    verified = []
    for signature in note.signatures:
        candidates = known_keys(signature, trusted)
        if not candidates:
            continue
        if len(signature.signature) != SIGNATURE_BYTES or not any(
            candidate.verify(message, signature.signature) for candidate in candidates
        ):
            raise UnverifiedNoteError(
                f"the signature of {signature.name} is false",
                expected=f"{signature.name}+{signature.key_id.hex()}",
                actual=signature.signature,
            )
        verified.append(signature)
    signed_by = {(signature.name, signature.key_id) for signature in verified}
    if len(signed_by) < at_least:
        raise UnverifiedNoteError(
            f"{len(signed_by)} known keys signed the note, {at_least} must",
            expected=at_least,
            actual=len(signed_by),
        )
    return tuple(verified)


def known_keys(signature: Signature, verifiers: Sequence[Verifier]) -> list[Verifier]:
    """The keys of *verifiers* that *signature* names: both name and id must agree."""
    named = (signature.name, signature.key_id)
    return [verifier for verifier in verifiers if (verifier.name, verifier.key_id) == named]


def parse_verifier_key(text: str) -> VerifierKey:
    """
    The key of a vkey, `name+hex(id)+base64(algorithm || public key)`.

    Raises:
        MalformedNoteError: Not of that form, of an algorithm other than Ed25519 (1) or
            cosignature (4), not 32 bytes of key, or the id is not the key's.
    """
    name, key_id, rest = _parse_key_parts(text, what="verifier key")
    algorithm, public_key = _parse_key_material(rest, size=PUBLIC_KEY_BYTES, what="verifier key")
    if key_id != make_key_id(name, algorithm=algorithm, public_key=public_key):
        raise MalformedNoteError("the verifier key's id is not the hash of its name and key")
    return VerifierKey(name=name, key_id=key_id, algorithm=algorithm, public_key=public_key)


def format_verifier_key(key: VerifierKey) -> str:
    """The vkey of *key*."""
    material = format_base64(bytes([key.algorithm]) + key.public_key)
    return f"{key.name}+{key.key_id.hex()}+{material}"


def parse_signer_key(text: str) -> SignerKey:
    """
    The key of one line `PRIVATE+KEY+name+hex(id)+base64(algorithm || secret)`.

    Whether the id belongs to the secret cannot be told without Ed25519: whoever makes a
    `Signer` of it checks that.

    Raises:
        MalformedNoteError: Not of that form. The message never holds a part of *text*.
    """
    tag = _PRIVATE_KEY_TAG + "+"
    if not text.startswith(tag):
        raise MalformedNoteError(f"the signer key does not start with {_PRIVATE_KEY_TAG}")
    name, key_id, rest = _parse_key_parts(text.removeprefix(tag), what="signer key")
    algorithm, secret = _parse_key_material(rest, size=SECRET_BYTES, what="signer key")
    return SignerKey(name=name, key_id=key_id, algorithm=algorithm, secret=secret)


def format_signer_key(key: SignerKey) -> str:
    """The line of *key*, without a newline."""
    material = format_base64(bytes([key.algorithm]) + key.secret)
    return f"{_PRIVATE_KEY_TAG}+{key.name}+{key.key_id.hex()}+{material}"


def check_note_text(text: str) -> None:
    """
    Check that *text* can be signed as a note.

    Raises:
        MalformedNoteError: No final newline, a control character, not Unicode, or too long.
    """
    try:
        decoded = _decode(text.encode())
    except UnicodeEncodeError as cause:
        raise MalformedNoteError("the note's text is not Unicode") from cause
    if not decoded.endswith("\n"):
        raise MalformedNoteError("the note's text does not end in a newline")


def is_key_name(name: str) -> bool:
    """Whether *name* can be a key's: not empty, without spaces, plus and control characters."""
    return bool(name) and not any(
        character.isspace() or character == "+" or ord(character) < _FIRST_PRINTABLE
        for character in name
    )


def _decode(data: bytes) -> str:
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedNoteError(f"the note has {len(data)} bytes, over {MAX_NOTE_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise MalformedNoteError("the note is not UTF-8") from cause
    if any(byte < _FIRST_PRINTABLE and byte != ord("\n") for byte in set(data)):
        raise MalformedNoteError("the note has a control character other than newline")
    return text


def _parse_lines(block: str) -> tuple[Signature, ...]:
    if not block.endswith("\n"):
        raise MalformedNoteError("the signature lines do not end in a newline")
    # Counted before split, so that a hostile note costs no more than a look at it.
    if block.count("\n") > MAX_SIGNATURES:
        raise MalformedNoteError(f"the note has more than {MAX_SIGNATURES} signatures")
    return tuple(_parse_line(line) for line in block[:-1].split("\n"))


def _parse_line(line: str) -> Signature:
    if not line.startswith(_DASH):
        raise MalformedNoteError("a signature line does not start with an em dash and a space")
    name, space, blob = line.removeprefix(_DASH).partition(" ")
    if not space or not is_key_name(name):
        raise MalformedNoteError("a signature line has no key name")
    data = parse_base64(blob, what="a signature", error=MalformedNoteError)
    if len(data) <= KEY_ID_BYTES:
        raise MalformedNoteError("a signature has no bytes after its key id")
    return Signature(name=name, key_id=data[:KEY_ID_BYTES], signature=data[KEY_ID_BYTES:])


def _parse_key_parts(text: str, *, what: str) -> tuple[str, bytes, str]:
    # Only the first two plus signs divide: base64 has plus signs of its own.
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_key_name(parts[0]):  # noqa: PLR2004 -- name, id, key
        raise MalformedNoteError(f"the {what} is not name+id+key")
    name, key_id, rest = parts
    try:
        name.encode()
    except UnicodeEncodeError as cause:
        raise MalformedNoteError(f"the {what}'s name is not Unicode") from cause
    if len(key_id) != 2 * KEY_ID_BYTES or not _LOWER_HEX.issuperset(key_id):
        raise MalformedNoteError(f"the {what}'s id is not 8 lower-case hex digits")
    return name, bytes.fromhex(key_id), rest


def _parse_key_material(text: str, *, size: int, what: str) -> tuple[int, bytes]:
    data = parse_base64(text, what=f"the {what}", error=MalformedNoteError)
    if not data or data[0] not in (ALGORITHM_ED25519, ALGORITHM_COSIGNATURE):
        raise MalformedNoteError(f"the {what} is of an unsupported algorithm")
    if len(data) != 1 + size:
        raise MalformedNoteError(f"the {what} has {len(data) - 1} bytes, not {size}")
    return data[0], data[1:]
