"""Proofs out of a real database, against RFC 6962 written recursively."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import sql

from tallystick.publish import Publisher, RowKey
from tallystick.publish.errors import LeafNotFoundError, RootNotFoundError, SizeTooLargeError
from tallystick.publish.proofs import CACHE_ENTRIES, CACHE_SECONDS, ProofCache
from tallystick.publish.values import LeafProof
from tallystick.seal.errors import InvalidRequestError
from tallystick.seal.logs import LogId
from tallystick.tlog import (
    EMPTY_EDGE,
    EMPTY_ROOT,
    Hash,
    LeafIndex,
    TreeSize,
    check_inclusion,
    edge_root,
    extend_edge,
    hash_leaf,
    parse_checkpoint,
    parse_tlog_proof,
)
from tests.support.sealed import payment
from tests.tlog.naive import NaiveTree

if TYPE_CHECKING:
    from tests.support.log_builder import LogBuilder

BORDERS = (1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 258, 511, 512, 513, 599, 600)


def leaves(count: int) -> list[bytes]:
    """Return so many different leaves."""
    return [b"leaf %d" % number for number in range(count)]


@pytest.fixture
def naive(builder: LogBuilder, publisher: Publisher) -> NaiveTree:
    """A log of 600 leaves, sealed in batches of uneven sizes, and its naive tree."""
    entries = leaves(600)
    builder.create("plain", batch_size=97)
    builder.append("plain", entries)
    assert builder.seal("plain") == 600
    publisher.refresh()
    return NaiveTree(entries)


def check_all_leaves(publisher: Publisher, naive: NaiveTree, sizes: list[int]) -> None:
    """Compare the proof of each leaf at each of *sizes* with the naive tree's."""
    head = publisher.published_head("plain")
    for size in sizes:
        for index in range(size):
            proof = publisher.prove_index(head, LeafIndex(index), size)
            assert proof.hashes == naive.inclusion(index, size)
            assert (proof.root, proof.leaf_hash) == (naive.root(size), naive.leaf(index))


def test_inclusion_proofs_at_borders_equal_a_naive_tree(
    publisher: Publisher, naive: NaiveTree
) -> None:
    """log 23: A leaf's proof at any past size is the one that RFC 6962 describes."""
    check_all_leaves(publisher, naive, list(BORDERS))


@pytest.mark.slow
def test_all_inclusion_proofs_equal_a_naive_tree(publisher: Publisher, naive: NaiveTree) -> None:
    """log 23: The proof at every index and size to 600 is the one that RFC 6962 describes."""
    check_all_leaves(publisher, naive, list(range(1, 601)))


@pytest.mark.slow
def test_all_growth_proofs_equal_a_naive_tree(publisher: Publisher, naive: NaiveTree) -> None:
    """log 23: The proof between any two sizes to 300 is the one that RFC 6962 describes."""
    head = publisher.published_head("plain")
    for new in range(301):
        for old in range(new + 1):
            proof = publisher.prove_growth(head, old, new)
            assert proof.hashes == (naive.consistency(old, new) if old else ())
            assert (proof.old_root, proof.new_root) == (naive.root(old), naive.root(new))


def test_growth_proofs_at_borders_equal_a_naive_tree(
    publisher: Publisher, naive: NaiveTree
) -> None:
    """log 23: Growth is proven between any two published sizes, signed or not."""
    head = publisher.published_head("plain")
    for new in BORDERS:
        for old in (size for size in BORDERS if size <= new):
            proof = publisher.prove_growth(head, old, new)
            assert proof.hashes == naive.consistency(old, new)
            assert (proof.old_root, proof.new_root) == (naive.root(old), naive.root(new))


def test_roots_of_unsigned_sizes_come_from_tiles(publisher: Publisher, naive: NaiveTree) -> None:
    """The root at any published size is the tree's, signed or not."""
    head = publisher.published_head("plain")
    assert [publisher.root_at(head, size) for size in BORDERS] == [
        naive.root(size) for size in BORDERS
    ]
    assert publisher.root_at(head, 0) == EMPTY_ROOT


def test_nothing_goes_beyond_the_published_head(publisher: Publisher, naive: NaiveTree) -> None:
    """A size beyond the published head is refused in each operation that takes one."""
    head = publisher.published_head("plain")
    for ask in (
        lambda: publisher.root_at(head, 601),
        lambda: publisher.prove_index(head, LeafIndex(0), 601),
        lambda: publisher.prove_growth(head, 1, 601),
        lambda: publisher.checkpoint_at(head, 601),
        lambda: publisher.proof_file(head, LeafIndex(0), 601),
        lambda: publisher.prove_hash(head, naive.leaf(0), 601),
    ):
        with pytest.raises(SizeTooLargeError):
            ask()
    with pytest.raises(LeafNotFoundError):
        publisher.prove_index(head, LeafIndex(600))
    with pytest.raises(LeafNotFoundError):
        publisher.prove_index(head, LeafIndex(5), 5)
    with pytest.raises(InvalidRequestError):
        publisher.prove_index(head, LeafIndex(0), -1)


def test_signed_roots_alone_are_found(publisher: Publisher, naive: NaiveTree) -> None:
    """Law 10: has_root is true for a root that was signed, and false for any other true root."""
    head = publisher.published_head("plain")
    signed = {checkpoint.size for checkpoint in publisher.checkpoints(head, limit=100)}
    assert signed == {0, 97, 194, 291, 388, 485, 582, 600}
    for size in (0, 97, 98, 581, 582, 600):
        found = publisher.find_root(head, naive.root(size))
        assert found == (size if size in signed else None)


def test_growth_is_proven_between_signed_roots(publisher: Publisher, naive: NaiveTree) -> None:
    """A growth proof can be asked for by roots, which must have been signed."""
    head = publisher.published_head("plain")
    proof = publisher.prove_growth(head, Hash(naive.root(97)), Hash(naive.root(582)))
    assert (proof.old_size, proof.new_size) == (97, 582)
    publisher.verify_growth(head, proof)
    with pytest.raises(RootNotFoundError):
        publisher.prove_growth(head, Hash(naive.root(98)))
    with pytest.raises(InvalidRequestError):
        publisher.prove_growth(head, 98, 97)


def test_each_of_equal_leaves_can_be_proven(builder: LogBuilder, publisher: Publisher) -> None:
    """Law 10: Equal leaves are all named by their hash, and each has its own proof."""
    builder.filled("twins", [b"same", b"other", b"same", b"same"])
    publisher.refresh()
    head = publisher.published_head("twins")
    found = publisher.prove_hash(head, hash_leaf(b"same"))
    assert (found.count, found.equal_indexes) == (3, (0, 2, 3))
    for proof in publisher.prove_indexes(head, found.equal_indexes):
        check_inclusion(
            proof.hashes,
            leaf=hash_leaf(b"same"),
            index=proof.index,
            size=head.size,
            root=head.root,
        )
    assert publisher.prove_hash(head, hash_leaf(b"same"), 2).count == 1
    with pytest.raises(LeafNotFoundError):
        publisher.prove_hash(head, hash_leaf(b"absent"))


def test_a_row_is_proven_by_its_key(builder: LogBuilder, publisher: Publisher) -> None:
    """A row's leaf is found by table and key: the last, the first, all, or one at an index."""
    builder.create("payments")
    source = builder.add_table("payments", "payment")
    for number in (42, 7, 42):
        builder.append_change(
            "payments", source, payment(number), key_text=RowKey.of("payment", str(number)).text
        )
    builder.seal("payments")
    publisher.refresh()
    head = publisher.published_head("payments")
    key = RowKey.of("public.payment", "42")

    def indexes(version: str | LeafIndex, size: int | None = None) -> list[int]:
        return [proof.index for proof in publisher.prove_row(head, key, version, size)]

    assert [indexes("last"), indexes("first"), indexes("all"), indexes(LeafIndex(2))] == [
        [2],
        [0],
        [0, 2],
        [2],
    ]
    assert indexes("last", 2) == [0]
    for absent in (LeafIndex(1), LeafIndex(3)):
        with pytest.raises(LeafNotFoundError):
            indexes(absent)
    with pytest.raises(InvalidRequestError):
        indexes("newest")


def test_a_proof_file_has_a_signed_checkpoint(publisher: Publisher, naive: NaiveTree) -> None:
    """A tlog-proof stands under the published head, or the smallest signed one of a size."""
    head = publisher.published_head("plain")
    for size, expected in ((None, 600), (600, 600), (98, 194), (194, 194)):
        proof = parse_tlog_proof(publisher.proof_file(head, LeafIndex(5), size))
        checkpoint = parse_checkpoint(proof.note.text)
        assert checkpoint.size == expected
        check_inclusion(
            proof.hashes,
            leaf=Hash(naive.leaf(5)),
            index=LeafIndex(5),
            size=checkpoint.size,
            root=checkpoint.root,
        )


def test_a_cold_proof_is_one_statement(builder: LogBuilder, naive: NaiveTree) -> None:
    """A proof at any size takes at most one statement, whatever is in memory."""
    cold = Publisher(builder.database)
    cold.refresh()
    reads: list[int] = []
    warm = cold._tiles.warm

    def counted(wanted: object) -> object:
        reads.append(1)
        return warm(wanted)

    cold._tiles.warm = counted
    for index, size in ((0, 600), (300, 599), (299, 300), (255, 256), (599, 600)):
        cold._tiles._cache._rows.clear()
        reads.clear()
        proof = cold.prove_index(cold.published_head("plain"), LeafIndex(index), size)
        assert proof.hashes == naive.inclusion(index, size)
        assert len(reads) == 1


def test_proofs_are_remembered_for_a_minute() -> None:
    """A proof is kept 60 s under log, index and size, and the number of those kept is bounded."""
    now = [0.0]
    cache = ProofCache(lambda: now[0])
    log_id = LogId(1)

    def proof(index: int) -> LeafProof:
        return LeafProof(LeafIndex(index), TreeSize(9), EMPTY_ROOT, EMPTY_ROOT, ())

    cache.put(log_id, proof(1))
    now[0] = CACHE_SECONDS - 1
    assert cache.get((log_id, LeafIndex(1), TreeSize(9))) == proof(1)
    assert cache.get((LogId(2), LeafIndex(1), TreeSize(9))) is None
    now[0] = CACHE_SECONDS + 1
    assert cache.get((log_id, LeafIndex(1), TreeSize(9))) is None
    for index in range(CACHE_ENTRIES + 5):
        cache.put(log_id, proof(index))
    assert len(cache._proofs) == CACHE_ENTRIES


TEN_MILLION = 10_000_000
SAMPLES = (0, 1, 255, 256, 65_535, 65_536, 9_999_743, 9_999_744, 9_999_999)


@pytest.mark.slow
def test_proofs_in_a_tree_of_ten_million(builder: LogBuilder, publisher: Publisher) -> None:
    """log 23: Sampled proofs in a tree of ten million leaves lead to its root."""
    log = builder.create("large")
    row = b"".join(hash_leaf(b"%d" % number) for number in range(TEN_MILLION))
    edge, writes = extend_edge(EMPTY_EDGE, row)
    with builder.database.transaction() as tx:
        copy = "COPY tally.log_tiles (log_id, level, tile_index, hashes) FROM STDIN"
        with tx.connection.cursor().copy(copy) as rows:
            for write in writes:
                rows.write_row((log.log_id, write.level, write.index, write.appended))
        tx.execute(
            sql.SQL(
                "INSERT INTO tally.checkpoints VALUES ({}, {}, {}, 'note', tally.clock(), 1, 1)"
            ).format(log.log_id, TEN_MILLION, edge_root(edge))
        )
    publisher.refresh()
    head = publisher.published_head("large")
    for size in (TEN_MILLION, TEN_MILLION - 1, 65_537):
        for index in (index for index in SAMPLES if index < size):
            proof = publisher.prove_index(head, LeafIndex(index), size)
            assert proof.leaf_hash == hash_leaf(b"%d" % index)
            check_inclusion(
                proof.hashes, leaf=proof.leaf_hash, index=proof.index, size=size, root=proof.root
            )
    assert publisher.prove_index(head, LeafIndex(3)).root == edge_root(edge)
