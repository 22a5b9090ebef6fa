"""
Records: one change of one row as the bytes of a leaf, and back.

Follows log.md, section 5.2. Every value is PostgreSQL's output text, so no number is ever
rounded. The SQL that capture triggers run makes the same bytes for the same change.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tallystick.record.canonical import canonical, parse_canonical
from tallystick.record.commitments import WHOLE_RECORD, commit_field, field_key
from tallystick.record.control import CONTROL_OPS, read_detail
from tallystick.record.errors import (
    MalformedJsonError,
    MalformedRecordError,
    RecordTooLargeError,
    UncanonicalValueError,
)
from tallystick.record.shape import (
    read_hash,
    read_list,
    read_number,
    read_object,
    read_optional_text,
    read_text,
    read_time,
)
from tallystick.record.tags import RECORD_TAG, ROW_KEY_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

MAX_LEAF_BYTES: Final = 65_535
"""The length before an entry in a bundle is an uint16 (tlog-tiles)."""
MAX_VALUE_BYTES: Final = 8_192
"""Longer values stand in a record as length and digest."""

ROW_OPS: Final = frozenset(["insert", "update", "delete", "truncate"])
ROW_VIAS: Final = frozenset(["trigger", "poll", "backfill", "reconcile", "wal"])
WAL_VIA: Final = "wal"
"""The WAL does not say who logged in: these records, and no others, have no role."""

_LOG_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,47}")
_IDENTIFIER: Final = r'(?:[a-z_][a-z0-9_]*|"(?:[^"\0]|"")+")'
_TABLE_NAME: Final = re.compile(rf"{_IDENTIFIER}\.{_IDENTIFIER}")
_TRANSACTION: Final = re.compile(r"0|[1-9][0-9]{0,19}")
_MAX_TRANSACTION: Final = 2**64 - 1

_COMMON: Final = frozenset(["log", "table", "op", "via", "key", "at", "tx", "role", "actor"])
_WITH_ROW: Final = _COMMON | {"row"}
_WITH_DETAIL: Final = _COMMON | {"detail"}
_HIDDEN: Final = frozenset(["private", "large"])


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A value that is too long for a record: its length in bytes and its SHA-256 in hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change of one row, or one fact about a log or source, before it is a record.

    *row* holds the output text of every recorded column; those in *private_columns* become
    commitments under *salt* (32 random bytes). Control operations have *detail* instead.
    """

    log: str
    table: str | None
    op: str
    via: str
    key: Sequence[str]
    at: str
    tx: str
    role: str | None
    actor: str | None = None
    row: Mapping[str, str | None] | None = None
    private_columns: AbstractSet[str] = frozenset()
    salt: bytes | None = field(default=None, repr=False)
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """
    What a leaf says. Nothing in it is more than what the log's operator wrote down.

    *row* is None for a truncate, a control record, and a row that was too long, which
    `large` then describes under `*`. *private* holds commitments in hex. *actor* is a
    principal that the application stated, hence a claim.
    """

    log: str
    table: str | None
    op: str
    via: str
    key: tuple[str, ...]
    at: str
    tx: str
    role: str | None
    actor: str | None
    row: Mapping[str, str | None] | None
    private: Mapping[str, str]
    large: Mapping[str, LargeValue]
    detail: Mapping[str, Any] | None


def format_record(change: Change) -> bytes:
    """
    The leaf bytes of *change*: the tag and the canonical JSON of its record, up to 65,535.

    Values over 8,192 bytes become length and digest; if that is not enough, the whole row.

    Raises:
        MalformedRecordError: *change* cannot be written so that it parses as a record.
        RecordTooLargeError: It does not fit a leaf without its row either.
    """
    members = _members_of(change)
    leaf = _encode(members)
    if len(leaf) > MAX_LEAF_BYTES and members.get("row") is not None:
        members["row"] = None
        members["large"] = {WHOLE_RECORD: _describe(leaf)}
        leaf = _encode(members)
    if len(leaf) > MAX_LEAF_BYTES:
        raise RecordTooLargeError(f"the record has {len(leaf)} bytes, over {MAX_LEAF_BYTES}")
    _read_record(members)
    return leaf


def format_whole_record(change: Change) -> bytes:
    """
    The leaf bytes that *change* would have if a leaf had no limit: what `large` describes
    under `*`. Values over 8,192 bytes are described in them, private ones committed to.

    Raises:
        MalformedRecordError: *change* has no canonical form.
    """
    return _encode(_members_of(change))


def parse_record(leaf: bytes) -> Record | None:
    """
    The record in the bytes of a leaf, or None if they do not begin with the tag of records.

    Raises:
        MalformedRecordError: The tag is there, and what follows is not the one spelling of a
            record: another encoding, an unknown or missing member, a value out of its range.
    """
    if not leaf.startswith(RECORD_TAG):
        return None
    if len(leaf) > MAX_LEAF_BYTES:
        raise MalformedRecordError(f"the leaf has {len(leaf)} bytes, over {MAX_LEAF_BYTES}")
    try:
        members = parse_canonical(leaf[len(RECORD_TAG) :])
    except MalformedJsonError as cause:
        raise MalformedRecordError(cause.message) from cause
    return _read_record(members)


def row_key(row: Mapping[str, str | None]) -> str:
    """
    The key, in hex, of a row in a table without one: a digest over all its values.

    Raises:
        UncanonicalValueError: A name or value is not Unicode text.
    """
    return hashlib.sha256(ROW_KEY_TAG + canonical(dict(row))).hexdigest()


def is_log_name(text: str) -> bool:
    """Whether *text* can be the name of a log."""
    return _LOG_NAME.fullmatch(text) is not None


def is_table_name(text: str) -> bool:
    """Whether *text* names a table as records do: its schema too, and quoted by PostgreSQL."""
    return _TABLE_NAME.fullmatch(text) is not None


def _members_of(change: Change) -> dict[str, Any]:
    members: dict[str, Any] = {
        "log": change.log,
        "table": change.table,
        "op": change.op,
        "via": change.via,
        "key": list(change.key),
        "at": change.at,
        "tx": change.tx,
        "role": change.role,
        "actor": change.actor,
    }
    if change.op in CONTROL_OPS:
        members["detail"] = None if change.detail is None else dict(change.detail)
        return members
    if change.row is None:
        members["row"] = None
        return members
    private, row, large = _split_row(change, change.row)
    members["row"] = row
    if private:
        members["private"] = private
    if large:
        members["large"] = large
    return members


def _split_row(
    change: Change, values: Mapping[str, str | None]
) -> tuple[dict[str, str], dict[str, str | None], dict[str, Any]]:
    """The commitments, the values in clear, and the descriptions of those that are too long."""
    private: dict[str, str] = {}
    row: dict[str, str | None] = {}
    large: dict[str, Any] = {}
    try:
        for column, value in values.items():
            if column in change.private_columns:
                assert change.salt is not None, "private columns need a salt"
                private[column] = commit_field(field_key(change.salt, column), value).hex()
            elif value is not None and len(encoded := value.encode()) > MAX_VALUE_BYTES:
                row[column] = None
                large[column] = _describe(encoded)
            else:
                row[column] = value
    except UnicodeEncodeError as cause:
        raise MalformedRecordError("a column's name or value is not Unicode") from cause
    return private, row, large


def _describe(value: bytes) -> dict[str, Any]:
    return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}


def _encode(members: dict[str, Any]) -> bytes:
    try:
        return RECORD_TAG + canonical(members)
    except UncanonicalValueError as cause:
        raise MalformedRecordError("the record has no canonical form") from cause


def _read_record(value: Any) -> Record:
    op = value.get("op") if isinstance(value, dict) else None
    is_control = isinstance(op, str) and op in CONTROL_OPS
    members = read_object(
        value,
        required=_WITH_DETAIL if is_control else _WITH_ROW,
        optional=frozenset() if is_control else _HIDDEN,
        what="the record",
        error=MalformedRecordError,
    )
    row, private, large = (None, {}, {}) if is_control else _read_row(members)
    record = Record(
        log=_read_log_name(members["log"]),
        table=_read_table(members["table"], is_optional=is_control),
        op=read_text(members["op"], what="op", error=MalformedRecordError),
        via=read_text(members["via"], what="via", error=MalformedRecordError),
        key=_read_key(members["key"]),
        at=read_time(members["at"], what="at", error=MalformedRecordError),
        tx=_read_transaction(members["tx"]),
        role=_read_role(members["role"]),
        actor=read_optional_text(members["actor"], what="actor", error=MalformedRecordError),
        row=row,
        private=private,
        large=large,
        detail=read_detail(members["op"], members["detail"]) if is_control else None,
    )
    _check_op(record)
    return record


def _check_op(record: Record) -> None:
    """Check what way and operation demand of the other members."""
    if (record.role is None) != (record.via == WAL_VIA):
        raise MalformedRecordError("role is null if and only if via is wal")
    if record.op in CONTROL_OPS:
        fits = record.via == "control" and not record.key
    elif record.op == "truncate":
        fits = record.via in ROW_VIAS and not record.key and not _has_row(record)
    else:
        fits = (
            record.op in ROW_OPS
            and record.via in ROW_VIAS
            and bool(record.key)
            and (record.row is not None or bool(record.large))
        )
    if not fits:
        raise MalformedRecordError("op, via, key and row do not fit each other")


def _has_row(record: Record) -> bool:
    return record.row is not None or bool(record.private) or bool(record.large)


def _read_role(value: Any) -> str | None:
    return None if value is None else read_text(value, what="role", error=MalformedRecordError)


def _read_log_name(value: Any) -> str:
    name = read_text(value, what="log", error=MalformedRecordError)
    if not is_log_name(name):
        raise MalformedRecordError("log is not the name of a log")
    return name


def _read_table(value: Any, *, is_optional: bool) -> str | None:
    # Facts about a whole log, such as its beginning, are about no table.
    if value is None and is_optional:
        return None
    name = read_text(value, what="table", error=MalformedRecordError)
    if not is_table_name(name):
        raise MalformedRecordError("table is not schema.table as PostgreSQL quotes it")
    return name


def _read_key(value: Any) -> tuple[str, ...]:
    parts = read_list(value, what="key", error=MalformedRecordError)
    if not all(isinstance(part, str) for part in parts):
        raise MalformedRecordError("a part of the key is not text")
    return tuple(parts)


def _read_transaction(value: Any) -> str:
    text = read_text(value, what="tx", error=MalformedRecordError)
    if not _TRANSACTION.fullmatch(text) or int(text) > _MAX_TRANSACTION:
        raise MalformedRecordError("tx is not a transaction id")
    return text


def _read_row(
    members: dict[str, Any],
) -> tuple[dict[str, str | None] | None, dict[str, str], dict[str, LargeValue]]:
    row = None if members["row"] is None else _read_columns(members["row"], what="row")
    for column, text in (row or {}).items():
        read_optional_text(text, what=f"column {column}", error=MalformedRecordError)
    private = _read_hidden(members, "private")
    for column, commitment in private.items():
        read_hash(commitment, what=f"commitment {column}", error=MalformedRecordError)
    if row is not None and private.keys() & row.keys():
        raise MalformedRecordError("a column is both private and in the row")
    return row, private, _read_large(_read_hidden(members, "large"), row)


def _read_large(
    members: dict[str, Any], row: dict[str, str | None] | None
) -> dict[str, LargeValue]:
    if row is None and members and members.keys() != {WHOLE_RECORD}:
        raise MalformedRecordError("only the whole record can be large without a row")
    large = {}
    least = 1 + (MAX_LEAF_BYTES if row is None else MAX_VALUE_BYTES)
    for column, described in members.items():
        if row is not None and row.get(column, "") is not None:
            raise MalformedRecordError("a large column is not null in the row")
        read_object(
            described, required={"bytes", "sha256"}, what="large", error=MalformedRecordError
        )
        size = read_number(
            described["bytes"], at_least=least, what="bytes", error=MalformedRecordError
        )
        digest = read_hash(described["sha256"], what="sha256", error=MalformedRecordError)
        large[column] = LargeValue(size, digest)
    return large


def _read_hidden(members: dict[str, Any], name: str) -> dict[str, Any]:
    if name not in members:
        return {}
    columns = _read_columns(members[name], what=name)
    # Present only if any: otherwise one record would have two spellings.
    if not columns:
        raise MalformedRecordError(f"{name} is empty")
    return columns


def _read_columns(value: Any, *, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(value):
        raise MalformedRecordError(f"{what} is not an object of columns")
    return value
