"""Where prices come from, as the settings say (chain.md, section 4.2)."""

from __future__ import annotations

import json
import threading

import pytest

from tallystick.chain.node.nodes import Nodes
from tallystick.chain.prices import ChainlinkSource, FixedSource, HttpSource
from tallystick.config import ConfigError, load_settings
from tallystick.db import connect
from tallystick.record.errors import InvalidAddressError
from tallystick.runtime.prices import price_duties, price_sources

FEED = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"


def sources(monkeypatch, **prices):
    """The sources of settings that come by the environment, as an operator gives them."""
    monkeypatch.setenv("TALLY_CHAIN_PRICES", json.dumps(prices))
    monkeypatch.setenv("TALLY_CHAIN_ENDPOINTS", '{"1": ["http://127.0.0.1:1"]}')
    settings = load_settings()
    with Nodes(settings.chain_endpoints) as nodes:
        return price_sources(settings, nodes)


def test_each_kind_of_source(monkeypatch):
    """A fixed price, a feed and a service are named in the settings by symbol."""
    bnb, eth, pol = sources(
        monkeypatch,
        ETH={"kind": "chainlink", "chain_id": 1, "feed": FEED},
        POL={"kind": "http", "name": "kraken"},
        BNB={"kind": "fixed", "usd": "600.12345678"},
    )
    assert isinstance(bnb, FixedSource)
    assert (bnb.symbol, str(bnb.usd), bnb.source) == ("BNB", "600.12345678", "fixed:settings")
    assert isinstance(eth, ChainlinkSource)
    assert eth.source == f"chainlink:{FEED.lower()}"
    assert isinstance(pol, HttpSource)
    assert pol.source == "http:kraken"


@pytest.mark.parametrize(
    ("symbol", "source", "error"),
    [
        ("eth", {"kind": "fixed", "usd": "1"}, ConfigError),
        ("ETH", {"kind": "fixed", "usd": "0"}, ConfigError),
        ("ETH", {"kind": "fixed", "usd": "NaN"}, ConfigError),
        ("ETH", {"kind": "guess"}, ConfigError),
        ("ETH", {"kind": "http", "name": "evil.example"}, ConfigError),
        ("ETH", {"kind": "http", "name": "kraken", "url": "https://evil.example"}, ConfigError),
        ("ETH", {"kind": "chainlink", "chain_id": 10, "feed": FEED}, ConfigError),
        ("ETH", {"kind": "chainlink", "chain_id": 1, "feed": FEED.swapcase()}, InvalidAddressError),
    ],
)
def test_wrong_sources_stop_the_start(monkeypatch, symbol, source, error):
    """A symbol, price, service, network or address that cannot be is refused by name."""
    with pytest.raises(error):
        sources(monkeypatch, **{symbol: source})


def test_no_sources_no_duty(database_url):
    """A process without sources starts no thread for them."""
    with connect(database_url, pool_size=2) as database:
        assert price_duties(database, load_settings(), threading.Event()) == {}
