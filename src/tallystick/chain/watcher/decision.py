"""
What the watcher decides, without asking anybody (chain.md, sections 3.3 and 4.4).

Numbers, hashes and answers go in, a decision comes out: which blocks follow on what is
recorded, where two histories part, what is final, how long to wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tallystick.chain.node.blocks import BlockId, Header
from tallystick.record import BlockHash

WINDOW_BLOCKS: Final = 64
"""Blocks of one transaction (section 4.4.1): a follower waits for no more than these."""
LONGEST_POLL_SECONDS: Final = 12.0
SHORTEST_POLL_SECONDS: Final = 0.5
FIRST_BACK_OFF_SECONDS: Final = 1.0
LONGEST_BACK_OFF_SECONDS: Final = 60.0

FinalityMode = Literal["tag", "depth"]


@dataclass(frozen=True, slots=True)
class Follows:
    """These blocks continue what is recorded, each the child of the one before; maybe none."""

    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """The chain has left what is recorded, at the newest recorded block or below it."""


@dataclass(frozen=True, slots=True)
class Behind:
    """The node does not know the newest recorded block yet, and says nothing against it."""


def decide(
    recorded: BlockId, same: BlockHash | None, above: Sequence[Header]
) -> Follows | Parts | Behind:
    """
    Decide what a look found.

    *same* is the hash that the node has at the number of *recorded*, None where it has none;
    *above* are the node's blocks behind that number, in their order.
    """
    if same is None:
        return Behind()
    if same != recorded.hash:
        return Parts()
    return Follows(fitting_prefix(recorded, above))


def fitting_prefix(parent: BlockId, headers: Sequence[Header]) -> tuple[Header, ...]:
    """
    Return the longest beginning of *headers* in which each is the child of the one before.

    What does not fit was read while the chain changed; the next look finds how it parts.
    """
    fitting: list[Header] = []
    for header in headers:
        if header.number != parent.number + 1 or header.parent_hash != parent.hash:
            break
        fitting.append(header)
        parent = header.id
    return tuple(fitting)


def find_ancestor(ours: Sequence[BlockId], theirs: Mapping[int, BlockHash]) -> BlockId | None:
    """Return the highest of *ours* that *theirs* has too; None where they share none."""
    shared = [block for block in ours if theirs.get(block.number) == block.hash]
    return max(shared, key=lambda block: block.number, default=None)


def first_block(*, head: int, confirmations: int, agreed: int | None) -> int:
    """
    Return where a network that was never watched begins: its newest final block, or block 0.

    *agreed* is the finalized block of the nodes in mode `tag`, None in mode `depth`. What lies
    below is final, so that no reorganisation can reach what was not recorded.
    """
    deep = head - confirmations + 1
    return max(0, deep if agreed is None else min(deep, agreed))


def final_block(
    *, deep: int, finalized: int | None, mode: FinalityMode, agreed: int | None
) -> int | None:
    """
    Return the newest block that is final (section 3.3); it never goes below *finalized*.

    *deep* is the newest block of enough confirmations, *agreed* in mode `tag` the newest that
    the nodes call final with the hash that is recorded. None: none is final yet.
    """
    bound = deep if mode == "depth" else min(deep, -1 if agreed is None else agreed)
    if finalized is not None:
        return max(finalized, bound)
    return bound if bound >= 0 else None


def candidates(tags: Sequence[BlockId], quorum: int) -> list[int]:
    """
    Return the numbers up to which *quorum* nodes or more call the chain final, highest first.

    A node that answers a number calls every block below it final too.
    """
    numbers = sorted((tag.number for tag in tags), reverse=True)
    return sorted(set(numbers[quorum - 1 :]), reverse=True)


def are_agreed(answers: Sequence[BlockHash | None], ours: BlockHash | None, quorum: int) -> bool:
    """Whether *quorum* of the nodes that call a block final have the hash that is recorded."""
    return ours is not None and sum(answer == ours for answer in answers) >= quorum


def poll_seconds(block_seconds: float) -> float:
    """Return how long to wait between looks: half a block's time, within 0.5 s and 12 s."""
    return min(LONGEST_POLL_SECONDS, max(SHORTEST_POLL_SECONDS, block_seconds / 2))


def back_off_seconds(failures: int) -> float:
    """Return how long to wait after so many failures in a row: 1 s, doubling to 60 s."""
    assert failures >= 1
    return min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 10))
