"""
An inclusion proof, step by step: on which side each sibling stands (RFC 6962, section 2.1.1).

For showing only; what a proof is worth, `tlog.check_inclusion` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One step to the root: the sibling, and whether it is hashed `left` or `right` of us."""

    side: str
    sibling: bytes


def trace_path(hashes: Sequence[bytes], *, index: int, size: int) -> tuple[Step, ...]:
    """Return the steps of a proof of the leaf at *index* in a tree of *size* leaves."""
    steps: list[Step] = []
    node, last = index, size - 1
    for sibling in hashes:
        if node & 1 or node == last:
            steps.append(Step("left", sibling))
            # The last node of an odd level has no sibling there: it climbs until it has one.
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            steps.append(Step("right", sibling))
        node, last = node >> 1, last >> 1
    return tuple(steps)
