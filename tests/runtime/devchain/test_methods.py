"""What the dev chain answers: each method, in the shapes that all nodes share."""

from __future__ import annotations

import pytest

from tallystick.chain.contracts import encode_call, encode_deployment, load_artifact
from tallystick.record import keccak256
from tallystick.runtime.devchain.methods import METHODS
from tests.runtime.devchain.support import FUNDS, OTHER, OWNER, RECEIVER, Bench

ANCHOR = load_artifact("TallyAnchor")
STATEMENT, ROOT = b"\1" * 32, b"\2" * 32
TOPIC = "0xe000142600614eca96a70dd786d527e0f44d75b9b7f8815394c7cf558b0524ca"
UNKNOWN = "0x" + "42" * 32


@pytest.fixture(scope="module")
def contract():
    """Where TallyAnchor is: the owner's first contract."""
    sender = bytes.fromhex(OWNER.address[2:])
    return "0x" + keccak256(b"\xd6\x94" + sender + b"\x80")[-20:].hex()


@pytest.fixture(scope="module")
def bench(tmp_path_factory, contract):
    """A chain with TallyAnchor in block 1 and an anchor in block 2; no test adds to it."""
    made = Bench(tmp_path_factory.mktemp("chain"))
    made.send(to=None, value=0, gas=2_000_000, data=encode_deployment(ANCHOR, []))
    made.send(to=bytes.fromhex(contract[2:]), value=0, gas=100_000, data=anchor())
    made.send(value=5)
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path):
    """A chain of its own."""
    made = Bench(tmp_path)
    yield made
    made.close()


def anchor(size=3):
    """The call data of an anchor."""
    return encode_call(ANCHOR, "anchor", [STATEMENT, ROOT, size])


def test_names_of_the_chain(bench):
    """The chain says its id in both ways, who it is, and that it is not behind."""
    assert "0x776562337079" == bench.ask("eth_chainId")
    assert "131277322940537" == bench.ask("net_version")
    assert bench.ask("web3_clientVersion").startswith("tallystick-devchain/")
    assert (False, []) == (bench.ask("eth_syncing"), bench.ask("eth_accounts"))
    assert "0x3" == bench.ask("eth_blockNumber")


def test_a_block_is_found_by_number_tag_and_hash(bench):
    """All tags mean the newest block; a number, a hash and an object lead to the same."""
    newest = bench.ask("eth_getBlockByNumber", "0x3", False)
    for tag in ("latest", "safe", "finalized", "pending", 3):
        assert newest == bench.ask("eth_getBlockByNumber", tag, False)
    assert newest == bench.ask("eth_getBlockByHash", newest["hash"], False)
    earliest = bench.ask("eth_getBlockByNumber", "earliest", False)
    assert ("0x0", 1_700_000_000) == (earliest["number"], int(earliest["timestamp"], 16))
    assert bench.ask("eth_getBlockByNumber", "0x4", False) is None
    assert bench.ask("eth_getBlockByHash", UNKNOWN, False) is None


def test_a_block_has_its_transactions_or_their_hashes(bench):
    """A block's transactions are those that are found by hash."""
    whole = bench.ask("eth_getBlockByNumber", "0x2", True)["transactions"]
    hashes = bench.ask("eth_getBlockByNumber", "0x2", False)["transactions"]
    assert whole == [bench.ask("eth_getTransactionByHash", each) for each in hashes]
    assert OWNER.address.lower() == whole[0]["from"]
    assert "0x" + anchor().hex() == whole[0]["input"]


def test_receipts_by_block_and_by_hash_agree(bench, contract):
    """A receipt is the same by block, by hash of the block, and by hash of the transaction."""
    block = bench.ask("eth_getBlockByNumber", "0x2", False)
    [receipt] = bench.ask("eth_getBlockReceipts", "0x2")
    assert [receipt] == bench.ask("eth_getBlockReceipts", block["hash"])
    assert [receipt] == bench.ask("eth_getBlockReceipts", {"blockHash": block["hash"]})
    assert receipt == bench.ask("eth_getTransactionReceipt", block["transactions"][0])
    assert ("0x1", contract, None) == (
        receipt["status"],
        receipt["to"],
        receipt["contractAddress"],
    )
    assert bench.ask("eth_getBlockReceipts", "0x9") is None
    assert bench.ask("eth_getTransactionReceipt", UNKNOWN) is None
    assert bench.ask("eth_getTransactionByHash", UNKNOWN) is None


def test_a_deployments_receipt_names_the_contract(bench, contract):
    """The receipt of a deployment says where the contract is, whose code is there from then on."""
    [receipt] = bench.ask("eth_getBlockReceipts", "0x1")
    assert (contract, None) == (receipt["contractAddress"], receipt["to"])
    assert "0x" == bench.ask("eth_getCode", contract, "0x0")
    assert "0x" + ANCHOR.runtime_bytecode.hex() == bench.ask("eth_getCode", contract, "0x1")


def test_raw_receipts_begin_with_their_type(bench):
    """debug_getRawReceipts gives the bytes that the receipts' trie holds."""
    [raw] = bench.ask("debug_getRawReceipts", "0x2")
    assert raw.startswith("0x02f9")


def test_state_is_that_of_the_block(bench, contract):
    """Balances, nonces and storage are answered of every block."""
    balances = [int(bench.ask("eth_getBalance", OWNER.address, hex(n)), 16) for n in range(4)]
    assert (FUNDS, sorted(balances, reverse=True)) == (balances[0], balances)
    nonces = [bench.ask("eth_getTransactionCount", OWNER.address, hex(n)) for n in range(4)]
    assert ["0x0", "0x1", "0x2", "0x3"] == nonces
    assert "0x5" == bench.ask("eth_getBalance", RECEIVER)
    assert "0x" + "00" * 32 == bench.ask("eth_getStorageAt", contract, "0x0", "latest")
    by_hash = {"blockHash": bench.ask("eth_getBlockByNumber", "0x0", False)["hash"]}
    assert hex(FUNDS) == bench.ask("eth_getBalance", OWNER.address, by_hash)


def test_a_call_sees_the_state_of_its_block(bench, contract):
    """eth_call answers what the contract says after the block that is named."""
    data = encode_call(ANCHOR, "anchoredAt", [OWNER.address.lower(), STATEMENT])
    call = {"to": contract, "data": "0x" + data.hex()}
    answers = [int(bench.ask("eth_call", call, hex(number)), 16) for number in (1, 2, 3)]
    assert [0, 2, 2] == answers
    assert "0x" == bench.ask("eth_call", call, "0x0")
    assert "0x" == bench.ask("eth_call", {"to": RECEIVER})


def test_a_revert_is_answered_with_what_it_returned(bench, contract):
    """A revert has code 3, its reason in words where it has one, and its data."""
    again = {"from": OWNER.address, "to": contract, "data": "0x" + anchor().hex()}
    refused = bench.refusal("eth_call", again, "latest")
    assert (3, "execution reverted") == (refused.code, refused.message)
    assert "0xc1d04bb3" + (2).to_bytes(32).hex() == refused.data
    empty = {**again, "data": "0x" + anchor(0).hex()}
    assert "execution reverted: empty tree" == bench.refusal("eth_estimateGas", empty).message


def test_a_call_that_is_no_revert_says_so(bench):
    """What fails otherwise is named: no money, no gas, code that is none."""
    poor = {"from": RECEIVER, "to": OWNER.address, "value": "0x6"}
    assert "insufficient funds" in bench.refusal("eth_call", poor).message
    assert "insufficient funds" in bench.refusal("eth_estimateGas", poor).message
    broken = {"from": OWNER.address, "data": "0xfe"}
    assert "execution failed: InvalidInstruction" == bench.refusal("eth_call", broken).message
    made = {"from": OWNER.address, "data": "0x60016000f3"}
    assert "0x00" == bench.ask("eth_call", made)


def test_an_estimate_is_enough_and_not_much_more(bench, contract):
    """A transaction with the estimated gas succeeds, and with 64 less it would not."""
    call = {"from": OTHER.address, "to": contract, "data": "0x" + anchor().hex()}
    estimated = int(bench.ask("eth_estimateGas", call), 16)
    assert 47_000 < estimated < 48_000
    less = {**call, "gas": hex(estimated - 65)}
    assert bench.refusal("eth_estimateGas", less).code != 3
    assert "0x5208" == bench.ask("eth_estimateGas", {"from": OWNER.address, "to": RECEIVER})
    tiny = {"from": OWNER.address, "to": RECEIVER, "gas": "0x5207"}
    assert "intrinsic gas too low" in bench.refusal("eth_estimateGas", tiny).message
    deployed = {"from": OWNER.address, "data": "0x" + ANCHOR.bytecode.hex()}
    assert 450_000 < int(bench.ask("eth_estimateGas", deployed), 16) < 520_000


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 0),
        ({"fromBlock": "earliest"}, 1),
        ({"fromBlock": "0x2", "toBlock": "0x2"}, 1),
        ({"fromBlock": "0x3", "toBlock": "0x9"}, 0),
        ({"fromBlock": "0x9", "toBlock": "0x9"}, 0),
        ({"fromBlock": "0x0", "topics": [TOPIC]}, 1),
        ({"fromBlock": "0x0", "topics": [None, "0x" + STATEMENT.hex()]}, 1),
        ({"fromBlock": "0x0", "topics": [[UNKNOWN, TOPIC], [UNKNOWN]]}, 0),
        ({"fromBlock": "0x0", "topics": [[TOPIC], None, None, None, None]}, 0),
        ({"fromBlock": "0x0", "address": RECEIVER}, 0),
    ],
)
def test_logs_are_chosen_by_range_address_and_topics(bench, contract, wanted, count):
    """eth_getLogs gives the logs that fit all of range, address and topics."""
    found = bench.ask("eth_getLogs", wanted)
    assert count == len(found)
    assert {contract} >= {log["address"] for log in found}


def test_logs_of_one_block_by_its_hash(bench, contract):
    """A hash names one block; one that is unknown is an error, and not an empty list."""
    block = bench.ask("eth_getBlockByNumber", "0x2", False)["hash"]
    [log] = bench.ask("eth_getLogs", {"blockHash": block, "address": [contract, RECEIVER]})
    assert [log] == bench.ask("eth_getBlockReceipts", "0x2")[0]["logs"]
    assert ["0x0", "0x2", False] == [log["logIndex"], log["blockNumber"], log["removed"]]
    assert "header not found" == bench.refusal("eth_getLogs", {"blockHash": UNKNOWN}).message


def test_fees_of_the_past_and_of_the_next_block(bench):
    """The history of fees has one base fee more than blocks, and the tips that were paid."""
    history = bench.ask("eth_feeHistory", "0x2", "latest", [0, 50, 100])
    assert ("0x2", 3, 2) == (
        history["oldestBlock"],
        len(history["baseFeePerGas"]),
        len(history["gasUsedRatio"]),
    )
    assert [["0xa"] * 3] * 2 == history["reward"]
    assert history["baseFeePerGas"][-1] == hex(bench.machine.next_base_fee())
    older = bench.ask("eth_feeHistory", 1, "0x1", [])
    newer = bench.ask("eth_getBlockByNumber", "0x2", False)["baseFeePerGas"]
    assert ("0x1", newer, False) == (
        older["oldestBlock"],
        older["baseFeePerGas"][1],
        "reward" in older,
    )
    assert [["0x0"]] == bench.ask("eth_feeHistory", "0x1", "0x0", [50])["reward"]
    assert "0xa" == bench.ask("eth_maxPriorityFeePerGas")
    assert bench.machine.next_base_fee() + 10 == int(bench.ask("eth_gasPrice"), 16)


def test_mining_by_hand_and_time(fresh):
    """evm_mine adds blocks, at a time if one is named; evm_increaseTime moves the clock."""
    fresh.ask("evm_mine")
    fresh.ask("evm_mine", {"blocks": "0x3"})
    assert 4 == fresh.height
    before = fresh.machine.head.header.timestamp
    assert hex(86_400) == fresh.ask("evm_increaseTime", 86_400)
    assert hex(86_410) == fresh.ask("evm_increaseTime", "0xa")
    fresh.ask("evm_mine")
    assert 86_400 <= fresh.machine.head.header.timestamp - before < 87_000
    later = fresh.machine.head.header.timestamp + 10**6
    fresh.ask("evm_mine", later)
    assert later == fresh.machine.head.header.timestamp
    assert "a block is later than its parent" == fresh.refusal("evm_mine", later).message


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("eth_getBalance", []),
        ("eth_getBalance", [None]),
        ("eth_getBalance", ["0x12"]),
        ("eth_getBalance", ["0x" + "zz" * 20]),
        ("eth_getBalance", [RECEIVER, "soon"]),
        ("eth_getBalance", [RECEIVER, -1]),
        ("eth_getBalance", [RECEIVER, True]),
        ("eth_getBlockByNumber", ["0x" + "f" * 65]),
        ("eth_getBlockByNumber", [{}]),
        ("eth_getBlockByNumber", [[]]),
        ("eth_getTransactionByHash", [["0x"]]),
        ("eth_call", ["0x"]),
        ("eth_call", [{"to": RECEIVER}, "latest", {}]),
        ("eth_call", [{"to": 7}]),
        ("eth_getLogs", [{"topics": "x"}]),
        ("eth_getLogs", [{"address": ["0x1"]}]),
        ("eth_feeHistory", ["0x1", "latest", [60, 50]]),
        ("eth_feeHistory", ["0x1", "latest", [101]]),
        ("eth_feeHistory", ["0x1", "latest", "all"]),
        ("evm_mine", [{"blocks": 1001}]),
        ("evm_increaseTime", [10**10]),
        ("evm_mine", [2**62]),
        ("eth_sendRawTransaction", [12]),
    ],
)
def test_parameters_of_another_form_are_refused(bench, method, parameters):
    """Parameters that are not of their form are -32602 with a sentence, whatever they are."""
    assert -32602 == bench.refusal(method, *parameters).code


def test_an_unknown_block_is_no_state(bench):
    """A state that there is none of yet is an error, as on other nodes."""
    refused = bench.refusal("eth_getBalance", RECEIVER, "0x99")
    assert (-32000, "header not found") == (refused.code, refused.message)


def test_an_unknown_method_is_refused(bench):
    """A method that there is none of is -32601, by its name."""
    refused = bench.refusal("eth_sign", RECEIVER)
    assert (-32601, True) == (refused.code, "eth_sign" in refused.message)
    assert sorted(METHODS) == list(METHODS)
