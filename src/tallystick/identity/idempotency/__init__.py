"""Idempotency keys: a write that is sent again has one effect, and the same answer."""

from tallystick.identity.idempotency.idempotency import (
    MAX_KEY_CHARACTERS,
    Claim,
    StoredAnswer,
    claim_request,
    erase_answers,
    forget_requests,
    keep_answer,
    request_digest,
    stored_answer,
)

__all__ = [
    "MAX_KEY_CHARACTERS",
    "Claim",
    "StoredAnswer",
    "claim_request",
    "erase_answers",
    "forget_requests",
    "keep_answer",
    "request_digest",
    "stored_answer",
]
