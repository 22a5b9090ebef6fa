"""
The worker chain.price: asks each source every 60 seconds (chain.md, section 4.2).

Sources are asked before the transaction that records what they said. A source that is down
costs the others nothing, and leaves its last price with that price's own time. What a source
said before, and says again, is not recorded twice.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

import psycopg
import structlog

from tallystick.chain.prices import store
from tallystick.chain.prices.operations import record_price, round_price
from tallystick.chain.prices.sources import PriceSource, Quote
from tallystick.clock import utc_now
from tallystick.db import Database, Transaction
from tallystick.errors import Error

LOOK_SECONDS: Final = 60.0

_log = structlog.get_logger("tallystick.chain")


def run_prices(database: Database, sources: Sequence[PriceSource], stop: threading.Event) -> None:
    """Take prices at once and every 60 s until *stop* is set, whatever goes wrong meanwhile."""
    while sources and not stop.is_set():
        try:
            take_prices(database, sources)
        except (Error, psycopg.Error) as raised:
            _log.warning("prices_not_recorded", error=type(raised).__name__)
        stop.wait(LOOK_SECONDS)


def take_prices(database: Database, sources: Sequence[PriceSource]) -> int:
    """
    Ask every source, record what is new, and return how many prices were recorded.

    Raises:
        DatabaseUnavailableError: The database does not answer.
    """
    quotes = [(source, quote) for source in sources if (quote := ask(source)) is not None]
    if not quotes:
        return 0
    with database.transaction() as tx:
        return sum(record_quote(tx, source, quote) for source, quote in quotes)


def ask(source: PriceSource) -> Quote | None:
    """Return what *source* says; None, which is logged, where it says no price."""
    try:
        quote = source.read()
        return Quote(round_price(quote.usd), quote.observed_at)
    except Error as raised:
        _log.warning(
            "price_source_down",
            symbol=source.symbol,
            source=source.source,
            error=type(raised).__name__,
        )
        return None


def record_quote(tx: Transaction, source: PriceSource, quote: Quote) -> bool:
    """Record *quote* unless the source said the same last time; return whether it was."""
    if store.is_known(
        tx,
        symbol=source.symbol,
        usd=quote.usd,
        source=source.source,
        observed_at=quote.observed_at,
    ):
        return False
    observed_at = quote.observed_at or utc_now()
    record_price(tx, source.symbol, quote.usd, source.source, observed_at)
    return True
