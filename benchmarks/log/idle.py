"""A thousand logs with nothing to seal: what looking at them takes of a core."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg

from benchmarks.ground import ORIGIN_PREFIX, Ground, LogGround
from benchmarks.harness import Bound, Figure, Samples
from benchmarks.log.latency import sealing
from tallystick.seal.logs import LogSettings, create_log

PARTS = 5
LOGS_A_TRANSACTION = 100
WARM_UP_SECONDS = 1.0


def run(ground: Ground) -> list[Figure]:
    """Return the share of a core that the worker and its connections take together."""
    logs = ground.scale.pick(1_000, 50)
    part_seconds = ground.scale.pick(2.0, 0.3)
    with ground.log("log_0") as log:
        add_logs(log, logs - 1)
        shares = cpu_share(log, part_seconds)
    with ground.log("alone") as alone:
        single = cpu_share(alone, part_seconds)
    return [
        Figure(
            f"{logs:,} idle logs, share of a core",
            shares,
            "%",
            "less",
            "one idle log",
            single,
            Bound(most=10.0),
            note="worker and database together, at the default interval of 500 ms",
        )
    ]


def add_logs(log: LogGround, count: int) -> None:
    """Make *count* further logs in the database of *log*."""
    settings = LogSettings(control_leaves=False)
    for first in range(0, count, LOGS_A_TRANSACTION):
        with log.database.transaction() as tx:
            for number in range(first, min(first + LOGS_A_TRANSACTION, count)):
                create_log(
                    tx,
                    f"log_{number + 1}",
                    keys=log.keys,
                    origin_prefix=ORIGIN_PREFIX,
                    settings=settings,
                )


def cpu_share(log: LogGround, part_seconds: float) -> Samples:
    """Run the sequencer's worker over the database, and return its share of a core in percent."""
    shares = []
    with sealing(log):
        time.sleep(WARM_UP_SECONDS)
        for _ in range(PARTS):
            began, used = time.monotonic(), cpu_seconds(log.url)
            time.sleep(part_seconds)
            shares.append((cpu_seconds(log.url) - used) / (time.monotonic() - began) * 100)
    return Samples(tuple(shares))


def cpu_seconds(url: str) -> float:
    """Return the processor time of this process and of the database's backends that it uses."""
    with psycopg.connect(url, autocommit=True) as connection:
        backends = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'tallystick'"
        ).fetchall()
    own = os.times()
    return own.user + own.system + sum(process_seconds(pid) for (pid,) in backends)


def process_seconds(pid: int) -> float:
    """Return the processor time of a process; 0 where it has ended."""
    try:
        # The name may hold spaces: the fields are counted from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
