"""
Inclusion and consistency proofs: made from tiles, checked against roots.

Follows RFC 6962, sections 2.1.1 and 2.1.2. The tree is never materialised. Both kinds of
proof are one climb: from a node on the path of a leaf to the root, with the sibling of each
node on the way. A consistency proof of *old* leaves climbs from the last complete subtree
of the old tree: with the siblings on its left it leads to the old root, with all of them to
the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from tallystick.tlog.errors import ConsistencyError, InclusionError, MalformedProofError
from tallystick.tlog.tile import TILE_HEIGHT, TILE_WIDTH, HashReader, read_rows, tile_at
from tallystick.tlog.tree import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_TREE_SIZE,
    Hash,
    LeafIndex,
    TreeSize,
    fold_right,
    hash_children,
    hash_pairs,
    tree_root,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class _Node:
    """The subtree over the leaves `[position << height, (position + 1) << height)`."""

    height: int
    position: int

    @property
    def first_leaf(self) -> int:
        return self.position << self.height

    @property
    def is_left(self) -> bool:
        return not self.position & 1


class TileRow(bytes):
    """
    The row of a full tile that keeps nodes above its hashes once they were needed: 2 kB more.

    A reader that answers with it spares a proof 250 hashes; the bytes are the same.
    """

    _LOWEST_KEPT = 3
    """Lower nodes are three times as many bytes, and cost 4 hashes a proof."""

    def root_of(self, start: int, end: int) -> Hash:
        """The root of the complete subtree over the bytes `[start, end)` of the row."""
        height = ((end - start) // HASH_BYTES).bit_length() - 1
        if height < self._LOWEST_KEPT:
            return tree_root([self[start:end]])
        first = start >> height
        return Hash(self._upper_rows[height - self._LOWEST_KEPT][first : first + HASH_BYTES])

    @cached_property
    def _upper_rows(self) -> tuple[bytes, ...]:
        rows = [bytes(self)]
        while len(rows[-1]) > HASH_BYTES:
            rows.append(hash_pairs(rows[-1]))
        return tuple(rows[self._LOWEST_KEPT :])


def prove_inclusion(reader: HashReader, *, index: LeafIndex, size: TreeSize) -> list[Hash]:
    """
    The siblings on the path of the leaf at *index* in the tree of *size* leaves, leaf first.

    At most ceil(log2 size) hashes, from at most 2 * ceil(log256 size) tiles read in one call.

    Raises:
        MalformedProofError: *index* is outside the tree.
        MalformedTileError: *reader* answers with other tiles than it was asked for.
    """
    _check_leaf(index=index, size=size)
    return _read_nodes(reader, list(_siblings(_Node(0, index), size)), size=size)


def check_inclusion(
    proof: Sequence[bytes], *, leaf: Hash, index: LeafIndex, size: TreeSize, root: Hash
) -> None:
    """
    Check that the leaf with the hash *leaf* stands at *index* in the tree of *size* and *root*.

    Raises:
        MalformedProofError: *index* is outside the tree, the proof is not as long as the
            leaf's position requires, or a hash has not 32 bytes. Nothing has been hashed.
        InclusionError: The proof leads to another root; the error carries both.
    """
    _check_leaf(index=index, size=size)
    siblings = list(_siblings(_Node(0, index), size))
    _check_shape(proof, wanted=len(siblings), seed=leaf)
    actual = _climb(leaf, siblings, proof)
    if actual != root:
        raise InclusionError(expected=root, actual=actual)


def prove_consistency(reader: HashReader, *, old_size: TreeSize, new_size: TreeSize) -> list[Hash]:
    """
    The proof that the tree of *new_size* leaves extends the one of *old_size*.

    At most 1 + ceil(log2 new_size) hashes, from as few tiles as an inclusion proof. Empty if
    *old_size* is 0 or *new_size*: nothing has to be proven then.

    Raises:
        MalformedProofError: *old_size* is beyond *new_size*, or one is no tree size.
        MalformedTileError: *reader* answers with other tiles than it was asked for.
    """
    _check_sizes(start=0, end=old_size, size=new_size)
    if old_size in (0, new_size):
        return []
    seed = _last_complete(start=0, end=old_size)
    nodes = list(_siblings(seed, new_size))
    # The reader of the proof holds the old root: it is the seed if the old tree is complete.
    if seed.first_leaf > 0:
        nodes.insert(0, seed)
    return _read_nodes(reader, nodes, size=new_size)


def check_consistency(
    proof: Sequence[bytes],
    *,
    old_size: TreeSize,
    new_size: TreeSize,
    old_root: Hash,
    new_root: Hash,
) -> None:
    """
    Check that the tree of *new_size* and *new_root* extends the one of *old_size* and *old_root*.

    The empty tree is extended by any, with an empty proof (tlog-witness).

    Raises:
        MalformedProofError: *old_size* is beyond *new_size*, the proof is not as long as the
            sizes require, or a hash has not 32 bytes. Nothing has been hashed.
        ConsistencyError: The proof leads to another old or new root, or the empty tree is
            given another root than `EMPTY_ROOT`; the error carries both.
    """
    _check_sizes(start=0, end=old_size, size=new_size)
    if old_size > 0:
        _check_extension(
            proof, start=0, end=old_size, size=new_size, old_root=old_root, new_root=new_root
        )
        return
    _check_shape(proof, wanted=0, seed=new_root)
    expected_new = EMPTY_ROOT if new_size == 0 else new_root
    for expected, actual in ((EMPTY_ROOT, old_root), (expected_new, new_root)):
        if expected != actual:
            raise ConsistencyError(expected=expected, actual=actual)


def check_subtree_inclusion(
    proof: Sequence[bytes],
    *,
    leaf: Hash,
    index: LeafIndex,
    start: LeafIndex,
    end: LeafIndex,
    root: Hash,
) -> None:
    """
    Check that the leaf at *index* of a log stands in its subtree `[start, end)` with *root*.

    Follows draft-ietf-plants-merkle-tree-certs, section 4.3: a subtree is a tree of its own.

    Raises:
        MalformedProofError: `[start, end)` is no subtree or is without *index*, or the proof
            has not the shape that these require. Nothing has been hashed.
        InclusionError: The proof leads to another root; the error carries both.
    """
    _check_subtree(start=start, end=end, size=end)
    check_inclusion(
        proof, leaf=leaf, index=LeafIndex(index - start), size=TreeSize(end - start), root=root
    )


def check_subtree_consistency(
    proof: Sequence[bytes],
    *,
    start: LeafIndex,
    end: LeafIndex,
    size: TreeSize,
    subtree_root: Hash,
    root: Hash,
) -> None:
    """
    Check that the subtree `[start, end)` with *subtree_root* is part of the tree of *size*.

    Follows draft-ietf-plants-merkle-tree-certs, section 4.4. An empty subtree is part of any
    tree, with an empty proof, whatever *root* is.

    Raises:
        MalformedProofError: `[start, end)` is no subtree of a tree of *size* leaves, or the
            proof has not the shape that these require. Nothing has been hashed.
        ConsistencyError: The proof leads to another root of subtree or tree.
    """
    _check_subtree(start=start, end=end, size=size)
    if start < end:
        _check_extension(
            proof, start=start, end=end, size=size, old_root=subtree_root, new_root=root
        )
        return
    _check_shape(proof, wanted=0, seed=subtree_root)
    if subtree_root != EMPTY_ROOT:
        raise ConsistencyError(expected=EMPTY_ROOT, actual=subtree_root)


def _check_extension(
    proof: Sequence[bytes], *, start: int, end: int, size: TreeSize, old_root: Hash, new_root: Hash
) -> None:
    # At the right border of the tree the subtree is itself a node of it, however incomplete.
    at_border = end == size
    seed_node = (
        _covering(start=start, end=end) if at_border else _last_complete(start=start, end=end)
    )
    siblings = list(_siblings(seed_node, size))
    is_whole = at_border or seed_node.first_leaf == start
    wanted = len(siblings) + (0 if is_whole else 1)
    if wanted == 0:
        # Both are one tree, and nothing is hashed: the roots say it all.
        _check_shape(proof, wanted=0, seed=None)
        actual_new = actual_old = old_root
    else:
        _check_shape(proof, wanted=wanted, seed=old_root)
        seed = old_root if is_whole else Hash(proof[0])
        path = proof[wanted - len(siblings) :]
        # The old tree has of the path only what stands left of the seed, from start on.
        inside = [node.is_left and node.first_leaf >= start for node in siblings]
        old_nodes = [node for node, keep in zip(siblings, inside, strict=True) if keep]
        old_path = [item for item, keep in zip(path, inside, strict=True) if keep]
        actual_old = old_root if is_whole else _climb(seed, old_nodes, old_path)
        actual_new = _climb(seed, siblings, path)
    for expected, actual in ((old_root, actual_old), (new_root, actual_new)):
        if expected != actual:
            raise ConsistencyError(expected=expected, actual=actual)


def _siblings(node: _Node, size: TreeSize) -> Iterator[_Node]:
    """The siblings from *node* up to the root of *size* leaves; the last of a row has none."""
    height, position, last = node.height, node.position, (size - 1) >> node.height
    while last > 0:
        sibling = position ^ 1
        if sibling <= last:
            yield _Node(height, sibling)
        height, position, last = height + 1, position >> 1, last >> 1


def _climb(seed: bytes, siblings: Sequence[_Node], path: Sequence[bytes]) -> Hash:
    """The root above *seed*, whose *siblings* have the hashes of *path*."""
    node = Hash(seed)
    for sibling, item in zip(siblings, path, strict=True):
        node = hash_children(item, node) if sibling.is_left else hash_children(node, item)
    return node


def _last_complete(*, start: int, end: int) -> _Node:
    """The rightmost complete subtree of `[start, end)`, which is not empty."""
    width = end - start
    height = (width & -width).bit_length() - 1
    return _Node(height, (end - 1) >> height)


def _covering(*, start: int, end: int) -> _Node:
    """The node over exactly `[start, end)` in a tree of *end* leaves."""
    height = (start ^ (end - 1)).bit_length()
    return _Node(height, start >> height)


def _check_leaf(*, index: LeafIndex, size: TreeSize) -> None:
    if not 0 <= index < size <= MAX_TREE_SIZE:
        raise MalformedProofError(f"leaf {index} is outside a tree of {size} leaves")


def _check_sizes(*, start: int, end: int, size: int) -> None:
    if not 0 <= start <= end <= size <= MAX_TREE_SIZE:
        raise MalformedProofError(f"leaves {start} to {end} are outside a tree of {size} leaves")


def _check_subtree(*, start: int, end: int, size: int) -> None:
    _check_sizes(start=start, end=end, size=size)
    # A node that covers the leaves starts at a multiple of the power of two that holds them.
    height = (end - start - 1).bit_length() if end > start else 0
    if start % (1 << height):
        raise MalformedProofError(f"no subtree covers exactly the leaves {start} to {end}")


def _check_shape(proof: Sequence[bytes], *, wanted: int, seed: bytes | None) -> None:
    if len(proof) != wanted:
        raise MalformedProofError(f"the proof has {len(proof)} hashes, needs {wanted}")
    hashed = proof if seed is None else (*proof, seed)
    if any(len(item) != HASH_BYTES for item in hashed):
        raise MalformedProofError(f"a hash has not {HASH_BYTES} bytes")


def _read_nodes(reader: HashReader, nodes: Sequence[_Node], *, size: TreeSize) -> list[Hash]:
    """The hashes of *nodes* in the tree of *size* leaves, from tiles read in one call."""
    spans = [[_span_of(part) for part in _complete_parts(node, size)] for node in nodes]
    places = sorted({(span.level, span.tile_index) for group in spans for span in group})
    rows = read_rows(reader, [tile_at(level, index, size=size) for level, index in places])
    return [fold_right([_hash_of(rows, span) for span in group]) for group in spans]


def _complete_parts(node: _Node, size: TreeSize) -> Iterator[_Node]:
    """The complete subtrees that make *node*, the largest first; itself if it is complete."""
    if (node.position + 1) << node.height <= size:
        yield node
        return
    start, height = node.first_leaf, node.height
    rest = min(size - start, 1 << height)
    while rest:
        height = rest.bit_length() - 1
        yield _Node(height, start >> height)
        start, rest = start + (1 << height), rest - (1 << height)


class _Span(NamedTuple):
    """Where a complete subtree stands in tiles: the bytes `[start, end)` of one row."""

    level: int
    tile_index: int
    start: int
    end: int


def _span_of(node: _Node) -> _Span:
    level, above = divmod(node.height, TILE_HEIGHT)
    index, offset = divmod(node.position << above, TILE_WIDTH)
    start = offset * HASH_BYTES
    return _Span(level, index, start, start + (HASH_BYTES << above))


def _hash_of(rows: Mapping[tuple[int, int], bytes], span: _Span) -> Hash:
    row = rows[span.level, span.tile_index]
    if isinstance(row, TileRow):
        return row.root_of(span.start, span.end)
    return _row_root(row[span.start : span.end])


# The upper tiles and the right edge are in nearly every proof, and a node in the middle of a
# tile costs up to 127 hashes: remembered by its row, which cannot go stale. At most 16 MB.
@lru_cache(maxsize=4096)
def _row_root(row: bytes) -> Hash:
    return tree_root([row])
