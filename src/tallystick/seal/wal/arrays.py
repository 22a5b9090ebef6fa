"""
Arrays as PostgreSQL takes them in binary, packed in a few calls whatever their length.

The driver's own dumper spells bytes in hexadecimal, and asks each element for its type.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final

from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

INT4: Final = 23
INT8: Final = 20
BYTEA: Final = 17
TIMESTAMPTZ: Final = 1184
ARRAY_OF: Final = {INT4: 1007, INT8: 1016, BYTEA: 1001, TIMESTAMPTZ: 1185}
"""The array type of an element type; oids of built-in types never change."""

_HEADER: Final = struct.Struct(">iiIii")
_LENGTH: Final = struct.Struct(">i")


@dataclass(frozen=True, slots=True)
class PackedArray:
    """An array of one dimension without nulls, ready to be sent."""

    element: int
    data: bytes


class PackedArrayDumper(Dumper):
    """Sends a `PackedArray` as it is."""

    format = Format.BINARY

    def dump(self, obj: PackedArray) -> Buffer | None:
        """Return the bytes."""
        return obj.data

    def get_key(self, obj: PackedArray, _format: Any) -> tuple[type, ...]:
        """One dumper for each type of array."""
        return (PackedArray, type(obj), ARRAYS[obj.element])

    def upgrade(self, obj: PackedArray, _format: Any) -> Dumper:
        """Return the dumper that says which array it is."""
        dumper = PackedArrayDumper(PackedArray, None)
        dumper.oid = ARRAY_OF[obj.element]
        return dumper


class _Int4Array:
    """A key of its own for the driver's cache."""


class _Int8Array:
    """As above."""


class _ByteaArray:
    """As above."""


class _TimestamptzArray:
    """As above."""


ARRAYS: Final[dict[int, type]] = {
    INT4: _Int4Array,
    INT8: _Int8Array,
    BYTEA: _ByteaArray,
    TIMESTAMPTZ: _TimestamptzArray,
}


def register(connection: psycopg.Connection[Any]) -> None:
    """Let *connection* send packed arrays."""
    connection.adapters.register_dumper(PackedArray, PackedArrayDumper)


def pack_bytes(values: Sequence[bytes]) -> PackedArray:
    """Return a bytea[]."""
    lengths = map(_LENGTH.pack, map(len, values))
    body = b"".join(chain.from_iterable(zip(lengths, values, strict=True)))
    return PackedArray(BYTEA, _header(BYTEA, len(values)) + body)


def pack_int4(values: Sequence[int]) -> PackedArray:
    """Return an integer[]."""
    body = struct.pack(">" + "ii" * len(values), *chain.from_iterable(zip(repeat(4), values)))
    return PackedArray(INT4, _header(INT4, len(values)) + body)


def pack_int8(values: Sequence[int], element: int = INT8) -> PackedArray:
    """Return a bigint[], or an array of another type that is spelled so."""
    body = struct.pack(">" + "iq" * len(values), *chain.from_iterable(zip(repeat(8), values)))
    return PackedArray(element, _header(element, len(values)) + body)


def pack_times(values: Sequence[int]) -> PackedArray:
    """Return a timestamptz[] of times that are given in microseconds since 2000."""
    return pack_int8(values, TIMESTAMPTZ)


def _header(element: int, count: int) -> bytes:
    return _HEADER.pack(1, 0, element, count, 1) if count else struct.pack(">iiI", 0, 0, element)
