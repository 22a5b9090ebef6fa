"""Networks and accounts: adding, pausing, resuming, settings (chain.md, sections 2 and 3.2)."""

from __future__ import annotations

import datetime
from decimal import Decimal

import psycopg
import pytest

from tallystick.chain import (
    NetworkSettings,
    add_account,
    add_network,
    block_at,
    get_network,
    list_accounts,
    list_networks,
    record_price,
    resume_network,
    set_account,
    set_network,
)
from tallystick.chain.errors import (
    InvalidChainValueError,
    NetworkUnavailableError,
    PriceUnavailableError,
    UnknownAccountError,
    UnknownNetworkError,
)
from tallystick.chain.values import DEV_CHAIN_ID
from tallystick.db import Query
from tallystick.db.errors import IllegalTransitionError
from tallystick.db.sqlstate import translate
from tests.chain.rows import CHAIN, OURS, THEIRS, hash_of

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)


def test_an_added_network_is_paused_with_the_page_s_defaults(chain_database, chain_rows):
    """A network that is added later has 12 confirmations by tag, and is paused."""
    with chain_database.transaction() as tx:
        added = add_network(tx, 2**52, "Elsewhere")
        again = add_network(tx, 2**52, "Other", NetworkSettings(confirmations=1))
    assert (added.status, added.confirmations, added.finality_mode) == ("paused", 12, "tag")
    assert (added.finality_quorum, added.resubmit_seconds) == (1, 48)
    assert again == added


@pytest.mark.parametrize(
    ("chain_id", "name", "change"),
    [
        (0, "x", {}),
        (2**53, "x", {}),
        (5, "", {}),
        (5, "x", {"native_symbol": "eth"}),
        (5, "x", {"confirmations": 0}),
        (5, "x", {"finality_mode": "hope"}),
        (5, "x", {"finality_quorum": 0}),
        (5, "x", {"block_seconds": Decimal(0)}),
        (5, "x", {"resubmit_seconds": 0}),
        (5, "x", {"max_fee_per_gas_wei": 2**256}),
        (5, "x", {"min_tip_wei": -1}),
    ],
)
def test_settings_out_of_range_are_named(chain_database, chain_rows, chain_id, name, change):
    """A setting that is out of its range is refused by its name."""
    with pytest.raises(InvalidChainValueError) as raised, chain_database.transaction() as tx:
        add_network(tx, chain_id, name, NetworkSettings(**change))
    assert raised.value.field in {"chain_id", "name", *change}


def test_active_needs_a_price(chain_database, chain_rows):
    """A network is not active before its coin has a price: costs could not be recorded."""
    with chain_database.transaction() as tx:
        with pytest.raises(PriceUnavailableError):
            set_network(tx, 137, status="active")
        record_price(tx, "POL", Decimal("0.5"), "fixed:me", NOW)
        assert set_network(tx, 137, status="active").status == "active"


def test_the_database_also_asks_for_a_price(chain_rows):
    """Whoever calls the function himself is refused too (TSC01)."""
    with pytest.raises(psycopg.Error) as raised:
        chain_rows.run(
            "SELECT tally.network_set_v1(56, 'active', NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
            " NULL)"
        )
    assert isinstance(translate(raised.value), NetworkUnavailableError)


def test_pausing_and_settings(chain_database, chain_rows):
    """An operator pauses with a reason and changes what he names; the rest stays."""
    with chain_database.transaction() as tx:
        before = get_network(tx, CHAIN)
        paused = set_network(tx, CHAIN, status="paused", reason="maintenance")
        assert (paused.status, paused.status_reason) == ("paused", "maintenance")
        changed = set_network(tx, CHAIN, confirmations=5, finality_quorum=2, min_tip_wei=9)
        assert set_network(tx, CHAIN, status="active").status == "active"
    assert (changed.confirmations, changed.finality_quorum, changed.min_tip_wei) == (5, 2, 9)
    assert changed.max_fee_per_gas_wei == before.max_fee_per_gas_wei
    assert changed.status_reason == "maintenance"


def halt(rows) -> None:
    """As the watcher does."""
    rows.run(
        "UPDATE tally.networks SET status = 'halted', halted_reason = 'a fork' WHERE chain_id = %s",
        CHAIN,
    )


def test_a_halted_network_is_resumed_with_a_reason(chain_database, chain_rows):
    """chain 8: only `resume_network`, with a reason, ends a halt; setting a status does not."""
    halt(chain_rows)
    for status in ("active", "paused"):
        with pytest.raises(IllegalTransitionError), chain_database.transaction() as tx:
            set_network(tx, CHAIN, status=status)
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(InvalidChainValueError), chain_database.transaction() as tx:
            resume_network(tx, CHAIN, reason=reason)
    with chain_database.transaction() as tx:
        resumed = resume_network(tx, CHAIN, reason="the node was replaced")
    assert (resumed.status, resumed.halted_reason) == ("active", None)
    assert resumed.status_reason == "the node was replaced"
    with pytest.raises(IllegalTransitionError), chain_database.transaction() as tx:
        resume_network(tx, CHAIN, reason="again")


def test_nobody_halts_by_setting(chain_rows):
    """A halt is what the watcher finds, never what somebody sets."""
    with pytest.raises(psycopg.Error) as raised:
        chain_rows.run(
            "SELECT tally.network_set_v1(%s, 'halted', 'x', NULL, NULL, NULL, NULL, NULL, NULL,"
            " NULL)",
            CHAIN,
        )
    assert isinstance(translate(raised.value), IllegalTransitionError)


def test_unknown_networks_are_named(chain_database, chain_rows):
    """Each operation names a chain id that there is no network of, also one beyond a bigint."""
    with chain_database.transaction() as tx:
        for chain_id in (999, -1, 2**64):
            with pytest.raises(UnknownNetworkError):
                get_network(tx, chain_id)
            with pytest.raises(UnknownNetworkError):
                set_network(tx, chain_id, status="paused")
            with pytest.raises(UnknownNetworkError):
                resume_network(tx, chain_id, reason="x")
            with pytest.raises(UnknownNetworkError):
                add_account(tx, chain_id, OURS, purpose="x", signer_name="x")
        assert DEV_CHAIN_ID in {network.chain_id for network in list_networks(tx)}


def test_accounts(chain_database, chain_rows):
    """A network has one account for each purpose; an account can be paused and given a floor."""
    with chain_database.transaction() as tx:
        assert not add_account(tx, CHAIN, THEIRS, purpose="anchor", signer_name="other")
        assert not add_account(tx, CHAIN, OURS, purpose="bounty", signer_name="other")
        assert add_account(tx, CHAIN, THEIRS, purpose="bounty", signer_name="other")
        set_account(tx, CHAIN, THEIRS, is_paused=True, minimum_balance_wei=2**200)
        first, second = list_accounts(tx, CHAIN)
        assert list_accounts(tx, 1) == []
    assert (first.purpose, first.next_nonce, first.is_paused) == ("anchor", 0, False)
    assert (second.purpose, second.signer_name) == ("bounty", "other")
    assert (second.is_paused, second.minimum_balance_wei) == (True, 2**200)


def test_wrong_accounts_are_named(chain_database, chain_rows):
    """An account that is not there, or a value out of range, is an error of its own."""
    with chain_database.transaction() as tx:
        with pytest.raises(UnknownAccountError):
            set_account(tx, CHAIN, THEIRS, is_paused=True)
        for change in ({"purpose": "Two Words"}, {"signer_name": "a b"}):
            values = {"purpose": "bounty", "signer_name": "s", **change}
            with pytest.raises(InvalidChainValueError):
                add_account(tx, CHAIN, THEIRS, **values)


def test_blocks_are_canonical_ones(chain_database, chain_rows):
    """`block_at` gives the block of a number that stands on the chain, or None."""
    chain_rows.block(1)
    chain_rows.block(1, mark=1, is_canonical=False)
    chain_rows.block(2, is_canonical=False)
    with chain_database.transaction() as tx:
        found = block_at(tx, CHAIN, 1)
        assert block_at(tx, CHAIN, 2) is None
    assert found is not None
    assert (found.number, found.hash) == (1, hash_of(1001))


def test_the_servers_role_may_do_all_this(chain_database, chain_rows):
    """The role of servers and workers has every right that these operations need."""
    with chain_database.transaction() as tx:
        tx.execute(Query(b"SET LOCAL ROLE tally_app"))
        add_network(tx, 2**52, "Elsewhere")
        assert set_network(tx, CHAIN, status="paused", reason="x").status == "paused"
        assert add_account(tx, 2**52, OURS, purpose="anchor", signer_name="s")
        set_account(tx, 2**52, OURS, signer_name="t")
