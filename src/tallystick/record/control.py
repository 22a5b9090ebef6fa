"""
Control records: facts about a log or a source that are leaves like any change.

Follows log.md, section 5.2: `schema` (the columns of a source changed), `genesis` and
`freeze` (the log begins or ends, and its neighbour), `redact` (values were erased), `gap`
(capture was off), and docs/adr/0015: `index` (the root of the map of the log's keys). Each has
a `detail` of its own instead of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tallystick.record.errors import MalformedRecordError
from tallystick.record.shape import (
    read_hash,
    read_list,
    read_number,
    read_object,
    read_text,
    read_time,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

CONTROL_OPS: Final = frozenset(["schema", "genesis", "freeze", "redact", "gap", "index"])
"""The operations whose records have a detail."""


def read_detail(op: str, value: Any) -> dict[str, Any]:
    """
    The detail of a control record of the operation *op*, with every member in its range.

    Raises:
        MalformedRecordError: *value* is not such a detail.
    """
    match op:
        case "schema":
            return _read_schema_detail(value)
        case "genesis" | "freeze":
            return _read_neighbour_detail(value)
        case "redact":
            return _read_redact_detail(value)
        case "index":
            return _read_index_detail(value)
        case _:
            return _read_gap_detail(value)


def _read_schema_detail(value: Any) -> dict[str, Any]:
    detail = _read_members(value, {"columns", "key", "private"})
    for column in read_list(detail["columns"], what="columns", error=MalformedRecordError):
        pair = read_list(column, what="a column", error=MalformedRecordError)
        if len(pair) != 2:  # noqa: PLR2004 -- name and type
            raise MalformedRecordError("a column is not a name and a type")
        for part in pair:
            read_text(part, what="a column", error=MalformedRecordError)
    for name in ("key", "private"):
        for column in read_list(detail[name], what=name, error=MalformedRecordError):
            read_text(column, what=name, error=MalformedRecordError)
    return detail


def _read_neighbour_detail(value: Any) -> dict[str, Any]:
    """
    The log before or after this one; all null where there is none.

    A genesis that continues a failed log has a `fork` too: the other head that was signed.
    """
    required = {"origin", "size", "root"}
    detail = read_object(
        value, required=required, optional={"fork"}, what="detail", error=MalformedRecordError
    )
    origin, size, root = detail["origin"], detail["size"], detail["root"]
    if origin is not None:
        read_text(origin, what="origin", error=MalformedRecordError)
    if (size is None) != (root is None) or (origin is None and size is not None):
        raise MalformedRecordError("a neighbour's size and root come together, with its origin")
    if size is not None:
        read_number(size, what="size", error=MalformedRecordError)
        read_hash(root, what="root", error=MalformedRecordError)
    if "fork" in detail:
        _read_fork(detail["fork"], has_neighbour=size is not None)
    return detail


def _read_fork(value: Any, *, has_neighbour: bool) -> None:
    """A head that was signed beside the neighbour's, hence only where there is a neighbour."""
    if not has_neighbour:
        raise MalformedRecordError("a fork is one of the log that is named")
    fork = read_object(value, required={"size", "root"}, what="fork", error=MalformedRecordError)
    read_number(fork["size"], what="size", error=MalformedRecordError)
    read_hash(fork["root"], what="root", error=MalformedRecordError)


def _read_redact_detail(value: Any) -> dict[str, Any]:
    detail = _read_members(value, {"indexes", "reason"})
    indexes = read_list(detail["indexes"], what="indexes", error=MalformedRecordError)
    if not indexes:
        raise MalformedRecordError("nothing is redacted")
    for index in indexes:
        read_number(index, what="an index", error=MalformedRecordError)
    read_text(detail["reason"], what="reason", error=MalformedRecordError)
    return detail


def _read_index_detail(value: Any) -> dict[str, Any]:
    detail = _read_members(value, {"size", "buckets", "root"})
    read_number(detail["size"], at_least=1, what="size", error=MalformedRecordError)
    read_number(detail["buckets"], at_least=1, what="buckets", error=MalformedRecordError)
    read_hash(detail["root"], what="root", error=MalformedRecordError)
    return detail


def _read_gap_detail(value: Any) -> dict[str, Any]:
    detail = _read_members(value, {"problem", "since", "found"})
    read_text(detail["problem"], what="problem", error=MalformedRecordError)
    # When a gap began is often not known; when it was found always is.
    if detail["since"] is not None:
        read_time(detail["since"], what="since", error=MalformedRecordError)
    read_time(detail["found"], what="found", error=MalformedRecordError)
    return detail


def _read_members(value: Any, required: AbstractSet[str]) -> dict[str, Any]:
    return read_object(value, required=required, what="detail", error=MalformedRecordError)
