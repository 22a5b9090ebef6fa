"""
The verdict on a leaf through the log of logs: leaf, its log's note, the log of logs' head.

A log that no witness ever sees is proven by one that is: its note, byte for byte, is a leaf
of the log of logs, whose checkpoint the witnesses cosigned. Follows log.md, section 9.2; the
steps are those of section 4.3, for both links.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tallystick.tlog.encoding import format_base64, parse_base64
from tallystick.tlog.errors import InclusionError, MalformedError, MalformedProofError
from tallystick.tlog.note import format_note
from tallystick.tlog.proof import check_inclusion
from tallystick.tlog.tlog_proof import TlogProof, parse_tlog_proof
from tallystick.tlog.tree import LeafIndex, hash_leaf
from tallystick.verify.errors import (
    HeadNotIncludedError,
    InnerHeadError,
    LogSignatureError,
    ProofFormatError,
    UntrustedLogError,
)
from tallystick.verify.head import VerifiedHead, check_log, check_witnesses, parse_head
from tallystick.verify.leaf import VerifiedLeaf, establish_leaf
from tallystick.verify.trust import TrustedPolicy, read_trust

if TYPE_CHECKING:
    from datetime import datetime

    from tallystick.tlog.checkpoint import Checkpoint
    from tallystick.tlog.policy import Policy

HEADS_LOG: Final = "tally_heads"
"""The name of the log of logs; a note in any other log is just an entry."""
CHAIN_HEADER: Final = b"tallystick/head-chain/v1\n"
MAX_CHAIN_BYTES: Final = 4_000_000
"""Two proofs in base64; each has a bound of its own."""


@dataclass(frozen=True, slots=True)
class HeadChain:
    """Two `.tlog-proof` files: of a leaf in its log, and of that log's note in the log of logs."""

    leaf_proof: bytes
    head_proof: bytes


@dataclass(frozen=True, slots=True)
class VerifiedChain:
    """
    A leaf under its log's checkpoint, which stands at *head_index* of the log of logs.

    *heads* is the checkpoint of the log of logs, with the witnesses' cosignatures on it.
    """

    leaf: VerifiedLeaf
    heads: VerifiedHead
    head_index: LeafIndex


def format_chain(chain: HeadChain) -> bytes:
    """The file of *chain*: a header line, and a line in base64 for each proof."""
    lines = [
        f"log {format_base64(chain.leaf_proof)}\n",
        f"heads {format_base64(chain.head_proof)}\n",
    ]
    return CHAIN_HEADER + "".join(lines).encode()


def parse_chain(data: bytes) -> HeadChain:
    """
    The two proofs in a chain file. Nothing is verified.

    Raises:
        ProofFormatError: It is not of this format.
    """
    lines = data[: MAX_CHAIN_BYTES + 1].split(b"\n")
    if not data.startswith(CHAIN_HEADER) or len(data) > MAX_CHAIN_BYTES or len(lines) != 4:  # noqa: PLR2004 (header, two proofs, the end)
        raise ProofFormatError("the file is no chain through the log of logs")
    chain = HeadChain(_read_line(lines[1], b"log "), _read_line(lines[2], b"heads "))
    if format_chain(chain) != data:
        raise ProofFormatError("the chain is not in its one spelling")
    return chain


# The steps, in this order: first what witnesses saw, then what hangs on it.
#
#   0. policy      The policy can judge.
#   1. format      Chain, both proofs and both checkpoints parse.
#   2. log         The policy trusts the log of logs, and its key signed the outer checkpoint.
#   3. witnesses   The quorum cosigned the outer checkpoint; `at` bounds the times.
#   4. heads       The inner note, byte for byte, is a leaf of the log of logs.
#   5. inner       The policy trusts the inner log, and its key signed the inner note.
#   6. tree, record, disclosure: as steps 4 to 6 of `check_leaf`, under the inner checkpoint.
#
# Left out: that the log of logs holds no other note of the inner log for the same size. Both
# would be public there for ever: a monitor of the log of logs finds them.


def check_chain(
    chain: bytes,
    *,
    leaf: bytes,
    policy: bytes | Policy | TrustedPolicy,
    at: datetime | None = None,
    disclosure: bytes | None = None,
) -> VerifiedChain:
    """
    Check that *chain* proves *leaf* to be in a log whose head is in a log of logs of *policy*.

    The policy's quorum is asked of the log of logs alone. Arguments are those of `check_leaf`.

    Raises:
        VerificationError: The subclass says at which step, `__cause__` why in detail.
    """
    trust = read_trust(policy)

    parsed = parse_chain(chain)
    inner, outer = _parse_proof(parsed.leaf_proof), _parse_proof(parsed.head_proof)
    note, checkpoint = parse_head(inner.note)
    heads_note, heads = parse_head(outer.note)
    if outer.extra is not None:
        raise ProofFormatError("the proof of a head discloses nothing")

    check_log(heads_note, heads, trust)
    if trust.log_name(heads.origin) != HEADS_LOG:
        raise UntrustedLogError(f"{heads.origin} is no log of logs")
    cosignatures = check_witnesses(heads_note, trust, at=at)
    _check_head(outer, format_note(note), heads)
    try:
        check_log(note, checkpoint, trust)
    except (UntrustedLogError, LogSignatureError) as cause:
        raise InnerHeadError(cause.message) from cause
    verified = establish_leaf(
        inner, leaf=leaf, checkpoint=checkpoint, trust=trust, disclosure=disclosure
    )
    name = trust.log_name(heads.origin)
    return VerifiedChain(verified, VerifiedHead(heads, cosignatures, name), outer.index)


def _check_head(outer: TlogProof, note: bytes, heads: Checkpoint) -> None:
    try:
        check_inclusion(
            outer.hashes,
            leaf=hash_leaf(note),
            index=outer.index,
            size=heads.size,
            root=heads.root,
        )
    except (MalformedProofError, InclusionError) as cause:
        raise HeadNotIncludedError(cause.message) from cause


def _read_line(line: bytes, name: bytes) -> bytes:
    if not line.startswith(name):
        raise ProofFormatError(f"the chain lacks its line {name.decode().strip()}")
    try:
        text = line[len(name) :].decode("ascii")
        return parse_base64(text, what="a proof of the chain", error=MalformedProofError)
    except (UnicodeDecodeError, MalformedProofError) as cause:
        raise ProofFormatError("a line of the chain is not base64") from cause


def _parse_proof(proof: bytes) -> TlogProof:
    try:
        return parse_tlog_proof(proof)
    except MalformedError as cause:
        raise ProofFormatError(cause.message) from cause
