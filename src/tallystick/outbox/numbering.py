"""
Numbering: one worker gives positions to the events that it sees.

Follows log.md, sections 2.9 and 7, law 20. event_id is drawn before commit, so a cursor over
it would pass over an event that commits late. The worker's statement numbers what is visible
to it, in event_id order; a late commit gets a later position. The session's advisory lock
keeps a second worker away, and each look is one statement, so that a kill anywhere leaves all
of its positions or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tallystick.db import Database, Transaction
from tallystick.outbox import store
from tallystick.pauses import pause_point

LOOK_SECONDS: Final = 0.1
"""The pause between two looks; half of it is what numbering adds to an event's way."""
MAX_NUMBERED: Final = 10_000
"""Events numbered by one statement, which keeps it far below its timeout."""
WAKE_CHANNEL: Final = "tally_outbox"
"""Readers in other processes learn here of new positions, or by their own look."""


class Numbering:
    """The session that holds the outbox's lock, and numbers on it while it lives."""

    __slots__ = ("_session",)

    def __init__(self, session: Transaction) -> None:
        self._session = session

    def number(self) -> int:
        """Number at most 10,000 events; return how many."""
        # On the session of the lock itself: were the session lost, this statement would fail
        # with it, and another worker could not be numbering at the same time.
        pause_point("outbox-number")
        numbered = store.number_events(self._session, limit=MAX_NUMBERED)
        # A kill here leaves numbered events of which nobody is told: readers look by themselves.
        pause_point("outbox-numbered")
        if numbered:
            # By itself: NOTIFY serialises the commits of all who notify.
            store.notify(self._session, channel=WAKE_CHANNEL, message="")
        return numbered


@contextmanager
def numbering_session(database: Database) -> Iterator[Numbering | None]:
    """
    Yield a `Numbering` that no other has while the block runs; None where another has it.

    Raises:
        DatabaseUnavailableError: No connection, or it broke.
    """
    with database.session() as connection:
        # The session is in autocommit mode: each statement is a transaction.
        session = Transaction(connection)
        yield Numbering(session) if store.take_lock(session) else None
