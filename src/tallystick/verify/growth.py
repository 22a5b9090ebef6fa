"""
The offline verdict on growth: that a log's newer tree holds the older one unchanged.

Follows log.md, section 4.3, and RFC 6962, section 2.1.2. Steps 1 to 3 are those of
`check_leaf`; step 4 is the consistency proof.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.tlog.errors import ConsistencyError, MalformedProofError
from tallystick.tlog.proof import check_consistency
from tallystick.verify.errors import ForkedLogError, GrowthNotProvenError, OtherLogError
from tallystick.verify.head import VerifiedHead, check_head, check_log, parse_head
from tallystick.verify.trust import TrustedPolicy, read_trust

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.tlog.checkpoint import Checkpoint
    from tallystick.tlog.policy import Policy


@dataclass(frozen=True, slots=True)
class VerifiedGrowth:
    """That the tree of *new* begins with the whole tree of *old*."""

    old: Checkpoint
    new: VerifiedHead


def check_growth(
    old_note: bytes,
    new_note: bytes,
    proof: Sequence[bytes],
    policy: bytes | Policy | TrustedPolicy,
) -> VerifiedGrowth:
    """
    Check by *proof*, 32-byte hashes, that the log of *new_note* only grew since *old_note*.

    The old note needs its log's signature and no quorum: it is what the caller kept, and
    whoever kept it saw it then. With the signature a fork is evidence against the log.

    Raises:
        UnusablePolicyError: The policy cannot judge.
        ProofFormatError: A note is malformed (step 1).
        UntrustedLogError, LogSignatureError: A note is not a trusted log's (step 2).
        OtherLogError: The notes are of two logs (step 2).
        CosignatureError, QuorumMissingError: The new note lacks its witnesses (step 3).
        ForkedLogError: Same size, other root: the notes alone prove it (step 4).
        GrowthNotProvenError: The proof fails, or the new tree is the smaller one (step 4).
    """
    trust = read_trust(policy)
    old_parsed, old = parse_head(old_note)
    check_log(old_parsed, old, trust)
    new = check_head(new_note, trust)
    if old.origin != new.checkpoint.origin:
        raise OtherLogError(f"{old.origin} and {new.checkpoint.origin} are two logs")
    _check_extension(old, new.checkpoint, proof)
    return VerifiedGrowth(old, new)


def _check_extension(old: Checkpoint, new: Checkpoint, proof: Sequence[bytes]) -> None:
    if old.size == new.size and old.root != new.root:
        raise ForkedLogError(f"{old.origin} signed two roots for size {old.size}")
    try:
        check_consistency(
            proof,
            old_size=old.size,
            new_size=new.size,
            old_root=old.root,
            new_root=new.root,
        )
    except (MalformedProofError, ConsistencyError) as cause:
        raise GrowthNotProvenError(cause.message) from cause
