"""The worker's duties for identity: counted requests and spent challenges (identity.md, 4.3, 6)."""

from __future__ import annotations

import datetime
import threading
from typing import Final

import structlog

from tallystick.clock import utc_now
from tallystick.db import Database
from tallystick.identity import APIKeyRepository, HumanProofRepository
from tallystick.runtime.polling import keep_looking

FLUSH_SECONDS: Final = 10.0
"""What the counts of a day may forget when the database crashes: its buckets are not logged."""
SWEEP_SECONDS: Final = 60.0
SHOWN: Final = datetime.timedelta(hours=1)
"""How long an expired challenge is still shown as expired, to whoever comes back late."""

logger = structlog.get_logger(__name__)


def run_flushes(database: Database, stop: threading.Event) -> None:
    """Write down what was requested, every 10 s until *stop*, whatever the database does."""

    def look() -> float:
        with database.transaction() as tx:
            keys = APIKeyRepository(tx).flush_usage()
        if keys:
            logger.debug("identity.flushed", keys=keys)
        return FLUSH_SECONDS

    keep_looking("identity.flush_failed", look, stop)


def run_sweeps(database: Database, stop: threading.Event) -> None:
    """Delete challenges and undecided proofs that expired, every minute until *stop*."""

    def look() -> float:
        with database.transaction() as tx:
            deleted = HumanProofRepository(tx).delete_expired(utc_now() - SHOWN)
        if deleted:
            logger.debug("identity.swept", deleted=deleted)
        return SWEEP_SECONDS

    keep_looking("identity.sweep_failed", look, stop)
