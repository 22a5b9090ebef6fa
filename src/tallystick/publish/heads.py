"""
Published heads in memory: what every answer defaults to, and what none goes beyond.

One statement fetches the heads that changed, for all logs at once; it is asked on each
notification of the sequencer and once a second besides, since a notification may be lost.
Readers see one immutable mapping at a time and take no lock. Follows log.md, section 4.6.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tallystick.seal.errors import LogNotFoundError
from tallystick.seal.logs import LogId, LogName
from tallystick.tlog import Hash, TreeSize


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """A log and its published checkpoint; *checkpoint* is the note as it is served."""

    log_id: LogId
    log_name: LogName
    origin: str
    description: str | None
    created_at: datetime.datetime
    status: Literal["active", "frozen", "failed"]
    mode: Literal["full", "digest"]
    visibility: Literal["private", "hashes", "public"]
    minimum_index: int
    predecessor_log_id: LogId | None
    witness_quorum: int
    size: TreeSize
    root: Hash
    note: str
    signed_at: datetime.datetime
    cosignature_lines: list[str]
    cosignature_count: int
    version: str
    family: str | None = None
    checkpoint: bytes = field(init=False)
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        checkpoint = with_cosignatures(self.note, self.cosignature_lines)
        object.__setattr__(self, "checkpoint", checkpoint)
        object.__setattr__(self, "etag", f'"{hashlib.sha256(checkpoint).hexdigest()[:32]}"')

    @property
    def witnesses(self) -> int:
        """How many distinct witnesses cosigned this checkpoint."""
        return len(self.cosignature_lines)


def with_cosignatures(note: str, lines: Iterable[str]) -> bytes:
    """Return the note of a checkpoint with the signature lines of witnesses behind its own."""
    return (note + "".join(line.rstrip("\n") + "\n" for line in lines)).encode()


class Heads:
    """The published heads of one moment, by name and by id."""

    def __init__(self, heads: Iterable[PublishedHead] = ()) -> None:
        by_id = {head.log_id: head for head in heads}
        self.by_id: Mapping[LogId, PublishedHead] = MappingProxyType(by_id)
        self.by_name: Mapping[str, PublishedHead] = MappingProxyType(
            {head.log_name: head for head in by_id.values()}
        )
        self._by_predecessor = {head.predecessor_log_id: head for head in by_id.values()}
        self._by_family = {head.family: head for head in by_id.values() if head.family}

    def with_changes(self, changed: Iterable[PublishedHead]) -> Heads:
        """
        Return these heads with *changed* in their places.

        A log's tree is never taken back to a smaller size: what was shown once stays shown,
        also when an operator raises the quorum of witnesses afterwards.
        """
        merged = dict(self.by_id)
        for head in changed:
            known = merged.get(head.log_id)
            merged[head.log_id] = head if known is None else head_of(known, head)
        return Heads(merged.values())

    def get(self, log_name: str) -> PublishedHead:
        """
        Return the head of a log, or of the current log of a family of shards.

        Raises:
            LogNotFoundError: There is no log of this name.
        """
        head = self.find(log_name)
        if head is None:
            raise LogNotFoundError(f"there is no log {log_name[:48]!r}")
        return head

    def find(self, log_name: str) -> PublishedHead | None:
        """Return the head of a log or of a family's current log; None where there is none."""
        # No log and no family have one name.
        return self.by_name.get(log_name) or self._by_family.get(log_name)

    def successor(self, head: PublishedHead) -> PublishedHead | None:
        """Return the log that continues *head*; None where none does."""
        return self._by_predecessor.get(head.log_id)

    def chain(self, head: PublishedHead) -> list[PublishedHead]:
        """Return *head* behind the logs that it continues, the oldest first."""
        logs = [head]
        while (before := logs[0].predecessor_log_id) is not None and before in self.by_id:
            logs.insert(0, self.by_id[before])
        return logs


def head_of(known: PublishedHead, found: PublishedHead) -> PublishedHead:
    """Return *found*, but with the tree of *known* where that is larger."""
    if found.size >= known.size:
        return found
    return dataclasses.replace(
        found,
        size=known.size,
        root=known.root,
        note=known.note,
        signed_at=known.signed_at,
        cosignature_lines=known.cosignature_lines,
        cosignature_count=known.cosignature_count,
    )
