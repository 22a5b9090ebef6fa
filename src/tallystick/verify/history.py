"""
The offline verdict on a history: that these are all versions of a key, or that there are none.

Follows docs/adr/0015. The evidence is the map of the log's keys, whose root stands in the log as
a control leaf. That the map is the right one is what full auditors of the log recompute: an
operator who seals a map that leaves something out has signed the lie, under a root that
whoever reads the leaves can refute.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tallystick.record.errors import (
    MalformedMessageError,
    MalformedRecordError,
    UncanonicalValueError,
)
from tallystick.record.history import HistoryFile, ShownBucket, ShownLeaf, parse_history
from tallystick.record.key_index import (
    BUCKETS,
    TABLE_KEY,
    bucket_of,
    chain_indexes,
    hash_bucket,
    index_key,
    parse_bucket,
)
from tallystick.record.record import ROW_OPS, Record, parse_record
from tallystick.tlog.errors import InclusionError, MalformedProofError
from tallystick.tlog.proof import check_inclusion
from tallystick.tlog.tree import Hash, LeafIndex, TreeSize, hash_leaf
from tallystick.verify.errors import (
    BucketNotIncludedError,
    ForeignLeafError,
    ForeignVersionError,
    HiddenVersionError,
    IncompleteHistoryError,
    LeafNotIncludedError,
    LeafRecordError,
    MapSizeError,
    MapTooOldError,
    NoMapError,
    ProofFormatError,
    UnlistedVersionError,
    WrongBucketError,
)
from tallystick.verify.head import check_log, check_witnesses, parse_head
from tallystick.verify.trust import TrustedPolicy, read_trust

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from tallystick.tlog.checkpoint import Checkpoint
    from tallystick.tlog.cosignature import Cosignature
    from tallystick.tlog.policy import Policy

INDEX_OP: Final = "index"
GENESIS_OP: Final = "genesis"
TRUNCATE_OP: Final = "truncate"
DELETE_OP: Final = "delete"
NO_SIZE: Final = TreeSize(0)


@dataclass(frozen=True, slots=True)
class Version:
    """One leaf of the key, or of its table, and what it says."""

    index: LeafIndex
    leaf: bytes = field(repr=False)
    record: Record


@dataclass(frozen=True, slots=True)
class VerifiedHistory:
    """
    All that a log says of *key* of *table* below *map_size*, by the map that it sealed.

    No *versions*: no leaf below *map_size* is a record of the key. *table_leaves* are truncates,
    and control records such as `schema` and `gap`, which concern every row of the table.
    *predecessor* is the log that this one continues, as its genesis names it: an object of
    origin, size and root, all null where it continues none; None where that is not shown.
    """

    table: str
    key: tuple[str, ...]
    versions: tuple[Version, ...]
    table_leaves: tuple[Version, ...]
    map_size: TreeSize
    map_root: Hash
    map_index: LeafIndex
    map_at: str
    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    log_name: str
    predecessor: dict[str, Any] | None

    @property
    def is_present(self) -> bool:
        """Whether the row existed after the last leaf that the map covers, as the log says."""
        truncates = [one.index for one in self.table_leaves if one.record.op == TRUNCATE_OP]
        last = self.versions[-1] if self.versions else None
        if last is None or last.record.op == DELETE_OP:
            return False
        return not truncates or truncates[-1] < last.index


# The steps, each with errors of its own (verify/errors.py); 0 to 3 are those of `check_leaf`:
#
#   4. Every leaf that is shown stands at its index below the checkpoint's root.
#   5. Every one of them is a record, and names the log that the policy gives to the origin.
#   6. The map's leaf is an `index` record of 65,536 buckets, of a size up to its own index.
#   7. The buckets of key and table are sorted, hold what belongs into them, and lead to the
#      root that the map's leaf names.
#   8. The indexes that are shown make exactly the chain that the bucket has for the key, and
#      for the table; a bucket without the key makes its absence.
#   9. Every version names this table and key, every leaf of the table this table alone.
#
# Left out, because the evidence cannot say it:
#
#   - That the map is what the leaves say. Full auditors recompute it (`KeyIndex`); its root is
#     signed in the log, so that a false one is proof against its operator.
#   - What leaves behind the map's size say, and rows whose leaves are digests: no reader of the
#     leaves alone can tell their keys, so the map does not have them.
#   - What the predecessor of a log says: its map covers its own leaves.


def check_history(
    history: bytes,
    *,
    policy: bytes | Policy | TrustedPolicy,
    at: datetime | None = None,
    at_least: TreeSize = NO_SIZE,
) -> VerifiedHistory:
    """
    Check that *history*, a history file, shows all that a trusted log says of its key.

    With *at* the quorum must have cosigned by that moment; with *at_least* the map must cover
    so many leaves. Which key it is of the result says, not the caller.

    Raises:
        VerificationError: The subclass says at which step, `__cause__` why in detail.
    """
    # Step 0: the policy.
    trust = read_trust(policy)

    # Step 1: the format.
    file = _parse(history)
    note, checkpoint = parse_head(_note_bytes(file))

    # Step 2: the log.
    check_log(note, checkpoint, trust)

    # Step 3: the witnesses.
    cosignatures = check_witnesses(note, trust, at=at)

    # Step 4: the tree.
    genesis = [] if file.genesis is None else [file.genesis]
    for shown in (file.map, *genesis, *file.versions, *file.table_leaves):
        _check_path(shown, checkpoint)

    # Step 5: the records.
    log_name = trust.log_name(checkpoint.origin)
    head, *first = (_read_version(shown, log_name) for shown in (file.map, *genesis))
    versions = tuple(_read_version(shown, log_name) for shown in file.versions)
    table_leaves = tuple(_read_version(shown, log_name) for shown in file.table_leaves)

    # Step 6: the map.
    size, root = _read_map(head, at_least)
    predecessor = _read_genesis(first[0]) if first else None

    # Steps 7 and 8: the buckets and the entries. The table's own leaves are listed like a key's.
    _check_listed(_hash_key(file.table, file.key), file.key_bucket, file.versions, size, root)
    table_hash = _hash_key(file.table, TABLE_KEY)
    _check_listed(table_hash, file.table_bucket, file.table_leaves, size, root)

    # Step 9: the versions. Everything else binds indexes; only this says what they are of.
    for version in versions:
        _check_version(version, file, is_of_row=True)
    for leaf in table_leaves:
        _check_version(leaf, file, is_of_row=False)

    return VerifiedHistory(
        table=file.table,
        key=file.key,
        versions=versions,
        table_leaves=table_leaves,
        map_size=size,
        map_root=root,
        map_index=file.map.index,
        map_at=head.record.at,
        checkpoint=checkpoint,
        cosignatures=cosignatures,
        log_name=log_name,
        predecessor=predecessor,
    )


def _parse(history: bytes) -> HistoryFile:
    try:
        return parse_history(history)
    except MalformedMessageError as cause:
        raise ProofFormatError(cause.message) from cause


def _note_bytes(file: HistoryFile) -> bytes:
    try:
        return file.note.encode()
    except UnicodeEncodeError as cause:
        raise ProofFormatError("the checkpoint is not Unicode") from cause


def _check_path(shown: ShownLeaf, checkpoint: Checkpoint) -> None:
    try:
        check_inclusion(
            shown.path,
            leaf=hash_leaf(shown.leaf),
            index=shown.index,
            size=checkpoint.size,
            root=checkpoint.root,
        )
    except (MalformedProofError, InclusionError) as cause:
        raise LeafNotIncludedError(f"leaf {shown.index}: {cause.message}") from cause


def _read_version(shown: ShownLeaf, log_name: str) -> Version:
    try:
        record = parse_record(shown.leaf)
    except MalformedRecordError as cause:
        raise LeafRecordError(f"leaf {shown.index}: {cause.message}") from cause
    if record is None:
        raise LeafRecordError(f"leaf {shown.index} is no record")
    if record.log != log_name:
        raise ForeignLeafError(f"leaf {shown.index} is of the log {record.log}, not of {log_name}")
    return Version(shown.index, shown.leaf, record)


def _read_map(head: Version, at_least: TreeSize) -> tuple[TreeSize, Hash]:
    detail = head.record.detail
    if head.record.op != INDEX_OP or head.record.table is not None or detail is None:
        raise NoMapError(f"leaf {head.index} is no root of a map of the log's keys")
    size = TreeSize(detail["size"])
    if detail["buckets"] != BUCKETS or size > head.index:
        raise MapSizeError(f"leaf {head.index} is of a map of {size} leaves")
    if size < at_least:
        raise MapTooOldError(f"the map covers {size} leaves, asked for are {at_least}")
    return size, Hash(bytes.fromhex(detail["root"]))


def _read_genesis(first: Version) -> dict[str, Any]:
    if first.index != 0 or first.record.op != GENESIS_OP or first.record.detail is None:
        raise NoMapError(f"leaf {first.index} is not the genesis of the log")
    return dict(first.record.detail)


def _hash_key(table: str, key: Sequence[str]) -> bytes:
    try:
        return index_key(table, key)
    except UncanonicalValueError as cause:
        raise ProofFormatError("the table or its key is not Unicode") from cause


def _check_listed(
    key_hash: bytes, bucket: ShownBucket, shown: Sequence[ShownLeaf], size: TreeSize, root: Hash
) -> None:
    """Steps 7 and 8 for one key."""
    _check_chain(key_hash, _find_chain(key_hash, bucket, root), shown, size)


def _find_chain(key_hash: bytes, shown: ShownBucket, root: Hash) -> bytes | None:
    """Step 7: what the bucket lists for the key; None where it lists nothing."""
    bucket = bucket_of(key_hash)
    try:
        entries = parse_bucket(shown.entries, bucket=bucket)
    except MalformedMessageError as cause:
        raise WrongBucketError(cause.message) from cause
    try:
        check_inclusion(
            shown.path,
            leaf=hash_bucket(shown.entries),
            index=LeafIndex(bucket),
            size=TreeSize(BUCKETS),
            root=root,
        )
    except (MalformedProofError, InclusionError) as cause:
        raise BucketNotIncludedError(f"bucket {bucket}: {cause.message}") from cause
    return next((entry.chain for entry in entries if entry.key_hash == key_hash), None)


def _check_chain(
    key_hash: bytes, chain: bytes | None, shown: Sequence[ShownLeaf], size: TreeSize
) -> None:
    """Step 8: the leaves that are shown are exactly those that the map lists."""
    indexes = [leaf.index for leaf in shown]
    if chain is None:
        if indexes:
            raise UnlistedVersionError(f"leaf {indexes[0]} is shown for a key that is not listed")
        return
    if not indexes:
        raise HiddenVersionError("the map lists leaves of the key, and none is shown")
    if chain_indexes(key_hash, indexes) != chain:
        raise IncompleteHistoryError(
            f"the {len(indexes)} leaves that are shown are not those that the map lists"
        )
    # The chain is what the map says; a map of ours has each index once, below its size.
    if indexes[-1] >= size or any(a >= b for a, b in itertools.pairwise(indexes)):
        raise IncompleteHistoryError("the map lists leaves that it cannot cover")


def _check_version(version: Version, file: HistoryFile, *, is_of_row: bool) -> None:
    """Step 9: the leaf is of the key and of its table, or of the table alone."""
    record = version.record
    wanted = file.key if is_of_row else TABLE_KEY
    if record.table != file.table or record.key != wanted:
        raise ForeignVersionError(
            f"leaf {version.index} is of {record.table} {list(record.key)},"
            f" not of {file.table} {list(wanted)}"
        )
    if is_of_row and record.op not in ROW_OPS:
        raise ForeignVersionError(f"leaf {version.index} is no change of a row")
