"""
The worker chain.price: the sources of the configuration, asked every minute (chain.md, 4.2).

A process without sources starts no thread. A feed of Chainlink is read through the endpoints of
the network that it stands on; everything else of a price needs no node.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import assert_never

from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import ChainReader
from tallystick.chain.prices import (
    HTTP_SOURCES,
    ChainlinkSource,
    FixedSource,
    HttpSource,
    PriceSource,
    run_prices,
)
from tallystick.chain.prices.operations import SYMBOL
from tallystick.config import ChainlinkPrice, ConfigError, FixedPrice, HttpPrice, Settings
from tallystick.db import Database
from tallystick.record import ChainId, parse_address


def price_duties(
    database: Database, settings: Settings, stop: threading.Event
) -> dict[str, Callable[[], None]]:
    """
    Return what the worker does for prices; empty without sources.

    Raises:
        ConfigError: A source of the settings cannot be.
        InvalidAddressError: A feed's address fails EIP-55.
    """
    if not settings.chain_prices:
        return {}
    nodes = Nodes(settings.chain_endpoints)
    return {"prices": partial(run_prices, database, price_sources(settings, nodes), stop)}


def price_sources(settings: Settings, nodes: Nodes) -> list[PriceSource]:
    """
    Return the sources of the settings, by symbol.

    Raises:
        ConfigError: A symbol is not plain, a service is not on the list, or a feed stands on a
            network without endpoints.
        InvalidAddressError: A feed's address fails EIP-55.
    """
    return [make_source(symbol, settings, nodes) for symbol in sorted(settings.chain_prices)]


def make_source(symbol: str, settings: Settings, nodes: Nodes) -> PriceSource:
    """Return the source of one symbol; raises as `price_sources`."""
    if SYMBOL.fullmatch(symbol) is None:
        raise ConfigError(f"chain_prices: {symbol[:20]!r} is no symbol like ETH")
    match settings.chain_prices[symbol]:
        case FixedPrice(usd=usd):
            return FixedSource(symbol, usd)
        case HttpPrice(name=name):
            if name not in HTTP_SOURCES:
                known = ", ".join(HTTP_SOURCES)
                raise ConfigError(f"chain_prices: {name[:40]!r} is not on the list: {known}")
            return HttpSource(symbol, name)
        case ChainlinkPrice(chain_id=chain_id, feed=feed):
            if chain_id not in nodes:
                raise ConfigError(f"chain_prices: no endpoint of chain {chain_id} is configured")
            # A price is read at the head: how deep a block is has no part in it.
            reader = ChainReader(nodes, lambda _: None)
            return ChainlinkSource(symbol, ChainId(chain_id), parse_address(feed), reader.call)
        case never:
            assert_never(never)
