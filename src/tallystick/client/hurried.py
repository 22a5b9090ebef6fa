"""
Answers that are whole by one deadline, for those whom silence must not hold up.

The timeout of a socket is for one read: whoever is sent a byte now and then waits for ever, and a
monitor that waits raises no alarm. Here headers and body share the one timeout of the request.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
import urllib.request
from typing import Any, Final


class HurriedReader(io.RawIOBase):
    """What comes over *connection*, through *raw*, until its timeout has passed once."""

    def __init__(self, connection: socket.socket, raw: io.RawIOBase) -> None:
        self._connection = connection
        self._raw = raw
        seconds = connection.gettimeout()
        assert seconds, "a bounded request has a timeout"
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """
        Read what is there into *buffer*.

        Raises:
            TimeoutError: The answer is not whole in time.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer is not whole in time")
        self._connection.settimeout(left)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Close what is read through."""
        self._raw.close()
        super().close()


class HurriedResponse(http.client.HTTPResponse):
    """A response whose headers and body come in time, or not."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(HurriedReader(sock, self.fp.detach()))


class HurriedConnection(http.client.HTTPConnection):
    """A plain connection."""

    response_class = HurriedResponse


class HurriedSecureConnection(http.client.HTTPSConnection):
    """A connection over TLS, with the checks of the standard library."""

    response_class = HurriedResponse


class HurriedPlain(urllib.request.HTTPHandler):
    """Opens http."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the response, its headers read."""
        return self.do_open(HurriedConnection, request)


class HurriedSecure(urllib.request.HTTPSHandler):
    """Opens https."""

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Return the response, its headers read."""
        return self.do_open(HurriedSecureConnection, request)


HURRIED: Final = (HurriedPlain, HurriedSecure)
