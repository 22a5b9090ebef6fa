"""
Pushing one entry from Python, in the caller's own transaction (log.md, section 4.4).

    with database.transaction() as tx:
        ticket = append_entry(tx, "receipts", data)
    index = await_index(database, ticket)
"""

from __future__ import annotations

import time
from typing import Final

from tallystick.db import Database, Transaction
from tallystick.seal.door import store
from tallystick.seal.door.entry import EntryTicket, check_entry
from tallystick.seal.door.hearing import HeadEar
from tallystick.seal.errors import EntryPendingError, LogNotFoundError
from tallystick.tlog import LeafIndex

MAX_BACKLOG: Final = 100_000
TIMEOUT_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 1.0
"""A notification may be lost; a look each second is not."""


def append_entry(
    tx: Transaction,
    log: str,
    data: bytes,
    *,
    deduplicate: bool = False,
    max_backlog: int = MAX_BACKLOG,
) -> EntryTicket:
    """
    Queue *data* as an entry of *log* in this transaction, and return the ticket of its index.

    With *deduplicate* the same bytes, sealed or queued before, give the earlier index.

    Raises:
        EntryTooLargeError, InvalidEntryError: *data* has over 65,535 bytes, or none, or
            begins with `tallystick/`.
        LogNotFoundError: There is no log of this name.
        LogFrozenError, LogFailedError, EntriesNotAcceptedError: The log takes no entries.
        LogBusyError: *max_backlog* rows wait to be sealed.
    """
    check_entry(data)
    log_id = store.find_log(tx, log)
    if log_id is None:
        raise LogNotFoundError(f"there is no log {log[:48]!r}")
    [ticket] = store.append_entries(tx, log_id, [data], [deduplicate], max_backlog=max_backlog)
    return ticket


def await_index(
    database: Database, ticket: EntryTicket, timeout_seconds: float = TIMEOUT_SECONDS
) -> LeafIndex:
    """
    Return the index of the entry of *ticket*, once it is sealed; its transaction has committed.

    Raises:
        EntryPendingError: It is not sealed in time; asking again with the ticket finds it.
    """
    if ticket.index is not None:
        return ticket.index
    assert ticket.seq is not None, "a ticket without an index has a place in the queue"
    deadline = time.monotonic() + timeout_seconds
    size = ticket.size
    with database.session() as connection:
        tx = Transaction(connection)
        # Heard from before the first look on, so that no head comes between the two.
        ear = HeadEar(connection)
        store.ask_for_sealing(tx, [ticket.log_id])
        while True:
            [found] = store.find_sealed(tx, {ticket.log_id: size}, [ticket.seq])
            if found.index is not None:
                return found.index
            size = found.size
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise EntryPendingError(pending(ticket.seq))
            if not ear.take():
                ear.wait(min(remaining, LOOK_SECONDS))


def pending(seq: int) -> str:
    """Return what is known of an entry that waits at *seq*."""
    return (
        f"the entry is queued (seq {seq}) and not sealed yet; it will be, and pushing the same"
        " bytes with deduplicate gives its index"
    )
