"""
The Merkle-Patricia trie of a block's receipts: its root, and the proof of one of them.

Follows the Ethereum Yellow Paper, appendix D (chain.md, section 4.1.7). The key of an item is
the RLP of its index, so a trie holds a whole block's items, from 0 on; it is built at once and
never changed. No such key begins another, which is why no branch here holds a value. Nodes of
one height are hashed side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.record.errors import MalformedRlpError, MalformedTrieProofError, TrieProofError
from tallystick.record.evm.keccak import DIGEST_BYTES, keccak256, keccak256_many
from tallystick.record.evm.rlp import (
    RlpItem,
    format_rlp_integer,
    rlp_decode,
    rlp_encode,
    rlp_join,
)

BRANCH_ITEMS: Final = 17
PAIR_ITEMS: Final = 2
LEAF: Final = 2
"""The flag of hex-prefix that tells a leaf from an extension."""
ODD: Final = 1
"""The flag of hex-prefix for a path of an odd number of nibbles."""
EMPTY: Final = rlp_encode(b"")
EMPTY_TRIE_ROOT: Final = keccak256(EMPTY)
MAX_INDEX: Final = (1 << 24) - 1
"""No block holds so many transactions; the key of an index has four bytes at most."""
MAX_PROOF_NODES: Final = 64
"""A key of four bytes leads through 17 nodes at most."""
MAX_PROOF_BYTES: Final = 1 << 20
"""As much as a proof bundle allows a receipt proof (proof.md, section 5.6)."""

Nibbles = bytes
"""The half-bytes of a key, each in a byte of its own."""


@dataclass(slots=True)
class TrieNode:
    """
    A leaf (no child), an extension (one child, under a path) or a branch (two or more).

    `encoded` and `reference` are there once its children's are.
    """

    path: Nibbles
    children: tuple[tuple[int, TrieNode], ...] = ()
    value: bytes = b""
    height: int = 0
    encoded: bytes = b""
    reference: bytes = b""
    """What its parent holds: the RLP of its hash, or the node itself below 32 bytes."""


@dataclass(frozen=True, slots=True)
class OrderedTrie:
    """The trie of a list of items: its root of 32 bytes, and proofs."""

    root: bytes
    count: int
    top: TrieNode | None

    def prove(self, index: int) -> list[bytes]:
        """
        Return the nodes that lead to item *index*, root first; the last one holds the item.

        A node below 32 bytes stands within its parent, and not in the list.
        """
        assert self.top is not None
        assert 0 <= index < self.count, f"item {index} of {self.count}"
        node, key = self.top, trie_key(index)
        proof = [node.encoded]
        while node.children:
            key = key[len(node.path) :]
            if len(node.children) == 1:
                node = node.children[0][1]
            else:
                node, key = dict(node.children)[key[0]], key[1:]
            if len(node.encoded) >= DIGEST_BYTES:
                proof.append(node.encoded)
        return proof


def build_ordered_trie(items: Sequence[bytes]) -> OrderedTrie:
    """Return the trie that holds each of *items*, none of them empty, under its index."""
    if not items:
        return OrderedTrie(EMPTY_TRIE_ROOT, 0, None)
    assert all(items), "an empty item is an absent one"
    top = _grow(sorted((trie_key(index), item) for index, item in enumerate(items)), 0)
    by_height: list[list[TrieNode]] = [[] for _ in range(top.height + 1)]
    for node in _nodes(top):
        by_height[node.height].append(node)
    for nodes in by_height:
        _seal(nodes)
    # The root is hashed however short it is.
    return OrderedTrie(keccak256(top.encoded), len(items), top)


def trie_key(index: int) -> Nibbles:
    """Return the key of item *index*: the nibbles of its RLP."""
    return _nibbles(rlp_encode(format_rlp_integer(index)))


def check_trie_proof(proof: Sequence[bytes], *, root: bytes, index: int, item: bytes) -> None:
    """
    Check that the trie with *root* holds *item* at *index*; *proof* is `OrderedTrie.prove`'s.

    Raises:
        MalformedTrieProofError: *index* is negative or over `MAX_INDEX`, the proof is over
            `MAX_PROOF_NODES` or `MAX_PROOF_BYTES`, or a node is none of a trie. A node is
            decoded only when its hash is the expected one.
        TrieProofError: A node has another hash than the one above it says, the path leads
            elsewhere, ends early or goes on, or another item stands there.
    """
    if len(proof) > MAX_PROOF_NODES or sum(map(len, proof)) > MAX_PROOF_BYTES:
        raise MalformedTrieProofError("a trie proof is over 64 nodes or 1 MiB")
    if not 0 <= index <= MAX_INDEX:
        raise MalformedTrieProofError(f"no trie holds an item {index}")
    reference = root
    key: Nibbles | None = trie_key(index)
    for encoded in proof:
        if key is None:
            raise TrieProofError("the proof goes on after the item")
        actual = keccak256(encoded)
        if actual != reference:
            raise TrieProofError(expected=reference, actual=actual)
        reference, key = _follow(encoded, key)
    if key is not None:
        raise TrieProofError("the proof ends before the item")
    if reference != item:
        raise TrieProofError("another item stands at this index")


def _grow(items: Sequence[tuple[Nibbles, bytes]], depth: int) -> TrieNode:
    """Return the node over *items*, sorted by key, whose keys are alike up to *depth*."""
    first, last = items[0][0], items[-1][0]
    if len(items) == 1:
        return TrieNode(path=first[depth:], value=items[0][1])
    fork = depth
    while first[fork] == last[fork]:
        fork += 1
    if fork > depth:
        below = _grow(items, fork)
        path = first[depth:fork]
        return TrieNode(path=path, children=((0, below),), height=below.height + 1)
    children = tuple(
        (nibble, _grow(list(group), depth + 1))
        for nibble, group in itertools.groupby(items, key=lambda item: item[0][depth])
    )
    height = 1 + max(child.height for _, child in children)
    return TrieNode(path=b"", children=children, height=height)


def _nodes(top: TrieNode) -> Iterator[TrieNode]:
    yield top
    for _, child in top.children:
        yield from _nodes(child)


def _seal(nodes: Sequence[TrieNode]) -> None:
    """Give each of *nodes* its encoding and reference; those below have theirs."""
    for node in nodes:
        node.encoded = _encode(node)
        node.reference = node.encoded
    long = [node for node in nodes if len(node.encoded) >= DIGEST_BYTES]
    for node, digest in zip(long, keccak256_many([node.encoded for node in long]), strict=True):
        node.reference = rlp_encode(digest)


def _encode(node: TrieNode) -> bytes:
    if not node.children:
        return rlp_join([rlp_encode(_pack(node.path, LEAF)), rlp_encode(node.value)])
    if len(node.children) == 1:
        return rlp_join([rlp_encode(_pack(node.path, 0)), node.children[0][1].reference])
    items = [EMPTY] * BRANCH_ITEMS
    for nibble, child in node.children:
        items[nibble] = child.reference
    return rlp_join(items)


def _follow(encoded: bytes, key: Nibbles) -> tuple[bytes, Nibbles | None]:
    """
    Walk through a node, and those within it, along *key*.

    Return the reference it leads to with the rest of the key, or the item with None.
    """
    item = _decode(encoded)
    rest: Nibbles | None = key
    while rest is not None and isinstance(item, list):
        item, rest = _step(item, rest)
    if not isinstance(item, bytes):
        raise MalformedTrieProofError("an item of a trie is a list")
    return item, rest


def _step(node: list[RlpItem], key: Nibbles) -> tuple[RlpItem, Nibbles | None]:
    """Return what *node* holds for *key*, and the rest of the key; None at the item itself."""
    if len(node) == BRANCH_ITEMS:
        if not key:
            raise TrieProofError("the path ends within a branch")
        return node[key[0]], key[1:]
    if len(node) != PAIR_ITEMS:
        raise MalformedTrieProofError(f"a node of a trie has {len(node)} items")
    path, is_leaf = _unpack(node[0])
    if is_leaf:
        if path != key:
            raise TrieProofError("the leaf is another item's")
        return node[1], None
    if not key.startswith(path):
        raise TrieProofError("the path leads elsewhere")
    return node[1], key[len(path) :]


def _decode(encoded: bytes) -> RlpItem:
    try:
        return rlp_decode(encoded)
    except MalformedRlpError as error:
        raise MalformedTrieProofError(f"a node of a trie: {error.message}") from error


def _nibbles(key: bytes) -> Nibbles:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


def _pack(path: Nibbles, flag: int) -> bytes:
    """Return *path* as hex-prefix: the flags' nibble, another 0 where the path is even."""
    head = (flag | ODD, *path) if len(path) % 2 else (flag, 0, *path)
    return bytes(high << 4 | low for high, low in zip(head[::2], head[1::2], strict=True))


def _unpack(packed: RlpItem) -> tuple[Nibbles, bool]:
    """Return the path that hex-prefix writes, and whether it is a leaf's."""
    if not isinstance(packed, bytes) or not packed:
        raise MalformedTrieProofError("a path of a trie is empty or a list")
    nibbles = _nibbles(packed)
    flags = nibbles[0]
    if flags > LEAF | ODD or (not flags & ODD and nibbles[1]):
        raise MalformedTrieProofError("a path of a trie has unknown flags")
    path = nibbles[1:] if flags & ODD else nibbles[2:]
    if not flags & LEAF and not path:
        raise MalformedTrieProofError("an extension of a trie has an empty path")
    return path, bool(flags & LEAF)
