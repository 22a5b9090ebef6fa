"""
Processes that an earlier server of a data directory left behind, and how they are ended.

A server outlives its parent's `kill -9`, and backends may outlive their postmaster's. A pid in
a file proves nothing, because pids are given again: a process counts as ours only if it runs a
program called `postgres` with the cluster's directory as its working directory, which every
PostgreSQL process has and no other does (log.md 6.4).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tallystick.runtime.errors import OrphanServerError

FAST_SECONDS = 30.0
"""What an orphan may take to write its last checkpoint."""

QUIT_SECONDS = 10.0
"""What processes may take to leave at once."""

LOOK_SECONDS = 0.02


def find_orphans(cluster: Path) -> list[int]:
    """Return the pids of all PostgreSQL processes that work in *cluster*, in ascending order."""
    try:
        wanted = cluster.stat()
    except FileNotFoundError:
        return []
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _works_in(entry, wanted)
    ]
    return sorted(found)


def end_orphans(cluster: Path) -> None:
    """
    End every process that still works in *cluster*: first politely, at last by `SIGKILL`.

    The caller holds the directory's lock, so that no living supervisor owns them. Backends
    without a postmaster leave by themselves as soon as they notice; one in the midst of a long
    statement does not, and would forbid the start by the shared memory that it holds.

    Raises:
        OrphanServerError: Some are still there after about a minute.
    """
    postmaster = _postmaster_pid(cluster)
    pids = find_orphans(cluster)
    if postmaster in pids:
        _signal([postmaster], signal.SIGINT)
        pids = _wait_until_gone(cluster, FAST_SECONDS)
    elif pids:
        pids = _wait_until_gone(cluster, QUIT_SECONDS / 10)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        if pids:
            _signal(pids, number)
            pids = _wait_until_gone(cluster, QUIT_SECONDS)
    if pids:
        raise OrphanServerError(pids)
    # Nobody works here: whatever process has that pid today, the file is stale. PostgreSQL
    # itself would refuse to start if the pid was given to another process of the same user.
    (cluster / "postmaster.pid").unlink(missing_ok=True)


def _works_in(entry: Path, wanted: os.stat_result) -> bool:
    try:
        # `/proc/<pid>/exe` ends in " (deleted)" after an upgrade of the programs.
        program = (entry / "exe").readlink().name.removesuffix(" (deleted)")
        return program == "postgres" and os.path.samestat((entry / "cwd").stat(), wanted)
    except OSError:
        # It ended while we looked, or belongs to somebody whose processes we may not see.
        return False


def _postmaster_pid(cluster: Path) -> int:
    try:
        return int((cluster / "postmaster.pid").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _wait_until_gone(cluster: Path, seconds: float) -> list[int]:
    deadline = time.monotonic() + seconds
    while (pids := find_orphans(cluster)) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    return pids
