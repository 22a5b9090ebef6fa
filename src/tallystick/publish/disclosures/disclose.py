"""
Opening what a leaf hides: single columns of a record, or a salted leaf as a whole.

The columns' keys are drawn from the salt one by one, so that who gets one learns nothing of
the others. What is handed out was checked first, by the check that its receiver will make.
Follows log.md, sections 4.4 and 5.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from tallystick.db import Transaction
from tallystick.publish.disclosures import store
from tallystick.publish.disclosures.store import HiddenLeaf
from tallystick.publish.errors import (
    LeafNotFoundError,
    NothingHiddenError,
    PrunedError,
    RecordDamagedError,
    RedactedError,
)
from tallystick.record import (
    WHOLE_RECORD,
    Change,
    Disclosure,
    DisclosureBundle,
    LeafDisclosure,
    Record,
    RecordError,
    check_disclosure,
    check_salted_record,
    field_key,
    format_whole_record,
    parse_canonical,
    parse_record,
)
from tallystick.record.tags import RECORD_TAG
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.logs import get_log

MAX_INDEX: Final = 2**53 - 1


def disclose(
    tx: Transaction, log_name: str, index: int, columns: Sequence[str] = ()
) -> LeafDisclosure:
    """
    Return what opens *columns* of the leaf at *index*: private and large ones by name, `*` for
    all of a record that was too long. A salted leaf opens as a whole: without columns, or `*`.

    Raises:
        LogNotFoundError, LeafNotFoundError: There is no such log, or its published tree has no
            such leaf.
        PrunedError: The leaf was pruned, and what it hid with it.
        RedactedError: What it hid was erased.
        NothingHiddenError: It hides nothing, or not these columns; the error names them.
        InvalidRequestError: A column is named twice, or none is where one must be.
        RecordDamagedError: What is kept beside the leaf does not open it.
    """
    log = get_log(tx, log_name)
    if len(set(columns)) != len(columns):
        raise InvalidRequestError("each column is named once")
    if not 0 <= index <= MAX_INDEX:
        raise InvalidRequestError("a leaf index is a number that is not negative")
    if index < log.minimum_index:
        raise PrunedError(f"log {log_name} has pruned entries below {log.minimum_index}")
    hidden = store.hidden_leaf(tx, log.log_id, index)
    if hidden is None:
        raise LeafNotFoundError(f"log {log_name} has published no leaf {index}")
    try:
        bundle = open_leaf(hidden, columns, place=f"leaf {index} of log {log_name}")
    except RecordError as cause:
        raise RecordDamagedError from cause
    return LeafDisclosure(hidden.origin, index, bytes(hidden.leaf_hash), bundle)


def open_leaf(hidden: HiddenLeaf, columns: Sequence[str], *, place: str) -> DisclosureBundle:
    """
    Return what opens *columns* of the leaf *hidden*, which is at *place*.

    Raises:
        RedactedError, NothingHiddenError, InvalidRequestError, RecordDamagedError: As `disclose`.
        RecordError: The leaf or what is kept beside it is not of its form, or does not open it.
    """
    said = parse_record(hidden.leaf)
    if said is not None:
        check_hidden(said, columns, place=place)
    elif hidden.record is None and not hidden.is_redacted:
        raise NothingHiddenError(f"{place} hides nothing that is kept")
    if hidden.record is None:
        if hidden.is_redacted:
            raise RedactedError(f"what {place} hid was erased; leaf and proofs stay valid")
        raise RecordDamagedError
    if said is None:
        return open_salted(hidden, hidden.record, columns)
    opened = open_columns(said, hidden.record, hidden.salt, columns)
    check_disclosure(said, opened.columns)
    return opened


def check_hidden(said: Record, columns: Sequence[str], *, place: str) -> None:
    """
    Check that the record *said* commits to every one of *columns*.

    Raises:
        InvalidRequestError: No column is named.
        NothingHiddenError: It does not commit to some of them.
    """
    hidden = sorted({*said.private, *said.large})
    if not hidden:
        raise NothingHiddenError(f"{place} hides nothing")
    if not columns:
        raise InvalidRequestError(f"name the columns to open: {place} hides {', '.join(hidden)}")
    clear = [column for column in columns if column not in hidden]
    if clear:
        raise NothingHiddenError(
            f"{place} does not hide {', '.join(clear)}; it hides {', '.join(hidden)}"
        )


def open_salted(hidden: HiddenLeaf, record: bytes, columns: Sequence[str]) -> DisclosureBundle:
    """Return salt and *record* of a salted leaf, which opens as a whole or not at all."""
    if columns and list(columns) != [WHOLE_RECORD]:
        raise NothingHiddenError("a salted leaf opens as a whole: name no column, or *")
    salt = hidden.salt or b""
    check_salted_record(hidden.leaf, salt=salt, record=record)
    return DisclosureBundle((), record.decode(), salt)


def open_columns(
    said: Record, record: bytes, salt: bytes | None, columns: Iterable[str]
) -> DisclosureBundle:
    """Return key and value of each of *columns*, by the plain *record* beside the leaf."""
    kept = parse_canonical(record.removeprefix(RECORD_TAG))
    row = kept.get("row") if isinstance(kept, dict) else None
    if not isinstance(row, dict) or (said.private and salt is None):
        raise RecordDamagedError
    opened = []
    for column in columns:
        if column == WHOLE_RECORD and column in said.large:
            value = whole_record(said, kept, salt)
        elif column in row:
            value = row[column]
        else:
            raise RecordDamagedError
        key = field_key(salt, column) if salt is not None and column in said.private else None
        opened.append(Disclosure(column, key, value))
    return DisclosureBundle(tuple(opened))


def whole_record(said: Record, kept: Mapping[str, Any], salt: bytes | None) -> str:
    """Return the leaf that *kept* would be if a leaf had no limit; private values stay hidden."""
    # Of the kept record's own members: a reconciled delete repeats those of the version before.
    names = ("log", "table", "op", "via", "key", "at", "tx", "role", "actor", "row")
    members = {name: kept.get(name) for name in names}
    return format_whole_record(
        Change(**members, private_columns=frozenset(said.private), salt=salt)  # type: ignore[arg-type]
    ).decode()
