"""
Asking one witness: add-checkpoint over HTTP, bounded in time and length (log.md, section 5.8).

Follows C2SP tlog-witness. Asynchronous, because a witness that drips its answer byte by byte
must end after 5 s all the same, and one that hangs must cost nobody else a thread. No redirect
is followed, no proxy of the environment asked, no cookie sent back; an answer's words are never
stored, so that an address cannot be used to read what stands behind it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import httpx

from tallystick import metrics
from tallystick.errors import Error
from tallystick.publish.errors import InvalidWitnessError
from tallystick.publish.witnesses.address import check_witness_url
from tallystick.publish.witnesses.answers import (
    contradiction,
    declined,
    read_cosignatures,
    read_size,
    signed_by_log,
)
from tallystick.publish.witnesses.values import Answer, Ask, Declined, Overtaken
from tallystick.tlog import AddCheckpoint, Hash, TreeSize, format_add_checkpoint

TIMEOUT_SECONDS: Final = 5.0
"""For one request as a whole; a witness does next to nothing (log.md, section 5.8)."""
MAX_ANSWER_BYTES: Final = 65_536
"""Sixty-four signature lines, or a checkpoint, come nowhere near."""
MAX_TRIES: Final = 3
"""A witness that names yet another size each time is asked again at the next look."""
MAX_REQUESTS_OF_ONE: Final = 16
"""Requests under way at one witness, whatever the number of logs; the others wait here."""
KEPT_CONNECTIONS: Final = 64
USER_AGENT: Final = "tallystick-witness-client"
NO_ANSWER: Final = "it does not answer within 5 s"


class OwnLog(Protocol):
    """What is asked of our own log while a witness is asked."""

    def prove_growth(self, ask: Ask, old_size: TreeSize) -> Awaitable[tuple[Hash, ...]]:
        """Return the proof that the offered tree extends that of *old_size*."""
        ...

    def newest_size(self, ask: Ask) -> Awaitable[TreeSize]:
        """Return the size of the log's head as it is now."""
        ...

    def vkeys(self, ask: Ask) -> Awaitable[list[str]]:
        """Return every key that may have signed the log's checkpoints."""
        ...

    def root_at(self, ask: Ask, size: TreeSize) -> Awaitable[Hash]:
        """Return the root of the log's own tree of *size* leaves."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came: status, and at most 64 KiB of body."""

    status: int
    body: bytes


class WitnessClient:
    """Asks witnesses, and keeps the connections to them."""

    def __init__(self, own: OwnLog) -> None:
        self._own = own
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._http = httpx.AsyncClient(
            timeout=TIMEOUT_SECONDS,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_keepalive_connections=KEPT_CONNECTIONS),
            # An answer that is packed may be a thousand times its length.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, ask: Ask) -> Answer:
        """Return what the witness of *ask* says to its offer; whatever it says, this returns."""
        gate = self._gates.setdefault(ask.url, asyncio.Semaphore(MAX_REQUESTS_OF_ONE))
        async with gate:
            began = time.monotonic()
            try:
                check_witness_url(ask.url, allow_private_http=True)
                return await self._ask(ask)
            except TimeoutError:
                return Declined(ask, NO_ANSWER, seen=False)
            except InvalidWitnessError as error:
                return Declined(ask, error.message, seen=False)
            except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
                return Declined(ask, f"it cannot be reached: {type(error).__name__}", seen=False)
            except Error as error:
                # Ours: the database does not answer, or lacks a tile.
                return Declined(ask, f"it could not be asked: {error.code()}", seen=False)
            finally:
                metrics.WITNESS_SECONDS.observe(time.monotonic() - began)

    async def _ask(self, ask: Ask) -> Answer:
        size = ask.offer.size
        old = TreeSize(ask.last_size or 0) if (ask.last_size or 0) <= size else TreeSize(0)
        reply = Reply(HTTPStatus.CONFLICT, b"")
        for _ in range(MAX_TRIES):
            hashes = await self._own.prove_growth(ask, old)
            body = format_add_checkpoint(AddCheckpoint(old, hashes, ask.offer.note))
            reply = await self._exchange("POST", f"{ask.url}/add-checkpoint", body)
            if reply.status == HTTPStatus.OK:
                return read_cosignatures(ask, reply.body)
            if reply.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                return await self._contradicted(ask, None)
            told = read_size(reply.body) if reply.status == HTTPStatus.CONFLICT else None
            if told is None or told == old:
                break
            if told > size:
                # Another process of ours may have offered a later checkpoint meanwhile.
                if told <= await self._own.newest_size(ask):
                    return Overtaken(ask)
                return await self._contradicted(ask, told)
            old = told
        return declined(ask, reply.status)

    async def _contradicted(self, ask: Ask, told: TreeSize | None) -> Answer:
        """Ask the witness for the checkpoint that it knows: if our key signed it, it is proof."""
        path = hashlib.sha256(ask.offer.origin.encode()).hexdigest()
        try:
            reply = await self._exchange("GET", f"{ask.url}/{path}/checkpoint", None)
        except (TimeoutError, httpx.HTTPError, httpx.StreamError, OSError):
            return contradiction(ask, told=told)
        if reply.status != HTTPStatus.OK:
            return contradiction(ask, told=told)
        known = signed_by_log(ask, reply.body, await self._own.vkeys(ask))
        if known is None:
            return contradiction(ask, told=told)
        is_beyond = known.size > await self._own.newest_size(ask)
        is_other = not is_beyond and known.root != await self._own.root_at(ask, known.size)
        shown = reply.body.decode()
        return contradiction(ask, told=told, known=shown, proven=is_beyond or is_other)

    async def _exchange(self, method: str, url: str, body: bytes | None) -> Reply:
        """Return the answer; more than 64 KiB of it are as good as a broken connection."""
        headers = {} if body is None else {"Content-Type": "text/plain; charset=utf-8"}
        async with asyncio.timeout(TIMEOUT_SECONDS):
            request = self._http.build_request(method, url, content=body, headers=headers)
            response = await self._http.send(request, stream=True)
            try:
                data = b""
                async for chunk in response.aiter_raw():
                    data += chunk
                    if len(data) > MAX_ANSWER_BYTES:
                        raise httpx.DecodingError("the answer is over 64 KiB", request=request)
                return Reply(response.status_code, data)
            finally:
                await response.aclose()
                # What a witness sets, the next request would send back.
                self._http.cookies.clear()
