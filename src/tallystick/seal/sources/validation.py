"""Whether a source is still what it was when it was installed: decisions on facts (log.md, 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.seal.sources.admission import unfit_because, unsupported_because
from tallystick.seal.sources.source import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.seal.sources.source import ProblemCode, RelationId, Source
    from tallystick.seal.sources.table import Member, Table, Trigger


def find_problems(
    source: Source,
    *,
    named: RelationId | None,
    table: Table | None,
    triggers: Sequence[Trigger],
) -> list[Problem]:
    """
    Return what is wrong with *source*; nothing, if everything stands as it should.

    *named* is the table that now has the source's name, *table* the one that it was installed
    on, each None where there is none; *triggers* are those that it needs. Descendants that
    were not seen before and have no triggers are no problem: they are new.
    """
    if table is None:
        if named is None:
            return [Problem("table_missing", f"{source.source_table} was dropped")]
        return [Problem("table_replaced", f"another table stands under {source.source_table}")]
    if named != source.relation:
        return [
            Problem("table_replaced", f"the table is now called {table.name}, not its sealed name")
        ]
    unsupported = unsupported_because(table)
    if unsupported is not None:
        return [Problem("table_unsupported", f"{table.name} {unsupported}")]
    return [
        # The right to lock rows is on a key column, so it is lost with the column.
        *(column_problems(source, table) or permission_problems(source, table)),
        *trigger_problems(source, triggers),
    ]


def find_poll_problems(
    source: Source, *, named: RelationId | None, table: Table | None, may_poll: bool
) -> list[Problem]:
    """Return what is wrong with a *source* that is polled; as `find_problems`, without triggers."""
    if table is None:
        if named is None:
            return [Problem("table_missing", f"{source.source_table} was dropped")]
        return [Problem("table_replaced", f"another table stands under {source.source_table}")]
    if named != source.relation:
        return [
            Problem("table_replaced", f"the table is now called {table.name}, not its sealed name")
        ]
    orders = [name for name in (source.order_column, source.timestamp_column) if name is not None]
    missing = [
        Problem("column_missing", f"{table.name} has no column {name} any more")
        for name in table.missing_columns(orders)
    ]
    problems = missing or column_problems(source, table)
    if not may_poll:
        problems += [Problem("permission_lost", f"tally_poller may not read {table.name}")]
    if not source.enabled:
        problems += [Problem("disabled", f"{table.name} is not polled: it was turned off")]
    return problems


def column_problems(source: Source, table: Table) -> list[Problem]:
    """Return which columns that the source needs are missing, and which were retyped."""
    key_columns = source.key_columns or []
    hash_column = [source.hash_column] if source.hash_column is not None else []
    named = [
        *key_columns,
        *hash_column,
        # A private column that is gone may have been renamed, and would stand in clear.
        *source.private_columns,
    ]
    problems = [
        Problem("column_missing", f"{table.name} has no column {name} any more")
        for name in table.missing_columns(named)
    ]
    for name, type_before in zip(key_columns, source.key_types or [], strict=True):
        column = table.column(name)
        if column is not None and column.type != type_before:
            problems.append(
                Problem("column_retyped", f"key {name} was {type_before} and is {column.type}")
            )
    needs_index = bool(key_columns) and not source.is_polled
    if needs_index and not problems and not has_key_index(source, table):
        names = ", ".join(key_columns)
        problems.append(Problem("key_missing", f"no unique index on the key ({names}) any more"))
    for name in hash_column:
        column = table.column(name)
        if column is not None and not column.is_bytea:
            problems.append(Problem("column_retyped", f"hash column {name} is no bytea any more"))
    return problems


def has_key_index(source: Source, table: Table) -> bool:
    """Return whether an index still keeps the source's key unique."""
    return any(
        list(index.columns) == source.key_columns and unfit_because(table, index) is None
        for index in table.indexes
    )


def permission_problems(source: Source, table: Table) -> list[Problem]:
    """Return what tally_owner may no longer do."""
    lost = [
        words
        for allowed, words in (
            (table.owner_may_use_schema, f"use schema {table.schema}"),
            (table.owner_may_read, f"read {source.source_table}"),
            # Rows without a key are never locked one by one.
            (
                table.owner_may_lock or source.is_keyed_by_full_row,
                f"lock rows of {source.source_table}",
            ),
        )
        if not allowed
    ]
    return [Problem("permission_lost", f"tally_owner may not {words}") for words in lost]


def trigger_problems(source: Source, triggers: Sequence[Trigger]) -> list[Problem]:
    """Return which triggers are missing or silent, on the table and each descendant seen before."""
    covered = [trigger for trigger in triggers if trigger.relation in source.covered_relations]
    missing = [t for t in covered if not t.stands]
    silent = [t for t in covered if t.stands and not t.is_enabled]
    code: ProblemCode = "trigger_disabled" if source.enabled else "disabled"
    return [
        *(
            Problem("trigger_missing", f"trigger {t.name} of {t.table_name} is gone")
            for t in missing
        ),
        *(Problem(code, f"trigger {t.name} of {t.table_name} does not fire") for t in silent),
    ]


def new_members(source: Source, table: Table) -> list[Member]:
    """Return the descendants that have come since the source was last validated."""
    return [member for member in table.members if member.relation not in source.covered_relations]
