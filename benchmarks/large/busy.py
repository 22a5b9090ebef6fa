"""Twenty busy logs over four tables: what two workers seal together, beside one log alone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from benchmarks.ground import ORIGIN_PREFIX, Ground
from benchmarks.harness import Figure, measure
from benchmarks.large.ten_million import QUEUE
from tallystick.seal.logs import LogId, LogSettings, create_log
from tallystick.seal.sequencer import Sequencer

LOGS = 20
THREADS = 4


def run(ground: Ground) -> list[Figure]:
    """Return the rows a second of twenty logs with a backlog, and of one with all of it."""
    rows = ground.scale.pick(400_000, 20_000)
    with ground.log("busy_0") as log:
        ids = [log.log.log_id]
        with log.database.transaction() as tx:
            for number in range(1, LOGS):
                made = create_log(
                    tx,
                    f"busy_{number}",
                    keys=log.keys,
                    origin_prefix=ORIGIN_PREFIX,
                    settings=LogSettings(control_leaves=False),
                )
                ids.append(made.log_id)
        sequencer = Sequencer(log.database, log.keys)

        def seal(log_id: LogId) -> int:
            sealed_rows = 0
            while (sealed := sequencer.seal_once(log_id)) is not None and sealed.rows:
                sealed_rows += sealed.rows
            return sealed_rows

        def rate(chosen: list[LogId]) -> float:
            share = rows // len(chosen)
            with psycopg.connect(log.url, autocommit=True) as connection:
                for log_id in chosen:
                    connection.execute(QUEUE, (log_id, 1, share))
            began = time.monotonic()
            with ThreadPoolExecutor(THREADS) as pool:
                assert sum(pool.map(seal, chosen)) == share * len(chosen)
            return share * len(chosen) / (time.monotonic() - began)

        sides = measure(
            {"twenty": lambda: rate(ids), "one": lambda: rate(ids[:1])},
            rounds=ground.scale.pick(3, 1),
        )
    return [
        Figure(
            f"sealing, {LOGS} busy logs, {rows:,} rows together",
            sides["twenty"],
            "rows/s",
            "more",
            "one log with all of them",
            sides["one"],
        )
    ]
