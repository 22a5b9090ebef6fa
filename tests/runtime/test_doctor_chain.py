"""What `tally doctor` finds of chains: each fault planted, and nothing where none is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tallystick.runtime import doctor
from tallystick.runtime.doctor import Level, examine
from tests.chain.rows import CHAIN, ChainRows
from tests.support.evm import DEV_ACCOUNTS, ETHER, running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.config import Settings


@pytest.fixture
def rows(database_url: str) -> Iterator[ChainRows]:
    """The local network, open, with the account that anchors."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield ChainRows(connection).open(address=DEV_ACCOUNTS[0].address)


def said(settings: Settings) -> list[tuple[Level, str]]:
    """What doctor says of chains."""
    return [(one.level, one.message) for one in examine(settings) if one.check == "chain"]


def test_halted_networks_and_old_intents_are_named(
    settings: Settings, rows: ChainRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that halted is a problem; an intent that nobody sends is worth a look."""
    assert said(settings) == []
    rows.queue("waits")
    monkeypatch.setattr(doctor, "OLD_INTENT_SECONDS", -1.0)
    [(level, words)] = said(settings)
    assert (level, words.split(":")[0]) == (Level.WARNING, f"network {CHAIN}")
    assert "does a worker send?" in words
    rows.run("SELECT tally.network_halt_v1(%s, 'block 7 changed')", CHAIN)
    [(level, words)] = said(settings)
    assert level is Level.PROBLEM
    assert "`tally chain resume`" in words


def test_accounts_that_cannot_pay_are_named(settings: Settings, rows: ChainRows) -> None:
    """chain 19: A balance below the minimum is told, a silent node too, an endpoint never."""
    with running_anvil() as node:
        asking = settings.model_copy(update={"chain_endpoints": endpoints(node.url)})
        [(level, _)] = said(asking)
        assert level is Level.OK
        rows.run("UPDATE tally.chain_accounts SET minimum_balance_wei = %s", 20_000 * ETHER)
        (level, words), _ = said(asking)
        assert level is Level.WARNING
        assert f"below {20_000 * ETHER}" in words
        url = node.url
    [(level, words)] = said(asking)
    assert (level, url in words) == (Level.WARNING, False)


def endpoints(url: str) -> dict[int, tuple[object, ...]]:
    """The setting that names one node."""
    from pydantic import SecretStr

    return {CHAIN: (SecretStr(url),)}
