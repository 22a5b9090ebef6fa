"""Proofs a second in one thread, with the tiles in memory and without."""

from __future__ import annotations

import random
import time

from benchmarks.ground import Ground
from benchmarks.harness import Figure, measure
from benchmarks.log.payments import large_log
from tallystick.publish import Publisher
from tallystick.tlog import TILE_WIDTH, LeafIndex, Tile, check_inclusion

FETCHING = "each from a publisher with no tile in memory: a read of the database"


def run(ground: Ground) -> list[Figure]:
    """Return proofs a second from memory, beside those whose tiles are read first."""
    large = large_log(ground, rows=ground.scale.pick(2_000_000, 50_000))
    proofs = ground.scale.pick(5_000, 300)
    dice = random.Random(11)
    publisher = Publisher(large.log.database, tile_cache_mb=512)
    publisher.refresh()
    head = publisher.published_head(large.log.log.log_name)
    # Every leaf is asked for once, so that no answer comes from the cache of whole proofs.
    unasked = iter(dice.sample(range(head.size), proofs * ground.scale.rounds))
    for first in range(0, head.size, TILE_WIDTH):
        width = min(TILE_WIDTH, head.size - first)
        publisher.read_tile(head, Tile(0, first // TILE_WIDTH, width))

    def in_memory() -> float:
        indexes = [LeafIndex(next(unasked)) for _ in range(proofs)]
        began = time.monotonic()
        for index in indexes:
            publisher.prove_index(head, index)
        return proofs / (time.monotonic() - began)

    def fetching() -> float:
        count = proofs // 20
        seconds = 0.0
        for _ in range(count):
            cold = Publisher(large.log.database)
            cold.refresh()
            index = LeafIndex(dice.randrange(head.size))
            began = time.monotonic()
            proof = cold.prove_index(head, index)
            seconds += time.monotonic() - began
            check_inclusion(
                proof.hashes,
                leaf=proof.leaf_hash,
                index=index,
                size=head.size,
                root=head.root,
            )
        return count / seconds

    sides = measure({"memory": in_memory, "fetching": fetching}, rounds=ground.scale.rounds)
    return [
        Figure(
            f"proofs from memory, {head.size:,} leaves",
            sides["memory"],
            "/s",
            "more",
            FETCHING,
            sides["fetching"],
        )
    ]
