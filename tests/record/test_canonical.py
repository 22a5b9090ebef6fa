"""The canonical encoder: RFC 8785, and its strict inverse."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.record import (
    MalformedJsonError,
    UncanonicalValueError,
    canonical,
    parse_canonical,
)
from tests.support.vectors import vector_path

NAMES = ("arrays", "french", "structures", "unicode", "values", "weird")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2**53) + 1, 2**53 - 1)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", NAMES)
def test_published_vectors(name):
    """log 2: each published input has exactly the published canonical bytes."""
    folder = vector_path("jcs")
    given_text = (folder / "input" / f"{name}.json").read_text(encoding="utf-8")
    expected = bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text(encoding="ascii"))
    assert expected == canonical(json.loads(given_text))


@given(values)
@settings(max_examples=60, deadline=None)
def test_parsing_inverts(value):
    """What is written is read back, and written again as the same bytes."""
    data = canonical(value)
    assert data == canonical(parse_canonical(data))


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        2**53,
        -(2**53),
        b"bytes",
        {1: "key"},
        "\ud800",
        {"\ud800": 1},
        {"deep": [object()]},
    ],
)
def test_what_json_cannot_carry_is_refused(value):
    """A value that JSON would carry inexactly, or not at all, is refused and never bent."""
    with pytest.raises(UncanonicalValueError):
        canonical(value)


def test_a_value_that_contains_itself_is_refused():
    """Endless nesting ends in the named error."""
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(UncanonicalValueError):
        canonical(loop)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b' {"a":1}',
        b'{"a":1}\n',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b"1.0",
        b"1e2",
        b"-0",
        b"NaN",
        b"Infinity",
        b"9007199254740992",
        b"1" * 5000,
        b'"\\u0041"',
        b'"\\ud800"',
        b'"\xff"',
        b"[" * 100_000,
    ],
)
def test_any_second_spelling_is_refused(data):
    """Bytes that would not be written back as they are read are refused."""
    with pytest.raises(MalformedJsonError):
        parse_canonical(data)


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_parsing_is_total(data):
    """Any bytes give a value with exactly that spelling, or the named error."""
    try:
        value = parse_canonical(data)
    except MalformedJsonError:
        return
    assert data == canonical(value)
