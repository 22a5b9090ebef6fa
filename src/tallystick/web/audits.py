"""
The page of a log's audits: verdicts, what was looked at, and what was found (log.md, 4.7, 6.4).

Findings name rows of private tables, so the page is for whoever may audit, also where the log
itself is public.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.clock import format_time
from tallystick.publish import Publisher
from tallystick.seal.audit import PastAudit, StoredFinding, findings_of, list_audits
from tallystick.web.access import Visitor
from tallystick.web.errors import PageRequestError
from tallystick.web.pages import row_query

AUDITS: Final = 20
"""Audits on one page; with what each found it is a screen or two."""
FINDINGS: Final = 50
"""Findings shown of each; `GET /logs/{log}/findings` has all of them."""
FOUND: Final = "findings"
NEWEST: Final = 2**63 - 1
MAX_DIGITS: Final = 18
"""Fewer than a bigint may have, so that every such number is one."""


@dataclass(frozen=True, slots=True)
class FindingLine:
    """What an audit found at one row or leaf; names and digests, never a value."""

    kind: str
    source_table: str | None
    source_key: str | None
    leaf_index: int | None
    columns: list[str] | None
    expected_digest: bytes | None
    actual_digest: bytes | None

    @property
    def rows_query(self) -> str | None:
        """The query of the row's versions, where the finding is about a row."""
        if self.source_table is None or self.source_key is None:
            return None
        return row_query(self.source_table, [self.source_key])


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An audit, reconcile or check of an export; *has_more*: it found more than is shown."""

    audit_id: int
    kind: str
    verdict: str
    tree_size: int
    root: bytes
    started_at: str
    finished_at: str
    counts: dict[str, Any]
    findings: list[FindingLine]
    has_more: bool

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The counts as names and texts, by name; what was found stands behind the rest."""
        return sorted(flatten(self.counts), key=lambda fact: (fact[0].startswith(FOUND), fact))


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A log's audits, the newest first; *next* continues them where it is not None."""

    log_name: str
    audits: list[AuditLine]
    next: str | None


def audit_page(
    publisher: Publisher, visitor: Visitor, log_name: str, *, after: str | None = None
) -> AuditPage:
    """
    Return what audits said of a log, the newest first.

    Raises:
        LogNotFoundError: There is no log of this name.
        SignInNeededError: The visitor may not audit.
        PageRequestError: *after* is not what a page gave as next.
    """
    visitor.check_audits()
    head = publisher.published_head(log_name)
    before = NEWEST if after is None else parse_after(after)
    with publisher.read_database.transaction(read_only=True) as tx:
        audits = list_audits(tx, head.log_id, before=before, limit=AUDITS + 1)
        shown = audits[:AUDITS]
        numbers = [audit.audit_id for audit in shown]
        # One more than is shown tells whether there are more.
        findings = findings_of(tx, numbers, limit=FINDINGS + 1)
    found: dict[int, list[StoredFinding]] = {number: [] for number in numbers}
    for finding in findings:
        found[finding.audit_id].append(finding)
    return AuditPage(
        log_name=head.log_name,
        audits=[_audit_line(audit, found[audit.audit_id]) for audit in shown],
        next=str(numbers[-1]) if len(audits) > AUDITS else None,
    )


def parse_after(text: str) -> int:
    """
    Return the number of the last audit that was shown.

    Raises:
        PageRequestError: *text* is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise PageRequestError("after is what an earlier page gave as next")
    return int(text)


def flatten(counts: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield each count as its path's words and its value's text."""
    for name, value in counts.items():
        if isinstance(value, Mapping):
            yield from flatten(value, (*path, name))
        else:
            words = " ".join((*path, name)).replace("_", " ")
            yield words, f"{value:,}" if isinstance(value, int) else str(value)


def _audit_line(audit: PastAudit, found: list[StoredFinding]) -> AuditLine:
    return AuditLine(
        audit_id=audit.audit_id,
        kind=audit.kind,
        verdict=audit.verdict,
        tree_size=audit.tree_size,
        root=bytes(audit.root),
        started_at=format_time(audit.started_at),
        finished_at=format_time(audit.finished_at),
        counts=audit.counts,
        findings=[_finding_line(finding) for finding in found[:FINDINGS]],
        has_more=len(found) > FINDINGS,
    )


def _finding_line(finding: StoredFinding) -> FindingLine:
    return FindingLine(
        kind=finding.kind,
        source_table=finding.source_table,
        source_key=finding.source_key,
        leaf_index=finding.leaf_index,
        columns=finding.columns,
        expected_digest=_optional_bytes(finding.expected_digest),
        actual_digest=_optional_bytes(finding.actual_digest),
    )


def _optional_bytes(digest: bytes | None) -> bytes | None:
    return None if digest is None else bytes(digest)
