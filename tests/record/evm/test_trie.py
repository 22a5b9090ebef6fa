"""The trie of a block's receipts: roots, proofs, and everything that is no proof."""

from __future__ import annotations

import functools

import pytest
import rlp
from hypothesis import given, settings
from hypothesis import strategies as st
from trie import HexaryTrie

from tallystick.record import (
    MalformedTrieProofError,
    TrieProofError,
    build_ordered_trie,
    check_trie_proof,
    keccak256,
    rlp_encode,
)
from tallystick.record.evm import EMPTY_TRIE_ROOT

ITEMS = st.lists(st.binary(min_size=1, max_size=80), max_size=40)
COUNTS = [1, 2, 3, 16, 17, 127, 128, 129, 200, 256, 257, 300]


def reference(items):
    """Return the trie that the reference package makes, item by item."""
    made = HexaryTrie({})
    for index, item in enumerate(items):
        made[rlp.encode(index)] = item
    return made


@functools.cache
def block(count=200, size=300):
    """Return so many items of a size, and their trie."""
    items = [number.to_bytes(2, "big") * (size // 2) for number in range(1, count + 1)]
    return items, build_ordered_trie(items)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("size", [2, 300])
def test_roots_and_proofs_of_every_shape(count, size):
    """Below and above the indexes at which keys grow, roots are the reference's and proofs hold."""
    items, made = block(count, size)
    assert reference(items).root_hash == made.root
    for index in {0, 1, count // 2, count - 1} & set(range(count)):
        proof = made.prove(index)
        check_trie_proof(proof, root=made.root, index=index, item=items[index])


@settings(max_examples=100, deadline=None)
@given(ITEMS)
def test_any_items(items):
    """Whatever the items are, small ones within their parents too, the reference agrees."""
    made = build_ordered_trie(items)
    assert reference(items).root_hash == made.root
    for index, item in enumerate(items):
        check_trie_proof(made.prove(index), root=made.root, index=index, item=item)


def test_a_proof_is_the_nodes_of_the_reference():
    """The nodes of a proof are those that the reference walks through, root first."""
    items, made = block()
    theirs = reference(items).get_proof(rlp.encode(150))
    assert [rlp.encode(node) for node in theirs] == made.prove(150)


def test_nothing_is_in_an_empty_trie():
    """The empty trie has its published root, and no proof leads to anything."""
    assert EMPTY_TRIE_ROOT == build_ordered_trie([]).root
    published = "56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
    assert published == EMPTY_TRIE_ROOT.hex()
    for proof in ([], [b"\x80"]):
        with pytest.raises((TrieProofError, MalformedTrieProofError)):
            check_trie_proof(proof, root=EMPTY_TRIE_ROOT, index=0, item=b"x")


def test_each_changed_byte_of_a_proof_is_refused():
    """chain 17: no byte of a node can be changed: its hash is not what the node above says."""
    items, made = block(20, 40)
    proof = made.prove(7)
    assert len(proof) > 1
    for number, node in enumerate(proof):
        for place in range(len(node)):
            changed = bytearray(node)
            changed[place] ^= 1 << place % 8
            other = [*proof[:number], bytes(changed), *proof[number + 1 :]]
            with pytest.raises(TrieProofError) as caught:
                check_trie_proof(other, root=made.root, index=7, item=items[7])
            assert keccak256(bytes(changed)) == caught.value.actual


def test_another_proof_is_refused():
    """Nodes left out, added, exchanged or of another item do not lead to this one."""
    items, made = block()
    proof = made.prove(130)
    others = [
        [],
        proof[:-1],
        proof[1:],
        [*proof, proof[-1]],
        [*proof, b""],
        [proof[0], *proof],
        proof[::-1],
        made.prove(131),
    ]
    for other in others:
        with pytest.raises(TrieProofError):
            check_trie_proof(other, root=made.root, index=130, item=items[130])


def test_another_claim_is_refused():
    """One proof shows one item at one index under one root."""
    items, made = block()
    proof = made.prove(130)
    for index in (0, 2, 129, 131, 200, 130 * 256, 2**24 - 1):
        with pytest.raises(TrieProofError):
            check_trie_proof(proof, root=made.root, index=index, item=items[130])
    for item in (items[131], b"", items[130] + b"\0", items[130][:-1]):
        with pytest.raises(TrieProofError):
            check_trie_proof(proof, root=made.root, index=130, item=item)
    for root in (EMPTY_TRIE_ROOT, bytes(32), b""):
        with pytest.raises(TrieProofError) as caught:
            check_trie_proof(proof, root=root, index=130, item=items[130])
        assert root == caught.value.expected


@pytest.mark.parametrize("index", [-1, 2**24, 2**300])
def test_an_index_that_no_block_has(index):
    """An index that is negative or beyond every block is refused, not computed with."""
    with pytest.raises(MalformedTrieProofError):
        check_trie_proof([], root=EMPTY_TRIE_ROOT, index=index, item=b"x")


def test_a_proof_that_is_too_long():
    """A proof beyond the limits is refused before anything is hashed."""
    for proof in ([b""] * 65, [bytes(2**20 + 1)]):
        with pytest.raises(MalformedTrieProofError):
            check_trie_proof(proof, root=bytes(32), index=0, item=b"x")


LEAF_0 = [b"\x20\x80", b"item"]
NODES = {
    "no RLP": b"\xc3",
    "three items": rlp_encode([b"", b"", b""]),
    "an empty path": rlp_encode([b"", b"item"]),
    "a path that is a list": rlp_encode([[], b"item"]),
    "unknown flags": rlp_encode([b"\x40\x80", b"item"]),
    "padding that is not zero": rlp_encode([b"\x21\x80", b"item"]),
    "an extension of nothing": rlp_encode([b"\x00", LEAF_0]),
    "an item that is a list": rlp_encode([b"\x20\x80", [b"item"]]),
}


@pytest.mark.parametrize("flaw", NODES)
def test_a_node_that_is_none(flaw):
    """A node that the root vouches for, and that is none of a trie, is refused by name."""
    node = NODES[flaw]
    with pytest.raises(MalformedTrieProofError):
        check_trie_proof([node], root=keccak256(node), index=0, item=b"item")


def test_the_flaws_are_of_a_true_node():
    """Without its flaw such a node is a proof: the leaf of the only item."""
    node = rlp_encode(LEAF_0)
    check_trie_proof([node], root=keccak256(node), index=0, item=b"item")


def test_a_path_that_ends_within_a_branch():
    """A branch under the whole key is another key's place, and holds no item of ours."""
    node = rlp_encode([b"\x00\x80", [b""] * 16 + [b"item"]])
    with pytest.raises(TrieProofError):
        check_trie_proof([node], root=keccak256(node), index=0, item=b"item")


def test_a_node_within_itself_ends():
    """Nodes nest no deeper than RLP may: a walk through them always ends."""
    node = LEAF_0
    for _ in range(15):
        node = [b"\x10", node]
    encoded = rlp_encode(node)
    with pytest.raises(TrieProofError):
        check_trie_proof([encoded], root=keccak256(encoded), index=0, item=b"item")
