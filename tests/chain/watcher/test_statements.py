"""What an advance costs: the same few statements for one inclusion and for 1,000 (chain.md, 8)."""

from __future__ import annotations

import datetime

import psycopg
import pytest

from tallystick.chain.followers import ALL_TYPES, register_follower
from tallystick.chain.node.blocks import Header
from tallystick.chain.watcher import store
from tallystick.chain.watcher.delivery import deliver_advance
from tallystick.chain.watcher.store import Inclusion, Window
from tallystick.db import connect
from tallystick.runtime.chain_events import OutboxFollower
from tests.chain.watcher.support import ACCOUNT, CHAIN_ID, PRICE

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def hash_of(kind: str, number: int) -> str:
    """A hash of our own making."""
    return f"0x{kind.encode().hex():0>8}{number:056x}"


def header(number: int) -> Header:
    """A block."""
    return Header(
        number=number,
        hash=hash_of("b", number),
        parent_hash=hash_of("b", number - 1),
        time=START + datetime.timedelta(seconds=number),
        transactions=(),
    )


@pytest.fixture
def database(database_url):
    """A network with 1,101 signed transactions, at block 10."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT tally.price_record_v1('ETH', %s, 'fixed:test', now())", (PRICE,))
        connection.execute(
            "SELECT tally.account_add_v1(%s, %s, 'anchor', 'test', 0)", (CHAIN_ID, ACCOUNT.address)
        )
        connection.execute("UPDATE tally.chain_accounts SET next_nonce = 2000")
        connection.execute(
            "SELECT tally.transaction_queue_v1(array_agg(31337::bigint),"
            " array_agg('anchor_publish'::text), array_agg('k' || g), array_agg(%s::text),"
            " array_agg(''::bytea), array_agg(1::numeric), array_agg(NULL::text),"
            " array_agg(NULL::bigint), array_agg(NULL::text), array_agg(NULL::text),"
            " array_agg(NULL::text)) FROM generate_series(1, 1101) AS g",
            (ACCOUNT.address,),
        )
        connection.execute(
            "INSERT INTO tally.blockchain_transaction_attempts (chain_id, transaction_hash,"
            " transaction_id, attempt, kind, raw, max_fee_per_gas, max_priority_fee_per_gas,"
            " gas_limit) SELECT chain_id, '0x00000074' || lpad(to_hex(id), 56, '0'), id, 1, 'send',"
            " '', 1, 1, 21000 FROM tally.blockchain_transactions"
        )
        connection.execute(
            "UPDATE tally.blockchain_transactions SET state = 'signed', nonce = id,"
            " transaction_hash = '0x00000074' || lpad(to_hex(id), 56, '0')"
        )
    with connect(database_url, pool_size=2) as database:
        record(database, Window(headers=[header(10)], final_block=10))
        yield database


def record(database, window: Window) -> list[str]:
    """Record a window as the watcher does; the statements that it took."""
    statements: list[str] = []
    executed = psycopg.Cursor.execute

    def execute(cursor, query, *values, **options):
        statements.append(str(query)[:60])
        return executed(cursor, query, *values, **options)

    position = database.read(lambda tx: store.read_position(tx, CHAIN_ID))
    psycopg.Cursor.execute = execute
    try:
        with database.transaction() as tx:
            outcomes = store.advance(tx, position, window)
            before = -1 if position.finalized_block is None else position.finalized_block
            final = store.read_blocks(tx, CHAIN_ID, before + 1, window.final_block)
            deliver_advance(tx, CHAIN_ID, outcomes, final)
    finally:
        psycopg.Cursor.execute = executed
    return statements


def window(block: int, ids: range) -> Window:
    """A block that includes the transactions *ids*, and makes the one before final."""
    return Window(
        headers=[header(block)],
        inclusions=[
            Inclusion(
                transaction_hash=hash_of("t", number),
                block_hash=hash_of("b", block),
                transaction_index=place,
                receipt_status=1,
                gas_used=21_000,
                gas_price=10**9,
                l1_fee_wei=0,
                contract_address=None,
                revert_data=None,
                error_message=None,
            )
            for place, number in enumerate(ids)
        ],
        final_block=block - 1,
    )


def test_statements_do_not_grow_with_inclusions(database):
    """1, 100 and 1,000 inclusions, told to the outbox, take the same statements."""
    register_follower(ALL_TYPES, OutboxFollower())
    one = record(database, window(11, range(1, 2)))
    hundred = record(database, window(12, range(2, 102)))
    thousand = record(database, window(13, range(102, 1102)))
    fourth = record(database, window(14, range(0)))
    assert one == [each for each in hundred if each in one]
    assert hundred == thousand
    assert len(fourth) <= len(thousand)
    events = database.read(
        lambda tx: tx.rows(
            lambda *row: row,
            b"SELECT topic, count(*) FROM tally.outbox_events GROUP BY topic ORDER BY topic",
        )
    )
    assert events == [
        ("chain.transaction.finalized", 1101),
        ("chain.transaction.included", 1101),
    ]
    laws = database.read(lambda tx: tx.values(b"SELECT law FROM tally.v_chain_violations"))
    assert laws == []
