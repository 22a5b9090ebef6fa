"""Start to first answer: a process that knows nothing proves a leaf and seals, at any size."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg

from benchmarks.ground import Ground, LogGround
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.payments import large_log

QUEUE = """
  INSERT INTO tally.capture (log_id, op, via, source_key, leaf, captured_at)
  SELECT %s, 'A', 'a', '[]', convert_to('leaf ' || g, 'UTF8'), tally.clock()
  FROM generate_series(1, %s::integer) AS g
"""
MOST_STATEMENTS = 12
MOST_MEGABYTES = 150


def run(ground: Ground) -> list[Figure]:
    """Return the seconds, statements and memory of a start at three sizes."""
    many = ground.scale.pick(2_000_000, 50_000)
    few = ground.scale.pick(10_000, 1_000)
    large = large_log(ground, rows=many).log
    with log_of(ground, 1) as one, log_of(ground, few) as small:
        found: dict[str, list[dict[str, float]]] = {"one": [], "few": [], "many": []}

        def start(name: str, log: LogGround) -> float:
            with psycopg.connect(log.url, autocommit=True) as connection:
                connection.execute(QUEUE, (log.log.log_id, 1))
            began = time.monotonic()
            found[name].append(run_process(log))
            return found[name][-1]["answered_at"] - began

        sides = measure(
            {
                "one": lambda: start("one", one),
                "few": lambda: start("few", small),
                "many": lambda: start("many", large),
            },
            rounds=ground.scale.rounds,
        )
        size = large.size()
    return figures(sides, found, few=few, many=size)


def run_process(log: LogGround) -> dict[str, float]:
    """
    Run the process over *log*, and return what it measured.

    Raises:
        RuntimeError: It failed; the message is the end of what it said.
    """
    place = [str(log.keys.directory), log.log.log_name]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.log.startup_process", *place],
        # The URL holds a password, which no list of processes and no error should show.
        input=log.url,
        check=False,
        capture_output=True,
        text=True,
    )
    if ended.returncode:
        raise RuntimeError(ended.stderr[-500:])
    found: dict[str, float] = json.loads(ended.stdout)
    return found


def figures(
    sides: dict[str, Samples], found: dict[str, list[dict[str, float]]], *, few: int, many: int
) -> list[Figure]:
    """Return the lines of the table."""
    one = sides["one"]

    def of(name: str, key: str) -> Samples:
        return Samples(tuple(start[key] for start in found[name]))

    return [
        Figure(
            f"start to first answers, {few:,} leaves",
            sides["few"],
            "s",
            "less",
            "one leaf",
            one,
            Bound(most=1.0),
            Bound(most=1.2),
        ),
        Figure(
            f"start to first answers, {many:,} leaves",
            sides["many"],
            "s",
            "less",
            "one leaf",
            one,
            Bound(most=1.0),
            Bound(most=1.2),
            "from the process's start, imports included: a proof checked and a batch sealed",
        ),
        Figure(
            f"statements of the first seal, {many:,} leaves",
            of("many", "statements"),
            "",
            "less",
            "one leaf",
            of("one", "statements"),
            Bound(most=MOST_STATEMENTS),
        ),
        Figure(
            f"memory after the first answers, {many:,} leaves",
            of("many", "megabytes"),
            "MB",
            "less",
            "one leaf",
            of("one", "megabytes"),
            Bound(most=MOST_MEGABYTES),
        ),
    ]


@contextlib.contextmanager
def log_of(ground: Ground, leaves: int) -> Iterator[LogGround]:
    """Yield a log of so many pushed leaves."""
    with ground.log() as log:
        with psycopg.connect(log.url, autocommit=True) as connection:
            connection.execute(QUEUE, (log.log.log_id, leaves))
        log.seal_all()
        yield log
