"""
The log of logs: whoever witnesses or anchors its head has witnessed every log of the house.

Its leaves are the notes of the others' published heads, byte for byte, so that a leaf of any
log is proven by three links: leaf, note, head of the log of logs (`verify.check_chain`). It is
on where the log `tally_heads` exists and is not paused. Follows log.md, section 9.2.
"""

from __future__ import annotations

from typing import Final

from tallystick.db import Transaction
from tallystick.seal.headlog import store
from tallystick.seal.logs import KeyRing, Log, LogSettings, create_log, get_log, has_log
from tallystick.verify import HEADS_LOG

SETTINGS: Final = LogSettings(description="The log of logs: every other log's published heads")

__all__ = ["HEADS_LOG", "create_heads_log", "take_heads"]


def create_heads_log(tx: Transaction, *, keys: KeyRing, origin_prefix: str) -> Log:
    """
    Make the log of logs where there is none, and return it; from then on heads are taken.

    Raises:
        KeyPermissionsError: The key directory is open to others.
    """
    if has_log(tx, HEADS_LOG):
        return get_log(tx, HEADS_LOG)
    return create_log(tx, HEADS_LOG, keys=keys, origin_prefix=origin_prefix, settings=SETTINGS)


def take_heads(tx: Transaction, *, pause_seconds: float = 0.0) -> int:
    """
    Queue the note of every log whose published head is new since it was last taken.

    Return how many: 0 also where there is no log of logs, where it is paused or frozen, where
    another worker takes heads just now, or took some within *pause_seconds*.
    """
    return store.take_heads(tx, HEADS_LOG, pause_seconds=pause_seconds)
