"""The push door: entries that no table holds, queued in groups and answered once sealed."""

from tallystick.seal.door.door import Answer, Door, Push
from tallystick.seal.door.entry import MAX_ENTRY_BYTES, EntryTicket, check_entry
from tallystick.seal.door.operations import append_entry, await_index

__all__ = [
    "MAX_ENTRY_BYTES",
    "Answer",
    "Door",
    "EntryTicket",
    "Push",
    "append_entry",
    "await_index",
    "check_entry",
]
