"""
Commitments: values that a record binds without showing them (log.md, section 5.3).

Each private column has a key of its own, drawn from the record's salt, so that disclosing
one column says nothing about the others. A salted leaf commits to its whole record.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tallystick.record.errors import CommitmentError
from tallystick.record.tags import FIELD_KEY_TAG, FIELD_TAG, SALTED_RECORD_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.record.record import Record

SALT_BYTES: Final = 32
"""As long as the digest: guessing the salt is no easier than inverting the hash."""
WHOLE_RECORD: Final = "*"
"""The name under which `large` describes a record whose row was too long for a leaf."""

_NULL: Final = b"\x00"
_VALUE: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Disclosure:
    """
    What opens one column: *key* (32 bytes) for a private one, None for a large one.

    *value* is the column's text, or None for NULL. Both stay out of the repr.
    """

    column: str
    key: bytes | None = field(repr=False)
    value: str | None = field(repr=False)


def salted_digest(salt: bytes, record: bytes) -> bytes:
    """The 32 bytes of a salted leaf: a commitment to the *record*'s leaf bytes, tag included."""
    assert len(salt) == SALT_BYTES
    return hashlib.sha256(SALTED_RECORD_TAG + b"\x00" + salt + record).digest()


def field_key(salt: bytes, column: str) -> bytes:
    """The 32-byte key of *column* in the record with *salt*."""
    assert len(salt) == SALT_BYTES
    return hashlib.sha256(FIELD_KEY_TAG + b"\x00" + salt + column.encode()).digest()


def commit_field(key: bytes, value: str | None) -> bytes:
    """
    The 32-byte commitment to *value* under the field's *key*.

    0x01 and the value's UTF-8, or 0x00 alone for NULL: so the empty text is not NULL.
    """
    assert len(key) == SALT_BYTES
    content = _NULL if value is None else _VALUE + value.encode()
    return hashlib.sha256(FIELD_TAG + b"\x00" + key + content).digest()


def check_disclosure(record: Record, disclosures: Iterable[Disclosure]) -> dict[str, str | None]:
    """
    Check that each of *disclosures* opens what *record* commits to.

    Returns the opened values by column; `*` is the whole record of a row that was too long.

    Raises:
        CommitmentError: A column is opened twice, the record does not commit to it, or key
            and value lead to another commitment.
    """
    opened: dict[str, str | None] = {}
    for disclosure in disclosures:
        if disclosure.column in opened:
            raise CommitmentError("a column is disclosed twice", column=disclosure.column)
        if disclosure.key is None:
            _check_large(record, disclosure)
        else:
            _check_private(record, disclosure, disclosure.key)
        opened[disclosure.column] = disclosure.value
    return opened


def check_salted_record(leaf: bytes, *, salt: bytes, record: bytes) -> None:
    """
    Check that the salted *leaf* commits to the leaf bytes *record* under *salt*.

    Raises:
        CommitmentError: It commits to something else.
    """
    if len(salt) != SALT_BYTES or not hmac.compare_digest(salted_digest(salt, record), leaf):
        raise CommitmentError("the salt and the record do not lead to the leaf")


def _check_private(record: Record, disclosure: Disclosure, key: bytes) -> None:
    commitment = record.private.get(disclosure.column)
    if commitment is None:
        raise CommitmentError("the record has no such private column", column=disclosure.column)
    if len(key) != SALT_BYTES or _encode(disclosure) is None:
        raise CommitmentError("the key or value is of no possible form", column=disclosure.column)
    if commit_field(key, disclosure.value).hex() != commitment:
        raise CommitmentError(
            "the value does not lead to the record's commitment", column=disclosure.column
        )


def _check_large(record: Record, disclosure: Disclosure) -> None:
    described = record.large.get(disclosure.column)
    if described is None:
        raise CommitmentError("the record has no such large column", column=disclosure.column)
    value = _encode(disclosure)
    actual = None if value is None else (len(value), hashlib.sha256(value).hexdigest())
    if disclosure.value is None or actual != (described.bytes, described.sha256):
        raise CommitmentError(
            "the value does not lead to the record's digest", column=disclosure.column
        )


def _encode(disclosure: Disclosure) -> bytes | None:
    """The value's UTF-8, empty for NULL; None where text cannot be encoded."""
    try:
        return (disclosure.value or "").encode()
    except UnicodeEncodeError:
        return None
