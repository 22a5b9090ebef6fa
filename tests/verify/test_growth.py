"""The verdict on growth: a log that only grew passes, and nothing else."""

from __future__ import annotations

import pytest

from tallystick.errors import Kind
from tallystick.record import format_record
from tallystick.verify import (
    ForkedLogError,
    GrowthNotProvenError,
    LogSignatureError,
    OtherLogError,
    ProofFormatError,
    QuorumMissingError,
    UntrustedLogError,
    check_growth,
)
from tests.support.sealed import SealedLog, log_signer, payment, witness_signer

LEAVES = [format_record(payment(number)) for number in range(9)]


@pytest.fixture
def log():
    """Return a log of nine records."""
    return SealedLog(LEAVES)


def test_every_growth_is_proven(log):
    """From every size, 0 and the same one included, the log's own proof shows its growth."""
    for old_size in range(len(LEAVES) + 1):
        verified = check_growth(
            log.note_bytes(old_size), log.note_bytes(), log.growth(old_size), log.policy()
        )
        assert (old_size, 9) == (verified.old.size, verified.new.checkpoint.size)


def test_a_rewritten_log_is_not_grown(log):
    """Step 4: a log that changed a leaf has no proof, its own least of all."""
    rewritten = SealedLog([b"x", *LEAVES[1:]])
    for proof in (log.growth(4), rewritten.growth(4), [], [b"x"], [bytes(32)] * 4):
        with pytest.raises(GrowthNotProvenError) as caught:
            check_growth(log.note_bytes(4), rewritten.note_bytes(), proof, log.policy())
        assert (caught.value.step, caught.value.kind) == (4, Kind.FALSE)


def test_two_roots_for_one_size_are_a_fork(log):
    """Step 4: two signed notes of one size with two roots prove the fork by themselves."""
    fork = SealedLog([b"x", *LEAVES[1:]])
    with pytest.raises(ForkedLogError):
        check_growth(log.note_bytes(), fork.note_bytes(), [], log.policy())


def test_a_smaller_log_is_not_grown(log):
    """Step 4: a newer note of a smaller tree shows no growth."""
    with pytest.raises(GrowthNotProvenError):
        check_growth(log.note_bytes(), log.note_bytes(4), log.growth(4), log.policy())


def test_two_logs_are_not_one(log):
    """Step 2: notes of two trusted logs are not each other's growth."""
    other = SealedLog(
        LEAVES, origin="log.example/b", signers=[log_signer("log.example/b", b"\x07" * 32)]
    )
    policy = other.policy().replace(b"quorum none\n", b"") + log.policy()
    with pytest.raises(OtherLogError):
        check_growth(other.note_bytes(), log.note_bytes(), [], policy)


def test_both_notes_must_be_the_trusted_logs(log):
    """Steps 1 and 2: the old note is checked as well as the new one."""
    forged = SealedLog(LEAVES, signers=[log_signer(secret=b"\x07" * 32)])
    stranger = SealedLog(LEAVES, origin="x.example/a", signers=[log_signer("x.example/a")])
    for bad, error in (
        (b"", ProofFormatError),
        (forged.note_bytes(), LogSignatureError),
        (stranger.note_bytes(), UntrustedLogError),
    ):
        for old, new in ((bad, log.note_bytes()), (log.note_bytes(), bad)):
            with pytest.raises(error):
                check_growth(old, new, [], log.policy())


def test_the_quorum_is_the_new_notes_matter(log):
    """Step 3: the new note needs the quorum, and the old one only its log's signature."""
    witnessed = SealedLog(LEAVES, witnesses=[witness_signer()])
    policy = witnessed.policy()
    check_growth(log.note_bytes(4), witnessed.note_bytes(), log.growth(4), policy)
    with pytest.raises(QuorumMissingError):
        check_growth(witnessed.note_bytes(4), log.note_bytes(), log.growth(4), policy)
