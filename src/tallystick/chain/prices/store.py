"""The SQL of prices; every function runs in the caller's transaction."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal

from tallystick.chain.values import Price, PriceId, PriceSnapshot
from tallystick.db import Query, Transaction, load_queries
from tallystick.record import ChainId


@dataclass(frozen=True, slots=True)
class Queries:
    """The statements of `queries.sql`."""

    record_price: Query
    latest_price: Query
    native_symbol: Query
    list_latest_prices: Query
    read_price: Query
    list_prices: Query
    is_known: Query


SQL = load_queries(Queries, __package__)


def record_price(
    tx: Transaction, *, symbol: str, usd: Decimal, source: str, observed_at: datetime.datetime
) -> PriceId:
    """Record a price and return its number."""
    values = {"symbol": symbol, "usd": usd, "source": source, "observed_at": observed_at}
    return PriceId(tx.value(SQL.record_price, values))


def latest_price(tx: Transaction, symbol: str) -> Price | None:
    """Return the price of *symbol* that was taken last, or None."""
    return tx.row(Price, SQL.latest_price, {"symbol": symbol})


def native_symbol(tx: Transaction, chain_id: ChainId) -> str | None:
    """Return the symbol of a network's own coin; None where there is no network."""
    symbol = tx.value(SQL.native_symbol, {"chain_id": chain_id})
    return None if symbol is None else str(symbol)


def read_price(tx: Transaction, price_id: PriceId) -> PriceSnapshot | None:
    """Return a price, or None."""
    return tx.row(PriceSnapshot, SQL.read_price, {"id": price_id})


def list_latest_prices(tx: Transaction) -> list[PriceSnapshot]:
    """Return the last price of each symbol, by symbol."""
    return tx.rows(PriceSnapshot, SQL.list_latest_prices)


def list_prices(
    tx: Transaction, *, symbol: str | None, after: PriceId | None, limit: int
) -> list[PriceSnapshot]:
    """Return prices, newest first, of numbers below *after*."""
    values = {"symbol": symbol, "after": after, "limit": limit}
    return tx.rows(PriceSnapshot, SQL.list_prices, values)


def is_known(
    tx: Transaction,
    *,
    symbol: str,
    usd: Decimal,
    source: str,
    observed_at: datetime.datetime | None,
) -> bool:
    """Return whether *source* said just this last time; a time of None is any time."""
    values = {"symbol": symbol, "usd": usd, "source": source, "observed_at": observed_at}
    return bool(tx.value(SQL.is_known, values))
