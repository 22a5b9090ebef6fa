"""Why a contract reverted, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.chain.contracts.reasons import explain_revert, known_errors

ALREADY_ANCHORED = bytes.fromhex("c1d04bb3")


def test_errors_of_our_contracts_have_names():
    """AlreadyAnchored(uint64) is told with its block number."""
    assert known_errors()[ALREADY_ANCHORED] == ("AlreadyAnchored", ("uint64",))
    assert explain_revert(ALREADY_ANCHORED + (17).to_bytes(32, "big")) == "AlreadyAnchored(17)"


@pytest.mark.parametrize("arguments", [b"", b"\1", b"\xff" * 32])
def test_what_does_not_decode_is_hexadecimal(arguments):
    """A declared error with other arguments than it declares is shown as it came."""
    data = ALREADY_ANCHORED + arguments
    assert explain_revert(data) == f"0x{data.hex()}"


@given(st.binary(max_size=200))
def test_whatever_a_contract_returns_is_explained(data):
    """Nothing that a contract returns raises."""
    assert isinstance(explain_revert(data), str)
    assert isinstance(explain_revert(ALREADY_ANCHORED + data), str)
