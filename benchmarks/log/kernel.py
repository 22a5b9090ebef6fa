"""The kernel: hashes, edges, proofs and notes a second, beside bare hashlib."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.ground import ORIGIN_PREFIX, Ground
from benchmarks.harness import Figure, Samples, measure
from tallystick.record import ed25519_verifier, make_signer
from tallystick.tlog import (
    EMPTY_EDGE,
    HASH_BYTES,
    Checkpoint,
    LeafIndex,
    Tile,
    TreeSize,
    check_inclusion,
    check_note,
    edge_root,
    extend_edge,
    format_checkpoint,
    format_note,
    format_verifier_key,
    hash_leaf,
    parse_note,
    prove_inclusion,
    sign_note,
)

LEAF: Final = bytes(280)
NODE: Final = bytes(2 * HASH_BYTES)
BARE_LEAF: Final = "hashlib.sha256 of the same bytes"
BARE_NODE: Final = "hashlib.sha256 of 64 bytes"


class MemoryTiles:
    """The tiles of a tree in memory (a `tlog.HashReader`)."""

    def __init__(self, leaf_hashes: bytes) -> None:
        self.edge, writes = extend_edge(EMPTY_EDGE, leaf_hashes)
        self._rows = {(write.level, write.index): write.appended for write in writes}

    def read_tiles(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Return the row of each tile."""
        return [self._rows[tile.level, tile.index][: HASH_BYTES * tile.width] for tile in tiles]


def run(ground: Ground) -> list[Figure]:
    """Return the kernel's figures, each against the bare hash that it is made of."""
    count = ground.scale.pick(200_000, 5_000)
    proofs = ground.scale.pick(5_000, 200)
    notes = ground.scale.pick(2_000, 100)
    leaf_hashes = b"".join(hash_leaf(b"%d" % number) for number in range(count))
    tree = MemoryTiles(leaf_hashes)
    root, size = edge_root(tree.edge), TreeSize(count)
    indexes = [LeafIndex(random.Random(7).randrange(count)) for _ in range(proofs)]
    made = [prove_inclusion(tree, index=index, size=size) for index in indexes]
    leaves = [hash_leaf(b"%d" % index) for index in indexes]
    signer = make_signer(name=f"{ORIGIN_PREFIX}/payments", secret=bytes(range(32)))
    verifier = ed25519_verifier(format_verifier_key(signer.verifier_key))
    text = format_checkpoint(Checkpoint(f"{ORIGIN_PREFIX}/payments", size, root))
    signed = format_note(sign_note(text, [signer]))

    def check_all() -> None:
        for index, leaf, proof in zip(indexes, leaves, made, strict=True):
            check_inclusion(proof, leaf=leaf, index=index, size=size, root=root)

    sides = measure(
        {
            "bare leaf": rate(count, lambda: repeat(count, lambda: bare(LEAF))),
            "leaf": rate(count, lambda: repeat(count, lambda: hash_leaf(LEAF))),
            "bare node": rate(count, lambda: repeat(count, lambda: bare(NODE))),
            "extend": rate(count, lambda: extend_edge(EMPTY_EDGE, leaf_hashes)),
            "prove": rate(
                proofs, lambda: [prove_inclusion(tree, index=i, size=size) for i in indexes]
            ),
            "check": rate(proofs, check_all),
            "sign": rate(notes, lambda: repeat(notes, lambda: sign_note(text, [signer]))),
            "verify": rate(
                notes, lambda: repeat(notes, lambda: check_note(parse_note(signed), [verifier]))
            ),
        },
        rounds=ground.scale.rounds,
    )
    return figures(sides, count)


def figures(sides: dict[str, Samples], count: int) -> list[Figure]:
    """Return the lines of the table."""
    node = sides["bare node"]
    return [
        Figure("hash_leaf", sides["leaf"], "/s", "more", BARE_LEAF, sides["bare leaf"]),
        Figure(
            f"extend_edge by {count:,} leaves", sides["extend"], "leaves/s", "more", BARE_NODE, node
        ),
        Figure(f"prove_inclusion, {count:,} leaves", sides["prove"], "/s", "more", BARE_NODE, node),
        Figure(f"check_inclusion, {count:,} leaves", sides["check"], "/s", "more", BARE_NODE, node),
        Figure("sign_note", sides["sign"], "/s", "more", BARE_NODE, node),
        Figure("parse_note and check_note", sides["verify"], "/s", "more", BARE_NODE, node),
    ]


def rate(count: int, work: Callable[[], object]) -> Callable[[], float]:
    """Return a side that does *work*, which is *count* things, and returns things a second."""

    def side() -> float:
        began = time.perf_counter()
        work()
        return count / (time.perf_counter() - began)

    return side


def repeat(count: int, work: Callable[[], object]) -> None:
    """Do *work* so many times."""
    for _ in range(count):
        work()


def bare(data: bytes) -> bytes:
    """Return the bare hash."""
    return hashlib.sha256(data).digest()
