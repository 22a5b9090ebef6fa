"""Redaction: what leaves hide is erased, and that it was stays known."""

from tallystick.seal.redaction.redaction import (
    MAX_REDACTED,
    Redaction,
    redact_leaves,
    redact_row,
    redacted_indexes,
)

__all__ = ["MAX_REDACTED", "Redaction", "redact_leaves", "redact_row", "redacted_indexes"]
