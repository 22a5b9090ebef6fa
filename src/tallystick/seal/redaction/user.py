"""
Erasing a user: out of his rows, out of the answers that are kept, out of his leaves.

His row and his leaves stay, and every proof of them verifies; what they hid is gone with its
salts. One transaction, so that nothing names him in one place and not in the other
(identity.md, section 4.1; log.md, section 5.3).
"""

from __future__ import annotations

from typing import Final

from tallystick.db import Transaction
from tallystick.identity import UserRepository
from tallystick.identity.idempotency import erase_answers
from tallystick.seal.errors import RowsWaitError
from tallystick.seal.redaction import store
from tallystick.seal.redaction.redaction import MAX_REDACTED, redact_leaves

REASON: Final = "user erased"
LEGAL_BASIS: Final = "erasure"


def erase_user(tx: Transaction, user_id: str, *, actor: str) -> tuple[int, ...]:
    """
    Erase a deleted user and what his leaves hide; return their indexes, log by log.

    Raises:
        NotFoundError: There is no such user.
        EvidenceDeletionError: He is not deleted.
        RowsWaitError: Rows of his wait to be sealed; they would name him in a moment.
    """
    UserRepository(tx).erase(user_id, actor=actor)
    erase_answers(tx, user_id)
    redacted: list[int] = []
    # The rows are locked by now: what was queued before is seen, and nothing more is queued.
    for leaves in store.leaves_of_user(tx, user_id):
        if leaves.waiting:
            raise RowsWaitError(
                f"{leaves.waiting} rows of this user wait to be sealed in log {leaves.log_name}",
                evidence={"log": leaves.log_name, "rows": leaves.waiting},
            )
        words = {"actor": actor, "reason": REASON, "legal_basis": LEGAL_BASIS}
        for start in range(0, len(leaves.indexes), MAX_REDACTED):
            indexes = leaves.indexes[start : start + MAX_REDACTED]
            redacted += redact_leaves(tx, leaves.log_name, indexes, **words).redacted
    return tuple(redacted)
