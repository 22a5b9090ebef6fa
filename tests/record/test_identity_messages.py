"""What stands for a human proof and its wallet: the vectors of identity.md, section 5.1."""

from __future__ import annotations

import hashlib

import pytest

from tallystick.record import (
    Address,
    ChainId,
    UncanonicalValueError,
    format_human_proof,
    hash_human_proof,
    wallet_nullifier,
)

CHALLENGE = "018f0000-0000-7000-8000-000000000001"
VECTOR = {
    "challenge_id": CHALLENGE,
    "submission_sha256": hashlib.sha256(b"").digest(),
    "user_id": "alice",
    "verifier": "signature",
    "verifier_version": 1,
}
WALLET = Address("0x" + "00" * 19 + "aa")


def test_the_hash_of_a_proof_is_the_vectors():
    """identity 8: the message of a human proof has 239 bytes and the hash of the page."""
    assert len(format_human_proof(**VECTOR)) == 239
    expected = "efcd6e276c1368c9d8f7388310c754a2466eacda6e26afcc207e54cfa72ad276"
    assert hash_human_proof(**VECTOR).hex() == expected


def test_the_nullifier_of_a_wallet_is_the_vectors():
    """identity 8: the nullifier of a wallet on a chain is the page's."""
    expected = "35eca72b7c5330be63ca85989d8ed98faca97c450572c42a9a53375dc97de1d6"
    assert wallet_nullifier(ChainId(1), WALLET).hex() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"challenge_id": None},
        {"submission_sha256": bytes(32)},
        {"user_id": "bob"},
        {"verifier": "behaviour"},
        {"verifier_version": 2},
    ],
)
def test_each_field_of_a_proof_matters(change):
    """Another challenge, submission, user, verifier or version is another proof."""
    assert hash_human_proof(**{**VECTOR, **change}) != hash_human_proof(**VECTOR)


def test_a_wallet_has_a_nullifier_on_each_chain():
    """The chain is in the nullifier, and so is the address."""
    other = Address("0x" + "00" * 19 + "ab")
    made = {
        wallet_nullifier(ChainId(chain), wallet) for chain in (1, 256) for wallet in (WALLET, other)
    }
    assert len(made) == 4


def test_a_user_without_a_canonical_form_has_no_proof():
    """A text that JSON cannot carry is refused by name."""
    with pytest.raises(UncanonicalValueError):
        format_human_proof(**{**VECTOR, "user_id": "\ud800"})
