"""What publishing answers with, and what it is asked for: frozen values (log.md, section 4.4)."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from tallystick.record import UncanonicalValueError, canonical
from tallystick.seal.errors import InvalidRequestError
from tallystick.tlog import Hash, LeafIndex, TreeSize

OP_LETTERS: Final = {
    "insert": "I",
    "update": "U",
    "delete": "D",
    "truncate": "T",
    "append": "A",
    "schema": "C",
    "genesis": "C",
    "freeze": "C",
    "redact": "C",
    "gap": "C",
    "index": "C",
}
"""Operations by the letter under which the log stores them; C is told apart by the record."""
CONTROL_LETTER: Final = "C"
TRUNCATE_LETTER: Final = "T"
PUBLIC_SCHEMA: Final = "public."


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """One signed checkpoint of a log; *note* is without cosignatures."""

    size: TreeSize
    root: Hash
    note: str
    signed_at: datetime.datetime
    batch_rows: int
    seal_ms: int


@dataclass(frozen=True, slots=True)
class RowKey:
    """A key of a table; *text* is the JSON array of its column texts, as leaves carry it."""

    table: str
    text: str

    @classmethod
    def of(cls, table: str, key: str | tuple[str, ...] | list[str]) -> RowKey:
        """
        Return the key of the columns *key* in *table*, which may carry the schema `public`.

        Raises:
            InvalidRequestError: A name or value is not text that JSON can carry.
        """
        columns = [key] if isinstance(key, str) else list(key)
        if not table or "\x00" in table or any("\x00" in column for column in columns):
            raise InvalidRequestError("a table and its key are text without zero bytes")
        try:
            text = canonical(columns).decode()
            table.encode()
        except (UncanonicalValueError, UnicodeEncodeError) as cause:
            raise InvalidRequestError("a table and its key are Unicode text") from cause
        return cls(table.removeprefix(PUBLIC_SCHEMA), text)


@dataclass(frozen=True, slots=True)
class LeafVersion:
    """One leaf of a key; *place* is the log's place in its chain of predecessors, from 1."""

    place: int
    log_name: str
    index: LeafIndex
    table: str | None
    key_text: str
    op: str
    via: str
    leaf: bytes
    leaf_hash: Hash


@dataclass(frozen=True, slots=True)
class LeafProof:
    """That the leaf with *leaf_hash* stands at *index* in the tree of *size* and *root*."""

    index: LeafIndex
    size: TreeSize
    root: Hash
    leaf_hash: Hash
    hashes: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class FoundLeaf:
    """
    A proof of one leaf, and which leaves equal it.

    *equal_indexes* has at most 100 of them; *count* is exact up to 10,000.
    """

    proof: LeafProof
    count: int
    equal_indexes: tuple[LeafIndex, ...]


@dataclass(frozen=True, slots=True)
class GrowthProof:
    """That the tree of *new_size* extends that of *old_size*."""

    old_size: TreeSize
    old_root: Hash
    new_size: TreeSize
    new_root: Hash
    hashes: tuple[Hash, ...]


@dataclass(frozen=True, slots=True)
class RowState:
    """What a tree says of a row: its last leaf, whether the row existed then, and the proof."""

    version: LeafVersion
    exists: bool
    proof: LeafProof


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Which leaves to find; None asks nothing. *columns* are values of the row, as text."""

    table: str | None = None
    op: str | None = None
    role: str | None = None
    actor: str | None = None
    at_from: str | None = None
    at_to: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op is not None and self.op not in OP_LETTERS:
            raise InvalidRequestError(f"op is one of {', '.join(OP_LETTERS)}")

    @property
    def op_letter(self) -> str | None:
        """The letter of the operation."""
        return None if self.op is None else OP_LETTERS[self.op]

    @property
    def control_op(self) -> str | None:
        """The name of the operation where the letter does not tell it."""
        return self.op if self.op_letter == CONTROL_LETTER else None

    @property
    def reads_record(self) -> bool:
        """Whether a leaf's record must be looked into."""
        texts = (self.control_op, self.role, self.actor, self.at_from, self.at_to)
        return bool(self.columns) or any(text is not None for text in texts)


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Matches, the newest first; *next_before* is where the next page begins, None at the end."""

    found: tuple[LeafVersion, ...]
    next_before: LeafIndex | None


@dataclass(frozen=True, slots=True)
class WitnessState:
    """A witness of a log, as an operator sees it."""

    name: str
    vkey: str
    url: str
    enabled: bool
    status: Literal["active", "conflict"]
    last_size: int | None
    last_seen_at: datetime.datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class WaitedFor:
    """A witness for whose cosignature a log's head waits, or that contradicts the log."""

    log_name: str
    size: TreeSize
    published_size: TreeSize
    witness: str
    status: Literal["active", "conflict"]
    last_size: int | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """How the whole system does; *lag_seconds* is the age of the oldest unsealed row."""

    migration: int
    failed_logs: int
    lag_seconds: float | None
    unpublished_logs: int
    witness_conflicts: int
    sealing: str


@dataclass(frozen=True, slots=True)
class LogGauges:
    """The measures of one log."""

    log_name: str
    size: int
    published_size: int
    backlog_rows: int
    backlog_age_seconds: float
    quarantine_rows: int
    broken_sources: int
    witnesses_behind: int


@dataclass(frozen=True, slots=True)
class ServerGauges:
    """The measures that belong to no log."""

    outbox_lag_seconds: float
    longest_transaction_seconds: float
