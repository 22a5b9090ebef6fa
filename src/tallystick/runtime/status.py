"""
What `tally status` says: sizes, lag, last checkpoint (log.md, section 6.4).

Everything is one read-only snapshot, so that the numbers fit together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from tallystick.db import Database, Transaction
from tallystick.runtime import store
from tallystick.runtime.store import LogState, OutboxLag
from tallystick.seal.errors import WalBehindError
from tallystick.seal.wal import is_needed, wait_until_read

LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Status:
    """A Tallystick at one moment; *sealing* is `running`, `paused` or `stopping`."""

    sealing: str
    logs: list[LogState]
    outbox: OutboxLag


def read_status(database: Database) -> Status:
    """
    Return the status.

    Raises:
        DatabaseUnavailableError: The database does not answer.
    """
    with database.transaction(isolation="repeatable read", read_only=True) as tx:
        return Status(store.sealing_state(tx), store.logs(tx), store.outbox_lag(tx))


def wait_until_sealed(database: Database, log_name: str, *, timeout_seconds: float) -> bool:
    """
    Wait until every change that is committed now is sealed in the log; False: not in time.

    Rows that a table had before it was attached belong to it, so a backfill is waited for. Later
    changes are not, so that a busy log cannot hold the caller for ever.
    """
    deadline = time.monotonic() + timeout_seconds

    def wait_while(is_so: Callable[[Transaction], bool]) -> bool:
        while True:
            with database.transaction(read_only=True) as tx:
                if not is_so(tx):
                    return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(LOOK_SECONDS)

    if not wait_while(lambda tx: store.is_backfilling(tx, log_name)):
        return False
    try:
        with database.transaction(read_only=True) as tx:
            if is_needed(tx):
                # What was committed may still stand in the WAL alone.
                wait_until_read(tx, patience_seconds=max(0.0, deadline - time.monotonic()))
    except WalBehindError:
        return False
    with database.transaction(read_only=True) as tx:
        seq = store.last_waiting(tx, log_name)
    return seq is None or wait_while(lambda tx: store.is_waiting(tx, log_name, seq=seq))
