"""
What changed from one version of a row to the next.

Versions come as records, oldest first. A column is compared by what the record says of it:
its text, its commitment where it is private, its length and digest where it is large.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.record import Record

ENDS = frozenset({"delete", "truncate"})
"""Operations after which there is no row: the next version begins from nothing."""


class Kind(enum.Enum):
    """How a column of one version stands to the same column of the version before."""

    SAME = "same"
    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Value:
    """A column's value as the leaf shows it: *text* for people, None for NULL."""

    text: str | None
    form: str = "plain"
    """`plain`, `private` (the text is a commitment) or `large` (length and digest)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One column of a version: its value, and the one before where that was another."""

    column: str
    kind: Kind
    before: Value | None
    after: Value | None


def values_of(record: Record) -> dict[str, Value]:
    """Return what *record* says of each column, by name in order."""
    found = {name: Value(text) for name, text in (record.row or {}).items()}
    found |= {name: Value(digest, "private") for name, digest in record.private.items()}
    for name, large in record.large.items():
        found[name] = Value(f"{large.bytes:,} bytes, SHA-256 {large.sha256}", "large")
    return dict(sorted(found.items()))


def difference(before: Record | None, after: Record) -> tuple[Difference, ...]:
    """
    Return every column of either version, those of a row that begins or ends included.

    A deleted row's record holds the row as it last was: all of its columns are removed.
    """
    if after.op in ENDS:
        last = values_of(after)
        return tuple(Difference(name, Kind.REMOVED, last[name], None) for name in last)
    old = {} if before is None or before.op in ENDS else values_of(before)
    new = values_of(after)
    return tuple(_compare(name, old.get(name), new.get(name)) for name in sorted(old | new))


def differences(records: Sequence[Record]) -> list[tuple[Difference, ...]]:
    """Return for each record, oldest first, its difference from the one before."""
    befores = [None, *records][: len(records)]
    return [difference(before, after) for before, after in zip(befores, records, strict=True)]


def _compare(column: str, before: Value | None, after: Value | None) -> Difference:
    if before is None:
        return Difference(column, Kind.ADDED, None, after)
    if after is None:
        return Difference(column, Kind.REMOVED, before, None)
    kind = Kind.SAME if before == after else Kind.CHANGED
    return Difference(column, kind, before, after)
