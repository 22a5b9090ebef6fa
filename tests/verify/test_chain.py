"""The verdict through the log of logs: each false link is refused at its step."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tallystick.record import format_record
from tallystick.tlog import Note, Signature, format_note, parse_note
from tallystick.verify import (
    DisclosureFormatError,
    HeadChain,
    HeadNotIncludedError,
    InnerHeadError,
    LeafNotIncludedError,
    LogSignatureError,
    ProofFormatError,
    QuorumMissingError,
    UntrustedLogError,
    VerificationError,
    check_chain,
    format_chain,
    parse_chain,
)
from tests.support.sealed import SealedLog, log_signer, payment, witness_signer

HEADS = "log.example/tally_heads"
HEADS_SECRET = b"\x08" * 32
LEAVES = [format_record(payment(number)) for number in range(5)]


def heads_of(*notes: bytes, origin: str = HEADS) -> SealedLog:
    """A witnessed log of logs that holds other notes and *notes*."""
    leaves = [b"another log's note", *notes, b"and another"]
    signers = [log_signer(origin, HEADS_SECRET)]
    return SealedLog(leaves, origin, signers=signers, witnesses=[witness_signer()])


@pytest.fixture
def log() -> SealedLog:
    """A log that no witness has seen."""
    return SealedLog(LEAVES)


def both(log: SealedLog, heads: SealedLog) -> bytes:
    """A policy that trusts both logs and asks for the witness of the log of logs."""
    lines = [*log.policy().splitlines()[:-1], *heads.policy().splitlines()]
    return b"\n".join(lines) + b"\n"


def chain_of(
    log: SealedLog, heads: SealedLog, index: int = 2, *, note: Note | None = None
) -> bytes:
    """The chain of the leaf at *index*: its log's note is leaf 1 of *heads*."""
    return format_chain(HeadChain(log.proof(index, note=note), heads.proof(1)))


def test_a_leaf_is_proven_through_its_logs_note(log):
    """An unwitnessed log's leaf is established by the witnesses of the log of logs alone."""
    heads = heads_of(log.note_bytes())
    verified = check_chain(chain_of(log, heads), leaf=LEAVES[2], policy=both(log, heads))
    assert (verified.leaf.index, verified.leaf.log_name) == (2, "payments")
    assert verified.leaf.record is not None
    assert (verified.head_index, verified.heads.checkpoint.size) == (1, 3)
    assert [one.name for one in verified.heads.cosignatures] == ["witness.example/w1"]


def refused(error, log, heads, chain, **changes):
    """The error by which a chain is refused."""
    arguments = {"leaf": LEAVES[2], "policy": both(log, heads)} | changes
    with pytest.raises(error) as raised:
        check_chain(chain, **arguments)
    return raised.value


def test_a_forged_inner_note_is_refused(log):
    """A note that is not the leaf of the log of logs is refused, whoever signed it."""
    heads = heads_of(log.note_bytes())
    other = SealedLog([*LEAVES[:4], b"forged"])
    error = refused(HeadNotIncludedError, log, heads, chain_of(other, heads))
    assert error.step_name == "heads"
    # The same text under a signature of nobody's key is another leaf.
    note = log.note()
    extra = Signature("nobody.example", b"\x00" * 4, b"\x00" * 64)
    chain = chain_of(log, heads, note=Note(note.text, (*note.signatures, extra)))
    refused(HeadNotIncludedError, log, heads, chain)


def test_a_note_that_its_log_never_signed_is_refused(log):
    """A note that somebody got into the log of logs without its log's key is refused."""
    forger = SealedLog(LEAVES, signers=[log_signer(secret=b"\x09" * 32)])
    heads = heads_of(forger.note_bytes())
    error = refused(InnerHeadError, log, heads, chain_of(forger, heads))
    assert error.step_name == "inner"
    assert type(error.__cause__) is LogSignatureError
    stranger = SealedLog(LEAVES, "other.example/payments")
    heads = heads_of(stranger.note_bytes())
    error = refused(InnerHeadError, log, heads, chain_of(stranger, heads))
    assert type(error.__cause__) is UntrustedLogError


def test_any_log_is_no_log_of_logs(log):
    """A note pushed into a trusted log of another name proves nothing: nobody looks there."""
    heads = heads_of(log.note_bytes(), origin="log.example/entries")
    error = refused(UntrustedLogError, log, heads, chain_of(log, heads))
    assert "no log of logs" in error.message


def test_the_outer_link_is_checked_as_a_proof_is(log):
    """The log of logs must be trusted, its key must have signed, its witnesses too."""
    heads = heads_of(log.note_bytes())
    chain = chain_of(log, heads)
    refused(UntrustedLogError, log, heads, chain, policy=log.policy())
    stolen = SealedLog(heads.leaves, HEADS, signers=[log_signer(HEADS, b"\x0a" * 32)])
    refused(LogSignatureError, log, heads, chain_of(log, stolen))
    unseen = SealedLog(heads.leaves, HEADS, signers=heads.signers)
    refused(QuorumMissingError, log, heads, chain_of(log, unseen))


def test_the_inner_link_is_checked_as_a_proof_is(log):
    """Another leaf under the inner note, and a false disclosure of it, are refused."""
    heads = heads_of(log.note_bytes())
    chain = chain_of(log, heads)
    refused(LeafNotIncludedError, log, heads, chain, leaf=LEAVES[3])
    refused(DisclosureFormatError, log, heads, chain, disclosure=b"{}")


def test_every_changed_byte_is_refused(log):
    """No byte of a chain can change without its being refused by name."""
    heads = heads_of(log.note_bytes())
    chain, policy = chain_of(log, heads), both(log, heads)
    step = max(1, len(chain) // 150)
    for place in range(0, len(chain), step):
        changed = chain[:place] + bytes([chain[place] ^ 1]) + chain[place + 1 :]
        with pytest.raises(VerificationError):
            check_chain(changed, leaf=LEAVES[2], policy=policy)


def test_chains_have_one_spelling(log):
    """What formats parses as itself; other lines, other order and other base64 are refused."""
    heads = heads_of(log.note_bytes())
    chain = chain_of(log, heads)
    assert format_chain(parse_chain(chain)) == chain
    header, first, second, _ = chain.split(b"\n")
    for data in (
        b"",
        header,
        chain[:-1],
        chain + b"\n",
        b"\n".join([header, second, first, b""]),
        chain.replace(b"log ", b"log  ", 1),
        b"\n".join([header, first, b"heads \xff", b""]),
        b"\n".join([header, b"log AA", second, b""]),
        chain[: len(header) + 1] + b"log " + base64.b64encode(b"x" * 3_000_000) + b"\n\n",
    ):
        with pytest.raises(ProofFormatError):
            parse_chain(data)


def test_the_inner_note_is_the_outer_leaf_byte_for_byte(log):
    """What is hashed into the log of logs is the inner note as it is written."""
    heads = heads_of(log.note_bytes())
    inner = parse_chain(chain_of(log, heads)).leaf_proof
    note = inner[inner.index(b"\n\n") + 2 :]
    assert note == log.note_bytes() == format_note(parse_note(note))
    assert heads.leaves[1] == note
    assert (
        hashlib.sha256(b"\x00" + note).digest()
        == hashlib.sha256(b"\x00" + heads.leaves[1]).digest()
    )
