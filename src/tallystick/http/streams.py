"""
Open streams: how many each caller has (log.md, section 6.2).

A stream is one request to the limits and lasts as long as its reader stays, and each event is a
look into the database for each of them: without a bound a caller of few requests would, in an
hour, keep the server busy with himself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from typing import Final

from tallystick.http.authorize import Principal
from tallystick.http.errors import TooManyStreamsError

MAX_STREAMS: Final = 20
"""Of one user, or of the operator: one for each of a service's processes, and as many again."""


class Streams:
    """The streams that are open on this server; counted in its event loop alone."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, principal: Principal) -> None:
        """
        Check that *principal* may open one more.

        Raises:
            TooManyStreamsError: His user has as many as he may.
        """
        if self._open[caller_of(principal)] >= MAX_STREAMS:
            raise TooManyStreamsError(f"a user has at most {MAX_STREAMS} streams at once")

    async def counted(
        self, principal: Principal, stream: AsyncGenerator[bytes]
    ) -> AsyncGenerator[bytes]:
        """Yield what *stream* yields, which is one of *principal*'s for so long."""
        caller = caller_of(principal)
        self._open[caller] += 1
        try:
            async for part in stream:
                yield part
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]


def caller_of(principal: Principal) -> str:
    """Return whose streams are counted together: those of all keys of one user."""
    return principal.name if principal.user_id is None else f"user:{principal.user_id}"
