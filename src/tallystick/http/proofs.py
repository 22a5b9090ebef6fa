"""
The usual proof request, `GET /logs/{log}/proof?index=N[&size=M]`, answered without the framework.

Bare ASGI, as the static trees: where the tiles are in memory the proof is made on the event loop,
else in the thread pool. Whatever is not of this plain form, or fails, is the framework's to
answer: its words for errors are the only ones. Follows log.md, section 6.2.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar.types import Scope

from tallystick.errors import Error
from tallystick.http.answers import Proof, inclusion_proof
from tallystick.http.authorize import Authorizer
from tallystick.http.scopes import NEEDS
from tallystick.http.static import PREFIX, Answer, Headers
from tallystick.publish import Publisher
from tallystick.tlog import LeafIndex

PROOF_ROUTE: Final = "/logs/{log}/proof"
NEED: Final = NEEDS["GET", PROOF_ROUTE]
SUFFIX: Final = "/proof"
PLAIN_QUERY: Final = re.compile(rb"index=([0-9]{1,15})(?:&size=([0-9]{1,15}))?")
"""Fewer digits than 2^53 has: what has more is the framework's to refuse."""
JSON: Final[Headers] = [(b"content-type", b"application/json")]
ENCODER: Final = msgspec.json.Encoder()


class PlainProofs:
    """Answers the usual proof requests of all logs."""

    def __init__(self, publisher: Publisher, authorizer: Authorizer) -> None:
        self._publisher = publisher
        self._authorizer = authorizer

    async def answer(self, scope: Scope) -> Answer | None:
        """Return the answer; None where the framework must give it."""
        asked = parse_plain(scope)
        if asked is None:
            return None
        log_name, index, size = asked
        try:
            head = self._publisher.published_head(log_name)
            await self._authorizer.admit(scope, NEED, head)
            proof = self._publisher.cached_proof(head, index, size)
            if proof is None:
                proof = await asyncio.to_thread(self._publisher.prove_index, head, index, size)
        except Error:
            return None
        body = Proof(log_name=head.log_name, proof=inclusion_proof(proof))
        return Answer(HTTPStatus.OK, JSON, ENCODER.encode(body))


def parse_plain(scope: Any) -> tuple[str, LeafIndex, int | None] | None:
    """Return log, index and size of a usual proof request; None of any other request."""
    path: str = scope["path"]
    if not path.endswith(SUFFIX) or not path.startswith(PREFIX) or scope["method"] != "GET":
        return None
    found = PLAIN_QUERY.fullmatch(scope["query_string"])
    log_name = path[len(PREFIX) : -len(SUFFIX)]
    if found is None or "/" in log_name:
        return None
    for name, value in scope["headers"]:
        if name == b"accept" and value.startswith(b"text/plain"):
            return None
    size = None if found[2] is None else int(found[2])
    return log_name, LeafIndex(int(found[1])), size
