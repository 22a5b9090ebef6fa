"""`tally audit` and `tally reconcile`: the log and its tables, compared (log.md, section 4.7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from tallystick.cli.commands.logs import LogArgument
from tallystick.cli.commands.rows import Version, version_of
from tallystick.cli.commands.sources import TableArgument
from tallystick.cli.errors import FindingsError
from tallystick.cli.output import cell, print_json, print_lines, to_json
from tallystick.cli.place import HERE, Place
from tallystick.cli.reading import open_log
from tallystick.db import Database
from tallystick.errors import Error
from tallystick.publish import RowKey
from tallystick.runtime import store
from tallystick.seal.audit import AuditReport, Finding, audit_log, reconcile_and_mend
from tallystick.seal.logs import list_logs


def audit(
    log: LogArgument | None = None,
    /,
    *,
    since: Annotated[int, Parameter(help="Only the growth from this audited size.")] = 0,
    processes: Annotated[int | None, Parameter(help="Default: the cores of the machine.")] = None,
    dask: Annotated[
        str | None, Parameter(help="Address of a Dask scheduler whose workers share the audit.")
    ] = None,
    explain: Annotated[
        bool, Parameter(negative="", help="Show the row, its last leaf and proof.")
    ] = False,
    every_map: Annotated[
        bool, Parameter(negative="", help="Make every sealed map of keys anew, not the newest.")
    ] = False,
    place: Place = HERE,
) -> None:
    """
    Hash a log anew, rebuild its trees, check its signatures, compare every row with its last leaf.

    Exit code 1 if anything differs; without LOG every log is audited.
    """
    with place.database() as database:
        with database.transaction(read_only=True) as tx:
            names = [found.log_name for found in list_logs(tx)] if log is None else [log]
        reports = [
            audit_log(
                database,
                name,
                since=since,
                processes=processes,
                cluster=dask,
                every_map=every_map,
            )
            for name in names
        ]
        stories = {
            report.log_name: [explain_finding(database, report, f) for f in report.findings]
            for report in reports
            if explain
        }
    if place.json:
        print_json({"items": [report_json(report, stories) for report in reports], "next": None})
    else:
        for report in reports:
            print_report(report, stories.get(report.log_name))
    count = sum(len(report.findings) for report in reports)
    if count:
        raise FindingsError(f"{count} finding{'s' if count > 1 else ''}")


def reconcile(
    log: LogArgument,
    table: TableArgument,
    /,
    *,
    repair: Annotated[
        bool, Parameter(negative="", help="Queue what differs; mend a broken source.")
    ] = False,
    place: Place = HERE,
) -> None:
    """Compare a table with its log; exit code 1 if they differ and nothing was repaired."""
    with place.database() as database:
        done = reconcile_and_mend(database, log, table, repair=repair)
    report = done.report
    if place.json:
        print_json(done)
    else:
        print_lines(
            f"{report.source_table} of {log}: {report.rows} rows, {report.queued} queued,"
            f" source {done.status}",
            *(f"  {sentence(finding)}" for finding in report.findings),
            *(f"  {problem.message}" for problem in done.problems),
        )
    if report.findings and not repair:
        raise FindingsError(f"{len(report.findings)} differences; --repair queues them")


def print_report(report: AuditReport, stories: Sequence[dict[str, Any]] | None) -> None:
    """Write what an audit found, for a person."""
    verdict = "clean" if report.is_clean else f"{len(report.findings)} findings"
    print_lines(
        f"{report.log_name}: {verdict}; {report.leaves} leaves, {report.checkpoints} checkpoints,"
        f" {report.rows} rows in {report.seconds:.1f} s; size {report.size}"
    )
    if report.redacted:
        print_lines(
            f"  {report.redacted} leaves were redacted; of {report.redacted_rows} rows only what"
            " stands in clear was compared"
        )
    for number, finding in enumerate(report.findings):
        print_lines(f"  {sentence(finding)}")
        for name, value in (stories[number] if stories else {}).items():
            print_lines(f"    {name:<10} {value if isinstance(value, str) else cell(value)}")


def sentence(finding: Finding) -> str:
    """Return a finding in one line; it names places and columns, never a value."""
    parts = [finding.kind, finding.source_table, finding.source_key]
    parts += [f"leaf {finding.leaf_index}" if finding.leaf_index is not None else None]
    parts += [f"columns {', '.join(finding.columns)}" if finding.columns else None, finding.detail]
    return " ".join(part for part in parts if part)


def report_json(report: AuditReport, stories: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return an audit as JSON, with what explains its findings if that was asked for."""
    fields: dict[str, Any] = to_json(report)
    fields["is_clean"] = report.is_clean
    if report.log_name in stories:
        fields["explained"] = stories[report.log_name]
    return fields


def explain_finding(database: Database, report: AuditReport, finding: Finding) -> dict[str, Any]:
    """Return the row, its last leaf and that leaf's proof, as far as a finding has them."""
    story: dict[str, Any] = {}
    publisher, head = open_log(database, report.log_name)
    if finding.source_table is None or finding.source_key is None:
        return story
    key = json.loads(finding.source_key)
    try:
        state = publisher.row_at(head, RowKey.of(finding.source_table, key))
        last: Version = version_of(state.version)
        story["last leaf"] = f"{last.index} {last.op} at {last.at or '?'} by {last.role or '?'}"
        story["logged row"] = last.row
        proof = [node.hex() for node in state.proof.hashes]
        story["proof"] = f"tree of {state.proof.size}, root {state.proof.root.hex()}"
        story["path"] = proof
    except Error as error:
        story["last leaf"] = error.message
    with database.transaction(read_only=True) as tx:
        story["row now"] = store.present_row(tx, report.log_name, finding.source_table, key)
    return story
