"""
How a table becomes a source: by triggers, or by being read (log.md, sections 2.2 and 4.5).

What is polled needs no owner and no index, so that views, foreign tables and tables that must
not be touched can be sources too; it needs a column that says where new rows are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tallystick.seal.errors import InvalidSourceError, NoKeyError, UnsupportedSourceError
from tallystick.seal.sources.admission import (
    OWN_PROGRESS,
    check_columns,
    check_private,
    choose_key,
    choose_leaf_form,
    key_types,
    plan_source,
)
from tallystick.seal.sources.source import SourcePlan, SourceSettings, check_settings
from tallystick.seal.sources.table import KINDS, Table
from tallystick.seal.sources.wal import plan_wal

if TYPE_CHECKING:
    from tallystick.seal.logs import Log

INTEGER_LOOKBACK: Final = 10_000
"""So many numbers of a sequence are drawn by transactions that have not committed yet."""
TIME_LOOKBACK_SECONDS: Final = 600
"""A transaction that is older writes rows that only the reconcile finds."""
RECONCILE_SECONDS: Final = 3_600
ORDER_TYPES: Final = {
    "smallint": INTEGER_LOOKBACK,
    "integer": INTEGER_LOOKBACK,
    "bigint": INTEGER_LOOKBACK,
    "timestamp without time zone": TIME_LOOKBACK_SECONDS,
    "timestamp with time zone": TIME_LOOKBACK_SECONDS,
}
"""What a poll can follow, and how far back it looks again unless it is told."""
SYSTEM_COLUMNS: Final = frozenset({"tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"})
READABLE: Final = frozenset("rpvmf")


def make_plan(table: Table, settings: SourceSettings, log: Log) -> SourcePlan:
    """
    Return what a source of *table* in *log* is made with, every open choice made.

    Raises:
        InvalidSourceError: Settings contradict each other, the table or the log's mode.
        UnsupportedSourceError: The table cannot be captured in this way.
        PermissionDeniedError: Triggers are wanted and the caller does not own the table.
        UnknownColumnError, NoKeyError, HashColumnError: As `plan_source`.
    """
    check_settings(settings)
    if settings.capture == "wal":
        return plan_wal(table, settings, log)
    return (plan_poll if settings.is_polled else plan_source)(table, settings, log)


def plan_poll(table: Table, settings: SourceSettings, log: Log) -> SourcePlan:
    """
    Return the plan of a source that is polled.

    Raises:
        As `make_plan`.
    """
    reason = unreadable_because(table)
    if reason is not None:
        raise UnsupportedSourceError(
            f"{table.name} {reason}", evidence={"table": table.name, "reason": reason}
        )
    check_columns(table, settings)
    check_rules(settings)
    lookback = choose_lookback(table, settings)
    leaf_form = choose_leaf_form(table, settings, log)
    key_columns = choose_poll_key(table, settings)
    check_private(settings, key_columns, leaf_form)
    interval = settings.reconcile_interval_seconds
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
        on_truncate=settings.on_truncate or "record",
        capture="poll",
        order_column=settings.order_column,
        timestamp_column=settings.timestamp_column,
        poll_lookback=lookback,
        reconcile_interval_seconds=RECONCILE_SECONDS if interval is None else interval,
    )


def unreadable_because(table: Table) -> str | None:
    """Return why *table* cannot be polled, in words that follow its name, or None."""
    kind = KINDS.get(table.kind, table.kind)
    hidden = sorted(SYSTEM_COLUMNS & {column.name for column in table.columns})
    reasons = (
        (table.kind not in READABLE, f"is a {kind}: it has no rows to seal"),
        (table.persistence == "t", "is a temporary table: it ends with its session"),
        (table.persistence == "u", "is unlogged: it is emptied by a crash"),
        (table.schema in {"pg_catalog", "information_schema"}, "is a system table"),
        (
            table.schema == "tally" and table.bare_name in OWN_PROGRESS,
            "is written by sealing itself: its source would feed itself",
        ),
        (hidden, f"has columns named as PostgreSQL's own: {', '.join(hidden)}"),
    )
    return next((reason for applies, reason in reasons if applies), None)


def check_rules(settings: SourceSettings) -> None:
    """
    Check that nothing is asked of a poll that only a trigger can do.

    Raises:
        InvalidSourceError: A change is to be refused, which is past when it is read.
    """
    if "refuse" in {settings.on_update, settings.on_delete, settings.on_truncate}:
        raise InvalidSourceError("a poll sees what has happened already: it can refuse nothing")


def choose_lookback(table: Table, settings: SourceSettings) -> int:
    """
    Return how far behind its cursor the poll looks again, in numbers or seconds.

    Raises:
        InvalidSourceError: No order is named, or it is no integer and no timestamp.
    """
    for name, types in (
        (settings.order_column, ORDER_TYPES),
        (settings.timestamp_column, [t for t in ORDER_TYPES if t.startswith("timestamp")]),
    ):
        column = None if name is None else table.column(name)
        if column is not None and column.base_type not in types:
            known = " or ".join(types)
            raise InvalidSourceError(f"{name} is {column.type}: a poll follows {known}")
    # Where both are named the order column leads; both types have been looked at.
    order = table.column(settings.order_column or settings.timestamp_column or "")
    if order is None:
        raise InvalidSourceError("a poll needs an order_column or a timestamp_column to follow")
    default = ORDER_TYPES[order.base_type]
    return default if settings.poll_lookback is None else settings.poll_lookback


def choose_poll_key(table: Table, settings: SourceSettings) -> tuple[str, ...]:
    """
    Return the columns that key the rows: as named, whether an index keeps them unique or not.

    Raises:
        NoKeyError: None are named, and the table has no primary key.
    """
    if settings.key_full_row:
        return ()
    if settings.key is not None:
        by_index = [
            index.columns
            for index in table.indexes
            if sorted(index.columns) == sorted(settings.key)
        ]
        return by_index[0] if by_index else settings.key
    if table.kind in "vmf":
        raise NoKeyError(
            f"{table.name} is a {KINDS[table.kind]}: name its key columns,"
            " or key it by the full row",
            evidence={"table": table.name, "candidates": []},
        )
    return choose_key(table, None).columns
