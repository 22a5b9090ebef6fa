"""What tests of human proofs do again and again."""

from __future__ import annotations

import datetime
import types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from tallystick.identity.human_proofs import (
    HumanProof,
    HumanProofRepository,
    HumanProofRules,
    NewProof,
    ProofRefused,
)
from tallystick.identity.verifiers import (
    BehaviourVerifier,
    Challenge,
    SignatureVerifier,
    Submission,
)
from tallystick.record import Address, ChainId, TransactionHash
from tests.support.verifiers import REFUSED, NoContract, NoFacts, UnsafeAcceptAllVerifier
from tests.support.wallets import Wallet, wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.db import Database

CHAIN = ChainId(1)
BASE_URL = "https://tally.example"
RULES = HumanProofRules(
    verifiers={"unsafe": UnsafeAcceptAllVerifier(), "signature": SignatureVerifier()},
    base_url=BASE_URL,
)
BUILT_IN = HumanProofRules(
    verifiers={"signature": SignatureVerifier(), "behaviour": BehaviourVerifier()},
    base_url=BASE_URL,
)


class AnyContract(NoFacts):
    """Chains on which a contract in every wallet's place takes every signature."""

    def is_valid_signature(self, *_: object):
        """It does."""
        return True


class UsedWallet(NoContract):
    """Chains on each of which a wallet sent fifty transactions as people do."""

    hashes = tuple(TransactionHash(f"0x{nonce:064x}") for nonce in range(50))

    def __init__(self, address: Address) -> None:
        self._address = address

    def nonce_at(self, *_: object):
        """As many as it sent."""
        return len(self.hashes)

    def look_up(self, chain_id: ChainId, transaction_hash: TransactionHash):
        """One of them."""
        nonce = self.hashes.index(transaction_hash)
        return types.SimpleNamespace(
            chain_id=chain_id,
            transaction_hash=transaction_hash,
            from_address=self._address,
            to_address=Address(f"0x{nonce % 10:040x}"),
            nonce=nonce,
            block_number=nonce,
            block_time=datetime.datetime.fromtimestamp(nonce * nonce * 3600, datetime.UTC),
            gas_used=21_000 * (1 + nonce),
        )


@dataclass
class ProofBench:
    """A database, users' wallets, and the steps of a proof, each in a transaction of its own."""

    database: Database
    rules: HumanProofRules = RULES
    wallets: dict[str, Wallet] = field(
        default_factory=lambda: {"alice": wallet(1001), "bob": wallet(1002)}
    )

    def run(self, step: Callable[[HumanProofRepository], Any]) -> Any:
        """What *step* returns, committed."""
        return self.database.run(lambda tx: step(HumanProofRepository(tx, self.rules)))

    def add_user(self, user_id: str, address: str | None) -> None:
        """Put a user into the table."""
        self.sql("INSERT INTO tally.users (id, wallet_address) VALUES (%s, %s)", user_id, address)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser; return its rows."""
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def set_clock(self, at: str) -> None:
        """Stop the database's clock at a time."""
        self.sql("SELECT tally.set_test_clock(%s::timestamptz)", at)

    def challenge(
        self, user_id: str = "alice", verifier: str = "unsafe", chain_id: ChainId = CHAIN
    ) -> Challenge:
        """A new challenge."""
        return self.run(lambda repo: repo.issue_challenge(user_id, verifier, chain_id))

    def signed(self, challenge: Challenge, by: str | None = None) -> Submission:
        """The submission in which a user's wallet signs a challenge."""
        return Submission(self.wallets[by or challenge.user_id].sign(challenge.message))

    def submit(
        self, challenge: Challenge, submission: Submission, facts: Any = None
    ) -> HumanProof | ProofRefused:
        """Check and submit, as a route does; the facts are read between transactions."""
        verdict = HumanProofRepository.check_submission(
            challenge, submission, facts or NoFacts(), rules=self.rules
        )
        return self.run(lambda repo: repo.submit(challenge, submission, verdict))

    def give_wallet(self, giver: str, taker: str) -> None:
        """Let a user give up his wallet, and a new one take it."""
        self.sql("UPDATE tally.users SET wallet_address = NULL WHERE id = %s", giver)
        self.wallets[taker] = self.wallets[giver]
        self.add_user(taker, self.wallets[taker].address)

    def prove_by_key(
        self, user_id: str, verifier: str, chain_id: ChainId = CHAIN
    ) -> HumanProof | ProofRefused:
        """What becomes of a submission with which a built-in verifier finds no fault."""
        facts = UsedWallet(self.wallets[user_id].address)
        challenge = self.challenge(user_id, verifier, chain_id)
        hashes = facts.hashes if verifier == "behaviour" else ()
        submission = Submission(self.signed(challenge).signature, hashes)
        return self.submit(challenge, submission, facts)

    def refuse(self, challenge: Challenge) -> HumanProof | ProofRefused:
        """Submit what every verifier refuses."""
        return self.submit(challenge, Submission(REFUSED))

    def prove(self, user_id: str = "alice", verifier: str = "unsafe") -> HumanProof:
        """A verified proof."""
        challenge = self.challenge(user_id, verifier)
        proof = self.submit(challenge, self.signed(challenge))
        assert isinstance(proof, HumanProof)
        return proof

    def pending(self, user_id: str = "alice", number: int = 0) -> HumanProof:
        """A proof that is to be decided later."""
        new = NewProof(
            user_id=user_id,
            verifier="unsafe",
            submission_sha256=number.to_bytes(32, "big"),
            chain_id=CHAIN,
        )
        return self.run(lambda repo: repo.create(new))
