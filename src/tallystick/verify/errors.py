"""
At which step a proof was refused, and whether it is false or merely not enough.

Error:
    └── VerificationError
        ├── UnusablePolicyError      0 policy       the policy itself cannot judge anything
        ├── ProofFormatError         1 format       proof or checkpoint are malformed
        ├── UntrustedLogError        2 log          no log of the policy has this origin
        ├── LogSignatureError        2 log          not signed by its key in the key's period
        ├── OtherLogError            2 log          two notes are of two logs
        ├── CosignatureError         3 witnesses    a known witness's cosignature is false
        ├── QuorumMissingError       3 witnesses    too few witnesses cosigned, or too late
        ├── LeafNotIncludedError     4 tree         the path does not lead to the root
        ├── HeadNotIncludedError     4 heads        a log's note is not in the log of logs
        ├── InnerHeadError           5 inner        the note in the log of logs is not its log's
        ├── GrowthNotProvenError     4 tree         the consistency proof does not hold
        ├── ForkedLogError           4 tree         one log signed two roots for one size
        ├── ExportObjectError        4 tree         an object of an export is not the log's
        ├── MissingObjectError       4 tree         an object of an export is not there
        ├── LeafRecordError          5 record       the leaf begins like a record and is none
        ├── ForeignLeafError         5 record       the record is another log's
        ├── DisclosureFormatError    6 disclosure   the extra data are no disclosures
        ├── FalseDisclosureError     6 disclosure   a value does not open its commitment
        ├── OtherLeafDisclosedError  6 disclosure   the file opens another leaf
        ├── NoMapError               6 map          the leaf shown as the map's is none
        ├── MapSizeError             6 map          the map says more than its log held then
        ├── MapTooOldError           6 map          the map covers less than is asked for
        ├── WrongBucketError         7 bucket       entries are not those of the key's bucket
        ├── BucketNotIncludedError   7 bucket       the bucket does not lead to the map's root
        ├── HiddenVersionError       8 entry        the map lists the key, and no leaf is shown
        ├── UnlistedVersionError     8 entry        leaves are shown, and the map has no such key
        ├── IncompleteHistoryError   8 entry        other leaves are shown than the map lists
        ├── ForeignVersionError      9 versions     a leaf is of another key or table
        ├── BlockHeaderError         1 header       the header is not that of the block's hash
        ├── ReceiptNotIncludedError  2 path         the path does not lead to the receipt
        └── ReceiptFormatError       3 receipt      the block holds no receipt there

Steps are those of log.md, section 4.3; those of a history are `check_history`'s, those of a
receipt `check_inclusion_evidence`'s. The kernel's own error is the `__cause__`. By their kind the
CLI exits 1 for what is false or malformed and 6 for what is not established.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class VerificationError(Error):
    """The evidence is refused."""

    kind: ClassVar[Kind] = Kind.FALSE
    step: ClassVar[int] = 0
    """The number of the step in `check_leaf` that refused."""
    step_name: ClassVar[str] = ""
    """The step in one word."""


class UnusablePolicyError(VerificationError):
    """The trust policy is malformed, contradicts itself, or names a weak key."""

    kind: ClassVar[Kind] = Kind.INVALID
    step_name: ClassVar[str] = "policy"


class ProofFormatError(VerificationError):
    """The proof or its checkpoint is not of its format."""

    kind: ClassVar[Kind] = Kind.MALFORMED
    step: ClassVar[int] = 1
    step_name: ClassVar[str] = "format"


class UntrustedLogError(VerificationError):
    """The policy trusts no log with the checkpoint's origin."""

    step: ClassVar[int] = 2
    step_name: ClassVar[str] = "log"


class LogSignatureError(VerificationError):
    """The checkpoint is not signed by a key of its log whose period covers its size."""

    step: ClassVar[int] = 2
    step_name: ClassVar[str] = "log"


class OtherLogError(VerificationError):
    """The two checkpoints are of different logs."""

    step: ClassVar[int] = 2
    step_name: ClassVar[str] = "log"


class CosignatureError(VerificationError):
    """A cosignature of a known witness is false."""

    step: ClassVar[int] = 3
    step_name: ClassVar[str] = "witnesses"


class QuorumMissingError(VerificationError):
    """The cosignatures do not make the policy's quorum, or not by the time asked for."""

    kind: ClassVar[Kind] = Kind.NOT_ESTABLISHED
    step: ClassVar[int] = 3
    step_name: ClassVar[str] = "witnesses"


class LeafNotIncludedError(VerificationError):
    """The path does not lead from this leaf to the checkpoint's root."""

    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "tree"


class GrowthNotProvenError(VerificationError):
    """The proof does not show that the newer tree extends the older one."""

    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "tree"


class ForkedLogError(VerificationError):
    """The log signed two different roots for one tree size: the two notes prove a fork."""

    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "tree"


class ExportObjectError(VerificationError):
    """An object of the export is not what the signed tree says."""

    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "tree"

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        """The first bad object, by its path in the export."""


class MissingObjectError(VerificationError):
    """An object of the export is not there."""

    kind: ClassVar[Kind] = Kind.NOT_ESTABLISHED
    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "tree"

    def __init__(self, message: str | None = None, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        """The first missing object, by its path in the export."""


class LeafRecordError(VerificationError):
    """The leaf begins like a record of ours and is none."""

    kind: ClassVar[Kind] = Kind.MALFORMED
    step: ClassVar[int] = 5
    step_name: ClassVar[str] = "record"


class ForeignLeafError(VerificationError):
    """The record in the leaf names another log than the one that signed."""

    step: ClassVar[int] = 5
    step_name: ClassVar[str] = "record"


class DisclosureFormatError(VerificationError):
    """The proof's extra data are not disclosures."""

    kind: ClassVar[Kind] = Kind.MALFORMED
    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "disclosure"


class FalseDisclosureError(VerificationError):
    """A disclosed value does not open what the leaf commits to."""

    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "disclosure"


class OtherLeafDisclosedError(VerificationError):
    """The disclosure is of another leaf than the proof."""

    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "disclosure"


class NoMapError(VerificationError):
    """The leaf that is shown as the root of the map is no such control record."""

    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "map"


class MapSizeError(VerificationError):
    """The map claims to cover leaves that the log did not hold yet, or has other buckets."""

    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "map"


class MapTooOldError(VerificationError):
    """The map covers fewer leaves than the caller asks for."""

    kind: ClassVar[Kind] = Kind.NOT_ESTABLISHED
    step: ClassVar[int] = 6
    step_name: ClassVar[str] = "map"


class WrongBucketError(VerificationError):
    """The entries that are shown cannot be those of the key's bucket."""

    step: ClassVar[int] = 7
    step_name: ClassVar[str] = "bucket"


class BucketNotIncludedError(VerificationError):
    """The path does not lead from the bucket to the root of the map."""

    step: ClassVar[int] = 7
    step_name: ClassVar[str] = "bucket"


class HiddenVersionError(VerificationError):
    """No version is shown, and the map lists the key."""

    step: ClassVar[int] = 8
    step_name: ClassVar[str] = "entry"


class UnlistedVersionError(VerificationError):
    """Versions are shown, and the map does not list the key."""

    step: ClassVar[int] = 8
    step_name: ClassVar[str] = "entry"


class IncompleteHistoryError(VerificationError):
    """The leaves that are shown are not exactly those that the map lists."""

    step: ClassVar[int] = 8
    step_name: ClassVar[str] = "entry"


class ForeignVersionError(VerificationError):
    """A leaf that is shown as a version is of another key or table, or none of a row."""

    step: ClassVar[int] = 9
    step_name: ClassVar[str] = "versions"


class HeadNotIncludedError(VerificationError):
    """The path does not lead from the log's checkpoint to the root of the log of logs."""

    step: ClassVar[int] = 4
    step_name: ClassVar[str] = "heads"


class InnerHeadError(VerificationError):
    """The checkpoint in the log of logs is not signed by a trusted key of its log."""

    step: ClassVar[int] = 5
    step_name: ClassVar[str] = "inner"


class BlockHeaderError(VerificationError):
    """The header is not that of the block with this hash."""

    step: ClassVar[int] = 1
    step_name: ClassVar[str] = "header"


class ReceiptNotIncludedError(VerificationError):
    """The path does not lead from the block's root of receipts to this receipt."""

    step: ClassVar[int] = 2
    step_name: ClassVar[str] = "path"


class ReceiptFormatError(VerificationError):
    """What the block holds in the receipt's place is no receipt of a known type."""

    kind: ClassVar[Kind] = Kind.MALFORMED
    step: ClassVar[int] = 3
    step_name: ClassVar[str] = "receipt"
