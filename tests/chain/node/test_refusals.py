"""What nodes mean when they refuse: their words, sorted; and reasons, decoded."""

from __future__ import annotations

import pytest
from eth_abi import encode
from hypothesis import given
from hypothesis import strategies as st

from tallystick.chain.errors import NodeRefusedError
from tallystick.chain.node.refusals import Refusal, classify, decode_reason, revert_data

# As geth, erigon, nethermind, besu, reth and Anvil say it.
SAID = [
    ("nonce too low: next nonce 5, tx nonce 4", Refusal.NONCE_TOO_LOW),
    ("nonce too low", Refusal.NONCE_TOO_LOW),
    ("OldNonce, Current nonce: 2, nonce of rejected tx: 1", Refusal.NONCE_TOO_LOW),
    ("already known", Refusal.ALREADY_KNOWN),
    ("transaction already imported", Refusal.ALREADY_KNOWN),
    ("AlreadyKnown", Refusal.ALREADY_KNOWN),
    ("Known transaction", Refusal.ALREADY_KNOWN),
    ("replacement transaction underpriced", Refusal.UNDERPRICED),
    ("transaction underpriced: tip needed 1000000000", Refusal.UNDERPRICED),
    ("FeeTooLow, MaxFeePerGas too low", Refusal.UNDERPRICED),
    ("max fee per gas less than block base fee", Refusal.UNDERPRICED),
    ("insufficient funds for gas * price + value: balance 0", Refusal.FUNDS),
    ("Insufficient funds for gas * price + value", Refusal.FUNDS),
    ("Upfront cost exceeds account balance", Refusal.FUNDS),
    ("InsufficientFunds, Account balance: 0", Refusal.FUNDS),
    ("execution reverted: no entry", Refusal.REVERTED),
    ("VM execution error.", Refusal.REVERTED),
    ("gas required exceeds allowance (30000000)", Refusal.REVERTED),
    ("invalid opcode: INVALID", Refusal.REVERTED),
    ("EVM error InvalidFEOpcode", Refusal.REVERTED),
    ("max initcode size exceeded: code size 50000", Refusal.REVERTED),
    ("header not found", Refusal.OTHER),
    ("project ID request rate exceeded", Refusal.OTHER),
    ("", Refusal.OTHER),
]


@pytest.mark.parametrize(("said", "meaning"), SAID)
def test_the_words_of_nodes_have_a_meaning(said, meaning):
    """Each node's words for a case fall into that case, and unknown words into none."""
    assert classify(NodeRefusedError(rpc_code=-32000, said=said)) is meaning


def test_the_code_of_a_revert_needs_no_words():
    """JSON-RPC code 3 is a revert, whatever a node says with it."""
    assert classify(NodeRefusedError(rpc_code=3, said="it did not work")) is Refusal.REVERTED


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", ""),
        (bytes.fromhex("08c379a0") + encode(["string"], ["not included"]), "not included"),
        (bytes.fromhex("08c379a0") + encode(["string"], [""]), ""),
        (
            bytes.fromhex("4e487b71") + (0x11).to_bytes(32, "big"),
            "arithmetic overflow or underflow",
        ),
        (bytes.fromhex("4e487b71") + (0x99).to_bytes(32, "big"), "panic 0x99"),
        (bytes.fromhex("c1d04bb3") + (7).to_bytes(32, "big"), "0xc1d04bb3" + "00" * 31 + "07"),
        (bytes.fromhex("08c379a0") + encode(["string"], ["a\0b\x1b[2J"]), "a\ufffdb\ufffd[2J"),
    ],
)
def test_a_reason_is_told_in_words(data, reason):
    """Error(string) and Panic(uint256) are words, a contract's own errors are hexadecimal."""
    assert decode_reason(data) == reason


@given(st.binary(max_size=300))
def test_whatever_a_contract_returns_is_a_reason(data):
    """Hostile revert data end in text that a row and a terminal can hold, of bounded length."""
    for head in (b"", bytes.fromhex("08c379a0")):
        reason = decode_reason(head + data)
        assert "\0" not in reason
        assert len(reason) < 2_100


@pytest.mark.parametrize(
    ("sent", "data"),
    [(None, b""), ("0x01", b"\1"), ("Reverted 0x0102", b"\1\2"), ("0x0", b""), ("words", b"")],
)
def test_what_the_evm_returned_is_read_where_it_was_sent(sent, data):
    """Nodes that send something else than data send nothing."""
    assert revert_data(NodeRefusedError(data=sent)) == data
