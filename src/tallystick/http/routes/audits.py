"""
Audits and reconciles that somebody asks for, and the jobs that they become (log.md, 4.7, 6.2).

What ends soon is answered at once; what takes longer goes on as a job, which is asked for by
its path. The findings of both are in the database as well, behind `GET findings`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from tallystick.errors import Error
from tallystick.http.answers import LogBody, encoded
from tallystick.http.asked import LogName, Served, Write
from tallystick.http.jobs import Job, JobKind, Jobs, Progress
from tallystick.http.parameters import MAX_NUMBER
from tallystick.http.problems import internal_problem, problem_of
from tallystick.http.writing import Writing
from tallystick.seal.audit import (
    AuditReport,
    Finding,
    Reconciled,
    audit_log,
    reconcile_and_mend,
)

PATIENCE_SECONDS: Final = 3.0
"""A request waits so long for its job; proxies and people wait longer than that."""
AUDIT_PROCESSES: Final = 2
"""Long audits hash outside of this process, which has readers to answer, and on few cores."""
MAX_FINDINGS: Final = 1_000
"""A report shows no more; `GET findings` pages through all of them."""


class AuditRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to audit: all, or the growth since an audited size."""

    since: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)] = 0


class ReconcileRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which table to compare, and whether what differs is queued."""

    source_table: str
    repair: bool = False


class ReportedFinding(msgspec.Struct, frozen=True):
    """One thing that is wrong; digests and names, never a value."""

    kind: str
    source_table: str | None
    source_key: str | None
    leaf_index: int | None
    columns: list[str] | None
    expected_digest: str | None
    actual_digest: str | None
    detail: str | None


class AuditBody(LogBody, frozen=True, kw_only=True, tag_field="kind", tag="audit"):
    """What an audit looked at and found; *findings* are the first 1,000 of *finding_count*."""

    audit_id: int
    tree_size: int
    merkle_root: str
    since: int
    leaves: int
    checkpoints: int
    rows: int
    seconds: float
    is_clean: bool
    finding_count: int
    findings: list[ReportedFinding]
    redacted: int = 0
    redacted_rows: int = 0


class ReconcileBody(LogBody, frozen=True, kw_only=True, tag_field="kind", tag="reconcile"):
    """
    What a reconcile found and queued, and the source since; *problems* are what still keeps
    it broken.
    """

    source_table: str
    state: str
    rows: int
    queued: int
    problems: list[str]
    finding_count: int
    findings: list[ReportedFinding]


class JobBody(LogBody, frozen=True, kw_only=True):
    """
    A job: of *total* parts *done*, *total* null where it does not tell. Once it is done,
    *report* is what would have been answered at once; failed, *problem* says why.
    """

    job: str
    kind: str
    state: Literal["running", "done", "failed"]
    began_at: str
    done: int
    total: int | None
    report: AuditBody | ReconcileBody | None = None
    problem: dict[str, Any] | None = None


@post("/logs/{log:str}/audit", status_code=200)
async def post_audit(
    services: Served,
    writing: Write,
    jobs: NamedDependency[Jobs],
    log: LogName,
    data: JSONBody[AuditRequest | None] = None,
) -> Response[AuditBody | JobBody]:
    """
    Audit the log and its tables: 200 with the report, or 202 with a job if it takes longer
    than a few seconds, or has an Idempotency-Key.
    """
    since = 0 if data is None else data.since

    def work(progress: Progress) -> AuditBody:
        report = audit_log(
            services.database, log, since=since, processes=AUDIT_PROCESSES, progress=progress
        )
        return audit_body(report)

    return await answer_job(writing, jobs, log, "audit", work)


@post("/logs/{log:str}/reconcile", status_code=200)
async def post_reconcile(
    services: Served,
    writing: Write,
    jobs: NamedDependency[Jobs],
    log: LogName,
    data: JSONBody[ReconcileRequest],
) -> Response[ReconcileBody | JobBody]:
    """
    Compare a table with its log, and with `repair` queue what differs and mend a broken
    source: 200 with the report, or 202 with a job if it takes longer than a few seconds, or
    has an Idempotency-Key.
    """

    def work(_progress: Progress) -> ReconcileBody:
        done = reconcile_and_mend(services.database, log, data.source_table, repair=data.repair)
        return reconcile_body(done)

    return await answer_job(writing, jobs, log, "reconcile", work)


@get("/logs/{log:str}/jobs/{job:str}", sync_to_thread=False)
def get_job(jobs: NamedDependency[Jobs], log: LogName, job: FromPath[str]) -> Response[JobBody]:
    """An audit or reconcile that took longer; only the server that runs it knows it."""
    return Response(job_body(jobs.get(log, job)), headers={"Cache-Control": "no-store"})


async def answer_job(
    writing: Writing,
    jobs: Jobs,
    log_name: str,
    kind: JobKind,
    work: Callable[[Progress], msgspec.Struct],
) -> Response[Any]:
    """
    Begin *work* and return its report if it ends soon, else where its job is.

    Raises:
        JobsBusyError: The server runs enough already.
        Exception: Whatever *work* raised by then.
    """
    if writing.claim is not None:
        # The work has transactions of its own: what happens once under the key is its beginning.
        return await asyncio.to_thread(
            writing.run, lambda _tx: job_body(jobs.start(log_name, kind, work)), status=202
        )
    job = jobs.start(log_name, kind, work)
    if not await job.wait(seconds=PATIENCE_SECONDS):
        where = {"Location": f"/logs/{log_name}/jobs/{job.job}"}
        return Response(job_body(job), status_code=202, headers=where)
    outcome = job.outcome.result()
    if isinstance(outcome, Exception):
        raise outcome
    return Response(outcome, status_code=200)


def job_body(job: Job) -> JobBody:
    """Return *job* as it is answered."""
    body = JobBody(
        log_name=job.log_name,
        job=job.job,
        kind=job.kind,
        state="running",
        began_at=job.began_at,
        done=job.done,
        total=job.total,
    )
    if job.is_running:
        return body
    outcome = job.outcome.result()
    if isinstance(outcome, Exception):
        told = problem_of(outcome) if isinstance(outcome, Error) else internal_problem()
        return msgspec.structs.replace(body, state="failed", problem=told.members)
    return msgspec.structs.replace(body, state="done", report=outcome)


def audit_body(report: AuditReport) -> AuditBody:
    """Return *report* as it is answered."""
    return AuditBody(
        log_name=report.log_name,
        audit_id=report.audit_id,
        tree_size=report.size,
        merkle_root=encoded(report.root),
        since=report.since,
        leaves=report.leaves,
        checkpoints=report.checkpoints,
        rows=report.rows,
        seconds=round(report.seconds, 3),
        is_clean=report.is_clean,
        finding_count=len(report.findings),
        findings=first_findings(report.findings),
        redacted=report.redacted,
        redacted_rows=report.redacted_rows,
    )


def reconcile_body(done: Reconciled) -> ReconcileBody:
    """Return what was done as it is answered."""
    report = done.report
    return ReconcileBody(
        log_name=report.log_name,
        source_table=report.source_table,
        state=done.status,
        rows=report.rows,
        queued=report.queued,
        problems=[problem.message for problem in done.problems],
        finding_count=len(report.findings),
        findings=first_findings(report.findings),
    )


def first_findings(findings: Sequence[Finding]) -> list[ReportedFinding]:
    """Return as many of *findings* as a report shows."""
    return [
        ReportedFinding(
            kind=finding.kind,
            source_table=finding.source_table,
            source_key=finding.source_key,
            leaf_index=finding.leaf_index,
            columns=None if finding.columns is None else list(finding.columns),
            expected_digest=optional_digest(finding.expected_digest),
            actual_digest=optional_digest(finding.actual_digest),
            detail=finding.detail,
        )
        for finding in findings[:MAX_FINDINGS]
    ]


def optional_digest(digest: bytes | None) -> str | None:
    """Return *digest* in base64; None where there is none."""
    return None if digest is None else encoded(digest)


ROUTES = [post_audit, post_reconcile, get_job]
