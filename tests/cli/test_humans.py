"""`tally human` and `tally user erase` (identity.md, sections 4.1, 4.4 and 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.record import format_address
from tests.support.wallets import wallet

if TYPE_CHECKING:
    from tests.cli.conftest import Tally

WALLET = wallet(7)


@pytest.fixture
def user(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of a user with a wallet, where the operator has named one verifier."""
    monkeypatch.setenv("TALLY_IDENTITY_VERIFIERS", '["signature"]')
    return str(tally("user", "add", "--wallet", WALLET.address, "--json").json["id"])


def test_a_wallet_is_proven_and_shown(tally: Tally, user: str) -> None:
    """A challenge is signed, submitted once, and then the wallet's status says so."""
    address = format_address(WALLET.address)
    assert tally("human", "status", address, "--json").json["valid"] is False
    issued = tally("human", "challenge", user, "--verifier", "signature", "--json").json
    assert address in issued["message"]
    shown = tally("human", "challenge", user, "--verifier", "signature").out
    assert issued["message"].partition("\nNonce:")[0].partition("\nURI:")[0] in shown
    signature = "0x" + WALLET.sign(issued["message"]).hex()
    wrong = "0x" + wallet(8).sign(issued["message"]).hex()
    refused = tally("human", "submit", issued["challenge_id"], "--signature", wrong)
    assert refused.code == 4
    assert "wrong_signer: 2 attempts are left" in refused.err
    ran = tally("human", "submit", issued["challenge_id"], "--signature", signature, "--json")
    assert (ran.code, ran.json["status"], ran.json["assurance"]) == (0, "verified", 1)
    again = tally("human", "submit", issued["challenge_id"], "--signature", signature)
    assert again.code == 4
    standing = tally("human", "status", address, "--json").json
    assert (standing["valid"], standing["assurance"]) == (True, 1)


def test_what_nobody_named_proves_nothing(tally: Tally, user: str) -> None:
    """A verifier that the operator has not named is refused; so are strange ids and signatures."""
    assert tally("human", "challenge", user, "--verifier", "behaviour").code == 4
    assert tally("human", "challenge", "nobody", "--verifier", "signature").code == 3
    assert tally("human", "submit", "no-uuid", "--signature", "0x00").code == 3
    assert tally("human", "submit", "no-uuid", "--signature", "zz").code == 4
    assert tally("human", "status", "0x12").code == 4


def test_a_user_is_erased_once_he_is_deleted(tally: Tally, user: str) -> None:
    """Who is not deleted is not erased; who is keeps nothing that names him."""
    assert tally("user", "erase", user).code == 4
    tally("user", "delete", user)
    ran = tally("user", "erase", user, "--json")
    assert (ran.code, ran.json["user_id"]) == (0, user), ran.err
    assert tally("user", "show", user, "--json").json["wallet_address"] is None
