"""
How routes read what need not be the newest: on a replica, or from the cache, where there is one.

A request that sends back the `Tally-Position` of an earlier answer sees what that answer wrote
(identity.md, section 4.6). What decides never reads here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from tallystick.db import Database, Transaction
from tallystick.db.replica import WalPosition

Result = TypeVar("Result")

POSITION: Final = "Tally-Position"


@dataclass(frozen=True, slots=True)
class Reading:
    """The reads of one request, which see all that was written before *position*."""

    database: Database
    position: WalPosition | None

    def run(self, work: Callable[[Transaction], Result]) -> Result:
        """Return what *work* reads."""
        with self.database.reader(after=self.position) as tx:
            return work(tx)
