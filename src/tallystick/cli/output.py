"""
What commands print: a table for people, the same facts as JSON for programs.

A value is printed as JSON by its fields: times as in messages, bytes in hex. Nothing else of
the command line writes to stdout.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tallystick.clock import format_time


def print_json(value: Any) -> None:
    """Write *value* as one indented JSON document."""
    sys.stdout.write(json.dumps(value, default=to_json, indent=2, ensure_ascii=False) + "\n")


def print_lines(*lines: str) -> None:
    """Write *lines*, each with its end."""
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))


def printable(text: str) -> str:
    """
    Return *text* with what would command a terminal, or begin a line, written as an escape.

    A table's name may hold both, and would else say what a verdict says.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write *rows* under *columns*, as wide as the terminal or, into a pipe, as the cells need."""
    from rich import box  # noqa: PLC0415 (JSON and `tally verify` never load it)
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, because a name in square brackets is no markup.
        table.add_row(*(Text(printable(cell(value))) for value in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200, highlight=False)
    console.print(table)


def print_fields(value: Any) -> None:
    """Write the fields of the dataclass *value*, one a line."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    width = max(map(len, fields))
    print_lines(*(f"{name:<{width}}  {cell(field)}".rstrip() for name, field in fields.items()))


def show(value: Any, *, as_json: bool) -> None:
    """Write the dataclass *value* as fields or as JSON."""
    if as_json:
        print_json(value)
    else:
        print_fields(value)


def show_list(
    items: Sequence[Any], columns: Sequence[str], *, as_json: bool, names: Sequence[str] = ()
) -> None:
    """Write the dataclasses *items*: as JSON whole, as a table by the fields *columns*."""
    if as_json:
        print_json({"items": list(items), "next": None})
    else:
        rows = [[getattr(item, column) for column in columns] for item in items]
        print_table(names or [column.replace("_", " ") for column in columns], rows)


def cell(value: Any) -> str:  # noqa: PLR0911 (a type has its form each)
    """Return *value* as it stands in a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case bytes():
            return value.hex()
        case datetime.datetime():
            return value.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
        case list() | tuple():
            return ", ".join(map(cell, value))
        case dict():
            return json.dumps(value, default=to_json, ensure_ascii=False)
        case _:
            return str(value)


def to_json(value: Any) -> Any:  # noqa: PLR0911 (as `cell`)
    """Return *value*, which JSON does not know, as a value that it knows."""
    match value:
        case datetime.datetime():
            return format_time(value)
        case datetime.date():
            return value.isoformat()
        case bytes() | memoryview():
            return bytes(value).hex()
        case Path() | uuid.UUID() | decimal.Decimal():
            return str(value)
        case enum.Enum():
            return value.value
        case set() | frozenset():
            return sorted(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
