"""The SQL of sources; every function runs in the caller's transaction."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tallystick.db import Query, Transaction, load_queries
from tallystick.seal.sources.source import (
    BackfillResult,
    Problem,
    RelationId,
    RequeueResult,
    Source,
    SourceNo,
    SourcePlan,
)
from tallystick.seal.sources.table import Column, Member, Table, Trigger, UniqueIndex

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    find_table: Query
    read_table: Query
    sources: Query
    lock_source: Query
    new_sources: Query
    unfinished_backfills: Query
    add_source: Query
    install_source: Query
    create_capture: Query
    create_capture_triggers: Query
    drop_capture_triggers: Query
    switch_capture_triggers: Query
    cover_members: Query
    refresh_source: Query
    break_source: Query
    source_ready: Query
    detach_source: Query
    mark_checked: Query
    is_read_committed: Query
    lock_table: Query
    backfill_page: Query
    requeue: Query


SQL = load_queries(Queries, __package__)


def find_table(tx: Transaction, name: str) -> Table | None:
    """Return the table that a caller means by *name*; None where there is none."""
    relation = tx.value(SQL.find_table, {"name": name})
    return None if relation is None else read_table(tx, RelationId(relation))


def read_table(tx: Transaction, relation: RelationId) -> Table | None:
    """Return what the catalogue says of a table; None where it is gone."""
    return tx.row(parse_table, SQL.read_table, {"relation": relation})


def parse_table(*facts: Any) -> Table:
    """Return the table that a row of `read_table` describes."""
    *plain, columns, indexes, members = facts
    return Table(
        *plain,
        columns=tuple(Column(**column) for column in columns),
        indexes=tuple(UniqueIndex(**{**index, "columns": tuple(index["columns"])}) for index in indexes),
        members=tuple(parse_member(member) for member in members),
    )


def parse_member(facts: Mapping[str, Any]) -> Member:
    """Return the table of a partition tree that *facts* describe."""
    triggers = tuple(Trigger(**trigger) for trigger in facts["triggers"])
    return Member(**{**facts, "triggers": triggers})


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
    tx.execute(SQL.create_capture, {"source_no": source_no})


def as_parameters(plan: SourcePlan) -> dict[str, Any]:
    """Return the plan's fields as the driver takes them: arrays are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(plan).items()
    }


def grant_reading(tx: Transaction, table: Table, plan: SourcePlan) -> None:
    """
    Let `tally_owner` read the table and lock its rows.

    FOR SHARE needs UPDATE of one column, and LOCK TABLE, which a table keyed by full row
    needs, UPDATE of the table; neither is used for anything else.
    """
    name = sql.Identifier(table.schema, table.bare_name)
    if not table.owner_may_use_schema:
        schema = sql.Identifier(table.schema)
        tx.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO tally_owner").format(schema))
    tx.execute(sql.SQL("GRANT SELECT ON TABLE {} TO tally_owner").format(name))
    if plan.key_columns:
        column = sql.Identifier(plan.key_columns[0])
        tx.execute(sql.SQL("GRANT UPDATE ({}) ON TABLE {} TO tally_owner").format(column, name))
    else:
        tx.execute(sql.SQL("GRANT UPDATE ON TABLE {} TO tally_owner").format(name))


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


def refresh_source(tx: Transaction, source_no: SourceNo) -> bool:
    """Generate the functions anew; return whether the recorded columns had changed."""
    return bool(tx.value(SQL.refresh_source, {"source_no": source_no}))


def break_source(tx: Transaction, source_no: SourceNo, problem: Problem) -> bool:
    """Mark the source broken; return False where it was."""
    facts = Jsonb({"code": problem.code, "message": problem.message})
    return bool(tx.value(SQL.break_source, {"source_no": source_no, "problem": facts}))


def source_ready(tx: Transaction, source_no: SourceNo) -> None:
    """Mark the source active."""
    tx.execute(SQL.source_ready, {"source_no": source_no})


def detach_source(tx: Transaction, source_no: SourceNo) -> None:
    """End the source."""
    tx.execute(SQL.detach_source, {"source_no": source_no})


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


def requeue(tx: Transaction, source_no: SourceNo) -> RequeueResult:
    """Queue the present state of quarantined rows' keys."""
    result = tx.row(RequeueResult, SQL.requeue, {"source_no": source_no})
    assert result is not None, "the function returns one row"
    return result
