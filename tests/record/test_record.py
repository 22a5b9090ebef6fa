"""Records: leaf bytes of a change, and the strict way back."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import (
    Change,
    LargeValue,
    MalformedRecordError,
    RecordTooLargeError,
    canonical,
    commit_field,
    field_key,
    format_record,
    parse_record,
    row_key,
)
from tallystick.record.tags import RECORD_TAG
from tallystick.tlog import hash_leaf, tree_root
from tests.support.sealed import SALT, payment, vector_leaves

LEAF_0 = (
    'tallystick/seal-record/v1\n{"actor":null,"at":"2026-01-02T03:04:05.000006Z","key":["42"],'
    '"log":"payments","op":"insert","role":"shop","row":{"amount":"10.50","id":"42",'
    '"note":"café"},"table":"public.payment","tx":"748","via":"trigger"}'
).encode()

CONTROL = {
    "schema": {"columns": [["id", "integer"]], "key": ["id"], "private": []},
    "genesis": {"origin": "log.example/old", "size": 3, "root": "ab" * 32},
    "freeze": {"origin": None, "size": None, "root": None},
    "redact": {"indexes": [1, 2], "reason": "request 7"},
    "gap": {
        "problem": "trigger_disabled",
        "since": None,
        "found": "2026-01-02T03:04:05.000006Z",
    },
}


def members_of(leaf):
    """Return the object of a record's leaf."""
    return json.loads(leaf[len(RECORD_TAG) :])


def leaf_with(**members):
    """Return leaf 0 with *members* put in; ... takes one out."""
    value = members_of(LEAF_0) | members
    return RECORD_TAG + canonical({k: v for k, v in value.items() if v is not ...})


def control(op, detail, **members):
    """Return a control change."""
    return replace(
        payment(1), op=op, via="control", key=[], row=None, table=None, detail=detail, **members
    )


def test_vector_leaves():
    """log 2: the leaf bytes, leaf hashes and root of the specification's three leaves."""
    leaves = vector_leaves()
    assert leaves[0] == LEAF_0
    assert [len(leaf) for leaf in leaves[:2]] == [235, 232]
    hashes = [hash_leaf(leaf) for leaf in leaves]
    assert [item.hex() for item in hashes] == [
        "0048db3c44e5351d7df88b54622d907f03a9507f3df7287f0c0f2c741a97e155",
        "f73281562bcbfe03b0ba616ef4d803ab847f28177664b3bdaee7b3ca83dca483",
        "ea0d9a195375fc92091fbc118af4b00e242d6985819247b7f3dd8fb9c39670d4",
    ]
    assert (
        tree_root(hashes).hex()
        == "09b9450fe90760af1a378cbea49b44a1c15605b9b0b92a15f7694f141806c1a1"
    )


def test_vector_row_key():
    """log 2: the key of a row without key is the specification's."""
    assert (
        row_key({"id": "42", "amount": "10.50", "note": "café"})
        == "257956db100408087f29f8a5ceee707504f01b09cc3a999153077b02f01ea357"
    )


def test_parsing_gives_what_was_written():
    """A record's members come back, numbers still as text."""
    record = parse_record(LEAF_0)
    assert record.row == {"id": "42", "amount": "10.50", "note": "café"}
    assert (
        record.log,
        record.table,
        record.op,
        record.via,
        record.key,
    ) == ("payments", "public.payment", "insert", "trigger", ("42",))
    assert (record.tx, record.role, record.actor, record.detail) == ("748", "shop", None, None)


@given(
    row=st.dictionaries(st.text(min_size=1), st.none() | st.text(), max_size=4),
    key=st.lists(st.text(), min_size=1, max_size=3),
    actor=st.none() | st.text(),
)
@settings(max_examples=60, deadline=None)
def test_round_trip(row, key, actor):
    """Whatever text a row holds, its record parses as itself."""
    record = parse_record(format_record(payment(1, row=row, key=key, actor=actor)))
    assert (row, tuple(key), actor) == (record.row, record.key, record.actor)


@pytest.mark.parametrize("op", CONTROL)
def test_control_records(op):
    """A control record carries its detail, no key and no row."""
    record = parse_record(format_record(control(op, CONTROL[op])))
    assert (CONTROL[op], (), None, None) == (record.detail, record.key, record.row, record.table)


@pytest.mark.parametrize(
    ("op", "change"),
    [
        (op, change)
        for op, changes in {
            "schema": [
                {"columns": [["id"]]},
                {"columns": [["id", 1]]},
                {"columns": None},
                {"key": "id"},
                {"private": [""]},
            ],
            "genesis": [
                {"size": -1},
                {"size": None},
                {"root": "AB" * 32},
                {"origin": None},
                {"size": True},
            ],
            "redact": [{"indexes": []}, {"indexes": ["1"]}, {"reason": None}],
            "gap": [{"problem": None}, {"found": None}, {"since": "yesterday"}, {"more": 1}],
        }.items()
        for change in changes
    ],
)
def test_malformed_details_are_refused(op, change):
    """A control record with a member missing, unknown or out of range is refused."""
    with pytest.raises(MalformedRecordError):
        format_record(control(op, CONTROL[op] | change))


def test_truncate_has_neither_key_nor_row():
    """A truncate says only which table was emptied."""
    record = parse_record(format_record(payment(1, op="truncate", key=[], row=None)))
    assert (record.op, record.key, record.row) == ("truncate", (), None)


def test_private_columns_are_commitments():
    """A private column leaves the row, and its commitment stands under `private`."""
    change = payment(42, private_columns={"note", "absent"}, salt=SALT)
    record = parse_record(format_record(change))
    assert record.row == {"id": "42", "amount": "10.50"}
    assert {"note": commit_field(field_key(SALT, "note"), "café").hex()} == record.private
    assert "café".encode() not in format_record(change)


def test_long_values_become_digests():
    """A value over 8,192 bytes is null in the row and described under `large`."""
    long = "é" * 4097
    record = parse_record(format_record(payment(1, row={"id": "1", "text": long, "x": "y" * 8192})))
    assert None is record.row["text"]
    assert {"text": LargeValue(8194, hashlib.sha256(long.encode()).hexdigest())} == record.large


def test_a_row_that_fits_no_leaf_becomes_one_digest():
    """A record that is still too long has no row, and the digest of itself under `*`."""
    row = {f"c{number}": "x" * 8000 for number in range(10)}
    leaf = format_record(payment(1, row=row))
    whole = RECORD_TAG + canonical(members_of(LEAF_0) | {"key": ["1"], "row": row})
    record = parse_record(leaf)
    assert None is record.row
    assert {"*": LargeValue(len(whole), hashlib.sha256(whole).hexdigest())} == record.large


def test_a_record_that_fits_no_leaf_at_all_is_refused():
    """What is too long without its row cannot be a leaf."""
    with pytest.raises(RecordTooLargeError):
        format_record(payment(1, key=["k" * 70_000]))


def test_a_leaf_without_the_tag_is_no_record():
    """Leaves that do not begin with the tag are not records, whatever they hold."""
    for leaf in (b"", b"data", LEAF_0[:-1][1:], b"\x00" * 32, RECORD_TAG[:-1]):
        assert None is parse_record(leaf)


@pytest.mark.parametrize(
    "leaf",
    [
        RECORD_TAG,
        LEAF_0 + b" ",
        LEAF_0.replace(b'"actor":null,', b'"actor": null,'),
        LEAF_0.replace(b'"actor":null,', b'"actor":null,"actor":null,'),
        LEAF_0.replace("é".encode(), b"\\u00e9"),
        RECORD_TAG + b"[]",
        RECORD_TAG + b"null",
        leaf_with(extra=1),
        leaf_with(actor=...),
        leaf_with(actor=1),
        leaf_with(log="Payments"),
        leaf_with(log="p" * 49),
        leaf_with(log=None),
        leaf_with(table=None),
        leaf_with(table="payment"),
        leaf_with(table='public."pay'),
        leaf_with(table="public.Payment"),
        leaf_with(op="upsert"),
        leaf_with(op=["insert"]),
        leaf_with(op="genesis"),
        leaf_with(via="control"),
        leaf_with(via="api"),
        leaf_with(key=[]),
        leaf_with(key="42"),
        leaf_with(key=[42]),
        leaf_with(key=[None]),
        leaf_with(row=None),
        leaf_with(row=[]),
        leaf_with(row={"id": 42}),
        leaf_with(row={"": "x"}),
        leaf_with(at="2026-01-02T03:04:05Z"),
        leaf_with(at="2026-02-30T03:04:05.000006Z"),
        leaf_with(tx=748),
        leaf_with(tx="0748"),
        leaf_with(tx="-1"),
        leaf_with(tx=str(2**64)),
        leaf_with(tx="٣"),
        leaf_with(role=""),
        leaf_with(role=None),
        leaf_with(via="wal"),
        leaf_with(detail={}),
        leaf_with(private={}),
        leaf_with(private={"card": "ab"}),
        leaf_with(private={"id": "ab" * 32}),
        leaf_with(large={}),
        leaf_with(large={"id": {"bytes": 9000, "sha256": "ab" * 32}}),
        leaf_with(large={"*": {"bytes": 70000, "sha256": "ab" * 32}}),
        leaf_with(row=None, large={"id": {"bytes": 70000, "sha256": "ab" * 32}}),
        leaf_with(row=None, large={"*": {"bytes": 65535, "sha256": "ab" * 32}}),
        leaf_with(row={"n": None}, large={"n": {"bytes": 8192, "sha256": "ab" * 32}}),
        leaf_with(row={"n": None}, large={"n": {"bytes": 9000, "sha256": "ab" * 32, "x": 1}}),
        leaf_with(row={"n": "x" * 70_000}),
        leaf_with(op="truncate"),
        leaf_with(op="truncate", key=[], row={}),
    ],
)
def test_whatever_is_not_a_record_is_refused(leaf):
    """A leaf with the tag is a record in its one spelling, or it is refused."""
    with pytest.raises(MalformedRecordError):
        parse_record(leaf)


def test_quoted_table_names_are_names():
    """Names that PostgreSQL quotes are names like any."""
    for table in ('"Größe"."a""b"', 'public."; DROP"', "_a.b_1"):
        assert table == parse_record(format_record(payment(1, table=table))).table


def test_what_cannot_be_a_record_is_not_written():
    """No change is written that would not parse as a record."""
    for members in ({"log": "X"}, {"row": {"a": "\ud800"}}, {"op": "gap"}, {"tx": "x"}):
        with pytest.raises(MalformedRecordError):
            format_record(payment(1, **members))


@given(st.binary(max_size=60), st.integers(0, len(LEAF_0)), st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_parsing_is_total(noise, start, length):
    """log 2: any damage to a record ends in a record with exactly those bytes, or a named error."""
    leaf = LEAF_0[:start] + noise + LEAF_0[start + length :]
    try:
        record = parse_record(leaf)
    except MalformedRecordError:
        return
    assert record is None or leaf == format_record(
        Change(
            log=record.log,
            table=record.table,
            op=record.op,
            via=record.via,
            key=record.key,
            at=record.at,
            tx=record.tx,
            role=record.role,
            actor=record.actor,
            row=record.row,
        )
    )


def test_a_record_from_the_wal_has_no_role():
    """The WAL does not say who logged in: via wal and a null role come together or not at all."""
    record = parse_record(leaf_with(via="wal", role=None))
    assert record is not None
    assert (record.via, record.role) == ("wal", None)
