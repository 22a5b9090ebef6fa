"""
What the kernel refuses, and how it says so (log.md, section 4.1).

    Error
    ├── MalformedError              the input is not of its format; nothing was hashed
    │   ├── MalformedProofError
    │   ├── MalformedNoteError
    │   ├── MalformedCheckpointError
    │   ├── MalformedTileError
    │   ├── MalformedBundleError
    │   └── MalformedPolicyError
    └── FalseClaimError             the input is well-formed, and what it claims is not true
        ├── InclusionError
        ├── ConsistencyError
        ├── UnverifiedNoteError
        └── QuorumError

Whatever bytes come in, a parser ends in one of the first and a check in one of either:
nothing else is raised.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class MalformedError(Error):
    """The input is not of its format."""

    kind: ClassVar[Kind] = Kind.MALFORMED


class MalformedProofError(MalformedError):
    """The proof is not of the shape that its sizes require."""


class MalformedNoteError(MalformedError):
    """The note, its signature lines or a note key are not of their format."""


class MalformedCheckpointError(MalformedError):
    """The note's text is not a checkpoint."""


class MalformedTileError(MalformedError):
    """The tile, or the path of a tile, is not of its format."""


class MalformedBundleError(MalformedError):
    """The entry bundle is not of its format."""


class MalformedPolicyError(MalformedError):
    """The trust policy is not of its format."""


class FalseClaimError(Error):
    """What the input claims is not true."""

    kind: ClassVar[Kind] = Kind.FALSE

    def __init__(
        self, message: str | None = None, *, expected: object = None, actual: object = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """What would have made the claim true."""
        self.actual = actual
        """What was found instead."""


class InclusionError(FalseClaimError):
    """The inclusion proof leads to another root."""


class ConsistencyError(FalseClaimError):
    """The larger tree is not an extension of the smaller one."""


class UnverifiedNoteError(FalseClaimError):
    """The note is not signed as it must be."""


class QuorumError(FalseClaimError):
    """The witnesses that cosigned do not make the policy's quorum."""
