"""
Any course of a chain: what is recorded is what the chain says, and followers agree with it.

Block trees are generated: they grow, fork, and come back to branches that were left. The node
is a model here, because no real one can be told to do that; database and watcher are real.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.chain.contracts.artifacts import load_artifact
from tallystick.chain.followers import (
    ALL_TYPES,
    clear_followers,
    register_event_follower,
    register_follower,
)
from tallystick.chain.watcher import ChainMoved, FollowerFailed, Watcher
from tallystick.db import connect
from tallystick.record import ChainId, keccak256
from tests.chain.watcher.support import ACCOUNT, CHAIN_ID, PRICE, Recorder

CONFIRMATIONS = 5
TRANSACTIONS = 8
CONTRACT = "0x" + "c0" * 20
ANCHORED = "0x" + keccak256(b"Anchored(bytes32,bytes32,address,uint64)").hex()


def attempt_hash(number: int, kind: str) -> str:
    """The hash of an attempt at a transaction."""
    return f"0x{'aa' if kind == 'send' else 'bb'}{number:062x}"


class Block:
    """A block of the tree, with the transactions that it holds."""

    count = 0

    def __init__(self, parent: Block | None, sent: tuple[tuple[int, str, int], ...] = ()) -> None:
        Block.count += 1
        self.parent = parent
        self.number = 0 if parent is None else parent.number + 1
        self.hash = f"0x{Block.count:064x}"
        self.sent = sent
        """Of each transaction its number, the kind of its attempt and its receipt's status."""

    def branch(self) -> list[Block]:
        """All blocks down to the first."""
        blocks, block = [], self
        while block is not None:
            blocks.append(block)
            block = block.parent
        return blocks

    def as_json(self) -> dict:
        """As a node tells it."""
        return {
            "number": hex(self.number),
            "hash": self.hash,
            "parentHash": "0x" + "0" * 64 if self.parent is None else self.parent.hash,
            "timestamp": hex(1_700_000_000 + self.number),
            "transactions": [attempt_hash(number, kind) for number, kind, _ in self.sent],
        }


class ModelNode:
    """A node whose chain the test chooses."""

    chain_id = ChainId(CHAIN_ID)

    def __init__(self) -> None:
        self.tip = Block(None)

    def call(self, method: str, *parameters) -> object:
        """The result of one call."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", method.removeprefix("eth_")).lower()
        return getattr(self, f"_{name}")(*parameters)

    def batch(self, calls) -> list:
        """The results of calls."""
        return [self.call(method, *parameters) for method, parameters in calls]

    def _block_number(self) -> str:
        return hex(self.tip.number)

    def _get_block_by_number(self, number: str, _full: object) -> dict | None:
        found = [block for block in self.tip.branch() if block.number == int(number, 16)]
        return found[0].as_json() if found else None

    def _get_transaction_by_hash(self, _hash: str) -> None:
        return None

    def _get_transaction_receipt(self, wanted: str) -> dict | None:
        for block in self.tip.branch():
            for index, (number, kind, status) in enumerate(block.sent):
                if attempt_hash(number, kind) == wanted:
                    return {
                        "transactionHash": wanted,
                        "blockNumber": hex(block.number),
                        "blockHash": block.hash,
                        "transactionIndex": hex(index),
                        "status": hex(status),
                        "gasUsed": hex(21_000 + number),
                        "effectiveGasPrice": hex(10**9),
                        "contractAddress": None,
                    }
        return None

    def _get_logs(self, wanted: dict) -> list[dict]:
        blocks = [block for block in self.tip.branch() if block.hash == wanted["blockHash"]]
        return [
            {
                "address": CONTRACT,
                "blockNumber": hex(block.number),
                "blockHash": block.hash,
                "transactionHash": attempt_hash(number, kind),
                "logIndex": hex(index),
                "topics": [ANCHORED, *["0x" + "0" * 64] * 3],
                "data": "0x" + "0" * 63 + "1",
            }
            for block in blocks
            for index, (number, kind, status) in enumerate(block.sent)
            if has_event(kind, status)
        ]


def has_event(kind: str, status: int) -> bool:
    """Only what is sent and succeeds reaches the contract."""
    return kind == "send" and status == 1


@contextmanager
def prepared(server):
    """A database with signed transactions, each with an attempt to send and one to cancel it."""
    with server.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE effects"
                " (n bigint GENERATED ALWAYS AS IDENTITY, call text, subject text)"
            )
            connection.execute(
                "SELECT tally.price_record_v1('ETH', %s, 'fixed:t', now())", (PRICE,)
            )
            connection.execute(
                "SELECT tally.account_add_v1(%s, %s, 'anchor', 'test', 0)",
                (CHAIN_ID, ACCOUNT.address),
            )
            connection.execute("UPDATE tally.chain_accounts SET next_nonce = 1000")
            connection.execute(
                "SELECT tally.network_set_v1(%s, 'active', 't', %s, 'depth', 1, 1, 48, 1, 1)",
                (CHAIN_ID, CONFIRMATIONS),
            )
            connection.execute(
                "SELECT tally.transaction_queue_v1(array_agg(31337::bigint),"
                " array_agg('anchor_publish'::text), array_agg('k' || g), array_agg(%s::text),"
                " array_agg(''::bytea), array_agg(1::numeric), array_agg(NULL::text),"
                " array_agg(NULL::bigint), array_agg(NULL::text), array_agg(NULL::text),"
                " array_agg(NULL::text)) FROM generate_series(1, %s) AS g",
                (ACCOUNT.address, TRANSACTIONS),
            )
            connection.execute(
                "INSERT INTO tally.blockchain_transaction_attempts (chain_id, transaction_hash,"
                " transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas,"
                " gas_limit) SELECT t.chain_id, a.start || lpad(to_hex(t.id), 62, '0'), t.id, a.n,"
                " a.kind, '', 1, 1, 21000 FROM tally.blockchain_transactions AS t,"
                " (VALUES ('0xaa', 1, 'send'), ('0xbb', 2, 'cancel')) AS a (start, n, kind)"
            )
            connection.execute(
                "UPDATE tally.blockchain_transactions SET state = 'signed', nonce = id,"
                " transaction_hash = '0xbb' || lpad(to_hex(id), 62, '0')"
            )
            artifact = load_artifact("TallyAnchor")
            connection.execute(
                "INSERT INTO tally.contract_deployments (chain_id, contract_name,"
                " contract_address, contract_version, abi, abi_hash, code_hash)"
                " VALUES (%s, 'TallyAnchor', %s, '1', %s, %s, %s)",
                (
                    CHAIN_ID,
                    CONTRACT,
                    json.dumps([dict(each) for each in artifact.abi]),
                    artifact.abi_hash,
                    artifact.code_hash,
                ),
            )
        yield url


class Course:
    """A chain, a watcher, and what the one must say of the other."""

    def __init__(self, url, database) -> None:
        self.url, self.database = url, database
        self.node = ModelNode()
        self.recorder = Recorder()
        clear_followers()
        register_follower(ALL_TYPES, self.recorder)
        register_event_follower("TallyAnchor", self.recorder)
        self.watcher = Watcher(database, self.node, ChainId(CHAIN_ID))
        self.branches = [self.node.tip]
        self.extend([()] * 3)

    def rows(self, statement: str) -> list[tuple]:
        """The rows of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def extend(self, blocks, depth: int = 0) -> None:
        """Grow the chain, from so many blocks below its tip."""
        branch = self.node.tip.branch()
        base = branch[min(depth, len(branch) - 1)]
        if base.number < self.finalized():
            return
        for sent in blocks:
            taken = {number for block in base.branch() for number, *_ in block.sent}
            fresh: dict[int, tuple[int, str, int]] = {}
            for each in sent:
                if each[0] not in taken:
                    fresh.setdefault(each[0], each)
            base = Block(base, tuple(fresh.values()))
        self.node.tip = base
        self.branches.append(base)

    def go_back(self, place: int) -> None:
        """Return to a branch that was left, where finality allows it."""
        other = self.branches[place % len(self.branches)]
        mine = set(self.node.tip.branch())
        ancestor = next(block for block in other.branch() if block in mine)
        if ancestor.number >= self.finalized():
            self.node.tip = other

    def finalized(self) -> int:
        """The newest final block; nothing below it may change."""
        found = self.rows(
            f"SELECT coalesce(finalized_block, 0) FROM tally.networks WHERE chain_id = {CHAIN_ID}"
        )
        return int(found[0][0])

    def look(self, times: int) -> None:
        """Look as the worker does, a few blocks at a time."""
        for _ in range(times):
            self.watcher._window = 2
            try:
                if not self.watcher.look():
                    return
            except (FollowerFailed, ChainMoved):
                continue

    def fail(self, call: int) -> None:
        """Let a call to come raise."""
        self.recorder.fails_at = len(self.recorder.calls) + call

    def check(self) -> None:
        """The database says what the chain says, and followers were told just that."""
        assert self.rows("SELECT law, detail FROM tally.v_chain_violations") == []
        position = self.rows(
            f"SELECT scanned_hash FROM tally.networks WHERE chain_id = {CHAIN_ID}"
        )[0][0]
        if position != self.node.tip.hash:
            # A shorter chain is waited for: it takes nothing back before it is seen to differ.
            return
        branch = self.node.tip.branch()
        expected = {
            number: (block.number, block.hash, status)
            for block in branch
            for number, _, status in block.sent
        }
        found = self.rows(
            "SELECT id, block_number, block_hash, receipt_status"
            " FROM tally.blockchain_transactions WHERE block_hash IS NOT NULL"
        )
        assert {number: tuple(rest) for number, *rest in found} == expected
        events = {
            (block.hash, index)
            for block in branch
            for index, (_, kind, status) in enumerate(block.sent)
            if has_event(kind, status)
        }
        stored = self.rows(
            "SELECT block_hash, log_index FROM tally.contract_events WHERE state <> 'orphaned'"
        )
        assert set(stored) == events
        self.check_effects()

    def check_effects(self) -> None:
        """Each transaction was told in a lawful order, which ends where it stands."""
        states = dict(self.rows("SELECT 'tx ' || id, state FROM tally.blockchain_transactions"))
        told: dict[str, list[str]] = {}
        for call, subject in self.rows("SELECT call, subject FROM effects ORDER BY n"):
            told.setdefault(subject, []).append(call)
        for subject, calls in told.items():
            words = " ".join(calls)
            if subject.startswith("tx"):
                assert re.fullmatch(
                    r"(included rolled_back ?)*(included|included finalized|failed)?", words
                ), (subject, words)
                is_final = states[subject] in {"finalized", "failed", "cancelled"}
                assert is_final == words.endswith(("finalized", "failed")), (subject, words)
            elif subject.startswith("event"):
                assert re.fullmatch(r"((event )?event_orphaned ?|event ?)*(event_final)?", words), (
                    subject,
                    words,
                )
        blocks = [
            int(subject.split()[1])
            for call, subject in self.rows("SELECT call, subject FROM effects ORDER BY n")
            if call == "block_final"
        ]
        assert blocks == list(range(blocks[0], blocks[0] + len(blocks)))


SENT = st.lists(
    st.tuples(
        st.integers(1, TRANSACTIONS),
        st.sampled_from(["send", "send", "cancel"]),
        st.sampled_from([1, 1, 1, 0]),
    ),
    max_size=3,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.lists(SENT, min_size=1, max_size=4)),
        st.tuples(st.just("fork"), st.lists(SENT, min_size=1, max_size=5), st.integers(1, 4)),
        st.tuples(st.just("back"), st.integers(0, 100)),
        st.tuples(st.just("look"), st.integers(1, 3)),
        st.tuples(st.just("fail"), st.integers(1, 6)),
    ),
    min_size=3,
    max_size=25,
)


def run_course(server, steps) -> None:
    """Take every step, look to the end, and let everything become final."""
    with prepared(server) as url, connect(url, pool_size=2) as database:
        course = Course(url, database)
        course.look(5)
        for step in steps:
            match step:
                case ("extend", blocks):
                    course.extend(blocks)
                case ("fork", blocks, depth):
                    course.extend(blocks, depth)
                case ("back", place):
                    course.go_back(place)
                case ("look", times):
                    course.look(times)
                case ("fail", call):
                    course.fail(call)
        course.look(100)
        course.check()
        course.extend([()] * (CONFIRMATIONS + 1))
        course.look(100)
        course.check()
        open_states = course.rows(
            "SELECT state FROM tally.blockchain_transactions"
            " WHERE block_hash IS NOT NULL AND state NOT IN ('finalized', 'failed', 'cancelled')"
        )
        assert open_states == []
    clear_followers()


EXAMPLES = {
    "the same block comes back": [
        ("extend", [[(1, "send", 1)], []]),
        ("look", 3),
        ("fork", [[(2, "send", 1)], [], []], 2),
        ("look", 9),
        ("back", 2),
        ("look", 9),
    ],
    "a follower fails while all is taken back": [
        ("extend", [[(1, "send", 1), (2, "cancel", 1)], [(3, "send", 0)]]),
        ("look", 3),
        ("fail", 1),
        ("fork", [[], [(3, "send", 1)], []], 2),
    ],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_known_courses(test_server, name):
    """Laws 3, 4 and 6 along courses that have been traps."""
    run_course(test_server, EXAMPLES[name])


@pytest.mark.slow
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
def test_any_course(test_server, steps):
    """Laws 3, 4 and 6: along any course the database and followers say what the chain says."""
    run_course(test_server, steps)
