"""An account that sends on a real node: what tests do with it on both sides."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from pydantic import SecretStr

from tallystick.chain.node.nodes import Nodes
from tallystick.chain.sender.account import AccountSender
from tallystick.chain.sender.store import Account
from tallystick.chain.signers import Signers
from tallystick.chain.watcher import Watcher
from tallystick.config import EnvSigner
from tests.support.chain_worker import KEY_VARIABLE
from tests.support.evm import DEV_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tallystick.db import Database
    from tests.support.evm import Anvil

ACCOUNT = DEV_ACCOUNTS[0]
OTHER = DEV_ACCOUNTS[1]
PATIENCE_SECONDS = 60
ROOT = Path(__file__).parents[3]


@dataclass
class Desk:
    """Node, database and sender of one test."""

    url: str
    database: Database
    anvil: Anvil
    nodes: Nodes = field(init=False)
    signers: Signers = field(init=False)
    sender: AccountSender = field(init=False)
    watcher: Watcher = field(init=False)
    next_key: int = 0
    elsewhere: list[Nodes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.nodes = Nodes({self.anvil.chain_id: [SecretStr(self.anvil.url)]})
        self.signers = Signers({"test": EnvSigner(kind="env", key_env=KEY_VARIABLE)})
        self.run("SELECT tally.price_record_v1('ETH', 2000, 'fixed:test', now())")
        self.run(
            "SELECT tally.account_add_v1(%s, %s, 'anchor', 'test', 0)",
            self.anvil.chain_id,
            ACCOUNT.address,
        )
        self.set_network()
        self.restart()
        # Where the watcher begins there is nothing of ours yet.
        self.watch()

    def restart(self) -> None:
        """A sender and a watcher that know only what is in the database."""
        chain_id = self.anvil.chain_id
        node = self.nodes.of(chain_id)
        account = Account(chain_id, ACCOUNT.address, "test")
        self.sender = AccountSender(self.database, node, self.signers.get("test"), account)
        self.watcher = Watcher(self.database, node, chain_id)

    def restart_surroundings(self) -> None:
        """Let the sender ask again for fees, balance and nonce, as it does each second."""
        self.sender._surroundings = None

    def sender_at(self, *urls: str) -> AccountSender:
        """A sender for the account whose node is elsewhere."""
        nodes = Nodes({self.anvil.chain_id: [SecretStr(url) for url in urls]})
        self.elsewhere.append(nodes)
        account = Account(self.anvil.chain_id, ACCOUNT.address, "test")
        node = nodes.of(self.anvil.chain_id)
        return AccountSender(self.database, node, self.signers.get("test"), account)

    def run(self, statement: str, *values: Any) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[tuple]:
        """The rows of a query."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def value(self, statement: str, *values: Any) -> Any:
        """The one value of a query."""
        return self.rows(statement, *values)[0][0]

    def set_network(
        self, *, resubmit_seconds: int = 48, max_fee: int = 10**13, confirmations: int = 2
    ) -> None:
        """Let the network be active."""
        self.run(
            "SELECT tally.network_set_v1(%s, 'active', 'test', %s, 'depth', 1, 1, %s, %s, 1)",
            self.anvil.chain_id,
            confirmations,
            resubmit_seconds,
            max_fee,
        )

    def queue(
        self,
        count: int = 1,
        *,
        to: str | None = OTHER.address,
        data: bytes = b"",
        value: int = 1,
    ) -> list[int]:
        """Queue so many intents; return their numbers."""
        first, self.next_key = self.next_key, self.next_key + count
        return self.value(QUEUE, count, self.anvil.chain_id, first, to, data, value)

    def states(self) -> list[str]:
        """The state of each transaction, in their order."""
        statement = "SELECT state FROM tally.blockchain_transactions ORDER BY id"
        return [state for (state,) in self.rows(statement)]

    def attempts(self, transaction_id: int) -> list[tuple]:
        """Number, kind, cap, tip and hash of each attempt at a transaction."""
        return self.rows(
            "SELECT attempt, kind, max_fee_per_gas::numeric, max_priority_fee_per_gas::numeric,"
            " transaction_hash::text"
            " FROM tally.blockchain_transaction_attempts WHERE transaction_id = %s"
            " ORDER BY attempt",
            transaction_id,
        )

    def age(self, seconds: int = 3600) -> None:
        """Let every attempt so far have been signed so long ago."""
        self.run("ALTER TABLE tally.blockchain_transaction_attempts DISABLE TRIGGER keep_evidence")
        self.run(
            "UPDATE tally.blockchain_transaction_attempts"
            " SET signed_at = signed_at - make_interval(secs => %s)",
            seconds,
        )
        self.run(
            "ALTER TABLE tally.blockchain_transaction_attempts ENABLE ALWAYS TRIGGER keep_evidence"
        )

    def watch(self) -> None:
        """Let the watcher look until there is nothing more to record now."""
        for _ in range(1_000):
            if not self.watcher.look():
                return
        raise AssertionError("the watcher does not come to rest")

    def finish(self) -> None:
        """Mine and watch until everything that was sent is final."""
        self.anvil.mine(3)
        self.watch()

    def check_laws(self) -> None:
        """No law of the chain's tables is broken, and nonces have no gap."""
        assert self.rows("SELECT law, detail FROM tally.v_chain_violations") == []
        nonces = [
            nonce
            for (nonce,) in self.rows(
                "SELECT nonce FROM tally.blockchain_transactions WHERE nonce IS NOT NULL"
                " AND origin = 'managed' ORDER BY nonce"
            )
        ]
        assert len(set(nonces)) == len(nonces)

    @contextlib.contextmanager
    def process(
        self, roles: str = "sender,watcher", *, pause_at: str = "", place: Path | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """A process that works for the account, killed at the end."""
        environment = {**os.environ, KEY_VARIABLE: ACCOUNT.key}
        if pause_at:
            assert place is not None
            environment |= {
                "TALLY_PAUSE_AT": pause_at,
                "TALLY_PAUSE_FILE": str(place / pause_at),
            }
        command = [sys.executable, "-m", "tests.support.chain_worker", self.url]
        process = subprocess.Popen(
            [*command, str(self.anvil.chain_id), self.anvil.url, roles],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


def until(condition: Callable[[], Any], *, what: str = "it") -> Any:
    """Wait until *condition* holds, and return what it gave."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} does not come to be"
        time.sleep(0.02)
    return found


QUEUE = """
SELECT tally.transaction_queue_v1(
  array_agg(a.chain_id), array_agg('anchor_publish'::text), array_agg('key ' || (a.first + g)),
  array_agg(a.receiver), array_agg(a.data), array_agg(a.value), array_agg(NULL::text),
  array_agg(NULL::bigint), array_agg(NULL::text), array_agg(NULL::text), array_agg(NULL::text))
FROM generate_series(1, %s) AS g,
  (VALUES (%s::bigint, %s::bigint, %s::text, %s::bytea, %s::numeric))
    AS a (chain_id, first, receiver, data, value)
"""
