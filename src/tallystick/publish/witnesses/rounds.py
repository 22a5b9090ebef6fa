"""
Whom to ask next: rounds, in which the witnesses of a log are asked for one checkpoint.

Only the newest checkpoint is offered, to all at once. If each witness were offered whatever is
newest when it becomes free, then slow witnesses of a busy log would never cosign one size
together, and no quorum would ever be reached. So a checkpoint stays the round's until its
quorum has cosigned it or nobody is left to answer; who is slower than the quorum holds nobody
up, and is offered the round's checkpoint when it is free again. Pure, but for what it remembers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.publish.witnesses.values import Ask, Offer
from tallystick.seal.logs import LogId
from tallystick.tlog import TreeSize

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Before a witness that failed is asked again: doubling from the first to this."""

Pair = tuple[LogId, str]
"""A log, and the name of a witness of it."""


@dataclass(slots=True)
class Round:
    """The checkpoint that a log's witnesses are asked for, and who has cosigned it."""

    offer: Offer
    cosigned: set[str] = field(default_factory=set)

    def is_reached(self) -> bool:
        """Whether so many have cosigned that publishing waits for nobody else."""
        return len(self.cosigned) >= self.offer.quorum


@dataclass(slots=True)
class Failing:
    """How often in a row a witness failed, and when it may be asked again."""

    failures: int
    not_before: float


class Rounds:
    """The rounds of all logs; times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._rounds: dict[LogId, Round] = {}
        self._asked: dict[Pair, TreeSize] = {}
        self._failing: dict[Pair, Failing] = {}

    def plan(self, due: Sequence[Ask], *, now: float) -> list[Ask]:
        """
        Return whom to ask now, of those who are *due* for their log's newest checkpoint.

        They count as asked from now on, until `ended` is called for each.
        """
        self._forget({ask.key for ask in due})
        begun = []
        for ask in due:
            offer = self._round(ask.offer).offer
            failing = self._failing.get(ask.key)
            if ask.key in self._asked or (failing is not None and now < failing.not_before):
                continue
            if offer.size < ask.offer.size and (ask.last_size or 0) >= offer.size:
                # It has done its part of a round that others still hold open.
                continue
            self._asked[ask.key] = offer.size
            begun.append(Ask(offer, ask.name, ask.vkey, ask.url, ask.last_size))
        return begun

    def ended(self, ask: Ask, *, cosigned: bool, failed: bool, now: float) -> None:
        """Say that *ask* was answered; a witness that *failed* is left in peace for a while."""
        self._asked.pop(ask.key, None)
        if cosigned:
            current = self._rounds.get(ask.offer.log_id)
            if current is not None and current.offer.size == ask.offer.size:
                current.cosigned.add(ask.name)
        if not failed:
            self._failing.pop(ask.key, None)
            return
        before = self._failing.get(ask.key)
        failures = 1 if before is None else before.failures + 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))
        self._failing[ask.key] = Failing(failures, now + pause)

    def _round(self, newest: Offer) -> Round:
        current = self._rounds.get(newest.log_id)
        if current is None or (current.offer.size < newest.size and self._is_over(current)):
            current = self._rounds[newest.log_id] = Round(newest)
        elif current.offer.size == newest.size:
            # The quorum may have been changed since.
            current.offer = newest
        return current

    def _is_over(self, current: Round) -> bool:
        if current.is_reached():
            return True
        place = (current.offer.log_id, current.offer.size)
        return all((log_id, size) != place for (log_id, _), size in self._asked.items())

    def _forget(self, due: set[Pair]) -> None:
        """Drop what is remembered of those who are neither due nor asked."""
        live = due | self._asked.keys()
        logs = {log_id for log_id, _ in live}
        self._rounds = {key: one for key, one in self._rounds.items() if key in logs}
        self._failing = {key: one for key, one in self._failing.items() if key in live}
