"""
Hearing of new heads in a session that also runs statements.

A notification may come with the answer to a statement. Then the socket has nothing more to
tell, and waiting for it would miss what is here already: so what is here is asked for first.
"""

from __future__ import annotations

import re
import select
from typing import Any, Final, Protocol

import psycopg

from tallystick.db import Transaction
from tallystick.seal.door import store
from tallystick.seal.logs.log import LogId

HEAD: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
"""Whoever may connect may notify: anything else is a stranger's, and is passed over."""


class HasFileno(Protocol):
    """What can be waited for."""

    def fileno(self) -> int:
        """Return the number of its descriptor."""
        ...


class HeadEar:
    """Hears the heads that sequencers tell of, from now on, over *connection*."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._heads: dict[LogId, int] = {}
        # What the driver meets while it reads the answer to a statement.
        connection.add_notify_handler(lambda heard: self._note(heard.payload))
        store.listen(Transaction(connection))

    def take(self) -> dict[LogId, int]:
        """Return the sizes heard of since the last time, by log, without waiting."""
        self._read()
        heads, self._heads = self._heads, {}
        return heads

    def wait(self, seconds: float, *others: HasFileno) -> None:
        """Wait until there is something to take, one of *others* is readable, or time is over."""
        self._read()
        if self._heads:
            return
        poll = select.poll()
        for file in (self._connection, *others):
            poll.register(file.fileno(), select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)

    def _read(self) -> None:
        server = self._connection.pgconn
        server.consume_input()
        while (heard := server.notifies()) is not None:
            self._note(heard.extra.decode("ascii", "replace"))

    def _note(self, payload: str) -> None:
        head = HEAD.fullmatch(payload)
        if head is not None:
            self._heads[LogId(int(head[1]))] = int(head[2])
