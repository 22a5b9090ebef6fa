"""The steps of an inclusion proof."""

from __future__ import annotations

import pytest

from tallystick.tlog import (
    LeafIndex,
    TreeSize,
    hash_children,
    hash_leaf,
    prove_inclusion,
    tree_root,
)
from tallystick.web.path import trace_path
from tests.support.sealed import SealedLog


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 300])
def test_steps_lead_to_the_root(size: int):
    """Hashing each sibling on the side that its step names leads from the leaf to the root."""
    log = SealedLog([bytes([number % 256, number // 256]) for number in range(size)])
    for index in range(size):
        hashes = prove_inclusion(log, index=LeafIndex(index), size=TreeSize(size))
        node = hash_leaf(log.leaves[index])
        for step in trace_path(hashes, index=index, size=size):
            pair = (step.sibling, node) if step.side == "left" else (node, step.sibling)
            node = hash_children(*pair)
        assert node == tree_root([hash_leaf(leaf) for leaf in log.leaves])
