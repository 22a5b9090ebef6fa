"""
The sink `notify`: NOTIFY on the channel `tally_events` (log.md, section 2.9).

The message names the event and does not hold it: listeners read the rest, under their rights.
"""

from __future__ import annotations

from typing import Final

from tallystick.db import Database
from tallystick.outbox import store
from tallystick.outbox.events import Event
from tallystick.record.canonical import canonical

CHANNEL: Final = "tally_events"


class NotifySink:
    """Tells whoever listens on this database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def deliver(self, event: Event) -> None:
        """
        Notify of *event*; that nobody listens is no error.

        Raises:
            DatabaseUnavailableError: The database does not answer.
        """
        message = canonical({"position": event.position, "topic": event.topic, "key": event.key})
        with self._database.transaction() as tx:
            store.notify(tx, channel=CHANNEL, message=message.decode())

    def close(self) -> None:
        """There is nothing to give back: connections are the database's."""
