"""Commitments: what stays hidden, and what opens it."""

from __future__ import annotations

import hashlib

import pytest

from tallystick.record import (
    CommitmentError,
    Disclosure,
    canonical,
    check_disclosure,
    check_salted_record,
    commit_field,
    field_key,
    format_record,
    parse_record,
    salted_digest,
)
from tests.support.sealed import SALT, payment, vector_leaves

KEY = field_key(SALT, "note")


def private_record(note="café"):
    """Return a record whose note is private."""
    row = {"id": "42", "note": note}
    change = payment(42, row=row, private_columns={"note"}, salt=SALT)
    return parse_record(format_record(change))


def test_vectors():
    """log 2: salted digest, field key and both commitments are the specification's."""
    assert (
        salted_digest(SALT, vector_leaves()[0]).hex()
        == "0dd5b973882a5ccb7f80dc41d44f536043ccb8b4354f7f652b734b79dadda8a0"
    )
    assert KEY.hex() == "3020ba51dd5869165695720a96d6d2d93829c822d0f4341dcfdb48ed12501633"
    assert (
        commit_field(KEY, "café").hex()
        == "6665bc8841fe6c0ee916e8feb012607e3cc461b82caea2f5f37a373e7806c00a"
    )
    assert (
        commit_field(KEY, None).hex()
        == "b87e7397fa96a4e3188aa15454a491086634969f53c321c3de13fd6cf5a18f19"
    )


def test_null_is_not_the_empty_text():
    """NULL and the empty text have different commitments."""
    assert commit_field(KEY, None) != commit_field(KEY, "")


@pytest.mark.parametrize("note", ["café", "", None])
def test_a_true_disclosure_opens(note):
    """The column's key and value open it, NULL and the empty text too."""
    opened = check_disclosure(private_record(note), [Disclosure("note", KEY, note)])
    assert {"note": note} == opened


@pytest.mark.parametrize(
    "disclosures",
    [
        [Disclosure("note", KEY, "cafe")],
        [Disclosure("note", KEY, None)],
        [Disclosure("note", SALT, "café")],
        [Disclosure("note", b"short", "café")],
        [Disclosure("note", None, "café")],
        [Disclosure("id", KEY, "42")],
        [Disclosure("absent", KEY, None)],
        [Disclosure("note", KEY, "\ud800")],
        [Disclosure("note", KEY, "café"), Disclosure("note", KEY, "café")],
    ],
)
def test_a_false_disclosure_is_refused(disclosures):
    """Another value, key or column, or a column twice, opens nothing."""
    with pytest.raises(CommitmentError):
        check_disclosure(private_record(), disclosures)


def test_large_values_open_by_themselves():
    """A large value's own bytes open its digest, and no others do."""
    value = "x" * 9000
    record = parse_record(format_record(payment(1, row={"text": value})))
    assert {"text": value} == check_disclosure(record, [Disclosure("text", None, value)])
    for wrong in (value + "x", "y" * 9000, None, "\ud800"):
        with pytest.raises(CommitmentError):
            check_disclosure(record, [Disclosure("text", None, wrong)])


def test_a_whole_row_opens_by_its_record():
    """A row that fitted no leaf is opened by the record that it would have been."""
    row = {f"c{number}": "x" * 8000 for number in range(10)}
    record = parse_record(format_record(payment(1, row=row)))
    short = format_record(payment(1, row={}))
    whole = short.replace(b'"row":{}', b'"row":' + canonical(row)).decode()
    assert check_disclosure(record, [Disclosure("*", None, whole)]) == {"*": whole}
    with pytest.raises(CommitmentError):
        check_disclosure(record, [Disclosure("*", None, whole + " ")])


def test_salted_records_open_by_salt_and_record():
    """The leaf commits to one record under one salt."""
    record = vector_leaves()[0]
    leaf = salted_digest(SALT, record)
    check_salted_record(leaf, salt=SALT, record=record)
    for salt, other in ((SALT[::-1], record), (SALT, vector_leaves()[1]), (b"", record)):
        with pytest.raises(CommitmentError):
            check_salted_record(leaf, salt=salt, record=other)


def test_the_digest_is_of_the_named_construction():
    """The salted digest is plain SHA-256 over tag, 0x00, salt and record."""
    expected = hashlib.sha256(b"tallystick/seal-salted-record/v1\n\x00" + SALT + b"r").digest()
    assert expected == salted_digest(SALT, b"r")


def test_secrets_stay_out_of_reprs():
    """No key, salt or value shows when a disclosure or change is printed."""
    assert "3020" not in repr(Disclosure("note", KEY, "canary"))
    assert "canary" not in repr(Disclosure("note", KEY, "canary"))
    assert repr(SALT) not in repr(payment(1, salt=SALT))
