"""
Tables against their log: what the log last said of each key, and what stands there now.

One set-based statement for each source, a task of its own in the audit's snapshot; only what
differs leaves the database, as digests and column names. Follows log.md, section 4.7, step 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import psycopg

from tallystick.bulk import Bulk
from tallystick.db import Transaction
from tallystick.db.errors import DatabaseUnavailableError
from tallystick.errors import Error
from tallystick.seal.audit import store
from tallystick.seal.audit.blocks import Finding
from tallystick.seal.audit.snapshot import Snapshot, reading
from tallystick.seal.sources import SourceNo, read_triggers
from tallystick.seal.wal import unchanged_keys

MAX_FINDINGS_PER_SOURCE: Final = 10_000
"""A table that was replaced differs in every row; so many findings say it as well as all."""


@dataclass(slots=True)
class Comparison:
    """What comparing the sources of a log gave."""

    rows: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SourceTask:
    """One source, as a process anywhere can compare it."""

    snapshot: Snapshot
    source: store.ComparableSource


def compare_sources(tx: Transaction, log_id: int, bulk: Bulk, snapshot: Snapshot) -> Comparison:
    """Compare the sources of a log with their tables; one that is refused stops no other."""
    comparison = Comparison()
    tasks = [SourceTask(snapshot, source) for source in store.comparable_sources(tx, log_id)]
    for counted, found in bulk.map(run_source, tasks, small=True):
        comparison.rows += counted
        comparison.findings += found
    return comparison


def run_source(task: SourceTask) -> tuple[int, list[Finding]]:
    """Count and compare one source in the audit's snapshot; in any process."""
    with reading(task.snapshot) as tx:
        try:
            with tx.savepoint():
                return store.count_rows(tx, task.source.source_no), compare_source(tx, task.source)
        except DatabaseUnavailableError:
            raise
        except (Error, psycopg.Error) as refused:
            return 0, [unreadable_finding(task.source, refused)]


def unreadable_finding(source: store.ComparableSource, refused: Error | psycopg.Error) -> Finding:
    """Return the finding that a table cannot be compared: its owner could hide it so."""
    # What the server says may quote a value, so only the kind of its error is told.
    said = refused.message if isinstance(refused, Error) else type(refused).__name__
    return Finding("source_unreadable", source_table=source.source_table, detail=said)


def compare_source(tx: Transaction, source: store.ComparableSource) -> list[Finding]:
    """Return what differs between one source's table and its log, and its triggers' state."""
    differences = store.compare_rows(tx, source.source_no, limit=MAX_FINDINGS_PER_SOURCE)
    if differences:
        keys = [difference.source_key for difference in differences]
        proven = unchanged_keys(tx, source.source_no, keys)
        differences = [each for each in differences if each.source_key in proven]
    return [*trigger_findings(tx, source), *row_findings(source, differences)]


def row_findings(
    source: store.ComparableSource, differences: list[store.Difference]
) -> Iterator[Finding]:
    """Yield the findings that *differences* are under the source's rules."""
    for difference in differences:
        if difference.kind == "row_missing" and source.ignores_absence:
            continue
        yield Finding(
            difference.kind,
            source_table=source.source_table,
            source_key=difference.source_key,
            leaf_index=difference.leaf_index,
            expected_digest=difference.expected,
            actual_digest=difference.actual,
            columns=tuple(difference.columns) if difference.columns else None,
        )


def trigger_findings(tx: Transaction, source: store.ComparableSource) -> Iterator[Finding]:
    """Yield `trigger_missing` and `trigger_disabled`: from then on changes went unseen."""
    for trigger in read_triggers(tx, SourceNo(source.source_no)):
        if not (trigger.stands and trigger.is_enabled):
            yield Finding(
                "trigger_disabled" if trigger.stands else "trigger_missing",
                source_table=source.source_table,
                detail=f"{trigger.name} on {trigger.table_name}",
            )
