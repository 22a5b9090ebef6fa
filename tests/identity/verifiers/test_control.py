"""Whose signature it is: EIP-191 and what must not pass (identity.md, sections 4.5 and 5.1)."""

from __future__ import annotations

import dataclasses
import datetime
import subprocess
import sys
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.identity.errors import InvalidValueError
from tallystick.identity.verifiers import (
    Challenge,
    ChallengeId,
    Submission,
    check_control,
    format_sign_in,
    parse_submission,
)
from tallystick.identity.verifiers.challenge import MAX_SIGNATURE_BYTES
from tallystick.identity.verifiers.control import CURVE_ORDER, personal_digest, recover_signer
from tallystick.record import ChainId
from tests.identity.verifiers.test_message import TERMS
from tests.support.verifiers import NoContract, NoFacts
from tests.support.wallets import Wallet, high_s_twin, wallet

OWNER = Wallet(b"\x01" * 32)
CHALLENGE = Challenge(
    challenge_id=ChallengeId(uuid.UUID(int=1)),
    user_id="alice",
    address=OWNER.address,
    verifier="signature",
    chain_id=ChainId(1),
    nonce=bytes(range(32)),
    message=format_sign_in(TERMS),
    issued_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    expires_at=datetime.datetime(2026, 1, 1, 0, 5, tzinfo=datetime.UTC),
    attempts_left=3,
    status="pending",
    proof_hash=None,
)
GOOD = OWNER.sign(CHALLENGE.message)


def test_the_key_of_the_wallet_needs_no_node():
    """A signature of the wallet's own key is found without asking a node, with either v."""
    assert check_control(CHALLENGE, Submission(GOOD), NoFacts()).standard == "eip191"
    written_otherwise = GOOD[:64] + bytes([GOOD[64] - 27])
    assert check_control(CHALLENGE, Submission(written_otherwise), NoFacts()).standard == "eip191"


def test_the_digest_is_that_of_wallets():
    """identity 15: other implementations of EIP-191 sign and recover the same."""
    from eth_account import Account
    from eth_account.messages import encode_defunct

    account = Account.from_key(OWNER.secret)
    signable = encode_defunct(text=CHALLENGE.message)
    signed = account.sign_message(signable)
    assert account.address.lower() == OWNER.address
    assert personal_digest(CHALLENGE.message) == bytes(signed.message_hash)
    submission = Submission(bytes(signed.signature))
    assert check_control(CHALLENGE, submission, NoFacts()).standard == "eip191"
    assert Account.recover_message(signable, signature=GOOD).lower() == OWNER.address


def test_the_high_s_twin_is_refused():
    """The twin recovers the same key everywhere else, and is refused here without a node."""
    twin = high_s_twin(GOOD)
    assert recover_signer(personal_digest(CHALLENGE.message), twin) == OWNER.address
    assert check_control(CHALLENGE, Submission(twin), NoFacts()).refusal == "high_s"


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\x00",
        GOOD[:64],
        GOOD + b"\x00",
        bytes(65),
        GOOD[:64] + b"\x1d",
        GOOD[:64] + b"\x02",
        CURVE_ORDER.to_bytes(32, "big") + GOOD[32:],
        GOOD[:32] + CURVE_ORDER.to_bytes(32, "big") + GOOD[64:],
        GOOD[:32] + bytes(32) + GOOD[64:],
        wallet(9).sign(CHALLENGE.message),
    ],
)
def test_what_is_no_signature_of_the_wallet_is_a_wrong_signer(signature):
    """Lengths, recovery ids and numbers out of range are refused, never an exception."""
    control = check_control(CHALLENGE, Submission(signature), NoContract())
    assert (control.standard, control.refusal) == (None, "wrong_signer")


@settings(max_examples=200)
@given(st.binary(max_size=70))
def test_no_bytes_pass_by_chance(signature):
    """Whatever is handed in ends in a refusal."""
    refusal = check_control(CHALLENGE, Submission(signature), NoContract()).refusal
    assert refusal in {"wrong_signer", "high_s"}


def test_a_told_text_must_be_the_challenges():
    """A text that differs from the challenge is a wrong message, whoever signed it."""
    text = CHALLENGE.message + " "
    submission = Submission(OWNER.sign(text), message=text)
    assert check_control(CHALLENGE, submission, NoFacts()).refusal == "wrong_message"
    told = Submission(GOOD, message=CHALLENGE.message)
    assert check_control(CHALLENGE, told, NoFacts()).standard == "eip191"


@pytest.mark.parametrize("address", [None, wallet(9).address])
def test_a_challenge_of_a_former_wallet_is_a_wrong_message(address):
    """What names another wallet than the user's present one proves nothing about it."""
    changed = dataclasses.replace(CHALLENGE, address=address)
    signed = Submission(wallet(9).sign(CHALLENGE.message))
    assert check_control(changed, signed, NoFacts()).refusal == "wrong_message"
    assert check_control(changed, Submission(GOOD), NoFacts()).refusal == "wrong_message"


@pytest.mark.parametrize(
    ("field", "handed_in"),
    [
        ("signature", {"signature": ""}),
        ("signature", {"signature": "0x"}),
        ("signature", {"signature": "0xabc"}),
        ("signature", {"signature": "ab" * 65}),
        ("signature", {"signature": "0x" + "ab" * (MAX_SIGNATURE_BYTES + 1)}),
        ("signature", {"signature": "0xab\n"}),
        ("transactions", {"signature": "0xab", "transactions": ["0x12"]}),
        ("transactions", {"signature": "0xab", "transactions": ["0x" + "00" * 32] * 101}),
        ("message", {"signature": "0xab", "message": "x" * 4001}),
        ("message", {"signature": "0xab", "message": "\ud800"}),
    ],
)
def test_a_submission_is_parsed_at_the_door(field, handed_in):
    """What is of no form is refused by its field before any verifier sees it."""
    with pytest.raises(InvalidValueError) as raised:
        parse_submission(**handed_in)
    assert raised.value.field == field


def test_a_submission_has_one_hash():
    """Case of hexadecimal does not matter to a submission; every byte of it does."""
    one = parse_submission(signature="0xAB", transactions=["0x" + "CD" * 32])
    same = parse_submission(signature="0xab", transactions=["0x" + "cd" * 32])
    assert one == same
    assert one.sha256() == same.sha256()
    others = (
        parse_submission(signature="0xac", transactions=["0x" + "cd" * 32]),
        parse_submission(signature="0xab"),
        parse_submission(signature="0xab", transactions=["0x" + "cd" * 32], message=""),
    )
    assert len({one.sha256(), *(other.sha256() for other in others)}) == 4


def test_ethereum_is_loaded_where_a_proof_is_checked():
    """Importing identity loads no library of the chain: the verifier pays for it at first use."""
    code = (
        "import sys, tallystick.identity.human_proofs\n"
        "print([name for name in ('coincurve', 'eth_account', 'eth_keys', 'eth_abi')"
        " if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
