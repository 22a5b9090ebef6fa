"""TallyAnchor on the EVM: what it keeps, what it proves, what it refuses, what that costs."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest
from eth._utils.address import generate_contract_address
from eth_account import Account

from tallystick.chain.contracts import encode_call, encode_deployment, load_artifact
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.record import keccak256
from tallystick.runtime.devchain.errors import Refusal
from tallystick.runtime.devchain.execution import Call, call, estimate
from tallystick.runtime.devchain.journal import Genesis, open_journal
from tallystick.runtime.devchain.machine import Machine
from tallystick.runtime.devchain.shapes import gas_used_of
from tallystick.tlog import prove_inclusion
from tests.tlog.naive import NaiveTree

ARTIFACT = load_artifact("TallyAnchor")
SIZES = (*range(1, 66), 1000)
LARGEST = 1000
MOST_GAS_OF_ANCHOR = 50_000
MOST_GAS_OF_CHECK = 45_000
OTHER = b"\x77" * 32


@dataclass(frozen=True)
class Claim:
    """What checkInclusion is asked."""

    sender: bytes
    statement: bytes
    root: bytes
    size: int
    leaf: bytes
    index: int
    path: tuple[bytes, ...]

    def encoded(self) -> bytes:
        """The call data."""
        sender = "0x" + self.sender.hex()
        fields = [sender, self.statement, self.root, self.size, self.leaf, self.index, self.path]
        return encode_call(ARTIFACT, "checkInclusion", fields)


class Chain:
    """A dev chain in this process, with TallyAnchor on it."""

    def __init__(self, directory) -> None:
        self.owner, self.stranger = (Account.from_key(bytes([n]) * 32) for n in (1, 2))
        funds = {one.address.lower(): 10**24 for one in (self.owner, self.stranger)}
        self.journal = open_journal(
            directory, chain_id=DEV_CHAIN_ID, genesis=lambda: Genesis(DEV_CHAIN_ID, 1, funds)
        )
        self.machine = Machine(self.journal)
        self.sender = bytes.fromhex(self.owner.address[2:])
        self.contract = generate_contract_address(self.sender, 0)
        self.send(encode_deployment(ARTIFACT, []), to=None)

    def send(self, data: bytes, *, by: Any = None, to: Any = ...) -> tuple[int, int, bytes]:
        """Mine a transaction; its status, its gas, its call data's cost included."""
        account = by or self.owner
        address = bytes.fromhex(account.address[2:])
        fields: dict[str, Any] = {
            "chainId": DEV_CHAIN_ID,
            "nonce": self.machine.state_after(self.machine.head).get_nonce(address),
            "gas": 3_000_000,
            "maxFeePerGas": 2 * 10**9,
            "maxPriorityFeePerGas": 1,
            "value": 0,
            "data": data,
        }
        target = self.contract if to is ... else to
        if target is not None:
            fields["to"] = target
        self.machine.submit(bytes(Account.sign_transaction(fields, account.key).raw_transaction))
        head = self.machine.head
        return len(head.receipts[0].state_root), gas_used_of(head, 0), head.receipts[0]

    def anchor(self, statement: bytes, root: bytes, size: int, *, by: Any = None) -> Any:
        """Anchor, by a transaction."""
        return self.send(encode_call(ARTIFACT, "anchor", [statement, root, size]), by=by)

    def ask(self, data: bytes) -> bytes:
        """Call the contract; nothing is kept."""
        asked = Call(b"\5" * 20, self.contract, data, 0, 30_000_000)
        return call(self.machine, self.machine.head, asked)

    def anchored_at(self, sender: bytes, statement: bytes) -> int:
        """The block of an entry, 0 where there is none."""
        data = encode_call(ARTIFACT, "anchoredAt", ["0x" + sender.hex(), statement])
        return int.from_bytes(self.ask(data))

    def check(self, claim: Claim) -> int:
        """The block that checkInclusion answers."""
        return int.from_bytes(self.ask(claim.encoded()))

    def refusal(self, claim: Claim) -> str:
        """Why checkInclusion refuses."""
        with pytest.raises(Refusal) as refused:
            self.check(claim)
        return refused.value.message.removeprefix("execution reverted: ")


@pytest.fixture(scope="module")
def tree():
    """The leaves of every tree of these tests."""
    return NaiveTree([b"leaf %d" % number for number in range(LARGEST)])


@pytest.fixture(scope="module")
def chain(tmp_path_factory, tree):
    """A chain on which the tree of each size is anchored, in the blocks from 2 on."""
    made = Chain(tmp_path_factory.mktemp("chain"))
    for size in SIZES:
        status, _, _ = made.anchor(statement_of(size), tree.root(size), size)
        assert 1 == status
    yield made
    made.journal.close()


def statement_of(size):
    """The statement under which the tree of *size* is anchored."""
    return keccak256(b"tree of %d" % size)


def claim_of(chain, tree, size, index):
    """The claim that the leaf at *index* is in the anchored tree of *size*, with its proof."""
    path = tuple(prove_inclusion(tree, index=index, size=size))
    root, leaf = tree.root(size), tree.leaf(index)
    return Claim(chain.sender, statement_of(size), root, size, leaf, index, path)


def flip_bit(data, bit):
    """*data* with one bit turned over."""
    return (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))


def positions(remainder):
    """A quarter of all positions of all anchored trees."""
    every = [(size, index) for size in SIZES for index in range(size)]
    return every[remainder::4]


@pytest.mark.parametrize(
    "remainder", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))]
)
def test_every_position_is_accepted(chain, tree, remainder):
    """chain 16: tlog's proof of every position of trees of 1 to 65 and 1,000 leaves is accepted."""
    # In four parts of the 3,145 proofs, of which the quick suite takes one.
    for size, index in positions(remainder):
        block = 2 + SIZES.index(size)
        assert block == chain.check(claim_of(chain, tree, size, index)), (size, index)


def test_each_changed_bit_is_refused(chain, tree):
    """chain 16: one bit changed in leaf, path, root or statement, and the proof is refused."""
    # The last leaf of 5: a path of one node, with levels on which it has no sibling.
    claim = claim_of(chain, tree, 5, 4)
    assert 1 == len(claim.path)
    for bit in range(256):
        changed = [replace(claim, leaf=flip_bit(claim.leaf, bit))]
        changed += [
            replace(claim, path=(*claim.path[:at], flip_bit(node, bit), *claim.path[at + 1 :]))
            for at, node in enumerate(claim.path)
        ]
        assert {"not included"} == {chain.refusal(one) for one in changed}
        assert "not anchored" == chain.refusal(replace(claim, root=flip_bit(claim.root, bit)))
        changed_statement = replace(claim, statement=flip_bit(claim.statement, bit))
        assert "not anchored" == chain.refusal(changed_statement)


def test_other_positions_and_sizes_are_refused(chain, tree):
    """chain 16: every other index and every other size is refused, each by its name."""
    claim = claim_of(chain, tree, 13, 9)
    for index in set(range(13)) - {9}:
        assert chain.refusal(replace(claim, index=index)) in {
            "not included",
            "path too long",
            "path too short",
        }
    assert "index outside tree" == chain.refusal(replace(claim, index=13))
    assert "index outside tree" == chain.refusal(replace(claim, index=2**64 - 1))
    for bit in range(64):
        assert "not anchored" == chain.refusal(replace(claim, size=claim.size ^ 1 << bit))
    for bit in range(160):
        changed = replace(claim, sender=flip_bit(claim.sender, bit))
        assert "not anchored" == chain.refusal(changed)


def test_paths_of_other_lengths_are_refused(chain, tree):
    """chain 16: a path with a node more or less is refused, whatever the nodes are."""
    for size, index in ((1, 0), (2, 1), (13, 12), (64, 5), (1000, 999)):
        claim = claim_of(chain, tree, size, index)
        assert "path too long" == chain.refusal(replace(claim, path=(*claim.path, OTHER)))
        if claim.path:
            assert "path too short" == chain.refusal(replace(claim, path=claim.path[:-1]))


def test_more_nodes_than_any_tree_has_are_refused(chain, tree):
    """chain 16: a path of more than 64 hashes is refused before anything is hashed."""
    claim = claim_of(chain, tree, 2, 0)
    refused = chain.refusal(replace(claim, path=(OTHER,) * 65))
    assert "execution reverted" == refused


def test_random_claims_are_never_accepted(chain, tree):
    """chain 16: leaves and paths of other positions never pass for a position's own."""
    random.seed(6962)
    for _ in range(100):
        size, other = random.choice(SIZES[4:]), random.choice(SIZES)
        index, taken = random.randrange(size), random.randrange(other)
        claim, foreign = claim_of(chain, tree, size, index), claim_of(chain, tree, other, taken)
        if foreign.path != claim.path:
            chain.refusal(replace(claim, path=foreign.path))
        if foreign.leaf != claim.leaf:
            assert "not included" == chain.refusal(replace(claim, leaf=foreign.leaf))


def test_an_entry_is_its_senders(chain, tree):
    """The same statement may be anchored by each sender once, and nobody occupies another's."""
    statement = keccak256(b"shared")
    assert 1 == chain.anchor(statement, tree.root(5), 5, by=chain.stranger)[0]
    theirs = chain.machine.head.header.block_number
    assert 0 == chain.anchored_at(chain.sender, statement)
    assert 1 == chain.anchor(statement, tree.root(7), 7)[0]
    ours = chain.machine.head.header.block_number
    stranger = bytes.fromhex(chain.stranger.address[2:])
    assert (theirs, ours) == (
        chain.anchored_at(stranger, statement),
        chain.anchored_at(chain.sender, statement),
    )
    claim = replace(claim_of(chain, tree, 7, 3), statement=statement)
    assert ours == chain.check(claim)
    assert "not anchored" == chain.refusal(replace(claim, sender=stranger))


def test_a_repeat_reverts_with_the_first_block(chain, tree):
    """chain 15: anchoring again reverts by AlreadyAnchored with the block of the first time."""
    statement = keccak256(b"once")
    chain.anchor(statement, tree.root(3), 3)
    block = chain.machine.head.header.block_number
    assert 0 == chain.anchor(statement, tree.root(4), 4)[0]
    asked = Call(
        chain.sender,
        chain.contract,
        encode_call(ARTIFACT, "anchor", [statement, tree.root(3), 3]),
        0,
        1_000_000,
    )
    with pytest.raises(Refusal) as refused:
        call(chain.machine, chain.machine.head, asked)
    assert "0xc1d04bb3" + block.to_bytes(32).hex() == refused.value.data
    assert block == chain.anchored_at(chain.sender, statement)


def test_a_tree_without_leaves_is_refused(chain):
    """An anchor states at least one leaf."""
    assert 0 == chain.anchor(keccak256(b"none"), OTHER, 0)[0]
    assert 0 == chain.anchored_at(chain.sender, keccak256(b"none"))


def test_the_event_says_what_was_anchored(chain, tree):
    """chain 15: Anchored has statement, root and sender as topics, and the size as data."""
    statement = keccak256(b"event")
    _, _, receipt = chain.anchor(statement, tree.root(6), 6)
    [log] = receipt.logs
    topics = [topic.to_bytes(32) for topic in log.topics]
    name = bytes.fromhex("e000142600614eca96a70dd786d527e0f44d75b9b7f8815394c7cf558b0524ca")
    assert [name, statement, tree.root(6), bytes(12) + chain.sender] == topics
    assert (6).to_bytes(32) == log.data


def test_one_slot_holds_block_and_commitment(chain, tree):
    """An entry is one slot: the block, above it the high bits of the hash of root and size."""
    high = int.from_bytes(keccak256(tree.root(9) + (9).to_bytes(32))) >> 64 << 64
    # Vyper hashes the map's slot, then each key.
    slot = keccak256(keccak256(bytes(32) + bytes(12) + chain.sender) + statement_of(9))
    state = chain.machine.state_after(chain.machine.head)
    kept = state.get_storage(chain.contract, int.from_bytes(slot))
    assert high | 2 + SIZES.index(9) == kept


def test_the_code_on_the_chain_is_the_artifacts(chain):
    """chain 15: what stands on the chain is runtime_bytecode, byte for byte."""
    code = chain.machine.state_after(chain.machine.head).get_code(chain.contract)
    assert ARTIFACT.runtime_bytecode == code
    assert ARTIFACT.code_hash == keccak256(code)


def test_the_contract_takes_no_money(chain):
    """A call with value reverts: nothing could ever be taken out again."""
    asked = Call(
        chain.sender,
        chain.contract,
        encode_call(ARTIFACT, "anchor", [OTHER, OTHER, 1]),
        1,
        1_000_000,
    )
    with pytest.raises(Refusal, match="execution reverted"):
        call(chain.machine, chain.machine.head, asked)


def test_gas_of_an_anchor(chain, tree):
    """An anchor costs at most 50,000 gas, the first of its sender and all others."""
    spent = [
        chain.anchor(keccak256(b"gas"), tree.root(1000), 1000)[1],
        chain.anchor(keccak256(b"gas"), tree.root(1000), 1000, by=chain.stranger)[1],
    ]
    assert max(spent) <= MOST_GAS_OF_ANCHOR


def test_gas_of_a_check(chain, tree):
    """A check at depth 10 costs at most 45,000 gas, sent as a transaction like any other."""
    for index in (0, 1, 511, 512, 767, 983):
        claim = claim_of(chain, tree, 1000, index)
        assert 10 == len(claim.path)
        status, spent, _ = chain.send(claim.encoded())
        assert (1, True) == (status, spent <= MOST_GAS_OF_CHECK), spent
    asked = Call(chain.sender, chain.contract, claim.encoded(), 0, 30_000_000)
    assert spent <= estimate(chain.machine, asked) <= MOST_GAS_OF_CHECK
