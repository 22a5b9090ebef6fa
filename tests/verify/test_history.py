"""The offline verdict on a history: complete, or refused at a named step (docs/adr/0015)."""

from __future__ import annotations

import dataclasses

import pytest

from tallystick.record import format_record
from tallystick.record.history import HistoryFile, ShownBucket, format_history, parse_history
from tallystick.record.key_index import KeyIndex, index_key
from tallystick.tlog import LeafIndex, TreeSize
from tallystick.verify import (
    BucketNotIncludedError,
    ForeignLeafError,
    ForeignVersionError,
    HiddenVersionError,
    IncompleteHistoryError,
    LeafNotIncludedError,
    LeafRecordError,
    LogSignatureError,
    MapSizeError,
    MapTooOldError,
    NoMapError,
    ProofFormatError,
    UnlistedVersionError,
    UntrustedLogError,
    VerificationError,
    WrongBucketError,
    check_history,
)
from tests.seal.index.naive import naive_root
from tests.support.sealed import SealedLog, log_signer, payment
from tests.verify.history_stage import TABLE, HistoryStage, MapStage, truncate

KEY = ("42",)


def update(number: int, amount: str, op: str = "update") -> bytes:
    """The leaf of an update, or of a delete."""
    row = {"id": str(number), "amount": amount, "note": None}
    return format_record(payment(number, op=op, row=row))


LEAVES = [
    format_record(payment(42)),
    *(format_record(payment(number)) for number in range(1, 30)),
    update(42, "11.00"),
    update(7, "1.00"),
    update(42, "12.00", op="delete"),
]
"""With the genesis before them, key 42 has the leaves 1, 31 and 33."""


@pytest.fixture(scope="module")
def stage() -> HistoryStage:
    """A log with three versions of key 42 among others, and its map."""
    return HistoryStage(LEAVES)


@pytest.fixture(scope="module")
def policy(stage) -> bytes:
    """A policy that trusts the log."""
    return stage.log.policy()


def refused(history: bytes, policy: bytes, error: type[VerificationError], **options) -> None:
    """Check that the history is refused by exactly this error."""
    with pytest.raises(VerificationError) as raised:
        check_history(history, policy=policy, **options)
    assert type(raised.value) is error, raised.value


def test_all_versions_are_established(stage, policy):
    """A good file gives the key, every version by index, the map, and what the log continues."""
    verified = check_history(stage.history(*KEY), policy=policy)
    assert [version.index for version in verified.versions] == [1, 31, 33]
    assert [version.record.op for version in verified.versions] == ["insert", "update", "delete"]
    assert (verified.table, verified.key, verified.table_leaves) == (TABLE, KEY, ())
    assert (verified.map_size, verified.map_index, verified.checkpoint.size) == (34, 34, 36)
    assert verified.predecessor == {"origin": "log.example/old", "size": 3, "root": "ab" * 32}
    assert verified.is_present is False
    assert check_history(stage.history("7"), policy=policy).is_present is True


def test_offline_map_is_the_naive_one(stage):
    """Whoever has the leaves makes the map's root from them, by the kernel alone."""
    index = KeyIndex()
    for leaf in stage.covered:
        index.add_leaf(leaf)
    assert index.root() == naive_root(stage.covered) == stage.map.root


def test_absence_is_established(stage, policy):
    """A key that the log never held is shown to be absent, beside keys of its bucket too."""
    verified = check_history(stage.history("1000"), policy=policy)
    assert (verified.versions, verified.is_present) == ((), False)
    # A bucket of another key, so that absence is told among entries.
    crowded = HistoryStage([format_record(payment(number)) for number in range(1, 300)])
    full = {key[0] * 256 + key[1] for key in crowded.map.lists}
    beside = next(
        str(number)
        for number in range(1000, 100_000)
        if int.from_bytes(index_key(TABLE, [str(number)])[:2], "big") in full
    )
    history = crowded.file((beside,))
    assert history.key_bucket.entries
    verified = check_history(format_history(history), policy=crowded.log.policy())
    assert verified.versions == ()


def test_truncate_ends_the_row(policy):
    """A truncate is the table's leaf: it is shown with every key, and ends the rows before it."""
    stage = HistoryStage([*LEAVES, truncate(), format_record(payment(8))])
    gone = check_history(stage.history("7"), policy=policy)
    assert [leaf.record.op for leaf in gone.table_leaves] == ["truncate"]
    assert gone.is_present is False
    assert check_history(stage.history("8"), policy=policy).is_present is True
    refused(stage.history("7", table_leaves=()), policy, HiddenVersionError)


def test_file_has_one_spelling(stage):
    """A file parses as what it was written from, and is not written in any other way."""
    file = stage.file(KEY)
    assert parse_history(format_history(file)) == file


def test_dropped_versions_are_missed(stage, policy):
    """Any version left out, and all of them, is refused at the entry."""
    honest = stage.file(KEY).versions
    for dropped in range(3):
        kept = honest[:dropped] + honest[dropped + 1 :]
        refused(stage.history(*KEY, versions=kept), policy, IncompleteHistoryError)
    refused(stage.history(*KEY, versions=()), policy, HiddenVersionError)


def test_added_or_reordered_versions_are_refused(stage, policy):
    """A leaf too many, one twice, or another order is refused at the entry."""
    honest = stage.file(KEY).versions
    for versions in (
        (*honest, stage.shown(32)),
        (*honest, honest[-1]),
        honest[::-1],
        (*honest[:2], stage.shown(35)),
    ):
        refused(stage.history(*KEY, versions=versions), policy, IncompleteHistoryError)
    one = (stage.shown(3),)
    refused(stage.history("1000", versions=one), policy, UnlistedVersionError)
    refused(stage.history(*KEY, table_leaves=one), policy, UnlistedVersionError)


def test_other_leaf_under_a_listed_index(policy):
    """A map that lists leaves of another key for this one is refused at the versions."""
    key_hash = index_key(TABLE, KEY)
    lying = HistoryStage(LEAVES, lie={key_hash: [1, 2]})
    versions = (lying.shown(1), lying.shown(2))
    history = lying.history(*KEY, versions=versions)
    refused(history, lying.log.policy(), ForeignVersionError)
    table_hash = index_key(TABLE, ())
    lying = HistoryStage(LEAVES, lie={table_hash: [2]})
    history = lying.history(*KEY, table_leaves=(lying.shown(2),))
    refused(history, lying.log.policy(), ForeignVersionError)


def test_version_of_another_table(policy):
    """The same key in another table is another key."""
    elsewhere = format_record(payment(42, table="shop.payment"))
    key_hash = index_key(TABLE, KEY)
    lying = HistoryStage([*LEAVES, elsewhere], lie={key_hash: [34]})
    refused(
        lying.history(*KEY, versions=(lying.shown(34),)), lying.log.policy(), ForeignVersionError
    )


def test_wrong_bucket(stage, policy):
    """Another bucket, entries out of order, or one twice are refused before any hash."""
    file = stage.file(KEY)
    other = stage.map.bucket(index_key(TABLE, ["7"]))
    refused(stage.history(*KEY, key_bucket=other), policy, WrongBucketError)
    twice = ShownBucket(file.key_bucket.entries * 2, file.key_bucket.path)
    refused(stage.history(*KEY, key_bucket=twice), policy, WrongBucketError)
    refused(stage.history(*KEY, table_bucket=other), policy, WrongBucketError)


def test_bucket_that_is_not_the_maps(stage, policy):
    """A bucket without the key, or with another chain, does not lead to the sealed root."""
    file = stage.file(KEY)
    emptied = ShownBucket(b"", file.key_bucket.path)
    refused(stage.history(*KEY, key_bucket=emptied, versions=()), policy, BucketNotIncludedError)
    key_hash = index_key(TABLE, KEY)
    other = MapStage({**stage.map.lists, key_hash: [1]})
    refused(
        stage.history(*KEY, key_bucket=other.bucket(key_hash), versions=(stage.shown(1),)),
        policy,
        BucketNotIncludedError,
    )
    short = ShownBucket(file.key_bucket.entries, file.key_bucket.path[:-1])
    refused(stage.history(*KEY, key_bucket=short), policy, BucketNotIncludedError)


def test_map_leaf_must_be_one(stage, policy):
    """A leaf that is no index record, or of a map that it cannot cover, is refused at the map."""
    refused(stage.history(*KEY, map=stage.shown(0)), policy, NoMapError)
    refused(stage.history(*KEY, genesis=stage.shown(1)), policy, NoMapError)
    for detail in ({"size": 35}, {"buckets": 256}):
        lying = HistoryStage(LEAVES, detail=detail)
        refused(lying.history(*KEY), lying.log.policy(), MapSizeError)


def test_map_that_is_too_old(stage, policy):
    """Who needs more leaves covered than the map covers is told that this is not established."""
    check_history(stage.history(*KEY), policy=policy, at_least=TreeSize(34))
    refused(stage.history(*KEY), policy, MapTooOldError, at_least=TreeSize(35))


def test_map_that_lists_beyond_itself(policy):
    """A map cannot list leaves at or behind its own size."""
    key_hash = index_key("public.payment", ["999"])
    lying = HistoryStage(LEAVES, lie={key_hash: [35]})
    history = lying.history("999", versions=(lying.shown(35),))
    refused(history, lying.log.policy(), IncompleteHistoryError)


def test_leaves_must_stand_in_the_tree(stage, policy):
    """A changed leaf, another index or another path is refused at the tree."""
    first, *rest = stage.file(KEY).versions
    forged = dataclasses.replace(first, leaf=update(42, "99.00"))
    refused(stage.history(*KEY, versions=(forged, *rest)), policy, LeafNotIncludedError)
    moved = dataclasses.replace(first, index=LeafIndex(2))
    refused(stage.history(*KEY, versions=(moved, *rest)), policy, LeafNotIncludedError)
    forged = dataclasses.replace(stage.shown(34), leaf=stage.shown(0).leaf)
    refused(stage.history(*KEY, map=forged), policy, LeafNotIncludedError)


def test_records_must_be_the_logs(policy):
    """A version that is no record, or of another log, is refused at the record."""
    key_hash = index_key(TABLE, KEY)
    for leaf, error in (
        (b"no record", LeafRecordError),
        (format_record(payment(42, log="other")), ForeignLeafError),
    ):
        lying = HistoryStage([*LEAVES, leaf], lie={key_hash: [34]})
        history = lying.history(*KEY, versions=(lying.shown(34),))
        refused(history, lying.log.policy(), error)


def test_heads_are_checked_first(stage):
    """Another log's policy, and another key's signature, are refused before anything is hashed."""
    stranger = SealedLog(
        [b"x"], origin="log.example/other", signers=[log_signer("log.example/other")]
    )
    refused(stage.history(*KEY), stranger.policy(), UntrustedLogError)
    signed_by_other = SealedLog([b"x"], signers=[log_signer(secret=bytes(32))])
    refused(stage.history(*KEY), signed_by_other.policy(), LogSignatureError)


def test_any_byte_flipped_is_refused(stage, policy):
    """No byte of a file can be changed without a step that refuses it."""
    history = stage.history(*KEY)
    for place in range(0, len(history), 7):
        flipped = history[:place] + bytes([history[place] ^ 1]) + history[place + 1 :]
        with pytest.raises(VerificationError):
            check_history(flipped, policy=policy)


def test_hostile_files_end_in_a_named_error(policy):
    """Whatever is no history file is refused at the format."""
    good = HistoryStage(LEAVES).history(*KEY)
    tag = b"tallystick/seal-history/v1\n"
    for hostile in (
        b"",
        tag,
        tag + b"{}",
        tag + b"null",
        tag + b"[" * 100_000,
        good + b" ",
        good.replace(b'"key":["42"]', b'"key":[]'),
        good.replace(b'"key":["42"]', b'"key":[42]'),
        good.replace(b'"index":34', b'"index":-1'),
        good.replace(b'"index":34', b'"index":34.0'),
        good.replace(b'"table":"public.payment"', b'"table":""'),
    ):
        refused(hostile, policy, ProofFormatError)


def test_a_lying_operator_passes_here(policy):
    """A map that leaves a version out verifies: it is signed, and full auditors refute it."""
    key_hash = index_key(TABLE, KEY)
    lying = HistoryStage(LEAVES, lie={key_hash: [1, 33]})
    history = lying.history(*KEY, versions=(lying.shown(1), lying.shown(33)))
    verified = check_history(history, policy=lying.log.policy())
    assert [version.index for version in verified.versions] == [1, 33]
    assert verified.map_root != naive_root(lying.covered)


def test_a_file_may_not_name_the_empty_key(stage):
    """The table's own key is no row's, so no history is of it."""
    with pytest.raises(Exception, match="key"):
        format_history(dataclasses.replace(stage.file(KEY), key=()))
    assert isinstance(stage.file(KEY), HistoryFile)


@pytest.mark.parametrize("table", ["payment", "public.Payment", "public.payment.x", ".", "a b.c"])
def test_no_absence_under_a_name_that_no_table_has(stage, policy, table):
    """Under a name that no record has every key is absent: such a file is refused."""
    honest = stage.file(("42",), versions=(), table_leaves=())
    forged = stage.file(("42",), table=table, versions=(), table_leaves=())
    data = format_history(
        dataclasses.replace(honest, key_bucket=forged.key_bucket, table_bucket=forged.table_bucket)
    )
    said = data.replace(b'"table":"public.payment"', b'"table":"%s"' % table.encode())
    assert said != data
    with pytest.raises(ProofFormatError):
        check_history(said, policy=policy)
