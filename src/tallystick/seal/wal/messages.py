"""
The messages of pgoutput, protocol 1, as far as Python looks into them (docs/adr/0016).

Of a row's message only the first five bytes are read here: what it is, and of which relation.
Its columns are taken apart where they are queued, in SQL. All numbers are big-endian; times
are microseconds since 2000. The format is PostgreSQL's "Logical Replication Message Formats".
"""

from __future__ import annotations

import datetime
import struct
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

from tallystick.seal.errors import MalformedWalError

Lsn = NewType("Lsn", int)
"""A place in the WAL, in bytes."""

BEGIN: Final = ord("B")
COMMIT: Final = ord("C")
RELATION: Final = ord("R")
INSERT: Final = ord("I")
UPDATE: Final = ord("U")
DELETE: Final = ord("D")
TRUNCATE: Final = ord("T")
MESSAGE: Final = ord("M")
IGNORED: Final = frozenset(b"OY")
"""Origins and types: a record names neither."""

POSTGRES_EPOCH: Final = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)

_BEGIN: Final = struct.Struct(">cQqI")
_COMMIT: Final = struct.Struct(">cBQQq")
_RELATION: Final = struct.Struct(">cI")
_COLUMN: Final = struct.Struct(">Ii")
_TRUNCATE: Final = struct.Struct(">cIB")
_MESSAGE: Final = struct.Struct(">cBQ")
"""Kind, flags, place; behind it the prefix, the length, the content."""


class Begin(NamedTuple):
    """
    What a transaction's rows are preceded by: the place of its commit, its time, its xid.

    The time is in microseconds since 2000, as the server takes it back. There is one of these for
    each transaction, often for each row, and a tuple is the quickest to make.
    """

    commit_at: Lsn
    microseconds: int
    xid: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was at this place in the WAL: its columns' names and types, in their order."""

    relation: int
    table: str
    names: tuple[str, ...]
    types: tuple[int, ...]


def parse_begin(message: bytes) -> Begin:
    """Return what a `B` says."""
    _, commit_at, microseconds, xid = _unpack(_BEGIN, message)
    return Begin(Lsn(commit_at), microseconds, xid)


def time_of(microseconds: int) -> datetime.datetime:
    """Return the time that a message spells so."""
    return POSTGRES_EPOCH + datetime.timedelta(microseconds=microseconds)


def parse_commit(message: bytes) -> Lsn:
    """Return where the transaction that a `C` ends is over: the next one lies behind."""
    return Lsn(_unpack(_COMMIT, message)[3])


def parse_relation(message: bytes) -> Relation:
    """
    Return the table that an `R` describes.

    Raises:
        MalformedWalError: It ends too soon.
    """
    relation = int(_unpack(_RELATION, message)[1])
    schema, offset = _text(message, _RELATION.size)
    table, offset = _text(message, offset)
    (count,) = struct.unpack_from(">H", message, offset + 1)  # behind the replica identity
    offset += 3
    names, types = [], []
    for _ in range(count):
        name, offset = _text(message, offset + 1)  # behind the flags
        names.append(name)
        types.append(int(_unpack(_COLUMN, message, offset)[0]))
        offset += _COLUMN.size
    return Relation(relation, f"{schema}.{table}", tuple(names), tuple(types))


def parse_truncation(message: bytes) -> frozenset[int]:
    """Return which tables a `T` names."""
    count = _unpack(_TRUNCATE, message)[1]
    return frozenset(struct.unpack_from(f">{count}I", message, _TRUNCATE.size))


def parse_message(message: bytes) -> tuple[str, bytes]:
    """Return prefix and content of an `M`."""
    prefix, offset = _text(message, _MESSAGE.size)
    (length,) = struct.unpack_from(">I", message, offset)
    return prefix, message[offset + 4 : offset + 4 + length]


def is_transactional(message: bytes) -> bool:
    """Return whether an `M` is part of a transaction: what is not is anybody's, at any time."""
    return bool(_unpack(_MESSAGE, message)[1] & 1)


def parse_lsn(text: str) -> Lsn:
    """Return the place that PostgreSQL prints as two hexadecimal numbers."""
    high, _, low = text.partition("/")
    return Lsn(int(high, 16) << 32 | int(low, 16))


def format_lsn(lsn: Lsn) -> str:
    """Return a place as PostgreSQL prints it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _unpack(shape: struct.Struct, message: bytes, offset: int = 0) -> tuple[int, ...]:
    try:
        return shape.unpack_from(message, offset)
    except struct.error as raised:
        raise MalformedWalError(f"a message {chr(message[0])} ends too soon") from raised


def _text(message: bytes, offset: int) -> tuple[str, int]:
    end = message.find(b"\0", offset)
    if end < 0:
        raise MalformedWalError(f"a name in a message {chr(message[0])} has no end")
    return message[offset:end].decode(), end + 1
