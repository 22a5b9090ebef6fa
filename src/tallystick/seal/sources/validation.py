"""Whether a source is still what it was when it was installed: decisions on facts (log.md, 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.seal.sources.admission import unsupported_because
from tallystick.seal.sources.source import Problem

if TYPE_CHECKING:
    from tallystick.seal.sources.source import RelationId, Source
    from tallystick.seal.sources.table import Member, Table

ALWAYS = "A"
"""`pg_trigger.tgenabled` of a trigger that replication roles do not silence either."""


def find_problems(source: Source, named: RelationId | None, table: Table | None) -> list[Problem]:
    """
    Return what is wrong with *source*; nothing, if everything stands as it should.

    *named* is the table that now has the source's name, *table* the one that it was installed
    on, each None where there is none. Descendants without any of our triggers that were not
    seen before are no problem: they are new.
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
        *column_problems(source, table),
        *permission_problems(source, table),
        *trigger_problems(source, table),
    ]


def column_problems(source: Source, table: Table) -> list[Problem]:
    """Return which columns that the source names are missing, and which key columns were retyped."""
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
    for name in hash_column:
        column = table.column(name)
        if column is not None and not column.is_bytea:
            problems.append(Problem("column_retyped", f"hash column {name} is no bytea any more"))
    return problems


def permission_problems(source: Source, table: Table) -> list[Problem]:
    """Return what tally_owner may no longer do."""
    lost = [
        words
        for allowed, words in (
            (table.owner_may_use_schema, f"use schema {table.schema}"),
            (table.owner_may_read, f"read {source.source_table}"),
            (table.owner_may_lock, f"lock rows of {source.source_table}"),
        )
        if not allowed
    ]
    return [Problem("permission_lost", f"tally_owner may not {words}") for words in lost]


def trigger_problems(source: Source, table: Table) -> list[Problem]:
    """Return which triggers are missing or off, on the table and each descendant seen before."""
    problems = []
    covered = [member for member in table.members if member.relation in source.covered_relations]
    for member in covered:
        stand = {trigger.name: trigger for trigger in member.triggers}
        missing = sorted(expected_triggers(source, member) - stand.keys())
        if missing:
            names = ", ".join(missing)
            problems.append(Problem("trigger_missing", f"{names} of {member.name} was dropped"))
        silent = sorted(
            name
            for name in expected_triggers(source, member) & stand.keys()
            if stand[name].enabled != ALWAYS
        )
        if silent:
            names = ", ".join(silent)
            code = "trigger_disabled" if source.enabled else "disabled"
            problems.append(Problem(code, f"{names} of {member.name} does not fire"))
    return problems


def expected_triggers(source: Source, member: Member) -> set[str]:
    """Return the names of the triggers that must stand on *member*, a table of *source*."""
    prefix = f"tally_{source.source_no}"
    names = {f"{prefix}_insert"}
    if source.on_update != "ignore":
        names.add(f"{prefix}_update")
    if source.on_delete != "ignore":
        names.add(f"{prefix}_delete")
    if not source.is_keyed_by_full_row:
        names.add(f"{prefix}_begin")
    # TRUNCATE of a partitioned table fires the triggers of what it empties: the leaves.
    if source.on_truncate != "ignore" and member.kind != "p":
        names.add(f"{prefix}_truncate")
    return names


def new_members(source: Source, table: Table) -> list[Member]:
    """Return the descendants that have come since the source was last validated."""
    return [member for member in table.members if member.relation not in source.covered_relations]
