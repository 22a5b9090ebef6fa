"""Idempotency keys: a write that is sent again has one effect, and the same answer."""

from tallystick.identity.idempotency.idempotency import (
    MAX_KEY_CHARACTERS,
    Claim,
    StoredAnswer,
    claim_request,
    forget_requests,
    keep_answer,
    request_digest,
)

__all__ = [
    "MAX_KEY_CHARACTERS",
    "Claim",
    "StoredAnswer",
    "claim_request",
    "forget_requests",
    "keep_answer",
    "request_digest",
]
