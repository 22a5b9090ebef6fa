"""
How rows of the chain are printed: amounts as decimal text, bytes with 0x, addresses with checksums.

A number of wei is beyond what programs that read JSON hold exactly (common.md, "Messages").
"""

from __future__ import annotations

import dataclasses
import decimal
from collections.abc import Sequence
from typing import Any, Final

from tallystick.cli.output import cell, print_json, print_lines, print_table
from tallystick.record import Address, format_address

AMOUNTS: Final = frozenset(
    {
        "value_transferred",
        "gas_price",
        "l1_fee_wei",
        "fee_wei",
        "max_fee_per_gas",
        "max_priority_fee_per_gas",
        "max_fee_per_gas_wei",
        "min_tip_wei",
        "minimum_balance_wei",
    }
)
"""Fields in wei."""


def facts(row: Any) -> dict[str, Any]:
    """Return the fields of the dataclass *row* as they are shown."""
    return {
        field.name: shown(field.name, getattr(row, field.name)) for field in dataclasses.fields(row)
    }


def shown(name: str, value: Any) -> Any:
    """Return the value of the field *name* as it is shown."""
    match value:
        case int() if name in AMOUNTS:
            return str(value)
        case str() if name == "address" or name.endswith("_address"):
            return format_address(Address(value))
        case bytes() | memoryview():
            return "0x" + bytes(value).hex()
        case decimal.Decimal():
            return f"{value:f}"
        case _:
            return value


def show_facts(row: Any, *, as_json: bool) -> None:
    """Write one row: as JSON, or a field a line."""
    told = facts(row)
    if as_json:
        print_json(told)
    else:
        width = max(map(len, told))
        print_lines(*(f"{name:<{width}}  {cell(value)}".rstrip() for name, value in told.items()))


def show_facts_list(
    rows: Sequence[Any], columns: Sequence[str], *, as_json: bool, following: object = None
) -> None:
    """Write rows: as JSON whole, as a table by *columns*; *following* is where the next begin."""
    told = [facts(row) for row in rows]
    if as_json:
        print_json({"items": told, "next": following})
        return
    names = [column.replace("_", " ") for column in columns]
    print_table(names, [[row[column] for column in columns] for row in told])
    if following is not None:
        print_table(["next"], [[following]])
