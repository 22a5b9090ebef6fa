"""
Operations on a log's map: compute it, step by step, and queue its root (docs/adr/0015).

Everything that a step writes is derived from leaves that cannot change any more, so a step may
be lost at any point: the next one begins where the last committed one ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tallystick.db import Database, Transaction
from tallystick.seal.errors import (
    IndexRefusedError,
    InvalidLogError,
    LogFailedError,
    LogFrozenError,
    LogNotFoundError,
)
from tallystick.seal.index import store
from tallystick.seal.index.decision import IndexState, Step, next_step
from tallystick.seal.index.tiles import change_tiles, tiles_of_buckets

MOST_LOOKED_UP: Final = 8192
"""Beyond so many buckets reading and sorting all entries is quicker than as many look-ups."""
LONGEST_INTERVAL_SECONDS: Final = 31_536_000
"""A year: who wants it rarer asks for it."""

Outcome = Literal["queued", "waiting", "current", "busy"]


@dataclass(frozen=True, slots=True)
class IndexResult:
    """
    What became of a log's map.

    *outcome*: `queued`, its root will be sealed with the next batch; `waiting`, the map before
    is not published yet; `current`, no leaf came since; `busy`, another process computes it.
    *tree_size* and *root* are the newest map's, None where there is none; *leaves* were read.
    """

    log_name: str
    outcome: Outcome
    tree_size: int | None
    root: bytes | None
    leaves: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Stepped:
    """What one transaction did: the state before it, the step, and the root that it queued."""

    state: IndexState
    step: Step | None
    root: bytes | None = None


def index_log(database: Database, log_name: str, *, wait: bool = True) -> IndexResult:
    """
    Bring the map of a log up to its present size and queue its root as a control leaf.

    Without *wait* a map that another process computes is left to it.

    Raises:
        LogNotFoundError: There is no such log.
        LogFrozenError, LogFailedError: Nothing is sealed in the log any more.
        IndexRefusedError: The log is paused, has no control leaves, or has pruned leaves that
            its map does not cover.
    """
    began = time.monotonic()
    leaves, target = 0, None
    while True:
        with database.transaction() as tx:
            done = advance(tx, log_name, target=target, wait=wait)
        if done is None:
            return IndexResult(log_name, "busy", None, None, leaves, time.monotonic() - began)
        # Leaves that come meanwhile are for the next map: else a busy log had none.
        target = done.state.size if target is None else target
        size, root = done.state.map_size, done.state.map_root
        outcome: Outcome = "waiting" if done.state.is_waiting else "current"
        if done.step is not None:
            leaves += done.step.end - done.step.first
            if not done.step.is_last:
                continue
            outcome, size, root = "queued", done.step.end, done.root
        return IndexResult(log_name, outcome, size, root, leaves, time.monotonic() - began)


def advance(
    tx: Transaction, log_name: str, *, target: int | None = None, wait: bool = True
) -> Stepped | None:
    """
    Do the next step towards a map of *target* leaves, by default all; None where it is another's.

    Raises:
        LogNotFoundError, LogFrozenError, LogFailedError, IndexRefusedError: As `index_log`.
    """
    state = read_state(tx, log_name)
    # The lock is what keeps two processes from putting one leaf into a chain twice. What was read
    # before it was granted is old.
    if not store.lock_index(tx, state.log_id, wait=wait):
        return None
    state = read_state(tx, log_name)
    check_may_index(state)
    if state.map_index is not None:
        store.place_map(tx, state)
    step = next_step(state, state.size if target is None else target)
    if step is None:
        return Stepped(state, None)
    buckets = store.extend_entries(tx, state.log_id, step)
    store.set_covered(tx, state.log_id, step.end)
    if not step.is_last:
        return Stepped(state, step)
    # Buckets are hashed once a map: in each step of the first one nearly all of them change.
    if step.first > step.served:
        buckets = store.touched_buckets(tx, state.log_id, since=step.served)
    tiles = store.read_tiles(tx, state.log_id, tiles_of_buckets(buckets))
    if buckets:
        tiles = change_tiles(tiles, hash_buckets(tx, state.log_id, buckets, size=step.end))
        store.write_tiles(tx, state.log_id, step, tiles.rows)
    store.seal_map(tx, state.log_id, size=step.end, root=tiles.root)
    return Stepped(state, step, tiles.root)


def hash_buckets(
    tx: Transaction, log_id: int, buckets: Sequence[int], *, size: int
) -> dict[int, bytes]:
    """Return the hashes of *buckets*: each looked up, or where they are many all in one pass."""
    if len(buckets) <= MOST_LOOKED_UP:
        return store.hash_buckets(tx, log_id, buckets)
    return store.kept_buckets(tx, log_id, size)


def read_state(tx: Transaction, log_name: str) -> IndexState:
    """
    Return how far the map of a log has come.

    Raises:
        LogNotFoundError: There is no such log.
    """
    state = store.index_state(tx, log_name)
    if state is None:
        raise LogNotFoundError(f"there is no log {log_name!r}")
    return state


def check_may_index(state: IndexState) -> None:
    """
    Check that a root can be sealed in the log.

    Raises:
        LogFrozenError, LogFailedError: Nothing is sealed in the log any more.
        IndexRefusedError: The log is paused, has no control leaves, or has pruned leaves that
            its map does not cover.
    """
    match state.refusal:
        case "frozen":
            raise LogFrozenError(f"log {state.log_name} is frozen, or will be")
        case "failed":
            raise LogFailedError(f"log {state.log_name} has failed")
        case "paused":
            raise IndexRefusedError(f"log {state.log_name} is paused")
        case "no_control_leaves":
            raise IndexRefusedError(
                f"log {state.log_name} has no control leaves, in which a map's root would stand"
            )
        case "pruned":
            raise IndexRefusedError(
                f"log {state.log_name} has pruned leaves below {state.minimum_index}, and its map"
                f" covers only those below {state.covered_size}: no map can be made any more"
            )


def set_index_interval(tx: Transaction, log_name: str, seconds: int | None) -> IndexState:
    """
    Set how often the map of a log is computed by itself, None for never, and return its state.

    Raises:
        LogNotFoundError: There is no such log.
        InvalidLogError: *seconds* is not 1 to a year.
        LogFrozenError, LogFailedError, IndexRefusedError: It cannot be set in this log.
    """
    state = read_state(tx, log_name)
    if seconds is not None:
        check_may_index(state)
        if not 1 <= seconds <= LONGEST_INTERVAL_SECONDS:
            raise InvalidLogError(f"an interval is 1 to {LONGEST_INTERVAL_SECONDS} seconds")
    store.set_interval(tx, log_name, seconds)
    return state


def forget_index(tx: Transaction, log_name: str) -> None:
    """
    Throw away what was derived for a log's map, so that the next one is made from all leaves.

    Until that is sealed no history is served. The maps that were sealed stay in the log.

    Raises:
        LogNotFoundError: There is no such log.
        IndexRefusedError: Some of the leaves were pruned: it could not be made again.
    """
    state = read_state(tx, log_name)
    # Pruning takes this lock too, so what is read behind it stays true.
    store.lock_index(tx, state.log_id, wait=True)
    if read_state(tx, log_name).minimum_index:
        raise IndexRefusedError(f"log {log_name} has pruned leaves: its map cannot be made anew")
    store.forget(tx, state.log_id)


def due_indexes(tx: Transaction) -> list[str]:
    """Return the logs whose map is to be computed now, by their intervals."""
    return store.due_logs(tx)
