"""Logs, what belongs to them, and what an operator does with them (log.md, section 6.2)."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import JSONBody

from tallystick.db import Transaction
from tallystick.http.answers import (
    Body,
    CheckpointItem,
    FindingItem,
    KeyItem,
    LogBody,
    LogItem,
    LogPage,
    Page,
    SourceItem,
    WitnessItem,
    checkpoint_item,
    finding_item,
    key_item,
    log_item,
    optional_time,
    source_item,
)
from tallystick.http.asked import After, Caller, Head, Limit, LogName, Served, TableName, Write
from tallystick.http.parameters import (
    check_limit,
    format_cursor,
    parse_cursor,
    parse_number_cursor,
)
from tallystick.http.scopes import LISTED
from tallystick.http.services import Services
from tallystick.http.writing import Writing
from tallystick.seal.audit import list_findings
from tallystick.seal.logs import (
    Log,
    LogSettings,
    configure_log,
    create_log,
    freeze_log,
    list_keys,
)
from tallystick.seal.sources import (
    Source,
    add_source,
    detach_source,
    list_sources,
    switch_source,
)

PUBLIC = "public"
NEWEST = 2**63 - 1


class NewLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a log is made with; fields that are left out have their defaults."""

    log_name: str
    description: str | None = None
    mode: Literal["full", "digest"] = "full"
    visibility: Literal["private", "hashes", "public"] = "private"
    batch_size: int = 65536
    batch_interval_ms: int = 500
    witness_quorum: int = 0
    witness_patience_seconds: int | None = None
    accepts_entries: bool = False
    control_leaves: bool | None = None
    retain_until: datetime.datetime | None = None


class LogChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a log; fields that are left out stay."""

    description: str | None = None
    enabled: bool | None = None
    visibility: Literal["private", "hashes", "public"] | None = None
    batch_size: int | None = None
    batch_interval_ms: int | None = None
    witness_quorum: int | None = None
    witness_patience_seconds: int | None = None
    accepts_entries: bool | None = None
    retain_until: datetime.datetime | None = None


class NewSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table that is to feed a log; what is left out is chosen from the table and the log."""

    source_table: str
    key: list[str] | None = None
    key_full_row: bool = False
    include: list[str] | None = None
    exclude: list[str] | None = None
    private: list[str] = []
    leaf_form: Literal["record", "salted", "column"] | None = None
    hash_column: str | None = None
    on_update: Literal["record", "ignore", "refuse"] = "record"
    on_delete: Literal["record", "ignore", "refuse"] = "record"
    on_truncate: Literal["record", "expand", "ignore", "refuse"] | None = None
    capture: Literal["trigger", "poll", "wal"] | None = None
    order_column: str | None = None
    timestamp_column: str | None = None
    poll_lookback: int | None = None
    reconcile_interval_seconds: int | None = None
    dry_run: bool = False


class SourceChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What changes of a source: whether its changes are captured."""

    enabled: bool


class LogState(LogBody, frozen=True, kw_only=True):
    """A log as an operator configured it."""

    origin: str | None
    description: str | None
    state: str
    enabled: bool
    mode: str
    visibility: str
    batch_size: int
    batch_interval_ms: int
    witness_quorum: int
    witness_patience_seconds: int | None
    accepts_entries: bool
    control_leaves: bool
    freeze_requested_at: str | None
    minimum_index: int
    retain_until: str | None


class SourceState(Body, frozen=True, kw_only=True):
    """A source as it is now."""

    source: SourceItem


@get("/logs", sync_to_thread=False)
def get_logs(
    services: Served, principal: Caller, limit: Limit = None, after: After = None
) -> Page[LogItem]:
    """The public logs by name; all of them with the scope log:read."""
    sees_all = principal is not None and principal.has_one_of(*LISTED.scopes)
    behind = "" if after is None else str(parse_cursor(after, str)[0])
    heads = sorted(
        (
            head
            for head in services.publisher.heads.by_id.values()
            if (sees_all or head.visibility == PUBLIC) and head.log_name > behind
        ),
        key=lambda head: head.log_name,
    )
    size = check_limit(limit)
    shown = heads[:size]
    following = format_cursor(shown[-1].log_name) if len(heads) > size else None
    return Page(items=[log_item(head) for head in shown], next=following)


@post("/logs", sync_to_thread=True)
def post_log(services: Served, writing: Write, data: JSONBody[NewLog]) -> Response[LogState]:
    """Make a log; one of this name whose fields all agree is answered as it is."""
    fields = msgspec.structs.asdict(data)
    log_name = fields.pop("log_name")

    def create(tx: Transaction) -> Log:
        return create_log(
            tx,
            log_name,
            keys=services.keys,
            origin_prefix=services.origin_prefix,
            settings=LogSettings(**fields),
        )

    return write(services, writing, create, status=201)


@patch("/logs/{log:str}", sync_to_thread=True)
def patch_log(
    services: Served, writing: Write, log: LogName, data: JSONBody[LogChanges]
) -> Response[LogState]:
    """Change what may change of a log."""
    changes = msgspec.structs.asdict(data)
    return write(services, writing, lambda tx: configure_log(tx, log, **changes))


@post("/logs/{log:str}/freeze", sync_to_thread=True)
def post_freeze(services: Served, writing: Write, log: LogName) -> Response[LogState]:
    """Ask for the log's end: it freezes once no source is attached and its queue is empty."""
    return write(services, writing, lambda tx: freeze_log(tx, log), status=202)


@get("/logs/{log:str}/checkpoints", sync_to_thread=True)
def get_checkpoints(
    services: Served, head: Head, limit: Limit = None, after: After = None
) -> LogPage[CheckpointItem]:
    """Signed checkpoints, the newest first."""
    size = check_limit(limit)
    at_most = None if after is None else parse_number_cursor(after) - 1
    found = services.publisher.checkpoints(head, at_most=at_most, limit=size)
    following = format_cursor(found[-1].size) if len(found) == size and found[-1].size else None
    items = [checkpoint_item(checkpoint) for checkpoint in found]
    return LogPage(log_name=head.log_name, items=items, next=following)


@get("/logs/{log:str}/keys", sync_to_thread=True)
def get_keys(services: Served, head: Head) -> LogPage[KeyItem]:
    """The log's public keys, the oldest first, each with the sizes that it signs."""
    with services.database.transaction(read_only=True) as tx:
        keys = list_keys(tx, head.log_name)
    return LogPage(log_name=head.log_name, items=[key_item(key) for key in keys], next=None)


@get("/logs/{log:str}/witnesses", sync_to_thread=True)
def get_witnesses(
    services: Served, head: Head, limit: Limit = None, after: After = None
) -> LogPage[WitnessItem]:
    """Who is asked to cosign the log's checkpoints, by name."""
    size = check_limit(limit)
    behind = "" if after is None else str(parse_cursor(after, str)[0])
    found = services.publisher.witnesses(head, after=behind, limit=size)
    items = [
        WitnessItem(
            name=one.name,
            vkey=one.vkey,
            url=one.url,
            enabled=one.enabled,
            status=one.status,
            last_size=one.last_size,
            last_seen_at=optional_time(one.last_seen_at),
            last_error=one.last_error,
        )
        for one in found
    ]
    following = format_cursor(found[-1].name) if len(found) == size else None
    return LogPage(log_name=head.log_name, items=items, next=following)


@get("/logs/{log:str}/findings", sync_to_thread=True)
def get_findings(
    services: Served, head: Head, limit: Limit = None, after: After = None
) -> LogPage[FindingItem]:
    """What audits and reconciles found, the newest first."""
    size = check_limit(limit)
    before = NEWEST if after is None else parse_number_cursor(after)
    with services.database.transaction(read_only=True) as tx:
        found = list_findings(tx, head.log_id, before=before, limit=size)
    following = format_cursor(found[-1].finding_id) if len(found) == size else None
    return LogPage(
        log_name=head.log_name, items=[finding_item(one) for one in found], next=following
    )


@get("/logs/{log:str}/sources", sync_to_thread=True)
def get_sources(
    services: Served, head: Head, limit: Limit = None, after: After = None
) -> LogPage[SourceItem]:
    """Which tables feed the log, by name."""
    size = check_limit(limit)
    behind = "" if after is None else str(parse_cursor(after, str)[0])
    with services.database.transaction(read_only=True) as tx:
        sources = list_sources(tx, head.log_name)
    # A log has tens of sources: the page is cut here, in the order of the column's collation.
    found = sorted(
        (source for source in sources if source.source_table > behind),
        key=lambda source: source.source_table,
    )
    shown = found[:size]
    following = format_cursor(shown[-1].source_table) if len(found) > size else None
    items = [source_item(source) for source in shown]
    return LogPage(log_name=head.log_name, items=items, next=following)


@post("/logs/{log:str}/sources", sync_to_thread=True)
def post_source(writing: Write, log: LogName, data: JSONBody[NewSource]) -> Response[SourceState]:
    """Let a table feed the log: from now on each change of it is captured."""
    fields: dict[str, Any] = msgspec.structs.asdict(data)
    table = fields.pop("source_table")
    return writing.run(
        lambda tx: source_state(add_source(tx, log, table, **fields)),
        status=200 if data.dry_run else 201,
    )


@patch("/logs/{log:str}/sources/{table:str}", sync_to_thread=True)
def patch_source(
    writing: Write, log: LogName, table: TableName, data: JSONBody[SourceChanges]
) -> Response[SourceState]:
    """
    Turn capture off, which is a `gap` leaf, or on again; a source that was off is broken until
    it is reconciled with `repair`.
    """
    return writing.run(lambda tx: source_state(switch_source(tx, log, table, enabled=data.enabled)))


@delete("/logs/{log:str}/sources/{table:str}", status_code=200, sync_to_thread=True)
def delete_source(writing: Write, log: LogName, table: TableName) -> Response[SourceState]:
    """End a source: its triggers are dropped; its row and its leaves stay."""
    return writing.run(lambda tx: source_state(detach_source(tx, log, table)))


def write(
    services: Services,
    writing: Writing,
    change: Callable[[Transaction], Log],
    *,
    status: int = HTTPStatus.OK,
) -> Response[LogState]:
    """Run *change* and answer the log since; this process knows of it when the answer goes."""

    def refresh() -> None:
        services.publisher.refresh()

    def work(tx: Transaction) -> LogState:
        tx.after_commit(refresh)
        return log_state(change(tx))

    return writing.run(work, status=status)


def source_state(source: Source) -> SourceState:
    """Return *source* as it is answered."""
    return SourceState(source=source_item(source))


def log_state(log: Log) -> LogState:
    """Return a log as an operator sees it."""
    return LogState(
        log_name=log.log_name,
        origin=log.origin,
        description=log.description,
        state=log.status,
        enabled=log.enabled,
        mode=log.mode,
        visibility=log.visibility,
        batch_size=log.batch_size,
        batch_interval_ms=log.batch_interval_ms,
        witness_quorum=log.witness_quorum,
        witness_patience_seconds=log.witness_patience_seconds,
        accepts_entries=log.accepts_entries,
        control_leaves=log.control_leaves,
        freeze_requested_at=optional_time(log.freeze_requested_at),
        minimum_index=log.minimum_index,
        retain_until=optional_time(log.retain_until),
    )


ROUTES = [
    get_logs,
    post_log,
    patch_log,
    post_freeze,
    get_checkpoints,
    get_keys,
    get_witnesses,
    get_findings,
    get_sources,
    post_source,
    patch_source,
    delete_source,
]
