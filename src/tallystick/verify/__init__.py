"""
The kernel's third room: offline verdicts, with no driver and no network (log.md, section 4.3).

Each check takes bytes and a trust policy, and returns a trusted object or raises the
`VerificationError` of the step that refused. This list is what others may use.
"""

from tallystick.verify.errors import (
    BucketNotIncludedError,
    CosignatureError,
    DisclosureFormatError,
    ExportObjectError,
    FalseDisclosureError,
    ForeignLeafError,
    ForeignVersionError,
    ForkedLogError,
    GrowthNotProvenError,
    HiddenVersionError,
    IncompleteHistoryError,
    LeafNotIncludedError,
    LeafRecordError,
    LogSignatureError,
    MapSizeError,
    MapTooOldError,
    MissingObjectError,
    NoMapError,
    OtherLeafDisclosedError,
    OtherLogError,
    ProofFormatError,
    QuorumMissingError,
    UnlistedVersionError,
    UntrustedLogError,
    UnusablePolicyError,
    VerificationError,
    WrongBucketError,
)
from tallystick.verify.export import ExportReader, VerifiedExport, check_export_tree
from tallystick.verify.growth import VerifiedGrowth, check_growth
from tallystick.verify.head import VerifiedHead, check_head
from tallystick.verify.history import VerifiedHistory, Version, check_history
from tallystick.verify.leaf import VerifiedLeaf, check_leaf
from tallystick.verify.trust import KeyPeriod, Trust, TrustedPolicy, read_trust

__all__ = [
    "BucketNotIncludedError",
    "CosignatureError",
    "DisclosureFormatError",
    "ExportObjectError",
    "ExportReader",
    "FalseDisclosureError",
    "ForeignLeafError",
    "ForeignVersionError",
    "ForkedLogError",
    "GrowthNotProvenError",
    "HiddenVersionError",
    "IncompleteHistoryError",
    "KeyPeriod",
    "LeafNotIncludedError",
    "LeafRecordError",
    "LogSignatureError",
    "MapSizeError",
    "MapTooOldError",
    "MissingObjectError",
    "NoMapError",
    "OtherLeafDisclosedError",
    "OtherLogError",
    "ProofFormatError",
    "QuorumMissingError",
    "Trust",
    "TrustedPolicy",
    "UnlistedVersionError",
    "UntrustedLogError",
    "UnusablePolicyError",
    "VerificationError",
    "VerifiedExport",
    "VerifiedGrowth",
    "VerifiedHead",
    "VerifiedHistory",
    "VerifiedLeaf",
    "Version",
    "WrongBucketError",
    "check_export_tree",
    "check_growth",
    "check_head",
    "check_history",
    "check_leaf",
    "read_trust",
]
