"""
Chain files: a leaf's proof, and the proof that its log's note stands in the log of logs.

Each link is an ordinary `.tlog-proof`; what joins them is that the inner note is the outer
leaf, byte for byte. Follows log.md, section 9.2.
"""

from __future__ import annotations

from tallystick.db import Database
from tallystick.publish.errors import HeadNotTakenError
from tallystick.publish.headlog import store
from tallystick.publish.heads import PublishedHead
from tallystick.publish.publisher import Publisher
from tallystick.tlog import LeafIndex, TlogProof, format_tlog_proof, parse_note
from tallystick.verify import HEADS_LOG, HeadChain, format_chain


def prove_through_heads(
    database: Database, publisher: Publisher, head: PublishedHead, index: LeafIndex
) -> bytes:
    """
    Return the chain file of the leaf at *index*, under the newest head of its log that the
    published log of logs holds.

    Raises:
        LogNotFoundError: There is no log of logs.
        LeafNotFoundError: The log has published no leaf at *index*.
        HeadNotTakenError: No head beyond the leaf stands in the log of logs yet.
    """
    heads = publisher.published_head(HEADS_LOG)
    publisher.entry(head, index)
    taken = database.read(lambda tx: store.taken_head(tx, head, heads, index=index))
    if taken is None or taken.size > head.size:
        raise HeadNotTakenError(
            f"no head of log {head.log_name} beyond leaf {index} stands in {HEADS_LOG} yet"
        )
    checkpoint = publisher.checkpoint_at(head, taken.size)
    proof = publisher.prove_index(head, index, taken.size)
    # Without cosignatures: the leaf of the log of logs is the note as the log signed it.
    leaf_proof = format_tlog_proof(
        TlogProof(index, proof.hashes, parse_note(checkpoint.note.encode()))
    )
    return format_chain(HeadChain(leaf_proof, publisher.proof_file(heads, taken.head_index)))
