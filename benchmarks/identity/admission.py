"""
Admission of 8 clients over 10,000 keys, each with its owner's bucket and its own.

The alternative is the package `limits` on Redis, with as many buckets: two hits a request, of
the fixed window, which is its fastest and admits up to twice the rate across a window's edge,
and of the moving window, which is exact as ours is. It knows no key, owner, scope or quota.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Final

import psycopg
from psycopg.pq import ExecStatus

from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples, measure
from benchmarks.identity.filling import key_of, people
from benchmarks.log.capture_clients import BARRIERS, percentile, start_together
from tallystick.db import connect
from tallystick.identity import admit
from tallystick.identity.admission import store
from tallystick.identity.key_text import format_key, hash_secret

CLIENTS: Final = 8
KEYS: Final = 10_000
LAST: Final = 99
MEDIAN: Final = 50
PATIENCE_SECONDS: Final = 60.0
PLACES: Final = {
    b"%(key_hash)s": b"$1",
    b"%(prefix)s": b"$2",
    b"%(any_of)s": b"$3",
    b"%(anonymous_bucket)s": b"NULL",
}
FORMATS: Final = (1, 0, 0)
"""The hash goes in binary, the others as text."""
RATE: Final = 10_000_000


def run(ground: Ground) -> list[Figure]:
    """Return admissions a second, their p99, and both beside what Redis does."""
    there = people(ground)
    seconds = ground.scale.pick(3.0, 0.4)
    keys = min(KEYS, there.rows)
    context = multiprocessing.get_context("spawn")
    latencies: dict[str, list[float]] = {"own": [], "middle": []}
    with contextlib.ExitStack() as ends:
        pool = ends.enter_context(
            ProcessPoolExecutor(
                CLIENTS,
                mp_context=context,
                initializer=start_together,
                initargs=(context.Barrier(CLIENTS),),
            )
        )
        redis = ends.enter_context(running_redis())

        def round_of(ask: Callable[[int], list[float]], name: str) -> float:
            ground.checkpoint()
            clients = [pool.submit(ask, number) for number in range(CLIENTS)]
            found = [one for client in clients for one in client.result()]
            if name == "own":
                latencies["own"].append(percentile(found, LAST) * 1000)
                latencies["middle"].append(percentile(found, MEDIAN) * 1000)
            return len(found) / seconds

        sides: dict[str, Callable[[int], list[float]]] = {
            "own": partial(admit_for, there.url, keys, seconds)
        }
        if redis is not None:
            for strategy in ("FixedWindowRateLimiter", "MovingWindowRateLimiter"):
                sides[strategy] = partial(hit_for, redis, strategy, keys, seconds)
        # Once unmeasured: every bucket is made, clients start, caches fill.
        for name, ask in sides.items():
            round_of(ask, name)
        latencies = {"own": [], "middle": []}
        rates = measure(
            {name: partial(round_of, ask, name) for name, ask in sides.items()},
            rounds=ground.scale.rounds,
        )
        through = python_rate(ground, there.url)
    return figures(rates, latencies, keys=keys, through=through)


def figures(
    rates: dict[str, Samples], latencies: dict[str, list[float]], *, keys: int, through: Samples
) -> list[Figure]:
    """Return the lines of the table."""
    name = f"admit, {CLIENTS} clients, {keys} keys, both buckets"
    middle = Samples(tuple(latencies["middle"])).median
    p99 = Samples(tuple(latencies["own"]))
    own = rates.pop("own")
    found = [
        Figure(name, own, "/s", "more", target=Bound(least=10_000), note=f"p50 {middle:.2f} ms"),
        Figure(f"{name}, p99", p99, "ms", "less", target=Bound(most=5.0)),
        Figure("admit through Python, one client", through, "/s", "more"),
    ]
    for strategy, theirs in rates.items():
        words = f"limits on Redis, {strategy.removesuffix('RateLimiter')}, two hits"
        beside = f"{name}, and {strategy.removesuffix('RateLimiter')} of limits"
        found.append(
            Figure(beside, own, "/s", "more", words, theirs, ratio_target=Bound(least=1.0))
        )
    return found


@contextlib.contextmanager
def running_redis() -> Iterator[str | None]:
    """Yield the URL of a Redis of the run's own, in memory; None where it is not installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tallystick-bench-") as place:
        socket = f"{place}/redis.sock"
        process = subprocess.Popen(
            [program, *f"--port 0 --unixsocket {socket} --dir {place} --save".split(), ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(1.0)
            yield f"redis+unix://{socket}"
        finally:
            process.kill()
            process.wait()


def admit_for(url: str, keys: int, seconds: float, number: int) -> list[float]:
    """Ask with keys drawn at random, as the store's statement does; return the latencies."""
    statement = bytes(store.SQL.admit)
    for named, place in PLACES.items():
        statement = statement.replace(named, place)
    known = [key_of(one) for one in range(1, keys + 1)]
    chance = random.Random(number)
    latencies = []
    with psycopg.connect(url, autocommit=True) as connection:
        raw = connection.pgconn
        raw.prepare(b"admit", statement)
        BARRIERS[0].wait(PATIENCE_SECONDS)
        now = time.monotonic()
        end = now + seconds
        while now < end:
            key_hash, prefix = chance.choice(known)
            result = raw.exec_prepared(b"admit", [key_hash, prefix, b"{}"], FORMATS)
            assert result.status == ExecStatus.TUPLES_OK, result.error_message
            assert result.get_value(0, 0) is None, "nothing is refused"
            done = time.monotonic()
            latencies.append(done - now)
            now = done
    return latencies


def hit_for(url: str, strategy: str, keys: int, seconds: float, number: int) -> list[float]:
    """Hit an owner's and a key's bucket, drawn at random; return the latencies of both together."""
    # Here, so that only its own clients load it.
    from limits import RateLimitItemPerMinute, storage, strategies  # noqa: PLC0415

    limiter = getattr(strategies, strategy)(storage.storage_from_string(url))
    item = RateLimitItemPerMinute(RATE)
    chance = random.Random(number)
    latencies = []
    BARRIERS[0].wait(PATIENCE_SECONDS)
    now = time.monotonic()
    end = now + seconds
    while now < end:
        which = chance.randrange(keys)
        assert limiter.hit(item, strategy, "u", str(which))
        assert limiter.hit(item, strategy, "k", str(which))
        done = time.monotonic()
        latencies.append(done - now)
        now = done
    return latencies


def python_rate(ground: Ground, url: str) -> Samples:
    """Return admissions a second of one thread through `tallystick.identity.admit`."""
    secret = b"benchmark".ljust(32, b"\0")
    text = format_key(2**47, secret)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE tally.api_keys SET key_hash = %s, prefix = %s WHERE id = %s",
            (hash_secret(secret), text[:13], f"{1:032x}"),
        )
    count = ground.scale.pick(3_000, 100)
    with connect(url) as database:

        def rate() -> float:
            began = time.monotonic()
            for _ in range(count):
                admit(database, text)
            return count / (time.monotonic() - began)

        rate()
        return measure({"own": rate}, rounds=ground.scale.rounds)["own"]
