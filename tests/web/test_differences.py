"""What changes from one version of a row to the next."""

from __future__ import annotations

from dataclasses import replace

from tallystick.record import Record, format_record, parse_record
from tallystick.web.differences import Difference, Kind, Value, difference, differences
from tests.web.conftest import change


def record_of(op: str = "insert", **row: str | None) -> Record:
    """Return the record of a version of payment 42."""
    record = parse_record(format_record(change("payments", "42", op, **row)))
    assert record is not None
    return record


def test_first_version_adds_every_column():
    """A row's first version adds every column, NULL ones too."""
    found = difference(None, record_of(note=None))
    assert found == (
        Difference("id", Kind.ADDED, None, Value("42")),
        Difference("note", Kind.ADDED, None, Value(None)),
    )


def test_update_tells_what_changed_from_what_did_not():
    """An update tells the columns that changed from those that did not, NULL being a value."""
    found = difference(record_of(note="a", tip=""), record_of("update", note="b", tip=None))
    assert [(one.column, one.kind) for one in found] == [
        ("id", Kind.SAME),
        ("note", Kind.CHANGED),
        ("tip", Kind.CHANGED),
    ]


def test_columns_come_and_go():
    """A column that only one of two versions has was added or removed."""
    found = difference(record_of(old="1"), record_of("update", new="2"))
    assert {one.column: one.kind for one in found} == {
        "id": Kind.SAME,
        "new": Kind.ADDED,
        "old": Kind.REMOVED,
    }


def test_delete_removes_and_the_next_insert_begins_anew():
    """A delete removes every column, and what follows it is compared with nothing."""
    versions = [record_of(note="a"), record_of("delete", note="a"), record_of(note="a")]
    kinds = [{one.kind for one in found} for found in differences(versions)]
    assert kinds == [{Kind.ADDED}, {Kind.REMOVED}, {Kind.ADDED}]


def test_private_and_large_values_are_told_apart_from_plain_ones():
    """A commitment and a large value's digest are shown as what they are."""
    secret = replace(change("payments", "42", note="x"), private_columns={"note"}, salt=bytes(32))
    record = parse_record(format_record(secret))
    assert record is not None
    by_column = {one.column: one.after for one in difference(None, record)}
    assert by_column["note"] == Value(record.private["note"], "private")
    large = difference(None, record_of(note="x" * 9000))
    assert [one.after.form for one in large if one.after] == ["plain", "large"]
    assert large[1].after is not None
    assert (large[1].after.text or "").startswith("9,000 bytes, SHA-256 ")


def test_a_value_that_becomes_private_has_changed():
    """The same text in clear and as commitment are two different values."""
    assert Value("00" * 32) != Value("00" * 32, "private")
