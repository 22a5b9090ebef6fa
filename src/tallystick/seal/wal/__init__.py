"""Capture by logical decoding: the stream, the batches, the one reader of a database."""

from tallystick.seal.wal.messages import Lsn
from tallystick.seal.wal.reader import ReadResult, WalReader, drop_unneeded_slot
from tallystick.seal.wal.store import WalLag, is_from_wal, is_needed, lag, last_said, start_wal
from tallystick.seal.wal.waiting import unchanged_keys, wait_until_read, write_mark

__all__ = [
    "Lsn",
    "ReadResult",
    "WalLag",
    "WalReader",
    "drop_unneeded_slot",
    "is_from_wal",
    "is_needed",
    "lag",
    "last_said",
    "start_wal",
    "unchanged_keys",
    "wait_until_read",
    "write_mark",
]
