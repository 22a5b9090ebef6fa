"""Human proofs over a real node: what wallets sign, and how they were used (identity.md, 4.5)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import pytest
from pydantic import SecretStr

from tallystick.chain.errors import (
    NodeUnavailableError,
    NoEndpointError,
    UnknownNetworkError,
)
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import ChainReader
from tallystick.config import load_settings
from tallystick.db import connect
from tallystick.identity.errors import ChallengeExpiredError
from tallystick.identity.human_proofs import HumanProof, HumanProofRules, ProofRefused
from tallystick.identity.verifiers import (
    BehaviourVerifier,
    Challenge,
    SignatureVerifier,
    Submission,
    Verdict,
    load_verifiers,
)
from tallystick.identity.verifiers.control import personal_digest
from tallystick.record import Address, ChainId, TransactionHash, wallet_nullifier
from tallystick.runtime.human_proofs import NodeFacts, final_depth, open_facts
from tallystick.seal.logs import KeyRing, get_log
from tallystick.seal.sequencer import Sequencer
from tests.identity.human_proofs.support import ProofBench
from tests.identity.verifiers.test_control import CHALLENGE
from tests.identity.verifiers.test_message import TERMS
from tests.support.devchain import DevChain, running_node
from tests.support.evm import DEV_CHAIN_ID, ETHER, Anvil
from tests.support.stores import free_port
from tests.support.wallets import Wallet, high_s_twin, wallet

HOUR = 3600
DAY = 24 * HOUR
DEPTH = 2
"""What the shipped network 31337 calls final."""
UNEVEN = (HOUR, 3 * DAY, 2 * HOUR, 5 * HOUR, 6 * DAY)
"""Seconds between transactions of no machine: their deviation is above their mean."""
WALLET_CODE = """
# pragma version 0.4.3
OWNER: immutable(address)


@deploy
def __init__(owner: address):
    OWNER = owner


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[65]) -> bytes4:
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if ecrecover(digest, v, r, s) == OWNER:
        return 0x1626ba7e
    return 0xffffffff
"""


@dataclass
class Chain:
    """A node, what is read of it, and wallets that really use it."""

    node: Anvil | DevChain
    facts: NodeFacts

    def __post_init__(self) -> None:
        self._secrets = itertools.count(5000)
        self._bank = Wallet(bytes.fromhex(self.node.accounts[0].key[2:]))
        self.node.automine(on=False)

    def wallet(self) -> Wallet:
        """A new wallet with money."""
        made = wallet(next(self._secrets))
        self.fund(made)
        return made

    def fund(self, owner: Wallet) -> None:
        """Pay a wallet for its gas."""
        self.send(self._bank, to=bytes.fromhex(owner.address[2:]), value=10 * ETHER)
        self.mine(after=1)

    def mine(self, *, after: int) -> None:
        """Mine what waits, so many seconds after the block before."""
        head = self.node.rpc("eth_getBlockByNumber", "latest", False)
        self.node.rpc("evm_mine", int(head["timestamp"], 16) + after)

    def send(self, by: Wallet, *, to: bytes | None, value: int = 1, data: bytes = b"") -> str:
        """Sign and send a transaction, which waits to be mined; its hash."""
        from eth_account import Account

        transaction = {
            "chainId": self.node.chain_id,
            "nonce": self.node.number("eth_getTransactionCount", by.address, "latest"),
            "value": value,
            "data": data,
            "gas": 400_000,
            "gasPrice": 10**10,
        }
        if to is not None:
            transaction["to"] = to
        raw = Account.from_key(by.secret).sign_transaction(transaction).raw_transaction
        return str(self.node.rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex()))

    def use(
        self,
        by: Wallet,
        count: int,
        *,
        gaps: tuple[int, ...] = UNEVEN,
        recipients: int = 10,
        data: Callable[[int], int] = lambda number: 150 * number,
    ) -> list[TransactionHash]:
        """Use a wallet *count* times, all of it final at the end; the hashes in order."""
        hashes = []
        for number in range(count):
            to = (0xBEEF0000 + number % recipients).to_bytes(20, "big")
            hashes.append(TransactionHash(self.send(by, to=to, data=b"\x01" * data(number))))
            self.mine(after=gaps[number % len(gaps)])
        self.node.mine(DEPTH)
        return hashes

    def challenge(self, address: Address) -> Challenge:
        """A challenge of the wallet at *address*."""
        from tallystick.identity.verifiers import format_sign_in

        chain_id = self.node.chain_id
        terms = dataclasses.replace(TERMS, address=address, chain_id=chain_id)
        return dataclasses.replace(
            CHALLENGE,
            address=address,
            chain_id=chain_id,
            verifier="behaviour",
            message=format_sign_in(terms),
        )

    def judge(self, by: Wallet, hashes: list[TransactionHash]) -> Verdict:
        """What the verifier of behaviour finds."""
        challenge = self.challenge(by.address)
        submission = Submission(by.sign(challenge.message), tuple(hashes))
        return BehaviourVerifier().verify(challenge, submission, self.facts)

    def deploy(self, owner: Address) -> Address:
        """A contract wallet of *owner*, final."""
        import vyper

        code = vyper.compile_code(WALLET_CODE, output_formats=["bytecode"])["bytecode"]
        data = bytes.fromhex(code[2:] + owner[2:].rjust(64, "0"))
        sent = self.send(self._bank, to=None, value=0, data=data)
        self.mine(after=1)
        self.node.mine(DEPTH)
        return Address(self.node.rpc("eth_getTransactionReceipt", sent)["contractAddress"].lower())


@pytest.fixture(scope="module", params=["devchain", pytest.param("anvil", marks=pytest.mark.slow)])
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    """A node of this module's own, whose time moves as tests need it."""
    with (
        running_node(request.param) as node,
        Nodes({node.chain_id: (SecretStr(node.url),)}) as nodes,
    ):
        yield Chain(node, NodeFacts(ChainReader(nodes, lambda _: DEPTH)))


@pytest.fixture
def bench(database_url: str) -> Iterator[ProofBench]:
    """A database whose users prove something on the node."""
    with connect(database_url) as database:
        rules = HumanProofRules(
            load_verifiers(["signature", "behaviour"]), base_url="https://tally.example"
        )
        yield ProofBench(database, rules)


def issue(bench: ProofBench, chain: Chain, verifier: str, user_id: str = "alice") -> Challenge:
    """A challenge on the node's chain."""
    return bench.run(lambda repo: repo.issue_challenge(user_id, verifier, chain.node.chain_id))


def test_signatures_on_a_node(bench, chain):
    """identity 15: a wrong wallet, a contract's wallet, a high-s twin and an expired message."""
    owner = bench.wallets["alice"]
    bench.set_clock("2026-01-01T00:00:00Z")
    bench.add_user("alice", owner.address)
    bench.add_user("contract", chain.deploy(owner.address))
    challenge = issue(bench, chain, "signature")
    wrong = Submission(bench.wallets["bob"].sign(challenge.message))
    assert bench.submit(challenge, wrong, chain.facts) == ProofRefused("wrong_signer", 2)
    twin = Submission(high_s_twin(owner.sign(challenge.message)))
    assert bench.submit(challenge, twin, chain.facts) == ProofRefused("high_s", 1)
    proof = bench.submit(challenge, Submission(owner.sign(challenge.message)), chain.facts)
    assert isinstance(proof, HumanProof)
    assert proof.proof_data["standard"] == "eip191"

    theirs = issue(bench, chain, "signature", "contract")
    signed = Submission(owner.sign_digest(personal_digest(theirs.message)))
    forged = Submission(bench.wallets["bob"].sign(theirs.message))
    assert bench.submit(theirs, forged, chain.facts) == ProofRefused("wrong_signer", 2)
    twin = Submission(high_s_twin(signed.signature))
    assert bench.submit(theirs, twin, chain.facts) == ProofRefused("high_s", 1)
    proof = bench.submit(theirs, signed, chain.facts)
    assert isinstance(proof, HumanProof)
    assert proof.proof_data == {"standard": "erc1271", "wallet": theirs.address}
    assert proof.nullifier == wallet_nullifier(chain.node.chain_id, theirs.address)

    expired = issue(bench, chain, "signature")
    bench.set_clock("2026-01-01T00:05:00Z")
    late = bench.run(lambda repo: repo.get_challenge(expired.challenge_id))
    for read in (expired, late):
        with pytest.raises(ChallengeExpiredError):
            bench.submit(read, Submission(owner.sign(read.message)), chain.facts)


def test_a_contract_answers_for_its_own_digest_alone(bench, chain):
    """identity 15: a contract's wallet takes no signature of another text, nor one of no form."""
    owner = bench.wallets["alice"]
    challenge = chain.challenge(chain.deploy(owner.address))
    verifier = SignatureVerifier()
    for signature in (owner.sign("another text"), b"\x01", b"\x01" * 64, b"\x01" * 66, bytes(5000)):
        verdict = verifier.verify(challenge, Submission(signature), chain.facts)
        assert verdict.code == "wrong_signer"
    assert verifier.verify(
        challenge, Submission(owner.sign(challenge.message)), chain.facts
    ).is_accepted


def test_behaviour_is_accepted_and_kept(bench, chain):
    """identity 16: a wallet that was used like a person's proves it, and the facts are kept."""
    owner = bench.wallets["alice"]
    chain.fund(owner)
    bench.add_user("alice", owner.address)
    hashes = chain.use(owner, 20)
    challenge = issue(bench, chain, "behaviour")
    # In any order: the nonces say which comes first.
    submission = Submission(owner.sign(challenge.message), tuple(reversed(hashes)))
    proof = bench.submit(challenge, submission, chain.facts)
    assert isinstance(proof, HumanProof)
    gas = [21_000 + 40 * 150 * number for number in range(20)]
    intervals = [UNEVEN[number % len(UNEVEN)] for number in range(1, 20)]
    assert proof.proof_data == {
        "wallet": owner.address,
        "standard": "eip191",
        "last_transaction": hashes[-1],
        "transactions": 20,
        "first_nonce": 0,
        "last_nonce": 19,
        "first_block": proof.proof_data["first_block"],
        "last_block": proof.proof_data["first_block"] + 19,
        "span_seconds": sum(intervals),
        "interval_cv": variation(intervals),
        "gas_cv": variation(gas),
        "recipients": 10,
    }
    gas_ratio = min(Decimal(1), Decimal(variation(gas)) * 2)
    least = Decimal("0.05") + Decimal("0.35") + Decimal("0.2") * gas_ratio + Decimal("0.25")
    assert proof.score is not None
    assert abs(proof.score - least) <= Decimal("0.001")
    assert (proof.assurance, proof.verifier_address, proof.tx_hash) == (2, None, None)
    assert bench.run(lambda repo: repo.has_valid("alice"))


def variation(values: list[int]) -> str:
    """The coefficient of variation in decimal text, cut to thousandths: by floating point."""
    import statistics

    exact = statistics.pstdev(values) / statistics.fmean(values)
    return str(Decimal(exact).quantize(Decimal("0.001"), "ROUND_DOWN"))


def test_every_transaction_is_the_wallets_and_mined(chain):
    """identity 16: rule 1: another sender's and an unknown transaction are refused."""
    owner, other = chain.wallet(), chain.wallet()
    hashes = chain.use(owner, 13)
    [foreign] = chain.use(other, 1)
    assert chain.judge(owner, hashes).code is None
    assert chain.judge(owner, [*hashes[:12], foreign]).code == "not_the_wallet"
    unknown = TransactionHash("0x" + "ab" * 32)
    assert chain.judge(owner, [*hashes[:12], unknown]).code == "not_finalized"


def test_a_waiting_transaction_is_not_final(chain):
    """identity 16: rule 1: a transaction that waits in the pool has no block."""
    owner = chain.wallet()
    hashes = chain.use(owner, 12)
    waiting = TransactionHash(chain.send(owner, to=bytes(19) + b"\x01"))
    assert chain.judge(owner, [*hashes, waiting]).code == "not_finalized"


def test_nobody_chooses_a_good_stretch(chain):
    """identity 16: rule 2: gaps, doubles, an earlier end and what is not final are refused."""
    owner = chain.wallet()
    hashes = chain.use(owner, 16)
    assert chain.judge(owner, hashes[2:]).code is None
    for chosen in (hashes[:14], hashes[:8] + hashes[9:], [*hashes[5:], hashes[7]]):
        assert chain.judge(owner, chosen).code == "nonces_not_contiguous"
    fresh = TransactionHash(chain.send(owner, to=bytes(19) + b"\x01"))
    chain.mine(after=HOUR)
    assert chain.judge(owner, [*hashes, fresh]).code == "not_finalized"
    assert chain.judge(owner, hashes).code is None
    chain.node.mine(DEPTH)
    assert chain.judge(owner, [*hashes, fresh]).code is None
    assert chain.judge(owner, hashes).code == "nonces_not_contiguous"


def test_a_week_of_uneven_use_of_several(chain):
    """identity 16: rule 3: too short a span, too even intervals, too few recipients are refused."""
    cases = {
        "span_too_short": {"gaps": (60, 600, 3 * HOUR, HOUR, 20)},
        "too_regular": {"gaps": (DAY, DAY + HOUR)},
        "too_few_recipients": {"recipients": 2},
        None: {},
    }
    for code, how in cases.items():
        owner = chain.wallet()
        assert chain.judge(owner, chain.use(owner, 12, **how)).code == code


def test_all_rules_and_not_enough(chain):
    """identity 16: rule 4: a stretch that meets every rule and scores below .700 is refused."""
    owner = chain.wallet()
    hashes = chain.use(owner, 10, recipients=3, data=lambda _: 0)
    assert chain.judge(owner, hashes).code == "score_too_low"


def test_a_chain_without_a_node():
    """A key's own signature needs no node; a contract's is refused, behaviour is an error."""
    with Nodes({}) as nodes:
        facts = NodeFacts(ChainReader(nodes, lambda _: DEPTH))
        signed = Submission(Wallet(b"\x01" * 32).sign(CHALLENGE.message))
        assert SignatureVerifier().verify(CHALLENGE, signed, facts).is_accepted
        wrong = Submission(wallet(9).sign(CHALLENGE.message))
        assert SignatureVerifier().verify(CHALLENGE, wrong, facts).code == "wrong_signer"
        many = dataclasses.replace(
            signed, transactions=tuple(TransactionHash(f"0x{n:064x}") for n in range(10))
        )
        with pytest.raises(NoEndpointError):
            BehaviourVerifier().verify(CHALLENGE, many, facts)


def test_a_node_that_is_down_spends_no_attempt(bench):
    """A node that does not answer is an error, and the challenge stays as it is."""
    owner = bench.wallets["alice"]
    bench.add_user("alice", owner.address)
    challenge = bench.run(lambda repo: repo.issue_challenge("alice", "signature", ChainId(1)))
    url = SecretStr(f"http://127.0.0.1:{free_port()}")
    with Nodes({1: (url,)}) as nodes:
        facts = NodeFacts(ChainReader(nodes, lambda _: DEPTH))
        with pytest.raises(NodeUnavailableError):
            bench.submit(challenge, Submission(wallet(9).sign(challenge.message)), facts)
    again = bench.run(lambda repo: repo.get_challenge(challenge.challenge_id))
    assert (again.status, again.attempts_left) == ("pending", 3)


def test_a_wrong_signature_on_a_strange_chain_costs_an_attempt(bench):
    """identity 9: law 7: on a chain that is no network of ours nobody guesses for nothing."""
    bench.add_user("alice", bench.wallets["alice"].address)
    challenge = bench.run(lambda repo: repo.issue_challenge("alice", "signature", ChainId(5)))
    with open_facts(load_settings(), bench.database.url) as facts:
        wrong = bench.submit(challenge, bench.signed(challenge, by="bob"), facts)
        assert wrong == ProofRefused("wrong_signer", 2)
        assert isinstance(bench.submit(challenge, bench.signed(challenge), facts), HumanProof)


def test_what_is_final_is_the_networks_to_say(database_url):
    """The depth or the tag of a network's own row decides; an unknown network is an error."""
    settings = load_settings(chain_endpoints={1: ["http://127.0.0.1:1"]})
    with connect(database_url) as database:
        assert final_depth(database, ChainId(DEV_CHAIN_ID)) == DEPTH
        assert final_depth(database, ChainId(1)) is None
        with pytest.raises(UnknownNetworkError):
            final_depth(database, ChainId(424242))
    with open_facts(settings, database_url) as facts:
        assert not facts.is_valid_signature(
            ChainId(DEV_CHAIN_ID), CHALLENGE.address, bytes(32), bytes(65)
        )


def test_a_proof_is_sealed_and_its_wallet_is_not(settings, database_url):
    """A verified proof is a leaf of the house log in which facts and nullifier are commitments."""
    keys = KeyRing(settings.keys.absolute())
    with connect(database_url) as database:
        bench = ProofBench(database)
        bench.add_user("alice", bench.wallets["alice"].address)
        proof = bench.prove()
        sequencer = Sequencer(database, keys)
        with database.transaction() as tx:
            log = get_log(tx, "tally")
        while (sealed := sequencer.seal_once(log.log_id)) is not None and sealed.rows:
            pass
        leaves = [
            bytes(leaf)
            for (leaf,) in bench.sql("SELECT leaf FROM tally.merkle_log WHERE log_name = 'tally'")
        ]
    about = [leaf for leaf in leaves if str(proof.id).encode() in leaf]
    assert len(about) == 1
    assert proof.proof_hash.hex().encode() in about[0]
    for hidden in (bench.wallets["alice"].address, proof.nullifier.hex()):
        assert not [leaf for leaf in leaves if hidden.encode() in leaf]
