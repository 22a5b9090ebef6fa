"""
The offline verdict on one leaf: that these bytes stand in that log, and what they say.

Follows log.md, section 4.3, and C2SP tlog-proof. Bytes come in, and either a trusted object
goes out or an error that names the step: there is no boolean to forget to look at. No
network, no clock, no database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.record.commitments import check_disclosure, check_salted_record
from tallystick.record.disclosure import parse_disclosure_file
from tallystick.record.errors import CommitmentError, MalformedMessageError, MalformedRecordError
from tallystick.record.messages import DisclosureBundle, parse_disclosure
from tallystick.record.record import Record, parse_record
from tallystick.record.tags import RESERVED_PREFIX
from tallystick.tlog.errors import InclusionError, MalformedError, MalformedProofError
from tallystick.tlog.proof import check_inclusion
from tallystick.tlog.tlog_proof import TlogProof, parse_tlog_proof
from tallystick.tlog.tree import LeafIndex, hash_leaf
from tallystick.verify.errors import (
    DisclosureFormatError,
    FalseDisclosureError,
    ForeignLeafError,
    LeafNotIncludedError,
    LeafRecordError,
    OtherLeafDisclosedError,
    ProofFormatError,
)
from tallystick.verify.head import check_log, check_witnesses, parse_head
from tallystick.verify.trust import Trust, TrustedPolicy, read_trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from tallystick.tlog.checkpoint import Checkpoint
    from tallystick.tlog.cosignature import Cosignature
    from tallystick.tlog.policy import Policy


@dataclass(frozen=True, slots=True)
class VerifiedLeaf:
    """
    A leaf that stands at *index* under *checkpoint*, by the policy that it was checked with.

    *record* is None for a pushed entry, and for a digest that nothing opened: the bytes are
    in the log then, and what they mean is not said. *disclosed* holds opened values by column.
    """

    leaf: bytes = field(repr=False)
    index: LeafIndex
    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]
    log_name: str
    record: Record | None
    disclosed: Mapping[str, str | None] = field(repr=False)


# The steps, each with errors of its own (verify/errors.py):
#
#   0. The policy can judge: it parses, and none of its keys is a weak one.
#   1. The proof file and its checkpoint parse, in their one spelling.
#   2. The policy trusts the origin, and a log key whose period covers the size signed.
#   3. Every known cosignature verifies, and the policy's quorum holds; `at` bounds the times.
#   4. The index lies in the tree, and the path leads from the leaf's hash to the root.
#   5. The leaf, if a record, parses and names the log that the policy gives to the origin.
#   6. Disclosures, which travel as the proof's extra data, open their commitments.
#
# Left out, because the evidence cannot say it:
#
#   - That the row version is the last one: a later leaf may replace it (ask for the row's
#     history, or let an auditor compare).
#   - How old the head is, and whether the log has grown since: without `at`, times are not
#     looked at, because an offline verifier's clock proves nothing.
#   - That the log shows others the same tree: that is what witnesses in the policy are for.
#   - That a record is true: role and actor are what the database and the application said.


def check_leaf(
    proof: bytes,
    *,
    leaf: bytes,
    policy: bytes | Policy | TrustedPolicy,
    at: datetime | None = None,
    disclosure: bytes | None = None,
) -> VerifiedLeaf:
    """
    Check that *proof*, a `.tlog-proof` file, proves *leaf* to be in a log that *policy* trusts.

    The log's name, which a record must bear, is the last path segment of the log's URL in the
    policy, and without a URL that of the origin (`<prefix>/<log name>`). With *at*, the
    quorum must have cosigned by that moment. *disclosure*, a disclosure file, is opened beside
    what the proof discloses itself; what it opens twice must agree.

    Raises:
        VerificationError: The subclass says at which step, `__cause__` why in detail. Its kind
            is `NOT_ESTABLISHED` where only evidence is missing: a quorum.
    """
    # Step 0: the policy.
    trust = read_trust(policy)

    # Step 1: the format. The note is parsed with the proof, the checkpoint from the note.
    parsed = _parse_proof(proof)
    note, checkpoint = parse_head(parsed.note)

    # Step 2: the log. Before any hash of the tree, so that a stranger's tree costs nothing.
    check_log(note, checkpoint, trust)

    # Step 3: the witnesses.
    cosignatures = check_witnesses(note, trust, at=at)

    return establish_leaf(
        parsed,
        leaf=leaf,
        checkpoint=checkpoint,
        trust=trust,
        cosignatures=cosignatures,
        disclosure=disclosure,
    )


def establish_leaf(
    parsed: TlogProof,
    *,
    leaf: bytes,
    checkpoint: Checkpoint,
    trust: Trust,
    cosignatures: tuple[Cosignature, ...] = (),
    disclosure: bytes | None = None,
) -> VerifiedLeaf:
    """
    Steps 4 to 6: the leaf, under a *checkpoint* that is trusted already.

    Raises:
        VerificationError: As the steps.
    """
    # Step 4: the tree.
    _check_path(parsed, leaf, checkpoint)

    # Step 5: the record. The tree binds bytes; only this binds them to the log's name.
    log_name = trust.log_name(checkpoint.origin)
    record = _read_record(leaf, log_name)

    # Step 6: the disclosures. They are not authenticated until they open what the leaf holds.
    bundles = [*_read_extra(parsed.extra), *_read_file(disclosure, parsed, leaf, checkpoint)]
    record, disclosed = _open_disclosures(bundles, leaf, record, log_name)

    return VerifiedLeaf(
        leaf=leaf,
        index=parsed.index,
        checkpoint=checkpoint,
        cosignatures=cosignatures,
        log_name=log_name,
        record=record,
        disclosed=disclosed,
    )


def _parse_proof(proof: bytes) -> TlogProof:
    try:
        return parse_tlog_proof(proof)
    except MalformedError as cause:
        raise ProofFormatError(cause.message) from cause


def _check_path(parsed: TlogProof, leaf: bytes, checkpoint: Checkpoint) -> None:
    try:
        check_inclusion(
            parsed.hashes,
            leaf=hash_leaf(leaf),
            index=parsed.index,
            size=checkpoint.size,
            root=checkpoint.root,
        )
    except (MalformedProofError, InclusionError) as cause:
        raise LeafNotIncludedError(cause.message) from cause


def _read_record(leaf: bytes, log_name: str) -> Record | None:
    try:
        record = parse_record(leaf)
    except MalformedRecordError as cause:
        raise LeafRecordError(cause.message) from cause
    if record is None:
        # Pushed entries cannot begin so. What does is of a form that this verifier does not
        # know, and must not be shown as if it had been understood.
        if leaf.startswith(RESERVED_PREFIX):
            raise LeafRecordError("the leaf has a reserved tag that is not a record's")
        return None
    if record.log != log_name:
        raise ForeignLeafError(f"the record is of the log {record.log}, not of {log_name}")
    return record


def _read_extra(extra: bytes | None) -> list[DisclosureBundle]:
    """The disclosures in a proof's extra data."""
    if extra is None:
        return []
    # Extra data of any other kind are refused, not passed over: nothing binds them to the
    # leaf, and shown beside a verified one they would look as if something did.
    try:
        return [parse_disclosure(extra)]
    except MalformedMessageError as cause:
        raise DisclosureFormatError(cause.message) from cause


def _read_file(
    data: bytes | None, parsed: TlogProof, leaf: bytes, checkpoint: Checkpoint
) -> list[DisclosureBundle]:
    """The disclosures in a file, which must be of this leaf."""
    if data is None:
        return []
    try:
        file = parse_disclosure_file(data)
    except MalformedMessageError as cause:
        raise DisclosureFormatError(cause.message) from cause
    if file.origin != checkpoint.origin or file.index != parsed.index:
        raise OtherLeafDisclosedError(f"the disclosure is of leaf {file.index} of {file.origin}")
    if file.leaf_hash != hash_leaf(leaf):
        raise OtherLeafDisclosedError("the disclosure is of a leaf with another hash")
    return [file.bundle]


def _open_disclosures(
    bundles: Iterable[DisclosureBundle], leaf: bytes, record: Record | None, log_name: str
) -> tuple[Record | None, Mapping[str, str | None]]:
    """
    Step 6: the record that *leaf* turns out to be, and the opened values by column.

    Raises:
        FalseDisclosureError: Something does not open what the leaf commits to.
        LeafRecordError, ForeignLeafError: The record in a digest is malformed, or another log's.
    """
    disclosed: dict[str, str | None] = {}
    for bundle in bundles:
        try:
            if bundle.salt is not None and bundle.record is not None:
                opened = bundle.record.encode()
                check_salted_record(leaf, salt=bundle.salt, record=opened)
                # The digest hid the log's name from step 5, so the step is repeated here.
                record = _read_record(opened, log_name)
            if record is None:
                raise FalseDisclosureError("the leaf is no record, so there is nothing to disclose")
            disclosed |= check_disclosure(record, bundle.columns)
        except UnicodeEncodeError as cause:
            raise FalseDisclosureError("the disclosed record is not Unicode") from cause
        except CommitmentError as cause:
            named = f"{cause.message}: {cause.column}" if cause.column else cause.message
            raise FalseDisclosureError(named) from cause
    return record, disclosed
