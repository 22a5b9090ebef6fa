"""Whether a table can be a source, and by which key: decisions on catalogue facts (log.md, 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.db.errors import PermissionDeniedError
from tallystick.seal.errors import (
    HashColumnError,
    InvalidSourceError,
    NoKeyError,
    UnknownColumnError,
    UnsupportedSourceError,
)
from tallystick.seal.sources.source import (
    LeafForm,
    SourcePlan,
    SourceSettings,
    TruncateRule,
    check_settings,
)
from tallystick.seal.sources.table import KINDS, Table, UniqueIndex

if TYPE_CHECKING:
    from tallystick.seal.logs import Log

OWN_PROGRESS: Final = frozenset(
    {
        "capture",
        "capture_quarantine",
        "merkle_log",
        "log_tiles",
        "leaf_records",
        "checkpoints",
        "cosignatures",
        "audits",
        "audit_findings",
        "outbox_events",
        "outbox_cursors",
    }
)
"""Tables that sealing itself writes: a source of them would feed itself for ever."""


def plan_source(table: Table, settings: SourceSettings, log: Log) -> SourcePlan:
    """
    Return what a source of *table* in *log* is made with, every open choice made.

    Raises:
        InvalidSourceError: Settings contradict each other, the table or the log's mode.
        UnsupportedSourceError: The table is of a kind that triggers cannot capture.
        PermissionDeniedError: The caller does not own the table.
        UnknownColumnError: A named column does not exist.
        NoKeyError: There is no primary key and none was named, or what was named is no key.
        HashColumnError: The hash column is no bytea.
    """
    check_settings(settings)
    check_kind(table)
    check_rights(table)
    check_columns(table, settings)
    leaf_form = choose_leaf_form(table, settings, log)
    index = None if settings.key_full_row else choose_key(table, settings.key)
    key_columns = () if index is None else index.columns
    check_private(settings, key_columns, leaf_form)
    return SourcePlan(
        key_columns=key_columns,
        key_types=key_types(table, key_columns),
        include_columns=settings.include,
        exclude_columns=settings.exclude,
        private_columns=settings.private,
        leaf_form=leaf_form,
        hash_column=settings.hash_column,
        on_update=settings.on_update,
        on_delete=settings.on_delete,
        on_truncate=choose_truncate_rule(table, settings.on_truncate),
        capture="trigger",
        order_column=None,
        timestamp_column=None,
        poll_lookback=None,
        reconcile_interval_seconds=settings.reconcile_interval_seconds,
    )


def check_kind(table: Table) -> None:
    """
    Check that triggers can capture a table of this kind.

    Raises:
        UnsupportedSourceError: They cannot; the evidence names the table and the reason.
    """
    reason = unsupported_because(table)
    if reason is not None:
        raise UnsupportedSourceError(
            f"{table.name} {reason}", evidence={"table": table.name, "reason": reason}
        )


def unsupported_because(table: Table) -> str | None:
    """Return why triggers cannot capture *table*, in words that follow its name, or None."""
    foreign = [member.name for member in table.members if member.kind == "f"]
    unlogged = [member.name for member in table.members if member.persistence != "p"]
    feeds_itself = table.schema == "tally" and table.bare_name in OWN_PROGRESS
    is_hidden = table.has_row_security and not table.owner_bypasses_row_security
    kind = KINDS.get(table.kind, table.kind)
    reasons = (
        (table.kind not in {"r", "p"}, f"is a {kind}: triggers cannot capture it"),
        (table.persistence == "t", "is a temporary table: it ends with its session"),
        (table.persistence == "u", "is unlogged: it is emptied by a crash"),
        (foreign, f"has foreign tables below it: {', '.join(foreign)}"),
        (unlogged, f"has unlogged or temporary tables below it: {', '.join(unlogged)}"),
        (
            table.is_subscription_target,
            "is written by a subscription, which fires no statement triggers",
        ),
        (
            is_hidden,
            "has row-level security, and tally_owner lacks BYPASSRLS: it would not see all rows",
        ),
        (table.schema in {"pg_catalog", "information_schema"}, "is a system table"),
        (feeds_itself, "is written by sealing itself: its source would feed itself"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def check_rights(table: Table) -> None:
    """
    Check that the caller may make ENABLE ALWAYS triggers.

    Raises:
        PermissionDeniedError: The caller is not the table's owner.
    """
    if not table.caller_is_owner:
        raise PermissionDeniedError(f"only the owner of {table.name} can make it a source")


def check_columns(table: Table, settings: SourceSettings) -> None:
    """
    Check that every column that is named exists.

    Raises:
        UnknownColumnError: One does not; the evidence has all that are missing.
    """
    named = [
        *(settings.key or ()),
        *(settings.include or ()),
        *(settings.exclude or ()),
        *settings.private,
        *filter(None, (settings.hash_column, settings.order_column, settings.timestamp_column)),
    ]
    missing = table.missing_columns(named)
    if missing:
        raise UnknownColumnError(
            f"{table.name} has no column {', '.join(missing)}",
            evidence={"table": table.name, "columns": missing},
        )


def choose_leaf_form(table: Table, settings: SourceSettings, log: Log) -> LeafForm:
    """
    Return the form of the leaves: as set, else what the log's mode and the hash column say.

    Raises:
        InvalidSourceError: A digest log takes no records.
        HashColumnError: Form `column` without a hash column, or it is no bytea.
    """
    default: LeafForm = "salted" if log.mode == "digest" else "record"
    form = settings.leaf_form or ("column" if settings.hash_column is not None else default)
    if form == "record" and log.mode == "digest":
        raise InvalidSourceError(f"{log.log_name} is a digest log: it takes no records")
    if form == "column":
        column = table.column(settings.hash_column or "")
        if column is None or not column.is_bytea:
            raise HashColumnError(
                "the leaf of form column is a bytea of 16 to 64 bytes; name such a hash_column",
                evidence={"table": table.name, "column": settings.hash_column},
            )
    return form


def choose_key(table: Table, named: tuple[str, ...] | None) -> UniqueIndex:
    """
    Return the index whose columns key the rows: the primary key, or the one that was named.

    The index gives the order of the columns, so that pages in key order can follow it.

    Raises:
        NoKeyError: There is none; the evidence names the candidates.
    """
    if named is None:
        primary = next((index for index in table.indexes if index.is_primary), None)
        if primary is not None and unfit_because(table, primary) is None:
            return primary
        problem = "has no primary key" if primary is None else unfit_because(table, primary)
        raise no_key(table, f"{table.name} {problem}")
    wanted = [index for index in table.indexes if set(index.columns) == set(named)]
    wanted = [index for index in wanted if len(index.columns) == len(named)]
    fit = [index for index in wanted if unfit_because(table, index) is None]
    if fit:
        return min(fit, key=lambda index: (not index.is_primary, index.name))
    columns = ", ".join(named)
    if not wanted:
        raise no_key(table, f"{table.name} has no unique index on ({columns})")
    raise no_key(table, f"{wanted[0].name} is no key: it {unfit_because(table, wanted[0])}")


def unfit_because(table: Table, index: UniqueIndex) -> str | None:
    """Return why *index* cannot key rows, in words that follow its name, or None."""
    if not index.is_valid:
        return "is not valid"
    if not index.is_immediate:
        return "is deferrable: two rows may have one key for a while"
    if index.is_partial:
        return "is partial"
    if index.has_expressions:
        return "is on an expression"
    found = [table.column(name) for name in index.columns]
    nullable = [column.name for column in found if column is not None and not column.is_not_null]
    return f"has columns that may be NULL: {', '.join(nullable)}" if nullable else None


def no_key(table: Table, problem: str) -> NoKeyError:
    """Return the error that says what the problem is and which indexes would do."""
    candidates = [
        list(index.columns) for index in table.indexes if unfit_because(table, index) is None
    ]
    listed = "; ".join(", ".join(columns) for columns in candidates)
    advice = f"name one of these as key: {listed}" if listed else "no index of it is a key"
    return NoKeyError(
        f"{problem}; {advice}, or key it by the full row",
        evidence={"table": table.name, "candidates": candidates},
    )


def key_types(table: Table, key_columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the types of the key columns; a later change of them breaks the source."""
    found = [table.column(name) for name in key_columns]
    return tuple(column.type for column in found if column is not None)


def check_private(
    settings: SourceSettings, key_columns: tuple[str, ...], leaf_form: LeafForm
) -> None:
    """
    Check that private columns stand in records alone, and none of them in the leaf's key.

    Raises:
        InvalidSourceError: A key column is private, or the key is the hash of the full row,
            which lets private values be guessed; or the leaves are digests, whose one salt
            would open record and commitments together.
    """
    if not settings.private:
        return
    if leaf_form != "record":
        raise InvalidSourceError(
            f"leaves of form {leaf_form} show no column: private columns are for records"
        )
    if settings.key_full_row:
        raise InvalidSourceError(
            "private columns need a key of columns: the full row's hash lets values be guessed"
        )
    in_key = [name for name in settings.private if name in key_columns]
    if in_key:
        raise InvalidSourceError(
            f"{', '.join(in_key)}: a key column stands in every leaf and cannot be private"
        )


def choose_truncate_rule(table: Table, wanted: TruncateRule | None) -> TruncateRule:
    """
    Return what TRUNCATE does: as set, else one leaf, or a leaf per row on partitioned tables.

    Raises:
        UnsupportedSourceError: One leaf for a partitioned table: TRUNCATE of one partition
            does not empty the table.
    """
    if table.is_partitioned and wanted == "record":
        raise UnsupportedSourceError(
            f"{table.name} is partitioned: on_truncate is expand, ignore or refuse",
            evidence={"table": table.name, "reason": "partitioned"},
        )
    return wanted or ("expand" if table.is_partitioned else "record")
