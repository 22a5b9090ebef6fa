"""Step 6 of an audit: the sealed maps of the log's keys, made anew (docs/adr/0015)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tallystick.db import Transaction
from tallystick.seal.audit.blocks import Finding
from tallystick.seal.audit.store import AuditedLog
from tallystick.seal.index import MAPS_AUDITED, check_maps

EVERY_MAP: Final = 2**31 - 1


def map_findings(tx: Transaction, log: AuditedLog, since: int, *, every: bool) -> Iterator[Finding]:
    """
    Yield `index_mismatch` for each map whose sealed root is not the one that its leaves make.

    Only the newest one is made anew, unless *every* is asked for. An audit of the growth since a
    size looks at none: a map is made from all leaves below it.
    """
    if since:
        return
    found = check_maps(
        tx,
        log.log_id,
        size=log.size,
        minimum_index=log.minimum_index,
        limit=EVERY_MAP if every else MAPS_AUDITED,
    )
    for one in found:
        yield Finding(
            "index_mismatch",
            leaf_index=one.leaf_index,
            expected_digest=one.expected,
            actual_digest=one.actual,
            detail=one.detail,
        )
