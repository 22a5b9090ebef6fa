"""The text that a wallet signs: EIP-4361 (identity.md, section 5.1)."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import uuid

import pytest

from tallystick.identity.base62 import format_base62
from tallystick.identity.verifiers import ChallengeId, ChallengeTerms, format_sign_in
from tallystick.identity.verifiers.message import names_address
from tallystick.record import ChainId
from tests.support.wallets import Wallet, wallet

ID = "018f0000-0000-7000-8000-000000000001"
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
TERMS = ChallengeTerms(
    challenge_id=ChallengeId(uuid.UUID(ID)),
    address=Wallet(b"\x01" * 32).address,
    chain_id=ChainId(1),
    nonce=bytes(range(32)),
    domain="tally.example",
    uri=f"https://tally.example/api/v1/human-proofs/challenges/{ID}",
    issued_at=BEGIN,
    expires_at=BEGIN + datetime.timedelta(minutes=5),
)


def test_the_message_is_the_vectors():
    """identity 8: the page's challenge is 471 bytes with its hash."""
    message = format_sign_in(TERMS).encode()
    expected = "8b1c94747ee070632d47e2e06ed78270e769f8c231d8406319d434b9737056d2"
    assert len(message) == 471
    assert hashlib.sha256(message).hexdigest() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"challenge_id": ChallengeId(uuid.UUID(int=1))},
        {"address": wallet(1).address},
        {"chain_id": ChainId(2)},
        {"nonce": bytes(32)},
        {"domain": "tally.example.org"},
        {"uri": "https://tally.example/"},
        {"issued_at": BEGIN + datetime.timedelta(seconds=1)},
        {"expires_at": BEGIN},
    ],
)
def test_every_term_is_in_the_message(change):
    """Another term is another message."""
    assert format_sign_in(dataclasses.replace(TERMS, **change)) != format_sign_in(TERMS)


def test_a_message_names_one_address():
    """The wallet that is asked stands in the message's second line, with its checksum."""
    message = format_sign_in(TERMS)
    assert names_address(message, TERMS.address)
    assert not names_address(message, wallet(1).address)
    assert not names_address("", TERMS.address)
    assert not names_address(message.lower(), TERMS.address)


@pytest.mark.parametrize(
    ("number", "width", "text"),
    [(0, 1, "0"), (61, 1, "z"), (62, 2, "10"), (62, 4, "0010"), (35, 1, "Z"), (36, 1, "a")],
)
def test_base_62(number, width, text):
    """Digits stand before capitals before small letters, padded with zeros."""
    assert format_base62(number, width) == text
