"""
Errors of publishing (log.md, sections 3.3, 4.4 and 6).

    Error
    ├── SizeTooLargeError          beyond the published head
    ├── LeafNotFoundError
    ├── RootNotFoundError          not the root of a signed checkpoint
    ├── CheckpointNotFoundError    no checkpoint of this size was signed
    ├── TileNotFoundError          the published tree has no such tile
    ├── PrunedError                below the log's minimum index
    ├── RedactedError              the plain record was erased
    ├── DamagedTreeError           a tile of the published tree is not stored
    └── WitnessRollbackError       TS106, a DatabaseRuleError: a witness never goes back
"""

from __future__ import annotations

from tallystick.db.errors import DatabaseRuleError
from tallystick.errors import Error, Kind


class SizeTooLargeError(Error):
    """The log has not published a tree of this size."""

    kind = Kind.UNPROCESSABLE


class LeafNotFoundError(Error):
    """The published tree has no such leaf."""

    kind = Kind.NOT_FOUND


class RootNotFoundError(Error):
    """No signed checkpoint of the log has this root."""

    kind = Kind.NOT_FOUND


class CheckpointNotFoundError(Error):
    """No checkpoint of this size was signed."""

    kind = Kind.NOT_FOUND


class TileNotFoundError(Error):
    """The published tree has no such tile."""

    kind = Kind.NOT_FOUND


class PrunedError(Error):
    """The entries were pruned; the log's prunings name the export that holds them."""

    kind = Kind.GONE


class RedactedError(Error):
    """The plain record was erased; leaf and proofs stay valid."""

    kind = Kind.GONE


class DamagedTreeError(Error):
    """A tile of the published tree is missing or too short in the database."""

    kind = Kind.DAMAGED


class WitnessRollbackError(DatabaseRuleError):
    """A witness has cosigned a greater size of this log, and never goes back."""

    sqlstate = "TS106"
