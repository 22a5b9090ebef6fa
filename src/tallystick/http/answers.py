"""
The bodies of answers under `/logs`: names as the earlier log service had them (log.md, 6.2).

Binary values are standard base64, times as `clock.format_time` writes them.
"""

from __future__ import annotations

import base64
import datetime
from typing import Any, Generic, Literal, TypeVar

import msgspec

from tallystick.clock import format_time
from tallystick.publish import GrowthProof, LeafProof, LeafVersion, PublishedHead, SignedCheckpoint
from tallystick.record.tags import RECORD_TAG
from tallystick.seal.audit import PastFinding
from tallystick.seal.logs import LogKey
from tallystick.seal.sources import Source

Item = TypeVar("Item")

OPS = {"I": "insert", "U": "update", "D": "delete", "T": "truncate", "A": "append", "C": "control"}
VIAS = {
    "t": "trigger",
    "w": "wal",
    "p": "poll",
    "b": "backfill",
    "r": "reconcile",
    "a": "api",
    "c": "control",
}


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """A success, as the earlier log service said it."""

    status: Literal["ok"] = "ok"


class LogBody(Body, frozen=True, kw_only=True):
    """A success that is about one log."""

    log_name: str


class Root(LogBody, frozen=True, kw_only=True):
    """
    A published tree. *checkpoint* is the signed note with its cosignatures, null where no
    checkpoint of this size was signed; *witnessed* counts the witnesses that cosigned it.
    """

    merkle_root: str
    tree_size: int
    checkpoint: str | None
    signed_at: str | None
    witnessed: int
    last_processed_id: int


class Size(LogBody, frozen=True, kw_only=True):
    """How many leaves are published."""

    size: int


class Exists(LogBody, frozen=True, kw_only=True):
    """Whether there is what was asked for."""

    exists: bool


class RootExists(Exists, frozen=True, kw_only=True):
    """Whether a root was signed, and at which size."""

    tree_size: int | None


class InclusionProof(msgspec.Struct, frozen=True):
    """That the leaf with *leaf_hash* stands at *index* in the tree of *tree_size* and *root*."""

    index: int
    tree_size: int
    root: str
    leaf_hash: str
    hashes: list[str]


class Proof(LogBody, frozen=True, kw_only=True):
    """
    A proof of one leaf. Asked for by hash: *count* of equal leaves, exact up to 10,000, and
    the *indexes* of the first 100 of them.
    """

    proof: InclusionProof
    count: int | msgspec.UnsetType = msgspec.UNSET
    indexes: list[int] | msgspec.UnsetType = msgspec.UNSET


class Proofs(LogBody, frozen=True, kw_only=True):
    """Proofs of several leaves, at most 100."""

    proofs: list[InclusionProof]


class ConsistencyProof(msgspec.Struct, frozen=True):
    """That the tree of *new_tree_size* extends that of *old_tree_size*."""

    old_tree_size: int
    old_root: str
    new_tree_size: int
    new_root: str
    hashes: list[str]


class Consistency(LogBody, frozen=True, kw_only=True):
    """A proof of growth; between equal sizes and from size 0 without hashes."""

    proof: ConsistencyProof


class Entry(msgspec.Struct, frozen=True):
    """
    One leaf; *record* is the record in it, null where it is none. *redacted*: true, where what
    it hid was erased, and left out elsewhere.
    """

    index: int
    leaf: str
    leaf_hash: str
    record: dict[str, Any] | None
    redacted: bool | msgspec.UnsetType = msgspec.UNSET


class OneEntry(LogBody, frozen=True, kw_only=True):
    """One leaf of a log."""

    index: int
    leaf: str
    leaf_hash: str
    record: dict[str, Any] | None
    redacted: bool | msgspec.UnsetType = msgspec.UNSET


class Version(msgspec.Struct, frozen=True):
    """
    One leaf of a row, in the log *log_name*; *at* is null where the leaf is no record.
    *redacted*: true, where what it hid was erased, and left out elsewhere.
    """

    index: int
    log_name: str
    table: str | None
    key: list[str]
    op: str
    via: str
    at: str | None
    leaf_hash: str
    record: dict[str, Any] | None
    redacted: bool | msgspec.UnsetType = msgspec.UNSET


class CheckpointItem(msgspec.Struct, frozen=True):
    """A signed checkpoint; the note is without cosignatures."""

    tree_size: int
    merkle_root: str
    checkpoint: str
    signed_at: str
    batch_rows: int
    seal_ms: int


class KeyItem(msgspec.Struct, frozen=True):
    """A public key of a log and the sizes that it signs."""

    name: str
    key_id: str
    vkey: str
    status: str
    from_size: int | None
    to_size: int | None
    created_at: str


class WitnessItem(msgspec.Struct, frozen=True):
    """A witness of a log and how far it has come."""

    name: str
    vkey: str
    url: str
    enabled: bool
    status: str
    last_size: int | None
    last_seen_at: str | None
    last_error: str | None


class FindingItem(msgspec.Struct, frozen=True):
    """What an audit or reconcile found; names, never a value."""

    finding_id: int
    audit_id: int
    audit: str
    found_at: str
    kind: str
    source_table: str | None
    source_key: str | None
    leaf_index: int | None
    columns: list[str] | None


class LogItem(msgspec.Struct, frozen=True):
    """A log and its published head."""

    log_name: str
    origin: str
    description: str | None
    created_at: str
    state: str
    mode: str
    visibility: str
    tree_size: int
    merkle_root: str
    signed_at: str
    minimum_index: int


class SourceItem(msgspec.Struct, frozen=True):
    """A table that feeds a log, and how."""

    source_table: str
    log_name: str
    source_no: int
    capture: str
    leaf_form: str
    state: str
    enabled: bool
    key: list[str] | None
    include: list[str] | None
    exclude: list[str] | None
    private: list[str]
    hash_column: str | None
    on_update: str
    on_delete: str
    on_truncate: str
    order_column: str | None
    timestamp_column: str | None
    poll_cursor: str | None
    poll_lookback: int | None
    reconcile_interval_seconds: int | None
    problem: dict[str, Any] | None
    created_at: str
    note: str | None
    clear_columns: list[str] | msgspec.UnsetType = msgspec.UNSET
    personal_columns: list[str] | msgspec.UnsetType = msgspec.UNSET


class Page(Body, Generic[Item], frozen=True, kw_only=True):
    """A page of a list; *next* is the `after` of the page behind it, null at the end."""

    items: list[Item]
    next: str | None


class LogPage(LogBody, Generic[Item], frozen=True, kw_only=True):
    """A page of a list of one log's."""

    items: list[Item]
    next: str | None


class RowPage(LogBody, frozen=True, kw_only=True):
    """
    Versions of a row, the oldest first. With `at_size` the one that the tree of that size
    ends with: *exists* says whether it left the row there, *proof* that the leaf is in it.
    """

    items: list[Version]
    next: str | None
    exists: bool | msgspec.UnsetType = msgspec.UNSET
    proof: InclusionProof | msgspec.UnsetType = msgspec.UNSET


def encoded(data: bytes) -> str:
    """Return *data* in standard base64."""
    return base64.b64encode(data).decode()


def optional_time(moment: datetime.datetime | None) -> str | None:
    """Return *moment* as text; None where there is none."""
    return None if moment is None else format_time(moment)


def record_in(leaf: bytes) -> dict[str, Any] | None:
    """Return the record in the bytes of a leaf as it stands there; None where it is none."""
    if not leaf.startswith(RECORD_TAG):
        return None
    try:
        record = msgspec.json.decode(leaf[len(RECORD_TAG) :])
    except (msgspec.DecodeError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def inclusion_proof(proof: LeafProof) -> InclusionProof:
    """Return *proof* as it is answered."""
    return InclusionProof(
        index=proof.index,
        tree_size=proof.size,
        root=encoded(proof.root),
        leaf_hash=encoded(proof.leaf_hash),
        hashes=[encoded(item) for item in proof.hashes],
    )


def consistency_proof(proof: GrowthProof) -> ConsistencyProof:
    """Return *proof* as it is answered."""
    return ConsistencyProof(
        old_tree_size=proof.old_size,
        old_root=encoded(proof.old_root),
        new_tree_size=proof.new_size,
        new_root=encoded(proof.new_root),
        hashes=[encoded(item) for item in proof.hashes],
    )


def version_item(version: LeafVersion) -> Version:
    """Return *version* as it is answered."""
    record = record_in(version.leaf)
    # Control operations share one letter; the record has their names.
    op = record["op"] if record is not None and "op" in record else OPS[version.op]
    return Version(
        index=version.index,
        log_name=version.log_name,
        table=version.table,
        key=msgspec.json.decode(version.key_text, type=list[str]),
        op=op,
        via=VIAS[version.via],
        at=None if record is None else record.get("at"),
        leaf_hash=encoded(version.leaf_hash),
        record=record,
    )


def checkpoint_item(checkpoint: SignedCheckpoint) -> CheckpointItem:
    """Return *checkpoint* as it is answered."""
    return CheckpointItem(
        tree_size=checkpoint.size,
        merkle_root=encoded(checkpoint.root),
        checkpoint=checkpoint.note,
        signed_at=format_time(checkpoint.signed_at),
        batch_rows=checkpoint.batch_rows,
        seal_ms=checkpoint.seal_ms,
    )


def log_item(head: PublishedHead) -> LogItem:
    """Return a log as it is answered."""
    return LogItem(
        log_name=head.log_name,
        origin=head.origin,
        description=head.description,
        created_at=format_time(head.created_at),
        state=head.status,
        mode=head.mode,
        visibility=head.visibility,
        tree_size=head.size,
        merkle_root=encoded(head.root),
        signed_at=format_time(head.signed_at),
        minimum_index=head.minimum_index,
    )


def key_item(key: LogKey) -> KeyItem:
    """Return a key as it is answered."""
    return KeyItem(
        name=key.name,
        key_id=key.key_id.hex(),
        vkey=key.vkey,
        status=key.status,
        from_size=key.from_size,
        to_size=key.to_size,
        created_at=format_time(key.created_at),
    )


def finding_item(finding: PastFinding) -> FindingItem:
    """Return a finding as it is answered."""
    return FindingItem(
        finding_id=finding.finding_id,
        audit_id=finding.audit_id,
        audit=finding.audit,
        found_at=format_time(finding.finished_at),
        kind=finding.kind,
        source_table=finding.source_table,
        source_key=finding.source_key,
        leaf_index=finding.leaf_index,
        columns=finding.columns,
    )


def source_item(source: Source) -> SourceItem:
    """Return a source as it is answered."""
    return SourceItem(
        source_table=source.source_table,
        log_name=source.log_name,
        source_no=source.source_no,
        capture=source.capture,
        leaf_form=source.leaf_form,
        state=source.status,
        enabled=source.enabled,
        key=source.key_columns,
        include=source.include_columns,
        exclude=source.exclude_columns,
        private=source.private_columns,
        hash_column=source.hash_column,
        on_update=source.on_update,
        on_delete=source.on_delete,
        on_truncate=source.on_truncate,
        order_column=source.order_column,
        timestamp_column=source.timestamp_column,
        poll_cursor=source.poll_cursor,
        poll_lookback=source.poll_lookback,
        reconcile_interval_seconds=source.reconcile_interval_seconds,
        problem=source.problem,
        created_at=format_time(source.created_at),
        note=source.note,
        clear_columns=msgspec.UNSET if source.clear_columns is None else source.clear_columns,
        personal_columns=msgspec.UNSET
        if source.personal_columns is None
        else source.personal_columns,
    )
