"""`tally source`: which tables feed which log."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.errors import UsageError
from tallystick.cli.output import print_json, print_table, show, show_list
from tallystick.cli.place import HERE, Place
from tallystick.db import Database
from tallystick.seal.sources import (
    CheckedSource,
    Source,
    add_source,
    check_source,
    check_sources,
    detach_source,
    get_source,
    list_sources,
    refresh_source,
    requeue,
)
from tallystick.seal.sources.source import Capture, CaptureRule, TruncateRule

COLUMNS = ("log_name", "source_table", "status", "capture", "leaf_form", "key_columns", "enabled")

TableArgument = Annotated[str, Parameter(help="The table, with its schema unless it is public.")]


def add(
    log: LogArgument,
    table: TableArgument,
    /,
    *,
    key: Annotated[str | None, Parameter(help="Key columns, a,b; default: primary key.")] = None,
    key_full_row: Annotated[bool, Parameter(negative="", help="The whole row is the key.")] = False,
    include: Annotated[str | None, Parameter(help="Record only these columns, a,b.")] = None,
    exclude: Annotated[str | None, Parameter(help="Record all columns but these, a,b.")] = None,
    private: Annotated[str | None, Parameter(help="Columns that appear as commitments.")] = None,
    salted: Annotated[bool, Parameter(negative="", help="Leaves are salted digests.")] = False,
    hash_column: Annotated[str | None, Parameter(help="This bytea column is the leaf.")] = None,
    on_update: Annotated[CaptureRule, Parameter(help="What an update does.")] = "record",
    on_delete: Annotated[CaptureRule, Parameter(help="What a delete does.")] = "record",
    on_truncate: Annotated[TruncateRule | None, Parameter(help="What a truncate does.")] = None,
    capture: Annotated[
        Capture | None, Parameter(help="How changes are seen; default: by triggers.")
    ] = None,
    poll: Annotated[bool, Parameter(negative="", help="The same as --capture poll.")] = False,
    order_column: Annotated[str | None, Parameter(help="A poll follows this integer.")] = None,
    timestamp_column: Annotated[str | None, Parameter(help="A poll follows this time.")] = None,
    poll_lookback: Annotated[
        int | None, Parameter(help="How far back a poll looks, in numbers or seconds.")
    ] = None,
    reconcile_interval_seconds: Annotated[
        int | None, Parameter(help="How often table and log are compared; polls: 3600.")
    ] = None,
    dry_run: Annotated[bool, Parameter(negative="", help="Check everything, do nothing.")] = False,
    place: Place = HERE,
) -> None:
    """
    Seal each change of a table from now on, and the rows that it has.

    What stands in clear in a record cannot be erased: name columns as private or exclude them.
    """
    if salted and hash_column is not None:
        raise UsageError("a source is --salted or has a --hash-column, not both")
    if poll and capture not in {None, "poll"}:
        raise UsageError(f"a source is polled or captured by {capture}, not both")
    with place.transaction() as tx:
        source = add_source(
            tx,
            log,
            table,
            key=columns(key),
            key_full_row=key_full_row,
            include=columns(include),
            exclude=columns(exclude),
            private=columns(private) or (),
            leaf_form="salted" if salted else None,
            hash_column=hash_column,
            on_update=on_update,
            on_delete=on_delete,
            on_truncate=on_truncate,
            capture="poll" if poll else capture,
            order_column=order_column,
            timestamp_column=timestamp_column,
            poll_lookback=poll_lookback,
            reconcile_interval_seconds=reconcile_interval_seconds,
            dry_run=dry_run,
        )
    show(source, as_json=place.json)


def list_all(log: LogArgument | None = None, /, *, place: Place = HERE) -> None:
    """List the sources of a log, or of all."""
    with place.transaction(read_only=True) as tx:
        sources = list_sources(tx, log)
    show_list(sources, COLUMNS, as_json=place.json)


def show_one(log: LogArgument, table: TableArgument, /, *, place: Place = HERE) -> None:
    """Show every field of one source."""
    with place.transaction(read_only=True) as tx:
        source = get_source(tx, log, table)
    show(source, as_json=place.json)


def check(
    log: LogArgument | None = None, table: TableArgument | None = None, /, *, place: Place = HERE
) -> None:
    """Validate one source, or all: table, columns, rights, triggers."""
    with place.database() as database:
        if log is not None and table is not None:
            checked = [check_one(database, log, table)]
        else:
            checked = [
                one for one in check_sources(database) if log is None or one.source.log_name == log
            ]
    show_checked(checked, as_json=place.json)


def refresh(log: LogArgument, table: TableArgument, /, *, place: Place = HERE) -> None:
    """Write a source's functions anew after DDL; a changed column set becomes a leaf."""
    with place.transaction() as tx:
        source = refresh_source(tx, get_source(tx, log, table))
    show(source, as_json=place.json)


def detach(log: LogArgument, table: TableArgument, /, *, place: Place = HERE) -> None:
    """End a source: its triggers go, its leaves stay. It is final."""
    with place.transaction() as tx:
        source = detach_source(tx, log, table)
    show(source, as_json=place.json)


def requeue_rows(log: LogArgument, table: TableArgument, /, *, place: Place = HERE) -> None:
    """Queue the present state of the rows that could not be sealed."""
    with place.transaction() as tx:
        result = requeue(tx, log, table)
    show(result, as_json=place.json)


def check_one(database: Database, log: str, table: str) -> CheckedSource:
    """Validate one source and return it as it is then, with its problems."""
    with database.transaction() as tx:
        problems = check_source(tx, get_source(tx, log, table))
        return CheckedSource(get_source(tx, log, table), problems)


def columns(text: str | None) -> tuple[str, ...] | None:
    """
    Return the column names in *text*, which commas separate; None stays None.

    Raises:
        UsageError: A name is empty.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{text!r} has an empty column name")
    return names


def show_checked(checked: list[CheckedSource], *, as_json: bool) -> None:
    """Write what validations found."""
    if as_json:
        print_json({"items": checked, "next": None})
        return
    rows = [(*identity(one.source), problems(one), done(one)) for one in checked]
    print_table(("log", "table", "status", "problems", "done"), rows)


def identity(source: Source) -> tuple[str, str, str]:
    """Return what names a source, and its state."""
    return source.log_name, source.source_table, source.status


def problems(checked: CheckedSource) -> str:
    """Return what is wrong with a source, in words."""
    return "; ".join(problem.message for problem in checked.problems)


def done(checked: CheckedSource) -> str:
    """Return what a validation mended, in words."""
    partitions = [f"new partition {name}" for name in checked.new_partitions]
    return "; ".join((["functions refreshed"] if checked.refreshed else []) + partitions)
