"""Our own witness over HTTP: C2SP tlog-witness under `/api/v1/witness` (log.md, section 6.2)."""

from __future__ import annotations

import asyncio
from typing import Final

from litestar import MediaType, Response, get, post
from litestar.params import FromPath

from tallystick.http.asked import AnyRequest, Served
from tallystick.publish.errors import StaleSizeError, WitnessBusyError
from tallystick.publish.witness import (
    MAX_REQUEST_BYTES,
    witness_checkpoint,
    witnessed_checkpoint,
)
from tallystick.tlog import TreeSize, format_witness_size

MAX_AT_ONCE: Final = 64
"""Each takes a thread of those that read tiles too, for some milliseconds; more need not wait."""
SIZE_MEDIA_TYPE: Final = "text/x.tlog.size"
TEXT: Final = "text/plain; charset=utf-8"
NO_STORE: Final = {"Cache-Control": "no-store"}
UNDER_WAY: Final[set[AnyRequest]] = set()
"""The requests that are worked on, of this process."""
SHORTLY: Final = {"Cache-Control": "public, max-age=1", "Access-Control-Allow-Origin": "*"}


@post(
    "/api/v1/witness/add-checkpoint",
    status_code=200,
    request_max_body_size=MAX_REQUEST_BYTES,
    media_type=MediaType.TEXT,
)
async def add_checkpoint(services: Served, request: AnyRequest) -> Response[bytes]:
    """
    Cosign a checkpoint of a watched log: old size, consistency proof, empty line, signed note.

    409 tells the size that was cosigned last, as `text/x.tlog.size`.
    """
    body = await request.body()
    if len(UNDER_WAY) >= MAX_AT_ONCE:
        raise WitnessBusyError
    UNDER_WAY.add(request)
    try:
        # The row's lock may be waited for: not on the event loop.
        line = await asyncio.to_thread(witness_checkpoint, services.database, services.keys, body)
    except StaleSizeError as stale:
        size = format_witness_size(TreeSize(stale.known))
        return respond(size, SIZE_MEDIA_TYPE, NO_STORE, status=409)
    finally:
        UNDER_WAY.discard(request)
    return respond(line, TEXT, NO_STORE)


@get(
    "/api/v1/witness/{origin_hash:str}/checkpoint",
    media_type=MediaType.TEXT,
    sync_to_thread=True,
)
def get_witnessed_checkpoint(services: Served, origin_hash: FromPath[str]) -> Response[bytes]:
    """The checkpoint that was cosigned last of the log whose origin has this SHA-256, in hex."""
    note = witnessed_checkpoint(services.database, origin_hash)
    return respond(note, TEXT, SHORTLY)


def respond(
    body: bytes, media_type: str, headers: dict[str, str], *, status: int = 200
) -> Response[bytes]:
    """Return *body* as exactly *media_type*: the framework would add a charset to it."""
    return Response(body, status_code=status, headers={**headers, "Content-Type": media_type})


ROUTES = [add_checkpoint, get_witnessed_checkpoint]
