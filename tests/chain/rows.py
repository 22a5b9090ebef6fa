"""Rows of the chain's tables as tests need them: a network, its blocks, transactions, events."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tallystick.chain import ChainIntent
from tallystick.chain.values import SeenTransaction
from tallystick.record import Address, ChainId, TransactionHash, Wei

CHAIN = ChainId(31337)
OURS = Address("0x" + "a1" * 20)
THEIRS = Address("0x" + "b2" * 20)
CONTRACT = Address("0x5fbdb2315678afecb367f032d93f642f64180aa3")
PRICE = "3000.12345678"


def hash_of(number: int) -> str:
    """A hash that stands for *number*."""
    return f"0x{number:064x}"


def intent(key: str = "one", **changes: Any) -> ChainIntent:
    """An intent of the vector's kind, with *changes*."""
    values: dict[str, Any] = {
        "chain_id": CHAIN,
        "transaction_type": "anchor_publish",
        "idempotency_key": key,
        "to": CONTRACT,
        "call_data": bytes.fromhex("15954b2c"),
    }
    return ChainIntent(**{**values, **changes})


def seen(number: int = 1, **changes: Any) -> SeenTransaction:
    """A client's payment as a node tells it, with *changes*."""
    values: dict[str, Any] = {
        "chain_id": CHAIN,
        "transaction_hash": TransactionHash(hash_of(number)),
        "transaction_type": 2,
        "from_address": THEIRS,
        "to_address": OURS,
        "nonce": 0,
        "value": Wei(5),
        "call_data": b"",
        "gas_limit": 21_000,
    }
    return SeenTransaction(**{**values, **changes})


@dataclass
class ChainRows:
    """One network in a database, changed as a superuser: states move along legal ways only."""

    connection: psycopg.Connection
    chain_id: int = CHAIN
    numbers: itertools.count = field(default_factory=lambda: itertools.count(1_000))

    def run(self, statement: str, *values: Any) -> Any:
        """Run a statement; the first column of its first row, if it has rows."""
        cursor = self.connection.execute(statement, values or None)
        row = cursor.fetchone() if cursor.description else None
        return None if row is None else row[0]

    def rows(self, statement: str, *values: Any) -> list[tuple]:
        """The rows of a query."""
        return self.connection.execute(statement, values or None).fetchall()

    def open(self, purpose: str = "anchor", address: str = OURS) -> ChainRows:
        """Give the network a price, an account and let it be active."""
        symbol = self.run(
            "SELECT native_symbol FROM tally.networks WHERE chain_id = %s", self.chain_id
        )
        self.run("SELECT tally.price_record_v1(%s, %s, 'fixed:test', now())", symbol, PRICE)
        self.run(
            "SELECT tally.account_add_v1(%s, %s, %s, 'test', 0)", self.chain_id, address, purpose
        )
        self.run(
            "SELECT tally.network_set_v1(%s, 'active', NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
            " NULL)",
            self.chain_id,
        )
        return self

    def block(self, number: int, *, mark: int = 0, is_canonical: bool = True) -> str:
        """Record a block; *mark* tells two of one number apart. Its hash."""
        block_hash = hash_of(number * 1_000 + mark + 1)
        self.run(
            "INSERT INTO tally.chain_blocks VALUES (%s, %s, %s, %s, now(), %s)",
            self.chain_id,
            block_hash,
            number,
            hash_of((number - 1) * 1_000 + 1),
            is_canonical,
        )
        return block_hash

    def scan(self, number: int, *, final: int | None = None) -> None:
        """Set the watcher's position."""
        self.run(
            "UPDATE tally.networks SET scanned_block = %s, scanned_hash = %s, finalized_block = %s,"
            " finalized_time = now() WHERE chain_id = %s",
            number,
            hash_of(number * 1_000 + 1),
            number if final is None else final,
            self.chain_id,
        )

    def queue(self, key: str, transaction_type: str = "anchor_publish") -> int:
        """Queue an intent; its number."""
        return self.run(
            "SELECT (tally.transaction_queue_v1(ARRAY[%s::bigint], ARRAY[%s], ARRAY[%s], ARRAY[%s],"
            " ARRAY[%s], ARRAY[0::numeric], ARRAY[NULL], ARRAY[NULL::bigint], ARRAY[NULL],"
            " ARRAY[NULL], ARRAY[NULL]))[1]",
            self.chain_id,
            transaction_type,
            key,
            CONTRACT,
            b"\x15\x95\x4b\x2c",
        )

    def sign(self, number: int, *, kind: str = "send", attempt: int = 1) -> str:
        """Sign and broadcast a queued one, or sign it again; the attempt's hash."""
        signed = hash_of(next(self.numbers))
        if attempt == 1:
            self.run(
                "WITH a AS (UPDATE tally.chain_accounts SET next_nonce = next_nonce + 1"
                " WHERE chain_id = %s RETURNING next_nonce - 1 AS nonce)"
                " UPDATE tally.blockchain_transactions SET state = 'signed', nonce = a.nonce,"
                " transaction_hash = %s, gas_limit = 100000 FROM a WHERE id = %s",
                self.chain_id,
                signed,
                number,
            )
        else:
            self.run(
                "UPDATE tally.blockchain_transactions SET transaction_hash = %s WHERE id = %s",
                signed,
                number,
            )
        self.run(
            "INSERT INTO tally.blockchain_transaction_attempts (chain_id, transaction_hash,"
            " transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas,"
            " gas_limit) VALUES (%s, %s, %s, %s, %s, 'raw', 2, 1, 100000)",
            self.chain_id,
            signed,
            number,
            attempt,
            kind,
        )
        if attempt == 1:
            self.state(number, "broadcast")
        return signed

    def include(
        self,
        number: int,
        block: int,
        *,
        status: int = 1,
        gas_used: int = 50_000,
        gas_price: int = 7,
    ) -> None:
        """Put a broadcast one into a block."""
        self.run(
            "UPDATE tally.blockchain_transactions SET state = 'mined', receipt_status = %s,"
            " block_number = %s, block_hash = %s, transaction_index = 0, gas_used = %s,"
            " gas_price = %s, mined_at = now(), price_id = p.id,"
            " cost_usd = tally.cost_usd(%s::numeric * %s::numeric, p.usd)"
            " FROM tally.price_snapshots AS p WHERE tally.blockchain_transactions.id = %s"
            " AND p.id = (SELECT max(q.id) FROM tally.price_snapshots AS q)",
            status,
            block,
            hash_of(block * 1_000 + 1),
            gas_used,
            gas_price,
            gas_used,
            gas_price,
            number,
        )

    def state(self, number: int, state: str, *, changes: str = "") -> None:
        """Move one along."""
        self.run(
            f"UPDATE tally.blockchain_transactions SET state = %s {changes} WHERE id = %s",
            state,
            number,
        )

    def finish(self, number: int, state: str = "finalized") -> None:
        """Confirm and end a mined one."""
        self.state(number, "confirmed", changes=", confirmed_at = now()")
        said = "" if state == "finalized" else ", error_message = 'reverted'"
        self.state(number, state, changes=f", finalized_at = now(){said}")

    def observed(self, number: int = 1) -> int:
        """Record a client's transaction; its number."""
        return self.run(
            "SELECT tally.transaction_observe_v1(%s, %s, 'payout_claim', %s, %s, '', 5, 21000, 0,"
            " NULL, NULL, 7, 'alice')",
            self.chain_id,
            hash_of(number),
            THEIRS,
            OURS,
        )

    def contract(self, name: str = "TallyAnchor", address: str = CONTRACT, abi: str = "[]") -> int:
        """Register a contract; its number."""
        return self.run(
            "INSERT INTO tally.contract_deployments (chain_id, contract_name, contract_address,"
            " contract_version, abi, abi_hash, code_hash)"
            " VALUES (%s, %s, %s, '1', %s, sha256('abi'), sha256('code')) RETURNING id",
            self.chain_id,
            name,
            address,
            abi,
        )

    def event(self, contract: int, block: int, index: int, state: str, *, mark: int = 0) -> None:
        """Record an event and move it to *state*."""
        block_hash = hash_of(block * 1_000 + mark + 1)
        self.run(
            "INSERT INTO tally.contract_events (chain_id, block_hash, log_index, block_number,"
            " transaction_hash, contract_id, event_name, topics, data, args, state)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'Anchored', '{}', '', '{}', 'observed')",
            self.chain_id,
            block_hash,
            index,
            block,
            hash_of(77),
            contract,
        )
        if state != "observed":
            self.run(
                "UPDATE tally.contract_events SET state = %s"
                " WHERE block_hash = %s AND log_index = %s",
                state,
                block_hash,
                index,
            )
