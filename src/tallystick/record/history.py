"""
History files: all versions of one key up to a size, or that the key was never there.

Follows docs/adr/0015. The file is its tag and one canonical JSON object, so it has one spelling.
It proves nothing by itself: see `verify.check_history`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any, Final

from tallystick.record.errors import MalformedMessageError, UncanonicalValueError
from tallystick.record.key_index import ENTRY_BYTES
from tallystick.record.messages import parse_tagged, tagged
from tallystick.record.record import MAX_LEAF_BYTES, is_table_name
from tallystick.record.shape import read_list, read_number, read_object, read_text
from tallystick.record.tags import HISTORY_TAG
from tallystick.tlog.tree import HASH_BYTES, MAX_PROOF_HASHES, Hash, LeafIndex

MAX_HISTORY_BYTES: Final = 64_000_000
"""Some ten thousand versions of some kilobytes each; a reader must hold it in memory."""
MAX_SHOWN_LEAVES: Final = 10_000
"""Leaves in one file; each costs its reader a path of hashes."""

_FILE: Final = frozenset(
    ["genesis", "key", "key_bucket", "map", "note", "table", "table_bucket", "table_leaves",
     "versions"]
)  # fmt: skip
_LEAF: Final = frozenset(["index", "leaf", "path"])
_BUCKET: Final = frozenset(["entries", "path"])


@dataclass(frozen=True, slots=True)
class ShownLeaf:
    """A leaf of the log, and the path from it to the root of the file's checkpoint."""

    index: LeafIndex
    leaf: bytes
    path: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class ShownBucket:
    """All entries of one bucket side by side, and the path from it to the root of the map."""

    entries: bytes
    path: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class HistoryFile:
    """
    What a server shows of one key.

    *note* is the checkpoint under which all leaves stand, *map* the control leaf with the map's
    root, *genesis* the log's first leaf where that is its genesis. *versions* are the key's
    leaves, *table_leaves* those that concern all rows of the table, each by index.
    """

    table: str
    key: tuple[str, ...]
    note: str
    map: ShownLeaf
    genesis: ShownLeaf | None
    key_bucket: ShownBucket
    table_bucket: ShownBucket
    versions: tuple[ShownLeaf, ...]
    table_leaves: tuple[ShownLeaf, ...]


def is_history(data: bytes) -> bool:
    """Whether *data* begins as a history file does."""
    return data.startswith(HISTORY_TAG)


def format_history(history: HistoryFile) -> bytes:
    """
    The bytes of *history*.

    Raises:
        MalformedMessageError: It cannot be written so that it parses as itself.
    """
    value = {
        "table": history.table,
        "key": list(history.key),
        "note": history.note,
        "map": _write_leaf(history.map),
        "genesis": None if history.genesis is None else _write_leaf(history.genesis),
        "key_bucket": _write_bucket(history.key_bucket),
        "table_bucket": _write_bucket(history.table_bucket),
        "versions": list(map(_write_leaf, history.versions)),
        "table_leaves": list(map(_write_leaf, history.table_leaves)),
    }
    if _read_history(value) != history:
        raise MalformedMessageError("the history does not parse as itself")
    try:
        data = tagged(HISTORY_TAG, value)
    except UncanonicalValueError as cause:
        raise MalformedMessageError("the history has no canonical form") from cause
    if len(data) > MAX_HISTORY_BYTES:
        raise MalformedMessageError(f"the history has {len(data)} bytes, too many")
    return data


def parse_history(data: bytes) -> HistoryFile:
    """
    The history in *data*. Nothing is verified.

    Raises:
        MalformedMessageError: *data* is not the one spelling of a history.
    """
    if len(data) > MAX_HISTORY_BYTES:
        raise MalformedMessageError(f"{len(data)} bytes are too many")
    return _read_history(parse_tagged(HISTORY_TAG, data))


def _write_leaf(shown: ShownLeaf) -> dict[str, Any]:
    return {
        "index": shown.index,
        "leaf": _write_bytes(shown.leaf),
        "path": _write_bytes(b"".join(shown.path)),
    }


def _write_bucket(shown: ShownBucket) -> dict[str, Any]:
    return {"entries": _write_bytes(shown.entries), "path": _write_bytes(b"".join(shown.path))}


def _write_bytes(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _read_history(value: Any) -> HistoryFile:
    error = MalformedMessageError
    members = read_object(value, required=_FILE, what="the history", error=error)
    key = read_list(members["key"], what="key", error=error)
    if not key or not all(isinstance(part, str) for part in key):
        raise error("the key is not one or more texts")
    # Under a name that no record can have, every key would be shown to be absent.
    table = read_text(members["table"], what="table", error=error)
    if not is_table_name(table):
        raise error("table is not schema.table as PostgreSQL quotes it")
    genesis = members["genesis"]
    history = HistoryFile(
        table=table,
        key=tuple(key),
        note=read_text(members["note"], what="note", error=error),
        map=_read_leaf(members["map"]),
        genesis=None if genesis is None else _read_leaf(genesis),
        key_bucket=_read_bucket(members["key_bucket"]),
        table_bucket=_read_bucket(members["table_bucket"]),
        versions=_read_leaves(members["versions"], what="versions"),
        table_leaves=_read_leaves(members["table_leaves"], what="table_leaves"),
    )
    if len(history.versions) + len(history.table_leaves) > MAX_SHOWN_LEAVES:
        raise error(f"more than {MAX_SHOWN_LEAVES} leaves are shown")
    return history


def _read_leaves(value: Any, *, what: str) -> tuple[ShownLeaf, ...]:
    return tuple(map(_read_leaf, read_list(value, what=what, error=MalformedMessageError)))


def _read_leaf(value: Any) -> ShownLeaf:
    error = MalformedMessageError
    members = read_object(value, required=_LEAF, what="a leaf", error=error)
    leaf = _read_bytes(members["leaf"], what="a leaf")
    if not 0 < len(leaf) <= MAX_LEAF_BYTES:
        raise error(f"a leaf has {len(leaf)} bytes")
    index = read_number(members["index"], what="index", error=error)
    return ShownLeaf(LeafIndex(index), leaf, _read_path(members["path"]))


def _read_bucket(value: Any) -> ShownBucket:
    members = read_object(value, required=_BUCKET, what="a bucket", error=MalformedMessageError)
    entries = _read_bytes(members["entries"], what="a bucket")
    if len(entries) % ENTRY_BYTES:
        raise MalformedMessageError("a bucket is not whole entries")
    return ShownBucket(entries, _read_path(members["path"]))


def _read_path(value: Any) -> tuple[Hash, ...]:
    data = _read_bytes(value, what="a path")
    if len(data) % HASH_BYTES or len(data) > MAX_PROOF_HASHES * HASH_BYTES:
        raise MalformedMessageError("a path is not up to 63 hashes")
    return tuple(
        Hash(data[start : start + HASH_BYTES]) for start in range(0, len(data), HASH_BYTES)
    )


def _read_bytes(value: Any, *, what: str) -> bytes:
    if not isinstance(value, str):
        raise MalformedMessageError(f"{what} is not base64")
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as cause:
        raise MalformedMessageError(f"{what} is not base64") from cause
    if _write_bytes(data) != value:
        raise MalformedMessageError(f"{what} is not canonical base64")
    return data
