"""One client, one operation after the other: latencies and operations a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.log.capture_clients import percentile

MEDIAN: Final = 50
LAST: Final = 99


def time_operation(
    ground: Ground,
    name: str,
    operation: Callable[[int], object],
    *,
    calls: int,
    most_p99_ms: float,
    least_rate: float,
) -> list[Figure]:
    """Return operations a second and the 99th percentile of `operation(0)`, `operation(1)`, ..."""
    count = ground.scale.pick(calls, 20)
    p50, p99 = [], []
    number = 0

    def round_of() -> float:
        nonlocal number
        ground.checkpoint()
        latencies = []
        for _ in range(count):
            began = time.perf_counter()
            operation(number)
            latencies.append(time.perf_counter() - began)
            number += 1
        p50.append(percentile(latencies, MEDIAN) * 1000)
        p99.append(percentile(latencies, LAST) * 1000)
        return count / sum(latencies)

    # Once unmeasured: plans are made and caches fill.
    round_of()
    p50.clear()
    p99.clear()
    rates = measure({"rate": round_of}, rounds=ground.scale.rounds)["rate"]
    note = f"p50 {Samples(tuple(p50)).median:.2f} ms"
    return [
        Figure(name, rates, "/s", "more", target=Bound(least=least_rate), note=note),
        Figure(f"{name}, p99", Samples(tuple(p99)), "ms", "less", target=Bound(most=most_p99_ms)),
    ]
