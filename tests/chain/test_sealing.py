"""The chain's tables are evidence themselves: what is sealed of them, and where (chain.md, 2)."""

from __future__ import annotations

import json

import psycopg
import pytest

from tallystick.config import load_settings
from tallystick.runtime.house import initialise
from tests.chain.rows import CHAIN, OURS, ChainRows


@pytest.fixture
def house(database_url, tmp_path):
    """A house with its logs and sources, and the network's rows."""
    initialise(load_settings(data_dir=tmp_path), database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        rows = ChainRows(connection)
        rows.run("DELETE FROM tally.capture")
        yield rows


def captured(rows: ChainRows) -> list[tuple[str, str, str, dict]]:
    """What waits to be sealed: log, table, operation and row; the queue is empty afterwards."""
    found = rows.rows(
        "WITH q AS (DELETE FROM tally.capture RETURNING *)"
        " SELECT l.log_name, q.leaf FROM q JOIN tally.verification_logs AS l ON l.log_id = q.log_id"
        " ORDER BY q.seq"
    )
    records = [(log, json.loads(bytes(leaf).partition(b"\n")[2])) for log, leaf in found]
    return [(log, each["table"], each["op"], each["row"]) for log, each in records]


def kinds(rows: ChainRows) -> list[tuple[str, str, str]]:
    """The same without the rows."""
    return [(log, table.removeprefix("tally."), op) for log, table, op, _ in captured(rows)]


def test_transactions_prices_and_contracts_are_sealed_in_settle(house):
    """Each state of a transaction is a leaf of log `settle`; so are prices and contracts."""
    house.open()
    assert ("settle", "price_snapshots", "insert") in kinds(house)
    number = house.queue("one")
    assert kinds(house) == [("settle", "blockchain_transactions", "insert")]
    house.block(1)
    house.scan(1)
    house.sign(number)
    assert kinds(house) == [("settle", "blockchain_transactions", "update")] * 2
    house.include(number, 1, gas_used=1, gas_price=2**200)
    ((_, _, _, row),) = captured(house)
    assert row["fee_wei"] == str(2**200)
    assert row["status"] == "pending"
    house.finish(number)
    house.contract()
    house.run("UPDATE tally.contract_deployments SET is_active = false")
    assert kinds(house) == [
        ("settle", "blockchain_transactions", "update"),
        ("settle", "blockchain_transactions", "update"),
        ("settle", "contract_deployments", "insert"),
        ("settle", "contract_deployments", "update"),
    ]


def test_configuration_is_sealed_in_tally_and_progress_is_not(house):
    """A network's settings and accounts are leaves of log `tally`; scanning and nonces are none."""
    house.open()
    found = captured(house)
    assert [(log, table, op) for log, table, op, _ in found if log == "tally"] == [
        ("tally", "tally.chain_accounts", "insert"),
        ("tally", "tally.networks", "update"),
    ]
    network = found[-1][3]
    assert network["status"] == "active"
    assert "scanned_block" not in network
    house.block(1)
    house.scan(1)
    house.run("UPDATE tally.chain_accounts SET next_nonce = 7 WHERE address = %s", OURS)
    assert captured(house) == []
    house.run("SELECT tally.account_set_v1(%s, %s, NULL, NULL, true)", CHAIN, OURS)
    house.run(
        "UPDATE tally.networks SET status = 'halted', halted_reason = 'x' WHERE chain_id = %s",
        CHAIN,
    )
    assert kinds(house) == [
        ("tally", "chain_accounts", "update"),
        ("tally", "networks", "update"),
    ]
