"""
What is to be done for a log's map: a pure decision over what the database says of it.

Follows docs/adr/0015. A map is computed in steps, each in a transaction of its own, and only the
last one queues the root. No step is begun while the map before is not published yet: entries and
tiles keep the state of one earlier map, which is the one that is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

STEP_LEAVES: Final = 100_000
"""Leaves a transaction: a second or two, in which it holds back neither vacuum nor the queue."""

Refusal = Literal["failed", "frozen", "paused", "no_control_leaves", "pruned"]


@dataclass(frozen=True, slots=True)
class IndexState:
    """
    A log and its map. *map_size* and *map_index* are those of the newest map and of its leaf,
    None where there is none or where its leaf is not sealed; sizes count leaves.
    """

    log_id: int
    log_name: str
    status: str
    enabled: bool
    freeze_requested: bool
    control_leaves: bool
    minimum_index: int
    size: int
    published_size: int
    covered_size: int
    map_size: int | None
    map_index: int | None
    map_root: bytes | None

    @property
    def refusal(self) -> Refusal | None:
        """Why no map can be sealed in the log; None where one can."""
        if self.status == "failed":
            return "failed"
        if self.status == "frozen" or self.freeze_requested:
            return "frozen"
        if not self.control_leaves:
            return "no_control_leaves"
        if self.covered_size < self.minimum_index:
            # A map over what pruning left would say of every version that went that it never was.
            return "pruned"
        return None if self.enabled else "paused"

    @property
    def is_waiting(self) -> bool:
        """Whether the newest map is not under the published head yet."""
        return self.map_size is not None and (
            self.map_index is None or self.map_index >= self.published_size
        )

    @property
    def is_current(self) -> bool:
        """Whether the log holds nothing but the newest map's own leaf behind what it covers."""
        return self.map_size is not None and (
            self.size == self.map_size
            or (self.map_index == self.map_size and self.size == self.map_size + 1)
        )


@dataclass(frozen=True, slots=True)
class Step:
    """
    The leaves of one transaction, from *first* up to *end*; *served* is the size of the map that
    is served meanwhile; *is_last*: the root is queued with it.
    """

    first: int
    end: int
    served: int
    is_last: bool


def next_step(state: IndexState, target: int) -> Step | None:
    """Return the next step towards a map of *target* leaves; None where there is none."""
    if state.is_waiting or state.is_current or target <= (state.map_size or 0):
        return None
    end = min(state.covered_size + STEP_LEAVES, max(target, state.covered_size))
    return Step(state.covered_size, end, state.map_size or 0, is_last=end >= target)
