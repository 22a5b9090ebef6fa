"""`tally rows`: what a log holds of one row, version by version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.output import show_list
from tallystick.cli.place import HERE, Place
from tallystick.cli.reading import choose_table, open_log
from tallystick.publish import LeafVersion, RowKey
from tallystick.publish.errors import LeafNotFoundError
from tallystick.record import parse_record
from tallystick.record.errors import RecordError

COLUMNS: Final = ("log", "index", "op", "via", "at", "role", "row")
OPERATIONS: Final = {"I": "insert", "U": "update", "D": "delete", "T": "truncate"}
MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a row; the fields behind *via* are None where the leaf is a digest."""

    log: str
    index: int
    op: str
    via: str
    at: str | None
    role: str | None
    actor: str | None
    row: Mapping[str, str | None] | None
    leaf_hash: bytes


def rows(
    log: LogArgument,
    key: Annotated[tuple[str, ...], Parameter(help="The row's key, column by column.")],
    /,
    *,
    table: Annotated[str | None, Parameter(help="Its table; default: the log's only one.")] = None,
    limit: Annotated[int, Parameter(help="At most so many versions.")] = 100,
    place: Place = HERE,
) -> None:
    """Show the versions of a row, the oldest first, over the logs that this one continues."""
    with place.database() as database:
        publisher, head = open_log(database, log)
        row = RowKey.of(choose_table(database, log, table), key)
        found = publisher.row_history(head, row, limit=max(1, min(limit, MAX_LIMIT)))
    if not found:
        raise LeafNotFoundError(f"log {log} has no leaf of this key")
    show_list([version_of(one) for one in found], COLUMNS, as_json=place.json)


def version_of(leaf: LeafVersion) -> Version:
    """Return what the leaf says of its row."""
    try:
        record = parse_record(leaf.leaf)
    except RecordError:
        # Damaged evidence is the audit's to name; the history goes on around it.
        record = None
    return Version(
        log=leaf.log_name,
        index=leaf.index,
        op=record.op if record else OPERATIONS.get(leaf.op, leaf.op),
        via=record.via if record else leaf.via,
        at=record.at if record else None,
        role=record.role if record else None,
        actor=record.actor if record else None,
        row=record.row if record else None,
        leaf_hash=leaf.leaf_hash,
    )
