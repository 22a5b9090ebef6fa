"""
The Merkle hash of RFC 6962, section 2.1, with SHA-256: leaves, nodes and roots.

Hashes travel one by one as `Hash` and many at a time as *rows*: one bytes block of 32-byte
hashes side by side, because a batch of 65,536 leaves is one object then and not 65,536.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Hash = NewType("Hash", bytes)
"""32 bytes of SHA-256: of a leaf, a node or a tree."""
LeafIndex = NewType("LeafIndex", int)
"""The position of a leaf, from 0."""
TreeSize = NewType("TreeSize", int)
"""How many leaves a tree has."""

HASH_BYTES: Final = 32
MAX_TREE_SIZE: Final = TreeSize(2**63 - 1)
"""What a signed 64-bit column holds; a proof in such a tree has at most 63 hashes."""
MAX_PROOF_HASHES: Final = 63
"""The height of the largest tree; the most that a witness accepts (tlog-witness)."""

EMPTY_ROOT: Final = Hash(hashlib.sha256(b"").digest())
"""The root of the tree without leaves."""

_LEAF_PREFIX: Final = b"\x00"
_NODE_PREFIX: Final = b"\x01"
_PAIR_BYTES: Final = 2 * HASH_BYTES


def hash_leaf(data: bytes) -> Hash:
    """The hash of the leaf whose bytes are *data*."""
    return Hash(hashlib.sha256(_LEAF_PREFIX + data).digest())


def hash_children(left: bytes, right: bytes) -> Hash:
    """The hash of the node over the subtrees *left* and *right*."""
    return Hash(hashlib.sha256(_NODE_PREFIX + left + right).digest())


def hash_pairs(row: bytes) -> bytes:
    """The row of parents of *row*, which has an even number of hashes; half as long."""
    sha256, prefix = hashlib.sha256, _NODE_PREFIX
    return b"".join(
        [
            sha256(prefix + row[start : start + _PAIR_BYTES]).digest()
            for start in range(0, len(row), _PAIR_BYTES)
        ]
    )


def tree_root(hashes: Iterable[bytes]) -> Hash:
    """The root of the tree over the leaf hashes *hashes*; `EMPTY_ROOT` without any."""
    row = b"".join(hashes)
    if not row:
        return EMPTY_ROOT
    while len(row) > HASH_BYTES:
        # An odd last node has no sibling at this height: it rises as it is. RFC 6962 splits
        # at the largest power of two from above; seen from below that is the same tree.
        paired = len(row) - len(row) % _PAIR_BYTES
        row = hash_pairs(row[:paired]) + row[paired:]
    return Hash(row)


def fold_right(hashes: Sequence[bytes]) -> Hash:
    """
    The root over complete subtrees that stand side by side, each smaller than the one before.

    *hashes* has at least one.
    """
    *left, root = hashes
    for sibling in reversed(left):
        root = hash_children(sibling, root)
    return Hash(root)


def hash_at(row: bytes, position: int) -> Hash:
    """The hash at *position* of *row*."""
    return Hash(row[position * HASH_BYTES : (position + 1) * HASH_BYTES])
