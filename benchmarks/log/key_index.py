"""
The map of a log's keys (docs/adr/0015): what it costs to compute, to keep, and to show.

A log of its own with control leaves, whose map is made from nothing, then kept up through
updates of random payments; then histories of random keys, made and verified.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

import psycopg

from benchmarks.ground import Ground, LogGround, value
from benchmarks.harness import Figure, Samples
from benchmarks.log.payments import attach, create_payments, insert_payments
from tallystick.publish import Publisher, RowKey, history_file
from tallystick.seal.index import forget_index, index_log
from tallystick.seal.logs import list_keys
from tallystick.verify import check_history

TABLE = "payment"
SEALED = "sealing the same leaves"
DERIVED = (
    "SELECT pg_total_relation_size('tally.key_index_entries')"
    " + pg_total_relation_size('tally.key_index_tiles')"
)


def run(ground: Ground) -> list[Figure]:
    """Return leaves a second, bytes a key, and what a history takes."""
    keys = ground.scale.pick(1_000_000, 20_000)
    changed = ground.scale.pick(20_000, 1_000)
    with ground.log(control_leaves=True) as log:
        with psycopg.connect(log.url, autocommit=True) as connection:
            create_payments(connection, TABLE)
        attach(log.database, log.log.log_name, TABLE)
        sealed = filled(log, keys)
        made = mapped(log)
        ground.checkpoint()
        entries = float(value(log.url, DERIVED)) / keys
        kept = Samples(tuple(kept_up(log, keys, changed) for _ in range(ground.scale.rounds)))
        anew = Samples(tuple(made_anew(log) for _ in range(ground.scale.pick(2, 1))))
        histories, sizes = shown(log, keys, ground.scale.pick(300, 20))
    return [
        Figure(
            f"first map of {keys:,} keys", Samples((made, *anew.values)), "leaves/s", "more",
            SEALED, Samples((sealed,)),
        ),
        Figure(
            f"next map, {changed:,} of {keys:,} keys updated", kept, "leaves/s", "more",
            SEALED, Samples((sealed,)),
        ),
        Figure("what is kept for a map, a key", Samples((entries,)), "bytes", "less"),
        Figure("a history of 1 to 3 versions: the file", Samples((sizes,)), "bytes", "less"),
        Figure("  made", Samples((histories[0],)), "ms", "less"),
        Figure("  verified", Samples((histories[1],)), "ms", "less"),
    ]  # fmt: skip


def filled(log: LogGround, keys: int) -> float:
    """Capture and seal a row a key, and return leaves a second of sealing."""
    with psycopg.connect(log.url, autocommit=True) as connection:
        insert_payments(connection, TABLE, first=1, rows=keys)
        connection.execute("ANALYZE tally.capture")
    began = time.monotonic()
    log.seal_all()
    return keys / (time.monotonic() - began)


def mapped(log: LogGround) -> float:
    """Bring the map up to the log's size, and return leaves a second."""
    done = index_log(log.database, log.log.log_name)
    assert done.outcome == "queued", done
    log.seal_all()
    return done.leaves / done.seconds


def kept_up(log: LogGround, keys: int, changed: int) -> float:
    """Update random payments, seal them, and return leaves a second of the next map."""
    chosen = random.sample(range(1, keys + 1), changed)
    with psycopg.connect(log.url, autocommit=True) as connection:
        connection.execute("UPDATE payment SET amount = amount + 1 WHERE id = ANY (%s)", (chosen,))
    log.seal_all()
    return mapped(log)


def made_anew(log: LogGround) -> float:
    """Drop what was derived, make the map from all leaves, and return leaves a second."""
    with log.database.transaction() as tx:
        forget_index(tx, log.log.log_name)
    return mapped(log)


def shown(log: LogGround, keys: int, count: int) -> tuple[tuple[float, float], float]:
    """Return the milliseconds that a history takes to make and to verify, and its bytes."""
    publisher = Publisher(log.database)
    publisher.refresh()
    head = publisher.published_head(log.log.log_name)
    with log.database.transaction() as tx:
        vkeys = [key.vkey for key in list_keys(tx, log.log.log_name)]
    policy = "".join([*(f"log {vkey}\n" for vkey in vkeys), "quorum none\n"]).encode()
    made, verified, sizes = [], [], []
    for number in random.sample(range(1, keys + 1), count):
        key = RowKey.of(TABLE, str(number))
        seconds, history = timed(lambda key=key: history_file(publisher, head, key))
        made.append(seconds)
        sizes.append(len(history))
        seconds, result = timed(lambda history=history: check_history(history, policy=policy))
        assert result.versions
        verified.append(seconds)
    return (1000 * median(made), 1000 * median(verified)), median(sizes)


def timed(what: Callable[[], object]) -> tuple[float, object]:
    """Return the seconds that a call took, and its result."""
    began = time.monotonic()
    result = what()
    return time.monotonic() - began, result
