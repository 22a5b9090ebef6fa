"""What may be pushed, and the ticket under which an entry's index is found (log.md, 4.4, 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tallystick.seal.errors import EntryTooLargeError, InvalidEntryError
from tallystick.seal.logs.log import LogId
from tallystick.seal.sequencer.floor import Seq
from tallystick.tlog import LeafIndex, TreeSize

MAX_ENTRY_BYTES: Final = 65_535
"""An entry bundle holds its length in two bytes (C2SP tlog-tiles)."""
RESERVED_TAG: Final = b"tallystick/"
"""Every record and message of ours begins with it; nothing pushed may pass for one."""


@dataclass(frozen=True, slots=True)
class EntryTicket:
    """
    An entry that waits to be sealed: its leaf has this *seq* and stands at *size* or behind it.
    *index* is set where the same bytes are a leaf already.
    """

    log_id: LogId
    seq: Seq | None
    size: TreeSize
    index: LeafIndex | None = None


def check_entry(data: bytes) -> None:
    """
    Check that *data* may be pushed.

    Raises:
        EntryTooLargeError: It has over 65,535 bytes.
        InvalidEntryError: It is empty, or begins as our own records do.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise EntryTooLargeError
    if not data:
        raise InvalidEntryError("an entry has at least one byte")
    if data.startswith(RESERVED_TAG):
        raise InvalidEntryError("an entry cannot begin with tallystick/: only records do")
