"""
What each page says, as a value: the page and its JSON twin are made of the same one.

Each function asks the publisher for what the page needs and nothing else, all of it under one
published head, so that the numbers on a page fit together. Follows log.md, section 6.4.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.clock import format_time
from tallystick.publish import LeafVersion, PublishedHead, Publisher, RowKey, SignedCheckpoint
from tallystick.record import MalformedRecordError, Record, parse_record
from tallystick.seal.redaction import redacted_indexes
from tallystick.tlog import LeafIndex
from tallystick.web.access import Visitor
from tallystick.web.differences import Difference, difference
from tallystick.web.errors import PageRequestError
from tallystick.web.growth import Growth, draw_growth
from tallystick.web.particulars import (
    KeyLine,
    KeyMapLine,
    Neighbours,
    WitnessLine,
    key_lines,
    key_map_line,
    neighbours,
    witness_lines,
)
from tallystick.web.path import Step, trace_path

CHART_CHECKPOINTS: Final = 500
"""More steps than a screen has room for."""
TABLE_CHECKPOINTS: Final = 50
VERSIONS: Final = 100
"""Versions of a row on one page, two at least; each may be 64 kB."""
OP_WORDS: Final = {
    "I": "insert",
    "U": "update",
    "D": "delete",
    "T": "truncate",
    "A": "append",
    "C": "control",
}
"""What the log stores as a letter, for leaves whose record is not in it."""
VIA_WORDS: Final = {
    "t": "trigger",
    "w": "wal",
    "p": "poll",
    "b": "backfill",
    "r": "reconcile",
    "a": "api",
    "c": "control",
}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log and its published head."""

    log_name: str
    description: str | None
    origin: str
    status: str
    mode: str
    visibility: str
    size: int
    root: bytes
    signed_at: str


@dataclass(frozen=True, slots=True)
class LogsPage:
    """The logs that the visitor may see; *only_open*: there may be others."""

    logs: list[LogLine]
    only_open: bool


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """One signed checkpoint; *seal_ms* is how long its transaction had taken."""

    tree_size: int
    root_hash: bytes
    signed_at: str
    batch_rows: int
    seal_ms: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """
    A log, its growth and its newest checkpoints, the newest first, and what belongs to it.

    Entries below *minimum_index* are pruned. *key_map* is None also where entries are not open.
    """

    log: LogLine
    minimum_index: int
    neighbours: Neighbours
    checkpoints: list[CheckpointLine]
    growth: Growth | None
    witness_quorum: int
    witnesses: list[WitnessLine]
    keys: list[KeyLine]
    key_map: KeyMapLine | None
    shows_rows: bool
    shows_audits: bool


@dataclass(frozen=True, slots=True)
class Version:
    """
    One version of a row; without a record in the leaf, only *op* and *via* are known.

    *is_redacted*: what the leaf hid was erased.
    """

    log_name: str
    index: int
    op: str
    via: str
    at: str | None
    role: str | None
    actor: str | None
    leaf_hash: bytes
    is_redacted: bool
    columns: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class RowsPage:
    """Versions of one row, the oldest first; *next* continues them where it is not None."""

    log_name: str
    table: str
    key: list[str]
    versions: list[Version]
    next: str | None

    @property
    def next_query(self) -> str:
        """The query of the next page."""
        return f"{row_query(self.table, self.key)}&after={self.next}"


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One leaf, and the path from it to the published root."""

    log_name: str
    index: int
    is_redacted: bool
    leaf: bytes
    leaf_hash: bytes
    tree_size: int
    root: bytes
    hashes: tuple[bytes, ...]
    path: tuple[Step, ...]
    note: str
    rows_query: str | None


def logs_page(publisher: Publisher, visitor: Visitor) -> LogsPage:
    """Return the logs that *visitor* may see, by name."""
    heads = publisher.heads.by_name
    shown = [heads[name] for name in sorted(heads) if visitor.may_see(heads[name])]
    return LogsPage([_log_line(head) for head in shown], only_open=not visitor.sees_private_logs)


def log_page(publisher: Publisher, visitor: Visitor, log_name: str) -> LogPage:
    """
    Return a log with its newest checkpoints.

    Raises:
        LogNotFoundError: There is no log of this name.
        SignInNeededError: It is private.
    """
    head = publisher.published_head(log_name)
    visitor.check_sees(head)
    checkpoints = publisher.checkpoints(head, limit=CHART_CHECKPOINTS)
    steps = [(checkpoint.signed_at, int(checkpoint.size)) for checkpoint in reversed(checkpoints)]
    return LogPage(
        log=_log_line(head),
        minimum_index=head.minimum_index,
        neighbours=neighbours(publisher, visitor, head),
        checkpoints=[_checkpoint_line(found) for found in checkpoints[:TABLE_CHECKPOINTS]],
        growth=draw_growth(steps),
        witness_quorum=head.witness_quorum,
        witnesses=witness_lines(publisher, head),
        keys=key_lines(publisher, head),
        key_map=key_map_line(publisher, head) if visitor.may_read(head) else None,
        shows_rows=visitor.may_read(head),
        shows_audits=visitor.may_audit,
    )


def rows_page(
    publisher: Publisher,
    visitor: Visitor,
    log_name: str,
    *,
    table: str,
    key: Sequence[str],
    after: str | None = None,
) -> RowsPage:
    """
    Return the versions of a row, each with its differences from the one before.

    Raises:
        LogNotFoundError: There is no log of this name.
        SignInNeededError: Its entries are not open.
        PageRequestError, InvalidRequestError: A parameter does not parse.
    """
    head = publisher.published_head(log_name)
    visitor.check_reads(head)
    found = publisher.row_history(
        head,
        RowKey.of(table, list(key)),
        after=(0, -1) if after is None else parse_place(after),
        # One more than is shown tells whether there is a next page; on a later page the first
        # one was shown before, and is only what the second is compared with.
        limit=VERSIONS + 1 + (after is not None),
        may_follow=visitor.may_read,
    )
    records = [read_leaf(version.leaf) for version in found]
    befores = [None, *records]
    shown = range(1 if after is not None else 0, min(len(found), VERSIONS + (after is not None)))
    erased = _erased(publisher, [(found[at].log_name, found[at].index) for at in shown])
    return RowsPage(
        log_name=head.log_name,
        table=table,
        key=list(key),
        versions=[
            _version(
                found[at],
                befores[at],
                records[at],
                is_redacted=(found[at].log_name, found[at].index) in erased,
            )
            for at in shown
        ],
        next=format_place(found[shown[-1] - 1]) if shown and len(found) > shown[-1] + 1 else None,
    )


def entry_page(publisher: Publisher, visitor: Visitor, log_name: str, index: int) -> EntryPage:
    """
    Return a leaf and its path to the published root.

    Raises:
        LogNotFoundError, LeafNotFoundError: There is no such log or leaf.
        PrunedError: The leaf was pruned.
        SignInNeededError: The log's entries are not open.
    """
    head = publisher.published_head(log_name)
    visitor.check_reads(head)
    entry = publisher.entry(head, index)
    proof = publisher.prove_index(head, LeafIndex(index))
    record = read_leaf(entry.leaf)
    has_row = record is not None and record.table is not None and record.key
    return EntryPage(
        log_name=head.log_name,
        index=index,
        is_redacted=bool(_erased(publisher, [(head.log_name, index)])),
        leaf=bytes(entry.leaf),
        leaf_hash=bytes(proof.leaf_hash),
        tree_size=proof.size,
        root=proof.root,
        hashes=proof.hashes,
        path=trace_path(proof.hashes, index=index, size=proof.size),
        note=head.checkpoint.decode(),
        rows_query=row_query(record.table or "", record.key) if record and has_row else None,
    )


def read_leaf(leaf: bytes) -> Record | None:
    """Return the record in *leaf*; None for a digest, a pushed entry, or what is no record."""
    try:
        return parse_record(bytes(leaf))
    except MalformedRecordError:
        return None


def row_query(table: str, key: Sequence[str]) -> str:
    """Return the query that names a row."""
    return urllib.parse.urlencode([("table", table), *(("key", column) for column in key)])


def format_place(version: LeafVersion) -> str:
    """Return where the next page of versions begins: behind *version*."""
    return f"{version.place}-{version.index}"


def parse_place(text: str) -> tuple[int, int]:
    """
    Return place and index from what `format_place` made.

    Raises:
        PageRequestError: It did not.
    """
    place, dash, index = text.partition("-")
    if not dash or not all(part.isascii() and part.isdigit() for part in (place, index)):
        raise PageRequestError("after is what an earlier page gave as next")
    if max(len(place), len(index)) > len(str(2**53)):
        raise PageRequestError("after is what an earlier page gave as next")
    return int(place), int(index)


def _erased(publisher: Publisher, places: Sequence[tuple[str, int]]) -> frozenset[tuple[str, int]]:
    return publisher.read_database.read(lambda tx: redacted_indexes(tx, places))


def _version(
    found: LeafVersion, before: Record | None, record: Record | None, *, is_redacted: bool
) -> Version:
    if record is None:
        op, via = OP_WORDS.get(found.op, found.op), VIA_WORDS.get(found.via, found.via)
    else:
        op, via = record.op, record.via
    return Version(
        log_name=found.log_name,
        index=found.index,
        op=op,
        via=via,
        at=record.at if record else None,
        role=record.role if record else None,
        actor=record.actor if record else None,
        leaf_hash=bytes(found.leaf_hash),
        is_redacted=is_redacted,
        columns=difference(before, record) if record else (),
    )


def _log_line(head: PublishedHead) -> LogLine:
    return LogLine(
        log_name=head.log_name,
        description=head.description,
        origin=head.origin,
        status=head.status,
        mode=head.mode,
        visibility=head.visibility,
        size=head.size,
        root=bytes(head.root),
        signed_at=format_time(head.signed_at),
    )


def _checkpoint_line(found: SignedCheckpoint) -> CheckpointLine:
    return CheckpointLine(
        tree_size=found.size,
        root_hash=bytes(found.root),
        signed_at=format_time(found.signed_at),
        batch_rows=found.batch_rows,
        seal_ms=found.seal_ms,
    )
