"""kill -9 at each named pause point of the sealing transaction (log.md, section 5.5)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tallystick.seal.logs.guard import guard_path, read_guard
from tests.support.logs import LogBench, make_bench

SEAL_ONCE = """
import sys
from pathlib import Path
from tallystick.db import connect
from tallystick.seal.logs import KeyRing
from tallystick.seal.sequencer import Sequencer
with connect(sys.argv[1]) as database:
    Sequencer(database, KeyRing(Path(sys.argv[2]))).seal_once(int(sys.argv[3]))
"""
PAUSE_POINTS = {
    "seal.locked": 0,
    "seal.taken": 0,
    "seal.signed": 0,
    "seal.committed": 3,
    "seal.guarded": 3,
    "seal.notified": 3,
}
"""Each pause point with the size that a crash there leaves."""


def kill_at(bench: LogBench, point: str, marker: Path) -> None:
    """Run a sequencer process that stops at *point*, and kill it there."""
    process = subprocess.Popen(
        [sys.executable, "-c", SEAL_ONCE, bench.url, bench.keys.directory, str(bench.log.log_id)],
        env={**os.environ, "TALLY_PAUSE_AT": point, "TALLY_PAUSE_FILE": str(marker)},
    )
    try:
        deadline = time.monotonic() + 30
        while not marker.exists():
            assert process.poll() is None, f"the process ended before {point}"
            assert time.monotonic() < deadline, f"{point} was never reached"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("point", PAUSE_POINTS)
def test_kill_loses_and_doubles_nothing(database_url, tmp_path, point):
    """log 3: a kill -9 at each step leaves all of a batch or none, and the next look goes on."""
    bench = make_bench(database_url, tmp_path / "keys", control_leaves=False)
    bench.push(b"one", b"two", b"three")
    kill_at(bench, point, tmp_path / "paused")
    assert bench.size() == PAUSE_POINTS[point]

    bench.push(b"four")
    # The server may take a moment to notice that the killed process's connection is gone.
    deadline = time.monotonic() + 30
    while bench.seal_all() < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    leaves = bench.value(
        "SELECT array_agg(convert_from(leaf, 'UTF8') ORDER BY leaf_index)"
        " FROM tally.merkle_log WHERE log_id = %s"
    )
    assert leaves == ["one", "two", "three", "four"]
    guard = read_guard(guard_path(bench.keys.directory, bench.log.log_name))
    assert guard is not None
    assert guard[0].size == 4
