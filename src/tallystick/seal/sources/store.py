"""The SQL of sources; every function runs in the caller's transaction."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.sources.source import (
    BackfillResult,
    Polled,
    PolledPage,
    Problem,
    RelationId,
    RequeueResult,
    Source,
    SourceNo,
    SourcePlan,
)
from tallystick.seal.sources.table import Column, Member, Table, Trigger, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    find_table: Query
    read_table: Query
    read_triggers: Query
    sources: Query
    lock_source: Query
    new_sources: Query
    switched_sources: Query
    polled_sources: Query
    install_poll: Query
    grant_polling: Query
    may_poll: Query
    poll_page: Query
    unfinished_backfills: Query
    add_source: Query
    install_source: Query
    grant_reading: Query
    create_capture: Query
    create_capture_triggers: Query
    drop_capture_triggers: Query
    switch_capture_triggers: Query
    cover_members: Query
    refresh_source: Query
    break_source: Query
    source_ready: Query
    detach_source: Query
    set_enabled: Query
    mark_checked: Query
    is_read_committed: Query
    lock_table: Query
    statement_patience: Query
    rebind_source: Query
    backfill_page: Query
    requeue: Query
    choose_wal: Query
    attach_wal: Query
    detach_wal: Query
    wal_problems: Query
    lock_page: Query
    queue_page: Query
    unfinished_wal_backfills: Query
    mendable_wal_sources: Query
    requeue_polled: Query


SQL = load_queries(Queries, __package__)


def find_table(tx: Transaction, name: str) -> Table | None:
    """Return the table that a caller means by *name*; None where there is none."""
    relation = find_relation(tx, name)
    return None if relation is None else read_table(tx, relation)


def find_relation(tx: Transaction, name: str) -> RelationId | None:
    """Return the oid of the table of this name; None where there is none."""
    relation = tx.value(SQL.find_table, {"name": name})
    return None if relation is None else RelationId(relation)


def read_table(tx: Transaction, relation: RelationId) -> Table | None:
    """Return what the catalogue says of a table; None where it is gone."""
    return tx.row(parse_table, SQL.read_table, {"relation": relation})


def parse_table(*facts: Any) -> Table:
    """Return the table that a row of `read_table` describes."""
    columns, indexes, members = facts[-3:]
    parts: list[Any] = [
        *facts[:-3],
        tuple(Column(**column) for column in columns),
        tuple(parse_index(index) for index in indexes),
        tuple(Member(**member) for member in members),
    ]
    return Table(*parts)


def parse_index(facts: Mapping[str, Any]) -> UniqueIndex:
    """Return the index that *facts* describe."""
    return UniqueIndex(**{**facts, "columns": tuple(facts["columns"])})


def read_triggers(tx: Transaction, source_no: SourceNo) -> list[Trigger]:
    """Return every trigger that the source needs now, with whether it stands and fires."""
    return tx.rows(Trigger, SQL.read_triggers, {"source_no": source_no})


def list_sources(tx: Transaction, log_name: str | None = None) -> list[Source]:
    """Return the sources of one log, or of all, by log and table."""
    return tx.rows(Source, SQL.sources, {"log_name": log_name, "source_no": None})


def find_source(tx: Transaction, source_no: SourceNo) -> Source | None:
    """Return one source; None where there is none of this number."""
    return tx.row(Source, SQL.sources, {"log_name": None, "source_no": source_no})


def lock_source(tx: Transaction, source_no: SourceNo) -> None:
    """Hold the source's row until the transaction ends."""
    tx.execute(SQL.lock_source, {"source_no": source_no})


def new_sources(tx: Transaction) -> list[SourceNo]:
    """Return the sources that wait to be installed."""
    return tx.values(SQL.new_sources)


def unfinished_backfills(tx: Transaction) -> list[SourceNo]:
    """Return the sources of which rows are still to be queued."""
    return tx.values(SQL.unfinished_backfills)


def switched_sources(tx: Transaction) -> list[SourceNo]:
    """Return the sources whose capture is not yet as `enabled` says."""
    return tx.values(SQL.switched_sources)


def polled_sources(tx: Transaction) -> list[Polled]:
    """Return the sources that are to be polled."""
    return tx.rows(Polled, SQL.polled_sources)


def add_source(tx: Transaction, log_name: str, source_table: str, plan: SourcePlan) -> SourceNo:
    """Write down a new source and return its number."""
    fields = as_parameters(plan)
    return SourceNo(
        tx.value(SQL.add_source, {"log_name": log_name, "source_table": source_table, **fields})
    )


def install_source(
    tx: Transaction, source_no: SourceNo, relation: RelationId, plan: SourcePlan
) -> None:
    """Bind a source to its table and key, and generate its functions."""
    fields = as_parameters(plan)
    tx.execute(SQL.install_source, {"source_no": source_no, "relation": relation, **fields})
    create_capture(tx, source_no)


def install_poll(
    tx: Transaction, source_no: SourceNo, relation: RelationId, plan: SourcePlan
) -> None:
    """Bind a source that is polled to its table, key and order."""
    fields = as_parameters(plan)
    tx.execute(SQL.install_poll, {"source_no": source_no, "relation": relation, **fields})


def grant_polling(tx: Transaction, relation: RelationId) -> bool:
    """Let `tally_poller` read the table where it may not yet; return whether it may now."""
    return bool(tx.value(SQL.grant_polling, {"relation": relation}))


def may_poll(tx: Transaction, relation: RelationId) -> bool:
    """Return whether `tally_poller` may read the table."""
    return bool(tx.value(SQL.may_poll, {"relation": relation}))


def poll_page(
    tx: Transaction, source_no: SourceNo, *, after: str | None, page_rows: int
) -> PolledPage | None:
    """Queue what a page holds; None where another polls the source, or it is not to be polled."""
    parameters = {"source_no": source_no, "after": after, "page_rows": page_rows}
    return tx.row(PolledPage, SQL.poll_page, parameters)


def as_parameters(plan: SourcePlan) -> dict[str, Any]:
    """Return the plan's fields as the driver takes them: arrays are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(plan).items()
    }


def grant_reading(tx: Transaction, relation: RelationId, key_columns: Sequence[str]) -> None:
    """Let `tally_owner` read the table and lock its rows, with the rights of the table's owner."""
    tx.execute(SQL.grant_reading, {"relation": relation, "key_columns": list(key_columns)})


def lock_table(tx: Transaction, table: Table, *, exclusively: bool) -> None:
    """Lock a table and its descendants against writers, or against all; waits 2 seconds."""
    tx.execute(SQL.lock_table, {"relation": table.relation, "exclusively": exclusively})


def has_rows(tx: Transaction, table: Table) -> bool:
    """Return whether the table has any row that this statement sees."""
    name = sql.Identifier(table.schema, table.bare_name)
    return bool(tx.value(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(name)))


def is_read_committed(tx: Transaction) -> bool:
    """Return whether each statement of the transaction has its own snapshot."""
    return bool(tx.value(SQL.is_read_committed))


def create_capture(tx: Transaction, source_no: SourceNo) -> None:
    """Generate the source's functions from its columns as they are now."""
    tx.execute(SQL.create_capture, {"source_no": source_no})


def create_capture_triggers(tx: Transaction, source_no: SourceNo) -> None:
    """Put the triggers on the table and its descendants, and note which have them now."""
    tx.execute(SQL.create_capture_triggers, {"source_no": source_no})
    tx.execute(SQL.cover_members, {"source_no": source_no})


def drop_capture_triggers(tx: Transaction, source_no: SourceNo) -> None:
    """Take the triggers away."""
    tx.execute(SQL.drop_capture_triggers, {"source_no": source_no})


def switch_capture_triggers(tx: Transaction, source_no: SourceNo, *, enabled: bool) -> None:
    """Turn the triggers on, ALWAYS, or off."""
    tx.execute(SQL.switch_capture_triggers, {"source_no": source_no, "enabled": enabled})


def choose_wal(tx: Transaction, source_no: SourceNo) -> None:
    """Note that a source which is not installed yet is captured from the WAL."""
    tx.execute(SQL.choose_wal, {"source_no": source_no})


def attach_wal(tx: Transaction, source_no: SourceNo) -> None:
    """Publish the table and its descendants, with their whole old rows in the WAL."""
    tx.execute(SQL.attach_wal, {"source_no": source_no})


def detach_wal(tx: Transaction, source_no: SourceNo) -> None:
    """Take a detached source's tables out of the publication, as far as no other reads them."""
    tx.execute(SQL.detach_wal, {"source_no": source_no})


def wal_problems(tx: Transaction, source_no: SourceNo) -> list[Problem]:
    """Return what keeps a source's changes out of the WAL's messages."""
    return tx.rows(Problem, SQL.wal_problems, {"source_no": source_no})


def lock_page(
    tx: Transaction, source_no: SourceNo, *, page_rows: int
) -> tuple[list[str] | None, list[str]]:
    """Lock the next page of rows and return where it ends (None: at the end), and their keys."""
    page = tx.row(
        lambda last, keys: (last, keys),
        SQL.lock_page,
        {"source_no": source_no, "page_rows": page_rows},
    )
    assert page is not None, "the function returns one row"
    return page


def queue_page(
    tx: Transaction, source_no: SourceNo, last_key: list[str] | None, keys: list[str]
) -> tuple[int, bool]:
    """Queue those of the locked rows that log and queue do not know; how many, and whether all."""
    page = tx.row(
        lambda queued, finished: (queued, finished),
        SQL.queue_page,
        {"source_no": source_no, "last_key": last_key, "keys": keys},
    )
    assert page is not None, "the function returns one row"
    return page


def unfinished_wal_backfills(tx: Transaction) -> list[SourceNo]:
    """Return the wal sources that a slot serves and of which rows are still to be queued."""
    return tx.values(SQL.unfinished_wal_backfills)


def mendable_wal_sources(tx: Transaction) -> list[tuple[str, str]]:
    """Return log and table of each wal source that reading broke and a reconcile mends."""
    return tx.rows(lambda log, table: (log, table), SQL.mendable_wal_sources)


def rebind_source(tx: Transaction, source_no: SourceNo, relation: RelationId) -> bool:
    """Bind a broken source to its restored table; return False where it is another table."""
    return bool(tx.value(SQL.rebind_source, {"source_no": source_no, "relation": relation}))


def refresh_source(tx: Transaction, source_no: SourceNo) -> bool:
    """Generate the functions anew; return whether the recorded columns had changed."""
    return bool(tx.value(SQL.refresh_source, {"source_no": source_no}))


def break_source(tx: Transaction, source_no: SourceNo, problems: Sequence[Problem]) -> bool:
    """Mark the source broken, with a gap leaf where capture was off; return False where it was."""
    first, *others = problems
    facts: dict[str, Any] = dataclasses.asdict(first)
    if others:
        facts["others"] = [dataclasses.asdict(problem) for problem in others]
    gap = "; ".join(problem.message for problem in problems if problem.is_gap) or None
    parameters = {"source_no": source_no, "problem": Jsonb(facts), "gap": gap}
    return bool(tx.value(SQL.break_source, parameters))


def source_ready(tx: Transaction, source_no: SourceNo) -> None:
    """Mark the source active."""
    tx.execute(SQL.source_ready, {"source_no": source_no})


def detach_source(tx: Transaction, source_no: SourceNo) -> None:
    """End the source."""
    tx.execute(SQL.detach_source, {"source_no": source_no})


def set_enabled(tx: Transaction, source_no: SourceNo, *, enabled: bool) -> None:
    """Note whether the source is to be captured."""
    tx.execute(SQL.set_enabled, {"source_no": source_no, "enabled": enabled})


def mark_checked(tx: Transaction, source_no: SourceNo) -> None:
    """Note that the source was validated now."""
    tx.execute(SQL.mark_checked, {"source_no": source_no})


def backfill_page(tx: Transaction, source_no: SourceNo, *, page_rows: int) -> BackfillResult:
    """Queue the next page of a source's rows."""
    page = tx.row(
        lambda read, queued, finished: BackfillResult(source_no, read, queued, finished),
        SQL.backfill_page,
        {"source_no": source_no, "page_rows": page_rows},
    )
    assert page is not None, "the function returns one row"
    return page


@contextlib.contextmanager
def unhurried(tx: Transaction) -> Iterator[None]:
    """Let the statements of the block run as long as they take."""
    before = tx.value(SQL.statement_patience, {"timeout": "0"})
    yield
    tx.value(SQL.statement_patience, {"timeout": before})


def requeue(tx: Transaction, source: Source) -> RequeueResult:
    """Queue the present state of quarantined rows' keys."""
    query = SQL.requeue_polled if source.is_polled else SQL.requeue
    result = tx.row(RequeueResult, query, {"source_no": source.source_no})
    assert result is not None, "the function returns one row"
    return result
