"""A network under watch: a real node, a real database, and what tests do on both sides."""

from __future__ import annotations

import itertools
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from tallystick.chain.contracts.artifacts import load_artifact
from tallystick.chain.node import Node
from tallystick.chain.watcher import ChainMoved, FollowerFailed, Watcher
from tallystick.db import Database, Query
from tests.support.evm import DEV_ACCOUNTS, Anvil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCOUNT = DEV_ACCOUNTS[0]
OTHER = DEV_ACCOUNTS[1]
CHAIN_ID = 31337
PRICE = "2345.67890123"
PATIENCE_SECONDS = 30
KEYS = itertools.count(1)


class Recorder:
    """A follower whose effects are rows: they stand or fall with the block's transaction."""

    def __init__(self, fails_at: int = 0) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.fails_at = fails_at

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_") or name == "on_many":
            raise AttributeError(name)

        def follow(tx: Any, fact: Any) -> None:
            self.calls.append((name, fact))
            if len(self.calls) == self.fails_at:
                raise RuntimeError("the follower does not like it")
            tx.execute(
                Query(b"INSERT INTO effects (call, subject) VALUES (%(call)s, %(subject)s)"),
                {"call": name.removeprefix("on_"), "subject": subject_of(fact)},
            )

        return follow


def subject_of(fact: Any) -> str:
    """What a fact is about, in a word: a transaction, an event or a block."""
    if hasattr(fact, "transaction_type"):
        return f"tx {fact.id}"
    if hasattr(fact, "log_index"):
        return f"event {fact.block_number}/{fact.log_index}"
    return f"block {fact.number}"


@dataclass
class World:
    """Node, database and watcher of one test."""

    url: str
    connection: psycopg.Connection
    """The superuser's, in autocommit mode."""
    database: Database
    anvil: Anvil
    node: Node
    watcher: Watcher = field(init=False)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self.database, self.node, self.node.chain_id)
        self.run(
            "CREATE TABLE effects (n bigint GENERATED ALWAYS AS IDENTITY, call text, subject text)"
        )
        self.run("SELECT tally.price_record_v1('ETH', %s, 'fixed:test', now())", PRICE)
        self.run(
            "SELECT tally.account_add_v1(%s, %s, %s, 'test', 0)",
            CHAIN_ID,
            ACCOUNT.address,
            "anchor",
        )
        self.run(
            "UPDATE tally.chain_accounts SET next_nonce = %s",
            anvil_nonce(self.anvil, ACCOUNT.address),
        )
        self.set_network()

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement as the superuser."""
        self.connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[tuple]:
        """The rows of a query."""
        return self.connection.execute(statement, values).fetchall()

    def value(self, statement: str, *values: Any) -> Any:
        """The one value of a query."""
        return self.rows(statement, *values)[0][0]

    def set_network(self, *, confirmations: int = 2, mode: str = "depth", quorum: int = 1) -> None:
        """Let the network be active, with these rules of finality."""
        self.run(
            "SELECT tally.network_set_v1(%s, 'active', 'test', %s, %s, %s, 1, NULL, NULL, NULL)",
            CHAIN_ID,
            confirmations,
            mode,
            quorum,
        )

    def catch_up(self) -> None:
        """Look until there is nothing more to record now."""
        for _ in range(1_000):
            if not self.watcher.look():
                return
        raise AssertionError("the watcher does not come to rest")

    def try_to_catch_up(self) -> None:
        """Look as the worker does: a follower that raises is called again."""
        for _ in range(1_000):
            try:
                if not self.watcher.look():
                    return
            except (FollowerFailed, ChainMoved):
                continue

    def restart(self) -> None:
        """A new watcher, which knows only what is in the database."""
        self.watcher = Watcher(self.database, self.node, self.node.chain_id)

    # Transactions ---------------------------------------------------------------------------

    def queue(self, *, to: str | None = OTHER.address, data: bytes = b"", value: int = 1) -> int:
        """An intent of ours."""
        return self.value(
            "SELECT (tally.transaction_queue_v1(ARRAY[%s]::bigint[], ARRAY['anchor_publish'],"
            " ARRAY[%s], ARRAY[%s]::text[], ARRAY[%s]::bytea[], ARRAY[%s]::numeric[],"
            " ARRAY[NULL]::text[], ARRAY[NULL]::bigint[], ARRAY[NULL]::text[], ARRAY[NULL]::text[],"
            " ARRAY[NULL]::text[]))[1]",
            CHAIN_ID,
            f"key {next(KEYS)}",
            to,
            data,
            value,
        )

    def sign(self, transaction_id: int, *, kind: str = "send", gas: int = 300_000) -> str:
        """Sign as the sender does, and return the signed bytes in hexadecimal."""
        from eth_account import Account

        to, data, value, nonce = self.rows(
            "SELECT to_address, call_data, value_transferred, nonce"
            " FROM tally.blockchain_transactions WHERE id = %s",
            transaction_id,
        )[0]
        if nonce is None:
            nonce = self.value("SELECT next_nonce FROM tally.chain_accounts")
            self.run("UPDATE tally.chain_accounts SET next_nonce = next_nonce + 1")
        attempt = 1 + self.value(
            "SELECT count(*) FROM tally.blockchain_transaction_attempts WHERE transaction_id = %s",
            transaction_id,
        )
        if kind == "cancel":
            to, data, value = ACCOUNT.address, b"", 0
        fee = 10**10 * (1 + attempt)
        unsigned = {
            "type": 2,
            "chainId": CHAIN_ID,
            "nonce": nonce,
            "gas": gas,
            "value": int(value),
            "data": bytes(data),
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": 10**9 * attempt,
        }
        if to is not None:
            unsigned["to"] = bytes.fromhex(to[2:])
        signed = Account.sign_transaction(unsigned, ACCOUNT.key)
        hash_, raw = "0x" + signed.hash.hex(), signed.raw_transaction
        self.run(
            "INSERT INTO tally.blockchain_transaction_attempts (chain_id, transaction_hash,"
            " transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas,"
            " gas_limit) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            CHAIN_ID,
            hash_,
            transaction_id,
            attempt,
            kind,
            bytes(raw),
            fee,
            10**9,
            gas,
        )
        self.run(
            "UPDATE tally.blockchain_transactions SET nonce = %s, transaction_hash = %s,"
            " state = CASE state WHEN 'queued' THEN 'signed' ELSE state END WHERE id = %s",
            nonce,
            hash_,
            transaction_id,
        )
        return "0x" + bytes(raw).hex()

    def broadcast(self, raw: str) -> str:
        """Hand signed bytes to the node, and note that it took them."""
        transaction_hash = str(self.anvil.rpc("eth_sendRawTransaction", raw))
        wait_for_block(self.anvil, transaction_hash)
        self.run(
            "UPDATE tally.blockchain_transactions AS t SET state = 'broadcast'"
            " FROM tally.blockchain_transaction_attempts AS a"
            " WHERE a.transaction_id = t.id AND a.transaction_hash = %s AND t.state = 'signed'",
            transaction_hash,
        )
        return transaction_hash

    def send(self, **intent: Any) -> int:
        """Queue, sign and broadcast an intent."""
        transaction_id = self.queue(**intent)
        self.broadcast(self.sign(transaction_id))
        return transaction_id

    def send_again(self, transaction_id: int) -> None:
        """Hand the bytes of the newest attempt to the node again, as the sender does in time."""
        raw = self.value(
            "SELECT raw FROM tally.blockchain_transaction_attempts WHERE transaction_id = %s"
            " ORDER BY attempt DESC LIMIT 1",
            transaction_id,
        )
        wait_for_block(
            self.anvil, self.anvil.rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex())
        )

    def send_by_other(self) -> str:
        """A transaction that somebody else sent; its hash."""
        sent = self.anvil.send(**{"from": OTHER.address, "to": ACCOUNT.address, "value": "0x1"})
        wait_for_block(self.anvil, sent)
        return sent

    def observe(self, transaction_hash: str) -> int:
        """Record a transaction that somebody else sent."""
        return self.value(
            "SELECT tally.transaction_observe_v1(%s, %s, 'challenge_join', %s, %s, '', 1, 21000, 0,"
            " NULL, NULL, NULL, NULL)",
            CHAIN_ID,
            transaction_hash,
            OTHER.address,
            ACCOUNT.address,
        )

    # Contracts ------------------------------------------------------------------------------

    def deploy_anchor(self) -> str:
        """A TallyAnchor that somebody deployed; its address."""
        artifact = load_artifact("TallyAnchor")
        sent = self.anvil.send(**{"from": OTHER.address, "data": "0x" + artifact.bytecode.hex()})
        wait_for_block(self.anvil, sent)
        receipt = self.anvil.rpc("eth_getTransactionReceipt", sent)
        return str(receipt["contractAddress"]).lower()

    def register_anchor(self, address: str, *, block_number: int | None = None) -> None:
        """Let the contract be followed."""
        artifact = load_artifact("TallyAnchor")
        self.run(
            "INSERT INTO tally.contract_deployments (chain_id, contract_name, contract_address,"
            " contract_version, abi, abi_hash, code_hash, block_number)"
            " VALUES (%s, 'TallyAnchor', %s, '1', %s, %s, %s, %s)",
            CHAIN_ID,
            address,
            json.dumps([dict(each) for each in artifact.abi]),
            artifact.abi_hash,
            artifact.code_hash,
            block_number,
        )

    # What stands ----------------------------------------------------------------------------

    def state_of(self, transaction_id: int) -> str:
        """The state of a transaction."""
        return str(
            self.value(
                "SELECT state FROM tally.blockchain_transactions WHERE id = %s", transaction_id
            )
        )

    def effects(self) -> list[tuple[str, str]]:
        """What followers did, in their order, without final blocks."""
        return self.rows("SELECT call, subject FROM effects WHERE call <> 'block_final' ORDER BY n")

    def events(self) -> list[tuple[int, str]]:
        """Block number and state of each event."""
        return self.rows(
            "SELECT block_number, state FROM tally.contract_events ORDER BY block_number, state"
        )

    def scanned(self) -> int:
        """The position."""
        return int(
            self.value("SELECT scanned_block FROM tally.networks WHERE chain_id = %s", CHAIN_ID)
        )

    def check_laws(self) -> None:
        """No law of the chain's tables is broken."""
        assert self.rows("SELECT law, detail FROM tally.v_chain_violations") == []


def anchor_call(number: int) -> bytes:
    """The call data of anchor(bytes32, bytes32, uint64)."""
    word = number.to_bytes(32, "big")
    return bytes.fromhex("15954b2c") + word + word + (7).to_bytes(32, "big")


def wait_for_block(anvil: Anvil, transaction_hash: str) -> None:
    """Where Anvil mines by itself it does so after its answer: wait for the block."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (
        anvil.rpc("anvil_getAutomine")
        and anvil.rpc("eth_getTransactionReceipt", transaction_hash) is None
    ):
        assert time.monotonic() < deadline, "Anvil does not mine"
        time.sleep(0.005)


def anvil_nonce(anvil: Anvil, address: str) -> int:
    """How many transactions an account has sent."""
    return anvil.number("eth_getTransactionCount", address, "latest")


class Meddler:
    """A server in front of a node that changes its answers: `change(method, params, result)`."""

    def __init__(self, url: str) -> None:
        self.change: Callable[[str, list[Any], Any], Any] = lambda _method, _params, result: result
        self.methods: list[str] = []
        meddler = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = body if isinstance(body, list) else [body]
                answers = httpx.post(url, json=asked, timeout=30, trust_env=False).json()
                by_id = {each["id"]: each for each in asked}
                for answer in answers:
                    request = by_id[answer["id"]]
                    meddler.methods.append(request["method"])
                    if "result" in answer:
                        answer["result"] = meddler.change(
                            request["method"], request["params"], answer["result"]
                        )
                said = json.dumps(answers if isinstance(body, list) else answers[0]).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def meddling(url: str) -> Iterator[Meddler]:
    """Run a `Meddler` in front of the node at *url*."""
    meddler = Meddler(url)
    try:
        yield meddler
    finally:
        meddler.close()
