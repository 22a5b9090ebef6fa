"""What asking witnesses works with: frozen values, and what an answer may be (log.md, 5.8)."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal

from tallystick.seal.logs import LogId, LogName
from tallystick.tlog import Hash, Note, TreeSize


@dataclass(frozen=True, slots=True)
class Witness:
    """One row of `witnesses`: who is asked to cosign a log, and how far it has come."""

    log_id: LogId
    name: str
    vkey: str
    public_key: bytes
    key_id: bytes
    url: str
    enabled: bool
    status: Literal["active", "conflict"]
    last_size: TreeSize | None
    last_seen_at: datetime.datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Offer:
    """A log's checkpoint that its witnesses are asked to cosign."""

    log_id: LogId
    log_name: LogName
    origin: str
    quorum: int
    size: TreeSize
    root: Hash
    note: Note


@dataclass(frozen=True, slots=True)
class Ask:
    """One witness to be asked for one checkpoint."""

    offer: Offer
    name: str
    vkey: str
    url: str
    last_size: TreeSize | None

    @property
    def key(self) -> tuple[LogId, str]:
        """Which log's which witness: nobody is asked twice at once."""
        return self.offer.log_id, self.name


@dataclass(frozen=True, slots=True)
class Cosigned:
    """The witness cosigned; *line* was verified by its key."""

    ask: Ask
    line: str
    time_seconds: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The witness did not cosign; *message* is ours. *seen*: it answered at all."""

    ask: Ask
    message: str
    seen: bool


@dataclass(frozen=True, slots=True)
class Overtaken:
    """The witness knows a later checkpoint of ours than the one that was offered."""

    ask: Ask


@dataclass(frozen=True, slots=True)
class Contradicted:
    """
    The witness knows what our log has not: a larger size, or another root.

    *told* is the size that it answered; *known* its checkpoint, where it shows one. *proven*:
    the log's own key signed that checkpoint, and it is none of our tree.
    """

    ask: Ask
    message: str
    told: TreeSize | None
    known: str | None
    proven: bool


Answer = Cosigned | Declined | Overtaken | Contradicted
