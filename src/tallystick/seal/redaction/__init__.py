"""Redaction: what leaves hide is erased, and that it was stays known."""

from tallystick.seal.redaction.redaction import (
    MAX_REDACTED,
    Redaction,
    redact_leaves,
    redact_row,
    redacted_indexes,
)
from tallystick.seal.redaction.user import erase_user

__all__ = [
    "MAX_REDACTED",
    "Redaction",
    "erase_user",
    "redact_leaves",
    "redact_row",
    "redacted_indexes",
]
