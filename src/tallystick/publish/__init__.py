"""
Publishing: heads, tiles, entries, proofs and rows, read beside the sequencer (log.md, 4.6).

This list is what others may use.
"""

from tallystick.outbox import register_topics
from tallystick.publish.heads import Heads, PublishedHead
from tallystick.publish.histories import history_file, newest_map
from tallystick.publish.proofs import MAX_PROOFS
from tallystick.publish.publisher import Publisher
from tallystick.publish.values import (
    FoundLeaf,
    GrowthProof,
    LeafProof,
    LeafVersion,
    RowKey,
    RowState,
    SearchFilter,
    SearchPage,
    SignedCheckpoint,
)

__all__ = [
    "MAX_PROOFS",
    "FoundLeaf",
    "GrowthProof",
    "Heads",
    "LeafProof",
    "LeafVersion",
    "PublishedHead",
    "Publisher",
    "RowKey",
    "RowState",
    "SearchFilter",
    "SearchPage",
    "SignedCheckpoint",
    "history_file",
    "newest_map",
]

register_topics(
    {
        "log.published": "log:read",
        "witness.conflict": "log:read",
        "witness.cleared": "log:read",
    }
)
