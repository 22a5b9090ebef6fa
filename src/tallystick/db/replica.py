"""
A replica that reads may use once it has replayed what their caller has written.

A position is a place in the write-ahead log, as the primary says it after a commit. Who sends
it along sees his write: a replica that is behind is waited for a moment, then the primary is
asked. Follows identity.md, section 4.6.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from typing import Any, Final, NewType

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from tallystick.db.errors import InvalidPositionError
from tallystick.db.queries import Query

WalPosition = NewType("WalPosition", str)
"""A place in the write-ahead log, as PostgreSQL writes it: `16/B374D848`."""

POSITION_FORM: Final = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}")
WAIT_SECONDS: Final = 0.1
"""For a connection and for the replay together; the primary answers sooner than a late replica."""
LOOK_SECONDS: Final = 0.005
REST_SECONDS: Final = 5.0
"""A replica that does not answer is left alone so long, so that not every read waits for it."""
# A server that was promoted is no replica any more; what it has written it has replayed.
HAS_REPLAYED: Final = Query(b"""
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
       ELSE pg_catalog.pg_current_wal_insert_lsn() END >= %(position)s::pg_catalog.pg_lsn""")
WRITTEN: Final = Query(b"SELECT pg_catalog.pg_current_wal_insert_lsn()")
BEGIN: Final = Query(b"BEGIN READ ONLY")

Connection = psycopg.Connection[Any]


def parse_position(text: str) -> WalPosition:
    """
    Return the position that *text* names.

    Raises:
        InvalidPositionError: It is not two hexadecimal numbers with a slash between them.
    """
    if not POSITION_FORM.fullmatch(text):
        raise InvalidPositionError
    return WalPosition(text)


class Replica:
    """The connections to one replica, lent to who may read there."""

    def __init__(self, pool: ConnectionPool[Connection]) -> None:
        self._pool = pool
        self._opening = threading.Lock()
        self._rests_until = 0.0

    def lend(self, after: WalPosition | None) -> Connection | None:
        """
        Return a connection in a read-only transaction, to a replica that has replayed *after*.

        None: it has not within 100 ms, or does not answer. What is lent is to be given back.
        """
        began = time.monotonic()
        if began < self._rests_until:
            return None
        connection: Connection | None = None
        try:
            self._open()
            connection = self._pool.getconn(timeout=WAIT_SECONDS)
            if after is None or has_replayed(connection, after, began + WAIT_SECONDS):
                # Here, where the primary can still be asked, shows what died while it was idle.
                connection.execute(BEGIN)
                return connection
        except PoolTimeout:
            # All are lent: then the primary takes one more. None was ever made: it is away.
            if not self._pool.get_stats().get("pool_size"):
                self._rests_until = time.monotonic() + REST_SECONDS
        except psycopg.Error:
            self._rests_until = time.monotonic() + REST_SECONDS
        if connection is not None:
            self.take_back(connection)
        return None

    def take_back(self, connection: Connection) -> None:
        """Take a lent connection back; one that broke is replaced, and the replica rests."""
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
        if connection.broken:
            self._rests_until = time.monotonic() + REST_SECONDS
        self._pool.putconn(connection)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _open(self) -> None:
        with self._opening:
            if self._pool.closed:
                self._pool.open()


def has_replayed(connection: Connection, position: WalPosition, deadline: float) -> bool:
    """Return whether the server has replayed *position* by *deadline*, of the monotonic clock."""
    while True:
        row = connection.execute(HAS_REPLAYED, {"position": position}).fetchone()
        assert row is not None
        if row[0]:
            return True
        if time.monotonic() + LOOK_SECONDS > deadline:
            return False
        time.sleep(LOOK_SECONDS)
