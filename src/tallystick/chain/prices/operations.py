"""
Operations on prices; each takes the caller's transaction (chain.md, sections 4.1 and 4.2).

The newest snapshot of a symbol is its price, whatever its source; its own time says how old it
is. Nothing is ever interpolated or averaged.
"""

from __future__ import annotations

import datetime
import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final

from tallystick.chain.errors import (
    InvalidChainValueError,
    PriceUnavailableError,
    UnknownNetworkError,
)
from tallystick.chain.prices import store
from tallystick.chain.values import Price, PriceId, PriceSnapshot
from tallystick.db import Transaction
from tallystick.record import ChainId

SYMBOL: Final = re.compile(r"[A-Z0-9]{1,16}")
SOURCE: Final = re.compile(r"(fixed|chainlink|http):[^\x00-\x1f\x7f]{1,200}")
STEP: Final = Decimal("0.00000001")
"""Prices have 8 decimals, as the column has."""
PRICE_END: Final = Decimal(10) ** 12
MAX_PRICES: Final = 1_001


def record_price(
    tx: Transaction, symbol: str, usd: Decimal, source: str, observed_at: datetime.datetime
) -> PriceId:
    """
    Record what one whole coin costs, rounded to 8 decimals half even, and return its number.

    Raises:
        InvalidChainValueError: Symbol, price, source or time is out of its range.
    """
    if SYMBOL.fullmatch(symbol) is None:
        raise InvalidChainValueError("a symbol is 1 to 16 of A-Z, 0-9", field="symbol")
    if SOURCE.fullmatch(source) is None:
        raise InvalidChainValueError("a source is fixed:, chainlink: or http:", field="source")
    if observed_at.tzinfo is None:
        raise InvalidChainValueError("the time of a price has a zone", field="observed_at")
    rounded = round_price(usd)
    return store.record_price(
        tx, symbol=symbol, usd=rounded, source=source, observed_at=observed_at
    )


def round_price(usd: Decimal) -> Decimal:
    """
    Return a price with 8 decimals, half even.

    Raises:
        InvalidChainValueError: It is not finite, is nothing at 8 decimals, or is 10^12 or more.
    """
    if not usd.is_finite() or not 0 < usd < PRICE_END:
        raise InvalidChainValueError("a price lies above 0 and below 10^12 USD", field="usd")
    with localcontext() as context:
        context.prec = 40
        rounded = usd.quantize(STEP, rounding=ROUND_HALF_EVEN)
    if not 0 < rounded < PRICE_END:
        raise InvalidChainValueError("a price lies above 0 and below 10^12 USD", field="usd")
    return rounded


def find_price(tx: Transaction, symbol: str) -> Price | None:
    """Return the newest price of *symbol*; None where nobody recorded one."""
    return store.latest_price(tx, symbol)


def latest_price(tx: Transaction, symbol: str) -> Price:
    """
    Return the newest price of *symbol*, with its source and that source's time.

    Raises:
        PriceUnavailableError: Nobody has recorded one.
    """
    price = find_price(tx, symbol)
    if price is None:
        raise PriceUnavailableError(f"nobody has recorded a price of {symbol[:16]}")
    return price


def native_price(tx: Transaction, chain_id: ChainId) -> Price:
    """
    Return the newest price of the network's own coin.

    Raises:
        UnknownNetworkError: There is no such network.
        PriceUnavailableError: Nobody has recorded one.
    """
    symbol = store.native_symbol(tx, chain_id)
    if symbol is None:
        raise UnknownNetworkError(f"there is no network with the chain id {chain_id}")
    return latest_price(tx, symbol)


def get_price(tx: Transaction, price_id: PriceId) -> PriceSnapshot:
    """
    Return the price of this number.

    Raises:
        PriceUnavailableError: There is none.
    """
    price = store.read_price(tx, price_id)
    if price is None:
        raise PriceUnavailableError(f"there is no price {price_id}")
    return price


def list_latest_prices(tx: Transaction) -> list[PriceSnapshot]:
    """Return the newest price of each symbol, by symbol."""
    return store.list_latest_prices(tx)


def list_prices(
    tx: Transaction,
    *,
    symbol: str | None = None,
    after: PriceId | None = None,
    limit: int = 100,
) -> list[PriceSnapshot]:
    """Return at most *limit* prices, newest first, behind the one of number *after*."""
    assert 1 <= limit <= MAX_PRICES
    return store.list_prices(tx, symbol=symbol, after=after, limit=limit)
