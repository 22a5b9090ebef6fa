"""Evidence of inclusion: made from what a node says, and never more than holds."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_utils import to_checksum_address

from tallystick.chain.contracts import load_artifact
from tallystick.chain.errors import (
    EvidenceUnavailableError,
    NodeRefusedError,
    UnknownTransactionError,
)
from tallystick.chain.evidence import inclusion_evidence
from tallystick.chain.evidence.answers import read_header, read_receipts
from tallystick.chain.node import Node
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import format_header, keccak256, parse_receipt
from tallystick.verify import check_inclusion_evidence
from tests.support.devchain import KINDS as NODES
from tests.support.devchain import running_devchain, running_node

ANCHORED = bytes.fromhex("e000142600614eca96a70dd786d527e0f44d75b9b7f8815394c7cf558b0524ca")
FEES: dict[int, dict[str, Any]] = {
    0: {"gasPrice": 10**10},
    1: {"gasPrice": 10**10, "accessList": [], "type": 1},
    2: {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9, "type": 2},
}
UNKNOWN = "0x" + "42" * 32
BLOCK_RECEIPTS = "eth_getBlockReceipts"
RAW_RECEIPTS = "debug_getRawReceipts"


class AlteredNode(Node):
    """A node behind a line that changes what it says."""

    def __init__(self, url, chain_id, alter):
        super().__init__(chain_id, [url])
        self.alter = alter
        self.asked = []

    def batch(self, calls):
        """What the node answers, each answer changed by *alter*."""
        self.asked += calls
        answers = zip(calls, super().batch(calls), strict=True)
        return [self.alter(method, copy.deepcopy(answer)) for (method, _), answer in answers]


@dataclasses.dataclass
class Filled:
    """A chain, and the hash of each of its transactions by what it is."""

    url: str
    node: Node
    hashes: dict[str, str]
    lines: list[Node] = dataclasses.field(default_factory=list)

    def rpc(self, method: str, *parameters: Any) -> Any:
        """The result of a call, without the client."""
        return rpc(self.url, method, *parameters)

    def evidence(self, name: str):
        """The evidence of a transaction."""
        return inclusion_evidence(self.node, self.hashes[name])

    def altered(self, alter: Callable[[str, Any], Any]) -> AlteredNode:
        """The same node behind a line that changes its answers."""
        self.lines.append(AlteredNode(self.url, self.node.chain_id, alter))
        return self.lines[-1]

    def close(self) -> None:
        """Close every connection."""
        for node in (self.node, *self.lines):
            node.close()

    def raw_receipts(self, name: str) -> list[str]:
        """The consensus bytes of the receipts of a transaction's block, as debug methods give."""
        block = self.rpc("eth_getTransactionReceipt", self.hashes[name])["blockHash"]
        return ["0x" + raw.hex() for raw in read_receipts(self.rpc(BLOCK_RECEIPTS, block))]


def rpc(url: str, method: str, *parameters: Any) -> Any:
    """Ask a node, without the client that tests are about."""
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
    answer = httpx.post(url, json=request, timeout=30, trust_env=False).json()
    assert "error" not in answer, f"{method}: {answer['error']}"
    return answer["result"]


def call_of_anchor(number: int) -> bytes:
    """Return the call data of TallyAnchor.anchor for statement *number*."""
    words = (number, 0, 7)
    selector = keccak256(b"anchor(bytes32,bytes32,uint64)")[:4]
    return selector + b"".join(word.to_bytes(32, "big") for word in words)


def fill(url: str, key: str) -> dict[str, str]:
    """Send a transaction of each kind, and return their hashes; some of them share a block."""
    sender = Account.from_key(key).address
    chain_id = int(rpc(url, "eth_chainId"), 16)
    nonces = itertools.count(int(rpc(url, "eth_getTransactionCount", sender, "latest"), 16))

    def send(kind: int, **fields: Any) -> str:
        transaction = {"nonce": next(nonces), "chainId": chain_id, "gas": 1_500_000, "value": 0}
        signed = Account.sign_transaction({**transaction, **FEES[kind], **fields}, key)
        return rpc(url, "eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())

    hashes = {"deployment": send(2, data=load_artifact("TallyAnchor").bytecode)}
    receipt = rpc(url, "eth_getTransactionReceipt", hashes["deployment"])
    contract = to_checksum_address(receipt["contractAddress"])
    rpc(url, "evm_setAutomine", False)
    for kind in (0, 1, 2):
        hashes[f"transfer of type {kind}"] = send(kind, to=sender, value=1)
        hashes[f"anchor of type {kind}"] = send(kind, to=contract, data=call_of_anchor(kind))
    hashes["revert"] = send(2, to=contract, data=call_of_anchor(1))
    rpc(url, "evm_mine")
    return hashes


@contextlib.contextmanager
def filled_node(kind: str) -> Iterator[Filled]:
    """A node of a kind, with all but the deployment in one block."""
    with running_node(kind) as running:
        hashes = fill(running.url, running.accounts[0].key)
        filled = Filled(running.url, Node(running.chain_id, [running.url]), hashes)
        with contextlib.closing(filled):
            yield filled


@pytest.fixture(scope="module", params=NODES)
def chain(request):
    """Return a chain with a transaction of each kind: Anvil, then the dev chain."""
    with filled_node(request.param) as filled:
        yield filled


@pytest.fixture(scope="module")
def anvil():
    """Return Anvil with a transaction of each kind."""
    with filled_node("anvil") as filled:
        yield filled


KINDS = [f"{what} of type {kind}" for what in ("transfer", "anchor") for kind in (0, 1, 2)]


@pytest.mark.parametrize("name", [*KINDS, "deployment", "revert"])
def test_evidence_of_every_type_passes_the_verifier(chain, name):
    """chain 17: evidence of blocks of Anvil and of the dev chain passes verify's own check."""
    evidence = chain.evidence(name)
    verified = check_inclusion_evidence(
        header_rlp=evidence.header_rlp,
        receipt_rlp=evidence.receipt_rlp,
        receipt_proof=evidence.receipt_proof,
        block_hash=evidence.block_hash,
        transaction_index=evidence.transaction_index,
    )
    header, receipt = verified.header, verified.receipt
    if name in KINDS:
        assert int(name[-1]) == receipt.type
    assert (header.number, header.timestamp) == (
        evidence.block_number,
        evidence.block_time.timestamp(),
    )
    assert (header.state_root, header.transactions_root, header.receipts_root) == (
        evidence.state_root,
        evidence.transactions_root,
        evidence.receipts_root,
    )
    assert (receipt.status, receipt.logs) == (evidence.receipt_status, evidence.logs)


@pytest.mark.parametrize("name", [*KINDS, "deployment", "revert"])
def test_evidence_says_what_the_node_says(chain, name):
    """Every field is that of the transaction and its receipt, and chain id and hash are asked."""
    evidence, asked = chain.evidence(name), chain.hashes[name]
    transaction = chain.rpc("eth_getTransactionByHash", asked)
    receipt = chain.rpc("eth_getTransactionReceipt", asked)
    contract = receipt["contractAddress"]
    assert {
        "chain_id": int(chain.rpc("eth_chainId"), 16),
        "transaction_hash": asked,
        "transaction_index": int(receipt["transactionIndex"], 16),
        "nonce": int(transaction["nonce"], 16),
        "from_address": transaction["from"].lower(),
        "to_address": transaction["to"] and transaction["to"].lower(),
        "block_number": int(receipt["blockNumber"], 16),
        "block_hash": receipt["blockHash"],
        "receipt_status": int(receipt["status"], 16),
        "gas_used": int(receipt["gasUsed"], 16),
        "gas_price": int(receipt["effectiveGasPrice"], 16),
        "contract_address": contract and contract.lower(),
    } == {field: getattr(evidence, field) for field in EQUAL}
    assert (name == "revert") == (evidence.receipt_status == 0)
    assert (name == "deployment") == (evidence.contract_address is not None)


EQUAL = (
    "chain_id",
    "transaction_hash",
    "transaction_index",
    "nonce",
    "from_address",
    "to_address",
    "block_number",
    "block_hash",
    "receipt_status",
    "gas_used",
    "gas_price",
    "contract_address",
)


def test_the_event_stands_in_the_evidence(chain):
    """An anchor's event is in the receipt that is proven, with its topics and data."""
    (log,) = chain.evidence("anchor of type 2").logs
    sender = bytes.fromhex(chain.evidence("anchor of type 2").from_address[2:])
    assert (ANCHORED, (2).to_bytes(32, "big"), bytes(32), bytes(12) + sender) == log.topics
    assert (7).to_bytes(32, "big") == log.data
    assert log.address == chain.evidence("deployment").contract_address


def wait_until_mined(node, transaction_hash) -> None:
    """Return once the node has a receipt; it answers with the hash before it mines."""
    deadline = time.monotonic() + 30
    while node.rpc("eth_getTransactionReceipt", transaction_hash) is None:
        assert time.monotonic() < deadline, "the transaction is mined"
        time.sleep(0.02)


def test_a_transaction_that_sets_code():
    """Evidence of type 4, by which an account takes a contract's code, passes the check."""
    with running_node("anvil") as node, Node(node.chain_id, [node.url]) as client:
        key, chain_id = node.accounts[0].key, node.chain_id
        grant = {"chainId": chain_id, "address": "0x" + "11" * 20, "nonce": 0}
        granted = [Account.from_key(node.accounts[1].key).sign_authorization(grant)]
        fields = {**FEES[2], "type": 4, "authorizationList": granted, "nonce": 0, "value": 0}
        to = Account.from_key(key).address
        signed = Account.sign_transaction(
            {**fields, "to": to, "gas": 200_000, "chainId": chain_id}, key
        )
        sent = node.rpc("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
        wait_until_mined(node, sent)
        assert 4 == parse_receipt(inclusion_evidence(client, sent).receipt_rlp).type


def test_a_block_of_several_transactions(anvil):
    """Transactions of one block have one header, and each its own index, receipt and path."""
    found = [anvil.evidence(name) for name in anvil.hashes if name != "deployment"]
    assert 1 == len({evidence.header_rlp for evidence in found})
    assert list(range(7)) == sorted(evidence.transaction_index for evidence in found)
    assert 7 == len({evidence.receipt_rlp for evidence in found})


def test_two_requests_are_enough(anvil):
    """Evidence costs two requests to a node that answers a block's receipts."""
    node = anvil.altered(lambda _, answer: answer)
    inclusion_evidence(node, anvil.hashes["revert"])
    assert 4 == len(node.asked)


def test_a_block_of_two_hundred_receipts(anvil):
    """A block whose trie is deep yields evidence of its first and its last transaction."""
    sender = anvil.rpc("eth_accounts")[1]
    sent = [{"from": sender, "to": sender, "nonce": hex(number)} for number in range(200)]
    hashes = anvil.node.batch([("eth_sendTransaction", (each,)) for each in sent])
    anvil.rpc("evm_mine")
    found = [inclusion_evidence(anvil.node, hashes[number]) for number in (0, 127, 128, 199)]
    assert [0, 127, 128, 199] == [evidence.transaction_index for evidence in found]


def change_of(method, change):
    """Return a line that changes the answers to one method, and leaves the others."""
    return lambda asked, answer: change(answer) if asked == method else answer


def changed(field, value):
    """Return a change of one field of the last receipt of an answer, or of an object itself."""

    def change(answer):
        (answer[-1] if isinstance(answer, list) else answer)[field] = value
        return answer

    return change


RECEIPT_CHANGES = {
    "its status": changed("status", "0x1"),
    "its gas": changed("cumulativeGasUsed", "0x5209"),
    "its type": changed("type", "0x0"),
    "its bloom filter": changed("logsBloom", "0x" + "01" * 256),
    "its logs": changed("logs", [{"address": "0x" + "11" * 20, "topics": [], "data": "0x"}]),
    "a deposit's nonce": changed("depositReceiptVersion", "0x1"),
    "one left out": lambda answer: answer[:-1],
    "one twice": lambda answer: [*answer, answer[-1]],
    "none": lambda _: [],
    "no list": lambda _: {},
    "no status": changed("status", None),
    "null": lambda _: None,
}


@pytest.mark.parametrize("flaw", RECEIPT_CHANGES)
def test_a_changed_receipt_yields_no_evidence(anvil, flaw):
    """chain 17: a node that changes one receipt of the block makes it raise."""
    node = anvil.altered(change_of(BLOCK_RECEIPTS, RECEIPT_CHANGES[flaw]))
    for name in ("revert", "transfer of type 0"):
        with pytest.raises(EvidenceUnavailableError):
            inclusion_evidence(node, anvil.hashes[name])


HEADER_CHANGES = {
    "the state root": changed("stateRoot", "0x" + "11" * 32),
    "the root of receipts": changed("receiptsRoot", "0x" + "11" * 32),
    "the time": changed("timestamp", "0x1"),
    "the base fee": changed("baseFeePerGas", None),
    "the hash that is told besides": None,
}


@pytest.mark.parametrize("flaw", HEADER_CHANGES)
def test_a_changed_header_yields_no_evidence(anvil, flaw):
    """A header with another field hashes to another block: no evidence, law 11."""
    change = HEADER_CHANGES[flaw]
    if change is None:
        # What the node calls the block is not believed: only what the header hashes to.
        node = anvil.altered(change_of("eth_getBlockByHash", changed("hash", UNKNOWN)))
        assert inclusion_evidence(node, anvil.hashes["revert"]) == anvil.evidence("revert")
        return
    node = anvil.altered(change_of("eth_getBlockByHash", change))
    with pytest.raises(EvidenceUnavailableError):
        inclusion_evidence(node, anvil.hashes["revert"])


def test_a_field_of_an_unknown_fork(anvil):
    """A block that hashes one field more than is known here yields no evidence."""
    block = anvil.rpc("eth_getBlockByHash", anvil.evidence("revert").block_hash, False)
    longer = dataclasses.replace(read_header(block), later_fields=(bytes(32),))
    block_hash = "0x" + keccak256(format_header(longer)).hex()
    answers = {
        "eth_getTransactionReceipt": changed("blockHash", block_hash),
        "eth_getBlockByHash": lambda _: block,
    }
    node = anvil.altered(lambda method, answer: answers.get(method, lambda same: same)(answer))
    with pytest.raises(EvidenceUnavailableError, match="fork"):
        inclusion_evidence(node, anvil.hashes["revert"])


def test_another_transactions_index(anvil):
    """A node that answers another transaction's index would have that one's receipt proven."""
    wrong = changed("transactionIndex", "0x0")
    node = anvil.altered(change_of("eth_getTransactionReceipt", wrong))
    assert inclusion_evidence(node, anvil.hashes["transfer of type 0"]).transaction_index == 0
    for index in ("0x0", "0x63", "0xffffffffffffffff"):
        node = anvil.altered(
            change_of("eth_getTransactionReceipt", changed("transactionIndex", index))
        )
        with pytest.raises(EvidenceUnavailableError, match="index"):
            inclusion_evidence(node, anvil.hashes["revert"])


def test_raw_receipts_where_the_root_differs(anvil):
    """Where a node's receipts do not lead to the root, its raw ones are asked for."""
    raw = anvil.raw_receipts("revert")

    def alter(method, answer):
        if method == RAW_RECEIPTS:
            return raw
        return (
            [*answer, {**answer[-1], "transactionIndex": hex(len(answer))}]
            if (method == BLOCK_RECEIPTS)
            else answer
        )

    node = anvil.altered(alter)
    assert inclusion_evidence(node, anvil.hashes["revert"]) == anvil.evidence("revert")
    assert RAW_RECEIPTS in [method for method, _ in node.asked]


def test_a_node_that_takes_numbers_only(anvil):
    """A node that refuses a block's hash is asked by its number, and is believed no more."""

    def alter(method, answer):
        by_hash = method == BLOCK_RECEIPTS and len(node.asked[-1][1][0]) == len(UNKNOWN)
        return NodeRefusedError("the node refused: invalid block number") if by_hash else answer

    node = anvil.altered(alter)
    assert inclusion_evidence(node, anvil.hashes["revert"]) == anvil.evidence("revert")


def test_a_transaction_that_nobody_knows(chain):
    """A hash that the node does not know is an error of its own."""
    with pytest.raises(UnknownTransactionError):
        inclusion_evidence(chain.node, UNKNOWN)


def test_a_transaction_that_waits(anvil):
    """A transaction in no block has no evidence yet."""
    sender = anvil.rpc("eth_accounts")[2]
    waiting = anvil.rpc("eth_sendTransaction", {"from": sender, "to": sender})
    with pytest.raises(EvidenceUnavailableError, match="no block yet"):
        inclusion_evidence(anvil.node, waiting)
    anvil.rpc("evm_mine")
    assert 1 == inclusion_evidence(anvil.node, waiting).receipt_status


def test_a_block_that_has_left_the_chain(anvil):
    """Between two questions the block may leave the chain: then there is no evidence."""
    node = anvil.altered(change_of("eth_getBlockByHash", lambda _: None))
    with pytest.raises(EvidenceUnavailableError, match="left the chain"):
        inclusion_evidence(node, anvil.hashes["revert"])


def test_the_dev_chain_gives_the_same_evidence_after_a_restart(tmp_path):
    """chain 14: a restarted dev chain has the same blocks, so evidence made before still holds."""
    with running_devchain(tmp_path) as first:
        hashes = fill(first.url, first.accounts[0].key)
        before = evidence_of(first.url, hashes)
    with running_devchain(tmp_path) as again:
        assert before == evidence_of(again.url, hashes)


def evidence_of(url, hashes):
    """Return the evidence of each of *hashes* from the dev chain at *url*."""
    with Node(DEV_CHAIN_ID, [url]) as node:
        return {name: inclusion_evidence(node, found) for name, found in hashes.items()}
