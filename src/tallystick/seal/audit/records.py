"""
The plain records kept beside leaves: each must open the leaf that it is kept for (log.md, 5.3).

A salted leaf is a digest, and private or large values stand in a leaf as commitments and
digests. What opens them lies in `leaf_records`, which no tile covers: the audit makes each leaf
again from its record. Pure; part of steps 1 and 4 of log.md, section 4.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tallystick.record import (
    Change,
    Record,
    RecordError,
    format_record,
    parse_canonical,
    parse_record,
    salted_digest,
)
from tallystick.record.commitments import SALT_BYTES, WHOLE_RECORD
from tallystick.record.tags import RECORD_TAG
from tallystick.seal.audit.blocks import Finding, agrees


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A row of `leaf_records` with the leaf that it opens and the leaf's columns."""

    leaf_index: int
    leaf: bytes = field(repr=False)
    salt: bytes | None = field(repr=False)
    record: bytes = field(repr=False)
    log_name: str
    source_table: str | None
    source_key: str
    op: str
    via: str


def check_records(records: Iterable[StoredRecord]) -> Iterator[Finding]:
    """Yield `leaf_changed` for each record that does not open its leaf."""
    for stored in records:
        if not opens_leaf(stored):
            yield Finding(
                "leaf_changed",
                source_table=stored.source_table,
                source_key=stored.source_key,
                leaf_index=stored.leaf_index,
                detail="the record kept beside the leaf does not open it",
            )


def opens_leaf(stored: StoredRecord) -> bool:
    """Return whether salt and record make the leaf, and say what the leaf's columns say."""
    if not stored.record.startswith(RECORD_TAG):
        return False
    if stored.salt is not None and len(stored.salt) != SALT_BYTES:
        return False
    if stored.leaf.startswith(RECORD_TAG):
        return opens_record(stored)
    return (
        stored.salt is not None
        and salted_digest(stored.salt, stored.record) == stored.leaf
        and agrees(
            stored.record,
            log=stored.log_name,
            table=stored.source_table,
            key=stored.source_key,
            op=stored.op,
            via=stored.via,
        )
    )


def opens_record(stored: StoredRecord) -> bool:
    """Return whether the kept row, put into the leaf's own record, makes the leaf's bytes."""
    try:
        said = parse_record(stored.leaf)
        row = read_row(stored.record)
        if said is None or row is None or (said.private and stored.salt is None):
            return False
        if WHOLE_RECORD in said.large and (said.op, said.via) == ("delete", "reconcile"):
            # Such a delete repeats how the version before it was described, time and all.
            return True
        return format_record(put_row(said, row, stored.salt)) == stored.leaf
    except RecordError:
        return False


def read_row(record: bytes) -> dict[str, str | None] | None:
    """Return the row of a plain record, however long it is; None where it has none."""
    members = parse_canonical(record[len(RECORD_TAG) :])
    row = members.get("row") if isinstance(members, dict) else None
    if not isinstance(row, dict):
        return None
    return row if all(value is None or isinstance(value, str) for value in row.values()) else None


def put_row(said: Record, row: dict[str, str | None], salt: bytes | None) -> Change:
    """Return the change that *said* states, with the values of *row*."""
    return Change(
        log=said.log,
        table=said.table,
        op=said.op,
        via=said.via,
        key=said.key,
        at=said.at,
        tx=said.tx,
        role=said.role,
        actor=said.actor,
        row=row,
        private_columns=frozenset(said.private),
        salt=salt,
    )
