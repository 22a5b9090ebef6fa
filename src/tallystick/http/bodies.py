"""
The time that the body of a request may take.

A client that sends a byte a minute would keep its request, and with it the end of the server,
waiting for ever; the server below bounds the head of a request alone. Follows log.md, 6.4.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from litestar.types import HTTPReceiveMessage, HTTPScope, Receive

from tallystick.http.errors import BodyTooSlowError

BODY_SECONDS: Final = 10.0
"""For the whole of it: the longest has 1 MB, and a server that is told to stop has 20 s."""
DRAIN_BYTES: Final = 1_000_000
"""Of a body that is too long; who sends more than the longest that we take learns it roughly."""
DRAIN_SECONDS: Final = 1.0
"""A client that waits for the answer before it writes gets it so much later."""
BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Nothing reads the body of such a request; some wait, by *receive*, for their client to go."""


class BoundedBody:
    """
    The body of one request: `receive` raises BodyTooSlowError once it was not whole in 10 s.
    """

    def __init__(self, scope: HTTPScope, receive: Receive) -> None:
        self._receive = receive
        self._is_whole = scope["method"] in BODILESS
        self._deadline: float | None = None

    async def receive(self) -> HTTPReceiveMessage:
        """Return the next part of the body."""
        if self._is_whole:
            return await self._receive()  # type: ignore[return-value]
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlowError from None
        self._is_whole = not message.get("more_body", False)
        return message  # type: ignore[return-value]

    async def drain(self) -> None:
        """
        Take what still comes of a body that is refused for its length, within bounds.

        A connection that is closed on a client who writes may lose him the answer.
        """
        taken = 0
        with contextlib.suppress(TimeoutError, BodyTooSlowError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._is_whole and taken < DRAIN_BYTES:
                    message = await self.receive()
                    if message["type"] != "http.request":
                        return
                    taken += len(message.get("body", b""))
