"""
The kernel's third room: offline verdicts, with no driver and no network (log.md, section 4.3).

Each check takes bytes and a trust policy, and returns a trusted object or raises the
`VerificationError` of the step that refused. This list is what others may use.
"""

from tallystick.verify.errors import (
    CosignatureError,
    DisclosureFormatError,
    ExportObjectError,
    FalseDisclosureError,
    ForeignLeafError,
    ForkedLogError,
    GrowthNotProvenError,
    LeafNotIncludedError,
    LeafRecordError,
    LogSignatureError,
    MissingObjectError,
    OtherLogError,
    ProofFormatError,
    QuorumMissingError,
    UntrustedLogError,
    UnusablePolicyError,
    VerificationError,
)
from tallystick.verify.export import ExportReader, VerifiedExport, check_export_tree
from tallystick.verify.growth import VerifiedGrowth, check_growth
from tallystick.verify.head import VerifiedHead, check_head
from tallystick.verify.leaf import VerifiedLeaf, check_leaf
from tallystick.verify.trust import KeyPeriod, Trust, TrustedPolicy, read_trust

__all__ = [
    "CosignatureError",
    "DisclosureFormatError",
    "ExportObjectError",
    "ExportReader",
    "FalseDisclosureError",
    "ForeignLeafError",
    "ForkedLogError",
    "GrowthNotProvenError",
    "KeyPeriod",
    "LeafNotIncludedError",
    "LeafRecordError",
    "LogSignatureError",
    "MissingObjectError",
    "OtherLogError",
    "ProofFormatError",
    "QuorumMissingError",
    "Trust",
    "TrustedPolicy",
    "UntrustedLogError",
    "UnusablePolicyError",
    "VerificationError",
    "VerifiedExport",
    "VerifiedGrowth",
    "VerifiedHead",
    "VerifiedLeaf",
    "check_export_tree",
    "check_growth",
    "check_head",
    "check_leaf",
    "read_trust",
]
