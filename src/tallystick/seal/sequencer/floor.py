"""
The floor: where a look at the queue's index starts (log.md, section 5.6).

Index entries of sealed rows stay in front of the queue until vacuum removes them, and any old
snapshot prevents that. A look from the floor passes them by. The floor is only where a scan
starts: it never decides what is sealed, and once an hour a look starts below every seq. It holds
for one running database: in a restored one numbers start again lower.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

Seq = NewType("Seq", int)
TransactionId = NewType("TransactionId", int)

BELOW_EVERY_SEQ = Seq(0)
FULL_LOOK_SECONDS = 3600.0
"""Once an hour a look starts below every seq: no bug in the floor can hide a row for ever."""
MAX_PENDING = 64
"""Proofs that wait for an open writing transaction; more of them add nothing."""


@dataclass(slots=True)
class Floor:
    """Where the next look at one log's queue starts, and what will let it rise."""

    seq: Seq = BELOW_EVERY_SEQ
    full_look_at: float = 0.0
    pending: list[tuple[Seq, TransactionId]] = field(default_factory=list)
    place: str | None = None

    def stands_in(self, place: str) -> bool:
        """
        Return whether this floor is of the queue in *place*; one of another place starts again.

        A backup that is restored, in this server or another, is another place: there seqs and
        transaction ids that were seen before are drawn again.
        """
        if place == self.place:
            return True
        is_first = self.place is None
        self.place = place
        self.seq = BELOW_EVERY_SEQ
        self.pending = []
        return is_first

    def start(self, *, now: float) -> Seq:
        """Return where a look at *now* (monotonic seconds) starts; once an hour below every seq."""
        if now >= self.full_look_at:
            self.full_look_at = now + FULL_LOOK_SECONDS
            self.seq = BELOW_EVERY_SEQ
        return self.seq

    def took(self, *, drawn: Seq, own: TransactionId) -> None:
        """
        Remember a batch that took rows: *drawn* is the last seq drawn before the batch got *own*.

        Whoever drew a seq up to *drawn* had his transaction id before *own*. (The snapshot's
        xmax in place of *own* is wrong: running transactions may lie above it.)
        """
        self.pending.append((drawn, own))
        if len(self.pending) > MAX_PENDING:
            # Any may be forgotten; the middle ones add least.
            del self.pending[1]

    def rise(self, *, xmin: TransactionId, at_most: Seq | None = None) -> None:
        """
        Raise the floor after a committed look whose snapshot had *xmin*.

        All transactions below *xmin* have ended, so this look saw every seq that one of them
        drew. A look that was cut off by its batch size passes *at_most*, the highest seq taken.
        """
        proven = [seq for seq, own in self.pending if own <= xmin]
        if not proven:
            return
        self.pending = [(seq, own) for seq, own in self.pending if own > xmin]
        highest = max(proven)
        self.seq = max(self.seq, highest if at_most is None else Seq(min(highest, at_most)))
