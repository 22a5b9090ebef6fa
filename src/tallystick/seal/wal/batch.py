"""
What was read and is still to be queued: messages by relation, each with its place.

Nothing is decided here about a row. A message's bytes are kept as they came, with the number
of its transaction and its place among all of the batch, from which its seq follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tallystick.seal.errors import MalformedWalError
from tallystick.seal.wal.messages import (
    BEGIN,
    COMMIT,
    DELETE,
    IGNORED,
    INSERT,
    MESSAGE,
    RELATION,
    TRUNCATE,
    UPDATE,
    Begin,
    Lsn,
    Relation,
    is_transactional,
    parse_begin,
    parse_commit,
    parse_message,
    parse_relation,
    parse_truncation,
)

ROWS: Final = frozenset({INSERT, DELETE})
ACTOR_PREFIX: Final = "tally.actor"
"""A transactional message with this prefix says who acts in the rest of its transaction."""


@dataclass(slots=True)
class Changes:
    """Messages of one kind: their bytes, their transactions (from 1), their places (from 0)."""

    messages: list[bytes] = field(default_factory=list)
    transactions: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, message: bytes, transaction: int, place: int) -> None:
        """Keep one message."""
        self.messages.append(message)
        self.transactions.append(transaction)
        self.places.append(place)


@dataclass(slots=True)
class Group:
    """What happened to one table while its columns were the same."""

    relation: Relation
    rows: Changes = field(default_factory=Changes)
    """Inserts and deletes."""
    updates: Changes = field(default_factory=Changes)


@dataclass(frozen=True, slots=True)
class Emptied:
    """A TRUNCATE at its place."""

    relations: frozenset[int]
    transaction: int
    place: int


class Facts(NamedTuple):
    """What is known of a transaction, or of its part behind a signature; times as in `Begin`."""

    commit_at: Lsn
    microseconds: int
    xid: int
    actor: str | None


class Batch:
    """
    Messages that were read since the last batch was queued, and where in the WAL they end.

    `end` is the end of the last commit; `is_whole` says whether anything lies behind it.
    """

    def __init__(self, position: Lsn) -> None:
        self.end = position
        self.is_whole = True
        self.bytes = 0
        self.places = 0
        self.groups: list[Group] = []
        self.truncates: list[Emptied] = []
        self.transactions: list[Facts] = []
        self.has_marks = False
        self._groups: dict[bytes, Group] = {}
        self._begin: Begin | None = None
        self._actor: str | None = None
        self._number = 0
        self._is_known = False
        """Whether the transaction ended before the batch began: read again after a restart."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to queue."""
        return self.places == 0

    def add(self, message: bytes) -> None:
        """
        Take the next message of the stream.

        Raises:
            MalformedWalError: It is not one that pgoutput writes here.
        """
        kind = message[0]
        if kind in ROWS:
            group = self._groups[message[1:5]]
            if not self._is_known:
                group.rows.add(message, self._transaction(), self.places)
                self.places += 1
                self.bytes += len(message)
        elif kind == UPDATE:
            group = self._groups[message[1:5]]
            if not self._is_known:
                group.updates.add(message, self._transaction(), self.places)
                # An update of the key is two rows, and the second comes directly behind the first.
                self.places += 2
                self.bytes += len(message)
        else:
            self._add_other(kind, message)

    def _add_other(self, kind: int, message: bytes) -> None:
        if kind == BEGIN:
            self._begin = parse_begin(message)
            self._actor = None
            self._is_known = self._begin.commit_at < self.end
            self._number = 0
            self.is_whole = False
        elif kind == COMMIT:
            self.end = max(self.end, parse_commit(message))
            self.is_whole = True
        elif kind == RELATION:
            group = Group(parse_relation(message))
            self._groups[message[1:5]] = group
            self.groups.append(group)
        elif kind == TRUNCATE and not self._is_known:
            emptied = parse_truncation(message)
            self.truncates.append(Emptied(emptied, self._transaction(), self.places))
            self.places += 1
        elif kind == MESSAGE:
            self._add_message(message)
        elif kind not in IGNORED and kind != TRUNCATE:
            raise MalformedWalError(f"there is no message of kind {kind}")

    def _add_message(self, message: bytes) -> None:
        prefix, content = parse_message(message)
        if prefix == ACTOR_PREFIX and is_transactional(message):
            self._actor = content.decode("utf-8", "replace").replace("\0", "") or None
            self._number = 0
        self.has_marks = True

    def _transaction(self) -> int:
        if self._number == 0:
            begin = self._begin
            assert begin is not None, "rows come between BEGIN and COMMIT"
            facts = Facts(*begin, self._actor)
            self.transactions.append(facts)
            self._number = len(self.transactions)
        return self._number

    def clear(self) -> None:
        """Forget what was queued; the stream goes on with the same relations."""
        self.bytes = self.places = 0
        self.truncates.clear()
        self.transactions.clear()
        self.has_marks = False
        self._number = 0
        self._groups = {key: Group(group.relation) for key, group in self._groups.items()}
        self.groups = list(self._groups.values())
