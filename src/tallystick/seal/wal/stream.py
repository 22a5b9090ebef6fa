"""
The replication stream of one slot, over the driver's own connection (docs/adr/0016).

The slot's SQL functions would decode anew at every call from where the oldest transaction
began; a stream decodes each byte of WAL once, however long somebody's transaction stays open.
The session prints values as records hold them, so the server's own text is the leaf's.
"""

from __future__ import annotations

import select
import struct
import time
from typing import TYPE_CHECKING, Final, Self

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import ConnStatus, ExecStatus, PGconn

from tallystick.seal.errors import WalLostError, WalUnavailableError
from tallystick.seal.wal.messages import Lsn, format_lsn

if TYPE_CHECKING:
    from collections.abc import Iterator

PUBLICATION: Final = "tally"
KEEPALIVES: Final = (
    " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)
"""A worker whose machine is gone holds slot and lock no longer than a minute."""
FORMATS: Final = (
    "-c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=postgres -c bytea_output=hex"
    " -c extra_float_digits=1 -c lc_monetary=C -c search_path=pg_catalog"
    # Queueing a transaction of millions of rows takes minutes, in which nobody reads.
    " -c wal_sender_timeout=30min" + KEEPALIVES
)
"""As the generated trigger functions set them: one change has one text, whoever captures it."""
UNDEFINED_OBJECT: Final = "42704"
OBJECT_NOT_READY: Final = "55000"
IN_USE: Final = "55006"
DENIED: Final = frozenset({"42501", "28000", "28P01"})

DATA: Final = ord("w")
"""A message of the plugin; its place and time are in the message itself too."""

_DATA: Final = struct.Struct(">cQQq")
_KEEPALIVE: Final = struct.Struct(">cQqB")
_STATUS: Final = struct.Struct(">cQQQqB")


class Stream:
    """What one slot sends: messages in the order of commits; one reader at a time."""

    def __init__(self, url: str, slot: str, start: Lsn) -> None:
        """
        Begin to stream *slot*: transactions whose commit lies at *start* or behind it.

        Raises:
            WalUnavailableError: The server or our rights do not allow it.
            WalLostError: There is no such slot, or its WAL is gone.
            psycopg.OperationalError: Another process reads it, or no connection.
        """
        conninfo = make_conninfo(
            url,
            replication="database",
            application_name="tallystick-wal",
            client_encoding="UTF8",
            options=FORMATS,
        )
        self._connection = PGconn.connect(conninfo.encode())
        try:
            self.confirmed = start
            self.seen = start
            self._start(slot, start)
        except BaseException:
            self._connection.finish()
            raise

    def _start(self, slot: str, start: Lsn) -> None:
        if self._connection.status != ConnStatus.OK:
            raise refused(self._connection.get_error_message(), None)
        command = (
            f'START_REPLICATION SLOT "{slot}" LOGICAL {format_lsn(start)}'
            f" (proto_version '1', publication_names '\"{PUBLICATION}\"', messages 'true')"
        )
        result = self._connection.exec_(command.encode())
        if result.status != ExecStatus.COPY_BOTH:
            raise refused(result.get_error_message(), sqlstate_of(result))
        self._connection.nonblocking = 1

    @property
    def socket(self) -> int:
        """The file descriptor that becomes readable when something comes."""
        return self._connection.socket

    def messages(self) -> Iterator[bytes]:
        """
        Yield the messages that have come and were not yielded yet, and then end.

        Where nothing is left, `seen` is how far the server has read.

        Raises:
            WalLostError: The server cannot go on with this slot.
            psycopg.OperationalError: The connection is gone.
        """
        take = self._connection.get_copy_data
        while True:
            length, data = take(1)
            if length > 0:
                if data[0] == DATA:
                    yield bytes(data[_DATA.size :])
                else:
                    _, self.seen, _, wants_reply = _KEEPALIVE.unpack_from(data)
                    if wants_reply:
                        self.confirm(self.confirmed)
            elif length == 0:
                if not self.wait(0.0):
                    return
                self._connection.consume_input()
            else:
                raise self._ended(length)

    def wait(self, seconds: float) -> bool:
        """Wait until something comes, and return whether it did."""
        readable, _, _ = select.select([self._connection.socket], [], [], seconds)
        return bool(readable)

    def confirm(self, position: Lsn, *, ask: bool = False) -> None:
        """Tell the server that all up to *position* is ours; with *ask* it says where it is."""
        self.confirmed = position
        now = int((time.time() - 946684800) * 1e6)
        status = _STATUS.pack(b"r", position, position, position, now, int(ask))
        self._connection.put_copy_data(status)
        while self._connection.flush():
            select.select([], [self._connection.socket], [], 1.0)

    def _ended(self, length: int) -> Exception:
        if length == -1:
            result = self._connection.get_result()
            if result is not None:
                return refused(result.get_error_message(), sqlstate_of(result))
        return psycopg.OperationalError(self._connection.get_error_message() or "the stream ended")

    def close(self) -> None:
        """End the connection; the slot stays where it was confirmed."""
        self._connection.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sqlstate_of(result: psycopg.pq.abc.PGresult) -> str | None:
    """Return the SQLSTATE of a failed result."""
    found = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
    return found.decode() if found else None


def refused(message: str, sqlstate: str | None) -> Exception:
    """Return the error that the server's refusal stands for."""
    words = message.strip().splitlines()[0] if message.strip() else "the server refused"
    if sqlstate in {UNDEFINED_OBJECT, OBJECT_NOT_READY}:
        return WalLostError(words)
    if sqlstate in DENIED or "permission denied" in words or "max_wal_senders" in words:
        return WalUnavailableError(f"{words}; the worker's role needs the attribute REPLICATION")
    return psycopg.OperationalError(words)
