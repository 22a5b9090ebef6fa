"""Audit and reconcile: the log and its tables, computed again and compared."""

from tallystick.seal.audit.audit import AuditReport, AuditStartError, audit_log
from tallystick.seal.audit.blocks import Finding
from tallystick.seal.audit.reconcile import ReconcileReport, reconcile_source
from tallystick.seal.audit.repair import Reconciled, reconcile_and_mend
from tallystick.seal.audit.store import (
    PastAudit,
    PastFinding,
    StoredFinding,
    findings_of,
    list_audits,
    list_findings,
)
from tallystick.seal.audit.upkeep import Upkeep

__all__ = [
    "AuditReport",
    "AuditStartError",
    "Finding",
    "PastAudit",
    "PastFinding",
    "ReconcileReport",
    "Reconciled",
    "StoredFinding",
    "Upkeep",
    "audit_log",
    "findings_of",
    "list_audits",
    "list_findings",
    "reconcile_and_mend",
    "reconcile_source",
]
