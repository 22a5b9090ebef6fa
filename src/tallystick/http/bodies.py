"""
The time that the body of a request may take.

A client that sends a byte a minute would keep its request, and with it the end of the server,
waiting for ever; the server below bounds the head of a request alone. Follows log.md, 6.4.
"""

from __future__ import annotations

import asyncio
from typing import Final

from litestar.types import HTTPReceiveMessage, HTTPScope, Receive

from tallystick.http.errors import BodyTooSlowError

BODY_SECONDS: Final = 10.0
"""For the whole of it: the longest has 1 MB, and a server that is told to stop has 20 s."""
BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Nothing reads the body of such a request; some wait, by *receive*, for their client to go."""


def bound_body(scope: HTTPScope, receive: Receive) -> Receive:
    """
    Return *receive*, which raises once the body was not whole in 10 s.

    What is returned raises BodyTooSlowError.
    """
    if scope["method"] in BODILESS:
        return receive
    deadline: float | None = None
    is_whole = False

    async def receive_in_time() -> HTTPReceiveMessage:
        nonlocal deadline, is_whole
        if is_whole:
            return await receive()  # type: ignore[return-value]
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlowError from None
        is_whole = not message.get("more_body", False)
        return message  # type: ignore[return-value]

    return receive_in_time
