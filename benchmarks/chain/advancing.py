"""
What the watcher's transaction costs: statements and seconds for 1 and for 1,000 inclusions.

The headers and receipts are made beforehand; what is measured is what comes after the node: the
rows, their prices, the events for the outbox, and the commit, which waits for the disk.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import psycopg

from benchmarks.chain.anvil import ACCOUNT, CHAIN
from benchmarks.ground import Ground
from benchmarks.harness import Bound, Figure, Samples
from tallystick.chain.followers import ALL_TYPES, clear_followers, register_follower
from tallystick.chain.node.blocks import Header
from tallystick.chain.values import MAX_INTENTS
from tallystick.chain.watcher import store
from tallystick.chain.watcher.delivery import deliver_advance
from tallystick.chain.watcher.store import Inclusion, Window
from tallystick.db import Database, connect
from tallystick.record import BlockHash, TransactionHash, Wei
from tallystick.runtime.chain_events import OutboxFollower

MANY: Final = 1_000
FIRST: Final = 10
START: Final = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
SAME: Final = Bound(least=1, most=1)
QUEUE: Final = """
SELECT tally.transaction_queue_v1(
  array_agg(%s::bigint), array_agg('anchor_publish'::text), array_agg('k' || g),
  array_agg(%s::text), array_agg(''::bytea), array_agg(1::numeric), array_agg(NULL::text),
  array_agg(NULL::bigint), array_agg(NULL::text), array_agg(NULL::text), array_agg(NULL::text))
FROM generate_series(%s::integer, %s::integer) AS g
"""
ATTEMPTS: Final = """
INSERT INTO tally.blockchain_transaction_attempts
  (chain_id, transaction_hash, transaction_id, attempt, kind, raw, max_fee_per_gas,
   max_priority_fee_per_gas, gas_limit)
SELECT chain_id, '0x00000074' || lpad(to_hex(id), 56, '0'), id, 1, 'send', '', 1, 1, 21000
FROM tally.blockchain_transactions
"""
SIGNED: Final = """
UPDATE tally.blockchain_transactions
SET state = 'signed', nonce = id, transaction_hash = '0x00000074' || lpad(to_hex(id), 56, '0')
"""


def run(ground: Ground) -> list[Figure]:
    """Return the statements of both, and the seconds of 1,000 inclusions."""
    many = ground.scale.pick(MANY, 100)
    ones, manies, seconds = [], [], []
    register_follower(ALL_TYPES, OutboxFollower())
    try:
        for _ in range(ground.scale.rounds):
            with ground.database() as url, prepared(url, many) as database:
                one, _ = advance(database, FIRST + 1, range(1, 2))
                all_of_them, took = advance(database, FIRST + 2, range(2, many + 2))
                ones.append(float(one))
                manies.append(float(all_of_them))
                seconds.append(1000 * took)
    finally:
        clear_followers()
    return [
        Figure(
            f"statements of an advance with {many:,} inclusions",
            Samples(tuple(manies)),
            "",
            "less",
            "an advance with one",
            Samples(tuple(ones)),
            ratio_target=SAME,
            note="told to the outbox; the first finds no block that became final",
        ),
        Figure(f"advance with {many:,} inclusions", Samples(tuple(seconds)), "ms", "less"),
    ]


@contextmanager
def prepared(url: str, many: int) -> Iterator[Database]:
    """Yield a database with *many* transactions and one that were sent, at block 10."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT tally.price_record_v1('ETH', 3000, 'fixed:bench', now())")
        add = "SELECT tally.account_add_v1(%s, %s, 'anchor', 'bench', 0)"
        connection.execute(add, (CHAIN, ACCOUNT))
        connection.execute("UPDATE tally.chain_accounts SET next_nonce = 1000000")
        for first in range(1, many + 2, MAX_INTENTS):
            last = min(many + 1, first + MAX_INTENTS - 1)
            connection.execute(QUEUE, (CHAIN, ACCOUNT, first, last))
        connection.execute(ATTEMPTS)
        connection.execute(SIGNED)
    with connect(url, pool_size=2) as database:
        # The first two advances pay for plans; the second makes a block final, as all later do.
        advance(database, FIRST - 1, range(0))
        advance(database, FIRST, range(0))
        yield database


def advance(database: Database, block: int, ids: range) -> tuple[int, float]:
    """Record a block that includes *ids* and makes the one before final: statements, seconds."""
    position = database.read(lambda tx: store.read_position(tx, CHAIN))
    assert position is not None
    window = window_of(block, ids)
    statements = 0
    execute = psycopg.Cursor.execute

    def counted(cursor: Any, *values: Any, **options: Any) -> Any:
        nonlocal statements
        statements += 1
        return execute(cursor, *values, **options)

    with patch.object(psycopg.Cursor, "execute", counted):
        began = time.perf_counter()
        with database.transaction() as tx:
            outcomes = store.advance(tx, position, window)
            before = -1 if position.finalized_block is None else position.finalized_block
            final = store.read_blocks(tx, CHAIN, before + 1, window.final_block or 0)
            deliver_advance(tx, CHAIN, outcomes, final)
        took = time.perf_counter() - began
    return statements, took


def window_of(block: int, ids: range) -> Window:
    """Return a block that includes the transactions *ids*, and makes the one before final."""
    return Window(
        headers=[header(block)],
        inclusions=[
            Inclusion(
                transaction_hash=TransactionHash(hash_of("t", number)),
                block_hash=BlockHash(hash_of("b", block)),
                transaction_index=place,
                receipt_status=1,
                gas_used=21_000,
                gas_price=Wei(10**9),
                l1_fee_wei=Wei(0),
                contract_address=None,
                revert_data=None,
                error_message=None,
            )
            for place, number in enumerate(ids)
        ],
        final_block=block - 1,
    )


def header(number: int) -> Header:
    """Return a block."""
    return Header(
        number=number,
        hash=BlockHash(hash_of("b", number)),
        parent_hash=BlockHash(hash_of("b", number - 1)),
        time=START + datetime.timedelta(seconds=number),
        transactions=(),
    )


def hash_of(kind: str, number: int) -> str:
    """Return a hash of our own making."""
    return f"0x{kind.encode().hex():0>8}{number:056x}"
