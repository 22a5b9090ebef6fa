"""Prices in USD, each with its source and times (chain.md, sections 2 and 4.2)."""

from tallystick.chain.prices.operations import (
    find_price,
    get_price,
    latest_price,
    list_latest_prices,
    list_prices,
    native_price,
    record_price,
)
from tallystick.chain.prices.sources import (
    HTTP_SOURCES,
    ChainlinkSource,
    FixedSource,
    HttpSource,
    PriceSource,
    Quote,
)
from tallystick.chain.prices.worker import LOOK_SECONDS, run_prices, take_prices

__all__ = [
    "HTTP_SOURCES",
    "LOOK_SECONDS",
    "ChainlinkSource",
    "FixedSource",
    "HttpSource",
    "PriceSource",
    "Quote",
    "find_price",
    "get_price",
    "latest_price",
    "list_latest_prices",
    "list_prices",
    "native_price",
    "record_price",
    "run_prices",
    "take_prices",
]
