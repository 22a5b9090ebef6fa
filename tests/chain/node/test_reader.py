"""What is read from a node: transactions, balances, code, signatures, at which block."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from tallystick.chain.errors import (
    EstimateRevertedError,
    NodeRefusedError,
    NoEndpointError,
    UnknownTransactionError,
)
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import (
    BALANCE_OF,
    IS_VALID_SIGNATURE,
    ChainReader,
    TokenBalance,
    transfer_call,
)
from tallystick.chain.values import ZERO_ADDRESS
from tests.support.evm import DEV_ACCOUNTS, ETHER, running_anvil

ACCOUNT, OTHER = (each.address for each in DEV_ACCOUNTS[:2])
TOKEN, WALLET, REVERTING = "0x" + "aa" * 20, "0x" + "bb" * 20, "0x" + "cc" * 20
DIGEST = bytes(range(32))
# Returns 41 to every call.
ANSWERS_41 = "0x602960005260206000f3"
# Returns the selector of ERC-1271 in the first four bytes of a word.
SAYS_YES = "0x631626ba7e60e01b60005260206000f3"
# Reverts with Error("no entry").
REVERTS = (
    "0x62461bcd60e51b600052602060045260086024526b6e6f20656e7472790000000060a01b60445260646000fd"
)


@pytest.fixture(scope="module")
def anvil():
    """A node with some code."""
    with running_anvil() as running:
        running.rpc("anvil_setCode", TOKEN, ANSWERS_41)
        running.rpc("anvil_setCode", WALLET, SAYS_YES)
        running.rpc("anvil_setCode", REVERTING, REVERTS)
        running.mine(5)
        yield running


@pytest.fixture(scope="module")
def reader(anvil):
    """A reader of that node, where three confirmations are final."""
    with Nodes({anvil.chain_id: [SecretStr(anvil.url)]}) as nodes:
        yield ChainReader(nodes, lambda _: 3)


def test_a_mined_transaction_is_looked_up_with_its_receipt(anvil, reader):
    """look_up answers sender, receiver, value, block, time and fee of a transaction."""
    sent = anvil.send(**{"from": OTHER, "to": ACCOUNT, "value": "0x7", "data": "0x0102"})
    seen = reader.look_up(anvil.chain_id, sent)
    block = anvil.rpc("eth_getBlockByNumber", "latest", False)
    assert (seen.chain_id, seen.transaction_hash) == (anvil.chain_id, sent)
    assert (seen.from_address, seen.to_address) == (OTHER, ACCOUNT)
    assert (seen.value, seen.call_data, seen.transaction_type) == (7, b"\1\2", 2)
    assert (seen.block_number, seen.block_hash) == (anvil.head, block["hash"])
    assert seen.block_time is not None
    assert int(seen.block_time.timestamp()) == int(block["timestamp"], 16)
    assert (seen.receipt_status, seen.transaction_index, seen.l1_fee_wei) == (1, 0, 0)
    assert seen.gas_used is not None
    assert seen.gas_used > 21_000
    assert seen.gas_price


def test_a_waiting_transaction_has_no_block(anvil, reader):
    """A transaction of the node's pool is seen without block and receipt."""
    anvil.automine(on=False)
    sent = anvil.send(**{"from": OTHER, "to": ACCOUNT, "value": "0x7"})
    seen = reader.look_up(anvil.chain_id, sent)
    anvil.automine(on=True)
    anvil.mine()
    assert (seen.block_number, seen.block_time, seen.receipt_status) == (None, None, None)


def test_an_unknown_transaction_is_a_named_error(anvil, reader):
    """A hash that the node does not know, and a chain without endpoints, are named errors."""
    with pytest.raises(UnknownTransactionError):
        reader.look_up(anvil.chain_id, "0x" + "11" * 32)
    with pytest.raises(NoEndpointError):
        reader.look_up(1, "0x" + "11" * 32)


def test_final_is_so_many_blocks_below_the_head(anvil, reader):
    """In mode depth `finalized` is the block that has the network's confirmations."""
    before = reader.nonce_at(anvil.chain_id, OTHER, "latest")
    anvil.send(**{"from": OTHER, "to": ACCOUNT, "value": "0x7"})
    assert reader.nonce_at(anvil.chain_id, OTHER, "latest") == before + 1
    anvil.mine()
    assert reader.nonce_at(anvil.chain_id, OTHER) < before + 1
    anvil.mine()
    assert reader.nonce_at(anvil.chain_id, OTHER) == before + 1


def test_final_is_the_nodes_tag_where_the_network_says_so(anvil):
    """In mode tag `finalized` is what the node calls so."""
    with Nodes({anvil.chain_id: [SecretStr(anvil.url)]}) as nodes:
        reader = ChainReader(nodes, lambda _: None)
        final = int(anvil.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
        expected = reader.nonce_at(anvil.chain_id, OTHER, final)
        assert reader.nonce_at(anvil.chain_id, OTHER) == expected


def test_code_and_balance_are_read_at_a_block(anvil, reader):
    """Code and balance are those of the number, the hash or the tag that is asked for."""
    assert reader.code_at(anvil.chain_id, TOKEN).hex() == ANSWERS_41[2:]
    assert reader.code_at(anvil.chain_id, OTHER) == b""
    block = anvil.rpc("eth_getBlockByNumber", "latest", False)
    anvil.mine()
    anvil.set_balance(WALLET, 5 * ETHER)
    assert reader.balance_at(anvil.chain_id, WALLET) == 5 * ETHER
    assert reader.balance_at(anvil.chain_id, WALLET, int(block["number"], 16)) == 0
    assert reader.balance_at(anvil.chain_id, WALLET, block["hash"]) == 0


def test_balances_of_tokens_are_of_one_block(anvil, reader):
    """The zero address is the chain's coin; a token that reverts or answers nothing has None."""
    found = reader.token_balances(
        anvil.chain_id, [ACCOUNT, WALLET], [ZERO_ADDRESS, TOKEN, REVERTING, OTHER]
    )
    assert found.block_number == anvil.head
    assert found.block_hash == anvil.rpc("eth_getBlockByNumber", "latest", False)["hash"]
    coins = [reader.balance_at(anvil.chain_id, each) for each in (ACCOUNT, WALLET)]
    assert found.balances == tuple(
        TokenBalance(account, token, amount)
        for account, coin in zip((ACCOUNT, WALLET), coins, strict=True)
        for token, amount in (
            (ZERO_ADDRESS, coin),
            (TOKEN, 41),
            (REVERTING, None),
            (OTHER, None),
        )
    )


def test_a_wallet_says_whether_a_signature_is_its_own(anvil, reader):
    """ERC-1271: only the magic word is yes; no code, another word or a revert is no."""
    for address, is_valid in ((WALLET, True), (TOKEN, False), (OTHER, False), (REVERTING, False)):
        answer = reader.is_valid_signature(anvil.chain_id, address, DIGEST, b"\7" * 65)
        assert answer == is_valid, address


def test_a_signature_is_asked_as_the_abi_has_it(anvil):
    """The wallet gets digest and signature as isValidSignature(bytes32,bytes) encodes them."""
    from eth_abi import encode

    asked = []

    class Reader(ChainReader):
        def call(self, _chain_id, _to, data, block="latest"):
            asked.append((data, block))
            return b""

    with Nodes({anvil.chain_id: [SecretStr(anvil.url)]}) as nodes:
        for signature in (b"", b"\7" * 64, b"\7" * 65):
            Reader(nodes, lambda _: 1).is_valid_signature(1, WALLET, DIGEST, signature)
            expected = IS_VALID_SIGNATURE + encode(["bytes32", "bytes"], [DIGEST, signature])
            assert asked.pop() == (expected, "finalized")


def test_a_call_that_reverts_says_why(anvil, reader):
    """call and estimate raise EstimateRevertedError with the contract's reason in words."""
    assert reader.call(anvil.chain_id, TOKEN, BALANCE_OF)[-1] == 41
    assert reader.estimate(anvil.chain_id, {"from": ACCOUNT, "to": OTHER}) >= 21_000
    with pytest.raises(EstimateRevertedError) as raised:
        reader.call(anvil.chain_id, REVERTING, b"")
    assert raised.value.reason == "no entry"
    with pytest.raises(EstimateRevertedError):
        reader.estimate(anvil.chain_id, {"from": ACCOUNT, "to": REVERTING})
    with pytest.raises(NodeRefusedError):
        reader.call(anvil.chain_id, TOKEN, b"", 10**9)


def test_a_transfer_is_of_a_token_or_of_the_coin():
    """transfer_call encodes ERC-20's transfer, or pays the coin where the token is address zero."""
    to, data, value = transfer_call(TOKEN, ACCOUNT, 2**255)
    word = ACCOUNT[2:].rjust(64, "0")
    assert (to, data.hex(), value) == (TOKEN, f"a9059cbb{word}8{'0' * 63}", 0)
    assert transfer_call(ZERO_ADDRESS, ACCOUNT, 5) == (ACCOUNT, b"", 5)
