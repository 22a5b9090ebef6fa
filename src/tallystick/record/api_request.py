"""
The digest of one request to the API: what tells a repetition from another request.

Follows identity.md, section 5.1: message `identity-request`. The body is in it by its SHA-256, so
that the digest of a large request is made of a small message.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tallystick.record.messages import message_hash, tagged
from tallystick.record.tags import API_REQUEST_TAG


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """
    One request: its method in capitals, its path as it was sent, and the bytes of its body.

    *path* is followed by `?` and the query where there is one: `DELETE` with `?erase=true` is
    another request than without.
    """

    method: str
    path: str
    body: bytes


def format_api_request(request: ApiRequest) -> bytes:
    """
    The message that stands for *request*.

    Raises:
        UncanonicalValueError: Its method or path is not Unicode text.
    """
    value = {
        "body_sha256": hashlib.sha256(request.body).hexdigest(),
        "method": request.method,
        "path": request.path,
    }
    return tagged(API_REQUEST_TAG, value)


def api_request_digest(request: ApiRequest) -> bytes:
    """
    The 32 bytes that tell *request* from another.

    Raises:
        UncanonicalValueError: Its method or path is not Unicode text.
    """
    return message_hash(format_api_request(request))
