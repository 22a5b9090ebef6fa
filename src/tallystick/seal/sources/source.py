"""What a source is: its row, what it is made with, what can be wrong with it (log.md, 2.2)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NewType, get_args

from tallystick.seal.errors import InvalidSourceError

if TYPE_CHECKING:
    import datetime


SourceNo = NewType("SourceNo", int)
RelationId = NewType("RelationId", int)
"""The oid of a table."""

Capture = Literal["trigger", "poll", "wal"]
LeafForm = Literal["record", "salted", "column"]
CaptureRule = Literal["record", "ignore", "refuse"]
TruncateRule = Literal["record", "expand", "ignore", "refuse"]
SourceStatus = Literal["backfilling", "active", "broken", "detached"]
ProblemCode = Literal[
    "table_missing",
    "table_replaced",
    "table_unsupported",
    "column_missing",
    "column_retyped",
    "key_missing",
    "permission_lost",
    "trigger_missing",
    "trigger_disabled",
    "disabled",
    "refused",
    "unreconciled",
    "wal_lost",
    "wal_unpublished",
    "wal_truncated",
    "identity_changed",
]

DRY_RUN: Final = SourceNo(0)
"""The number of a source that was only tried; real numbers begin at 1."""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """What a source is made with; None leaves the choice to the table and the log."""

    key: tuple[str, ...] | None = None
    key_full_row: bool = False
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    private: tuple[str, ...] = ()
    leaf_form: LeafForm | None = None
    hash_column: str | None = None
    on_update: CaptureRule = "record"
    on_delete: CaptureRule = "record"
    on_truncate: TruncateRule | None = None
    capture: Capture | None = None
    order_column: str | None = None
    timestamp_column: str | None = None
    poll_lookback: int | None = None
    reconcile_interval_seconds: int | None = None

    @property
    def is_polled(self) -> bool:
        """Whether the table is read; who names an order means that, as earlier SQL does."""
        named = self.order_column is not None or self.timestamp_column is not None
        return self.capture == "poll" or (self.capture is None and named)


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """Settings that were checked against the table and the log: nothing in it is left to choose."""

    key_columns: tuple[str, ...]
    key_types: tuple[str, ...]
    include_columns: tuple[str, ...] | None
    exclude_columns: tuple[str, ...] | None
    private_columns: tuple[str, ...]
    leaf_form: LeafForm
    hash_column: str | None
    on_update: CaptureRule
    on_delete: CaptureRule
    on_truncate: TruncateRule
    capture: Capture
    order_column: str | None
    timestamp_column: str | None
    poll_lookback: int | None
    reconcile_interval_seconds: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """One row of `verification_sources`, and what the one who adds it should know."""

    source_table: str
    log_name: str
    log_id: int
    source_no: SourceNo
    relation: RelationId | None
    capture: Capture
    leaf_form: LeafForm
    hash_column: str | None
    order_column: str | None
    timestamp_column: str | None
    key_columns: list[str] | None
    key_types: list[str] | None
    include_columns: list[str] | None
    exclude_columns: list[str] | None
    private_columns: list[str]
    on_update: CaptureRule
    on_delete: CaptureRule
    on_truncate: TruncateRule
    enabled: bool
    status: SourceStatus
    problem: dict[str, Any] | None
    poll_cursor: str | None
    poll_lookback: int | None
    reconcile_interval_seconds: int | None
    covered_relations: list[RelationId]
    backfill_relations: list[RelationId]
    backfill_after: list[str] | None
    schema_fingerprint: int | None
    created_at: datetime.datetime
    checked_at: datetime.datetime | None
    reconciled_at: datetime.datetime | None
    note: str | None = None
    clear_columns: list[str] | None = None
    """The columns that cannot be erased once they are sealed; None where nobody asked."""
    personal_columns: list[str] | None = None
    """Those of them whose names or types look like personal data."""

    @property
    def is_polled(self) -> bool:
        """Whether its table is read, because triggers cannot stand on it or must not."""
        return self.capture == "poll"

    @property
    def is_from_wal(self) -> bool:
        """Whether its changes are read from the WAL, so that its table has no triggers."""
        return self.capture == "wal"

    @property
    def is_keyed_by_full_row(self) -> bool:
        """Whether the whole row is the key, because the table has no other."""
        return self.key_columns == []

    def differences(self, plan: SourcePlan) -> list[str]:
        """Return the fields in which this source differs from *plan*, by name."""
        wanted = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(plan).items()
        }
        return sorted(name for name, value in wanted.items() if getattr(self, name) != value)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that keeps a source from being captured as it should be."""

    code: ProblemCode
    message: str

    @property
    def is_gap(self) -> bool:
        """Whether changes were not captured while it stood."""
        return self.code in {
            "trigger_missing",
            "trigger_disabled",
            "disabled",
            "wal_lost",
            "wal_unpublished",
            "wal_truncated",
            "identity_changed",
        }


@dataclass(frozen=True, slots=True)
class CheckedSource:
    """What a validation found and did: problems, and what was mended or begun."""

    source: Source
    problems: list[Problem]
    refreshed: bool = False
    new_partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BackfillResult:
    """How far a backfill came: rows looked at and queued by this run, and whether all are done."""

    source_no: SourceNo
    rows_read: int
    rows_queued: int
    finished: bool


@dataclass(frozen=True, slots=True)
class PolledPage:
    """One page of a polled table: rows read and queued, where it ended, whether it was the last."""

    rows_read: int
    rows_queued: int
    last_order: str | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Polled:
    """A source that is to be polled, and how long its log pauses between looks."""

    source_no: SourceNo
    interval_ms: int


@dataclass(frozen=True, slots=True)
class RequeueResult:
    """Keys whose present state was queued, and quarantined rows: resolved, and still poison."""

    keys_queued: int
    rows_resolved: int
    rows_left: int


def check_settings(settings: SourceSettings) -> None:
    """
    Check what is wrong with *settings* whatever the table is.

    Raises:
        InvalidSourceError: A rule is unknown, or two settings contradict each other.
    """
    rules = (
        ("on_update", settings.on_update, get_args(CaptureRule)),
        ("on_delete", settings.on_delete, get_args(CaptureRule)),
        ("on_truncate", settings.on_truncate, (None, *get_args(TruncateRule))),
        ("leaf_form", settings.leaf_form, (None, *get_args(LeafForm))),
        ("capture", settings.capture, (None, *get_args(Capture))),
    )
    for name, value, known in rules:
        if value not in known:
            raise InvalidSourceError(f"{name} is one of {', '.join(filter(None, known))}")
    if settings.include is not None and settings.exclude is not None:
        raise InvalidSourceError("columns are included or excluded, not both")
    if settings.key and settings.key_full_row:
        raise InvalidSourceError("a source is keyed by columns or by the full row, not both")
    if settings.key == ():
        raise InvalidSourceError("a key has columns; keyed by the full row is key_full_row")
    check_order(settings)
    if settings.hash_column is not None and settings.leaf_form not in {None, "column"}:
        raise InvalidSourceError(f"form {settings.leaf_form} takes no hash column")


def check_order(settings: SourceSettings) -> None:
    """
    Check the settings of a poll, and that nothing else has them.

    Raises:
        InvalidSourceError: A trigger source has an order or a lookback, or a length is none.
    """
    if not settings.is_polled and settings.poll_lookback is not None:
        raise InvalidSourceError("only what is polled has a poll_lookback")
    if settings.capture == "trigger" and (settings.order_column or settings.timestamp_column):
        raise InvalidSourceError("triggers need no order: an order column is for capture poll")
    lengths = (
        ("poll_lookback", settings.poll_lookback, 0),
        ("reconcile_interval_seconds", settings.reconcile_interval_seconds, 1),
    )
    for name, length, least in lengths:
        if length is not None and not least <= length < 2**31:
            raise InvalidSourceError(f"{name} is {least} to 2147483647")
