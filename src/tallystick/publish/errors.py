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
    ├── MapNotFoundError           no map of the log's keys is sealed and published
    ├── KeyNotCoveredError         the table's leaves are digests, which no map covers
    ├── HistoryTooLargeError       more versions than one file shows
    ├── DamagedMapError            what is kept for a map does not lead to its sealed root
    ├── NothingHiddenError         the leaf commits to no such column
    ├── RecordDamagedError         the record beside the leaf does not open it
    ├── HeadNotTakenError          not in the log of logs yet
    ├── DamagedTreeError           a tile of the published tree is not stored
    ├── ExportAddressError         no place that an export can be at
    ├── ExportUnavailableError     the place of an export does not answer
    ├── ExportConflictError        what is there is not of this log, and is never rewritten
    ├── InvalidWitnessError        a witness's key or address is not one
    ├── WitnessExistsError         another witness of the log has this name or key
    ├── WitnessNotFoundError       the log has no such witness
    ├── WitnessConflictError       a conflict ends only after a clean audit
    ├── QuorumOutOfReachError      a policy wants more witnesses than there are
    ├── WitnessBusyError           as many ask our witness at once as it takes
    ├── NoWitnessKeyError          our own witness has no name or no key
    ├── UnknownOriginError         our witness does not watch this log
    ├── UntrustedCheckpointError   no key that our witness trusts signed it
    ├── OldSizeError               the old size is beyond the checkpoint's
    ├── StaleSizeError             our witness knows another size; the error carries it
    ├── InconsistentCheckpointError  it does not extend what our witness cosigned
    ├── MonitoredForkError         a monitored log shows two histories
    ├── MonitorStateError          the monitor's file is not what it kept
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


class NothingHiddenError(Error):
    """The leaf commits to no such column: it stands in clear, or is not in the record."""

    kind = Kind.UNPROCESSABLE


class RecordDamagedError(Error):
    """The record kept beside the leaf is gone without a redaction, or does not open it."""

    kind = Kind.DAMAGED


class MapNotFoundError(Error):
    """No map of the log's keys is sealed and published; `tally log index` makes one."""

    kind = Kind.NOT_FOUND


class KeyNotCoveredError(Error):
    """Leaves of this table are digests, which show no key: a map does not cover them."""

    kind = Kind.UNPROCESSABLE


class HistoryTooLargeError(Error):
    """The key has more versions than one history file shows."""

    kind = Kind.UNPROCESSABLE


class DamagedMapError(Error):
    """What is kept for the map does not lead to its sealed root; `tally log index --anew`."""

    kind = Kind.DAMAGED


class HeadNotTakenError(Error):
    """The log of logs has no head of this log beyond the leaf yet; try again in some seconds."""

    kind = Kind.UNAVAILABLE


class DamagedTreeError(Error):
    """A tile of the published tree is missing or too short in the database."""

    kind = Kind.DAMAGED


class ExportAddressError(Error):
    """An export is at a directory, file:…, s3://… or, to be read, https://…."""

    kind = Kind.INVALID


class ExportUnavailableError(Error):
    """The place of the export does not answer, or refuses us."""

    kind = Kind.UNAVAILABLE


class ExportConflictError(Error):
    """The destination holds something else, and what was exported is never rewritten."""

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        """The object that is in the way, by its path in the export."""


class InvalidWitnessError(Error):
    """This is no witness: its key is no vkey of type 4, or its address none that may be asked."""

    kind = Kind.INVALID


class WitnessExistsError(Error):
    """Another witness of the log has this name or this key."""

    kind = Kind.CONFLICT


class WitnessNotFoundError(Error):
    """The log has no such witness."""

    kind = Kind.NOT_FOUND


class WitnessConflictError(Error):
    """The conflict ends after an audit of the log, begun since it was found, was clean."""

    kind = Kind.CONFLICT


class QuorumOutOfReachError(Error):
    """The quorum is greater than the number of the log's witnesses."""

    kind = Kind.UNPROCESSABLE


class NoWitnessKeyError(Error):
    """There is no witness here: it needs the setting WITNESS_NAME, and `tally witness key`."""

    kind = Kind.NOT_FOUND


class WitnessBusyError(Error):
    """The witness is asked by as many at once as it takes; try again later."""

    kind = Kind.UNAVAILABLE


class UnknownOriginError(Error):
    """The witness does not watch a log of this origin, or has cosigned nothing of it."""

    kind = Kind.NOT_FOUND


class UntrustedCheckpointError(Error):
    """No key that the witness trusts for this origin signed the checkpoint, or falsely."""

    kind = Kind.FORBIDDEN


class OldSizeError(Error):
    """The old size is greater than the size of the checkpoint."""

    kind = Kind.INVALID


class StaleSizeError(Error):
    """The witness last cosigned another size than the old size of the request."""

    kind = Kind.CONFLICT

    def __init__(self, message: str | None = None, *, known: int = 0) -> None:
        super().__init__(message)
        self.known = known
        """The size that the witness last cosigned."""


class InconsistentCheckpointError(Error):
    """The checkpoint does not extend the tree that the witness last cosigned."""

    kind = Kind.UNPROCESSABLE


class MonitoredForkError(Error):
    """The log does not show that its checkpoint extends the one that the monitor kept."""

    kind = Kind.FALSE


class MonitorStateError(Error):
    """The monitor's state file holds no checkpoint that the log's key signed."""

    kind = Kind.MALFORMED


class WitnessRollbackError(DatabaseRuleError):
    """A witness has cosigned a greater size of this log, and never goes back."""

    sqlstate = "TS106"
