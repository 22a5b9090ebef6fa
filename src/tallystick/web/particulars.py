"""
What a log's page says beside its size: who witnesses it, which keys sign it, what it continues,
and the map of its keys. Follows log.md, sections 5.8 and 6.4, and docs/adr/0015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.clock import format_time
from tallystick.publish import PublishedHead, Publisher, RowKey, history_file, newest_map
from tallystick.publish.errors import PrunedError
from tallystick.record import MalformedRecordError, parse_record
from tallystick.seal.logs import list_keys
from tallystick.web.access import Visitor

SHOWN_WITNESSES: Final = 60
"""As many as a checkpoint carries cosignatures of."""
LOG_PURPOSE: Final = "log"


@dataclass(frozen=True, slots=True)
class WitnessLine:
    """A witness of a log and how far it has come."""

    name: str
    url: str
    status: str
    enabled: bool
    last_size: int | None
    last_seen_at: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A public key of a log and the sizes that it signs; *to_size* None: it signs still."""

    key_id: str
    vkey: str
    status: str
    from_size: int | None
    to_size: int | None


@dataclass(frozen=True, slots=True)
class KeyMapLine:
    """The newest map of a log's keys: what it covers, its root, where and when it was sealed."""

    tree_size: int
    root: bytes
    leaf_index: int
    at: str | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The logs before and behind one, and the family that its line belongs to, by name."""

    predecessor: str | None
    successor: str | None
    family: str | None


def witness_lines(publisher: Publisher, head: PublishedHead) -> list[WitnessLine]:
    """Return the log's witnesses by name, at most 60."""
    return [
        WitnessLine(
            name=one.name,
            url=one.url,
            status=one.status,
            enabled=one.enabled,
            last_size=one.last_size,
            last_seen_at=None if one.last_seen_at is None else format_time(one.last_seen_at),
            last_error=one.last_error,
        )
        for one in publisher.witnesses(head, limit=SHOWN_WITNESSES)
    ]


def key_lines(publisher: Publisher, head: PublishedHead) -> list[KeyLine]:
    """Return the keys of the log's checkpoints, the oldest first."""
    keys = publisher.read_database.read(lambda tx: list_keys(tx, head.log_name))
    return [
        KeyLine(key.key_id.hex(), key.vkey, key.status, key.from_size, key.to_size)
        for key in keys
        if key.purpose == LOG_PURPOSE
    ]


def key_map_line(publisher: Publisher, head: PublishedHead) -> KeyMapLine | None:
    """Return the newest published map of the log's keys; None where there is none."""
    served = newest_map(publisher, head)
    if served is None:
        return None
    try:
        record = parse_record(bytes(publisher.entry(head, served.leaf_index).leaf))
    except (PrunedError, MalformedRecordError):
        record = None
    at = None if record is None else record.at
    return KeyMapLine(served.size, bytes(served.root), served.leaf_index, at)


def neighbours(publisher: Publisher, visitor: Visitor, head: PublishedHead) -> Neighbours:
    """Return the names of the logs around *head*, as far as *visitor* may see them."""
    heads = publisher.heads
    before = None if head.predecessor_log_id is None else heads.by_id.get(head.predecessor_log_id)
    after = heads.successor(head)
    # Only the current shard of a family knows whose it is.
    newest = head
    while newest.family is None and (behind := heads.successor(newest)) is not None:
        newest = behind
    shown = [one if one and visitor.may_see(one) else None for one in (before, after, newest)]
    names = [None if one is None else one.log_name for one in shown[:2]]
    return Neighbours(names[0], names[1], shown[2].family if shown[2] else None)


def history_of(
    publisher: Publisher, visitor: Visitor, log_name: str, *, table: str, key: Sequence[str]
) -> bytes:
    """
    Return the history file of a row, the same bytes that the API answers.

    Raises:
        LogNotFoundError: There is no log of this name.
        SignInNeededError: Its entries are not open.
        InvalidRequestError, MapNotFoundError, KeyNotCoveredError, HistoryTooLargeError,
        PrunedError, DamagedMapError: As `history_file`.
    """
    head = publisher.published_head(log_name)
    visitor.check_reads(head)
    return history_file(publisher, head, RowKey.of(table, list(key)))
