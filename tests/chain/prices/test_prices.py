"""Prices: the newest one of a symbol, with its source and times (chain.md, sections 2 and 4.2)."""

from __future__ import annotations

import datetime
import threading
from decimal import Decimal

import pytest

from tallystick.chain import (
    latest_price,
    list_latest_prices,
    list_prices,
    native_price,
    record_price,
)
from tallystick.chain.errors import (
    InvalidChainValueError,
    PriceSourceError,
    PriceUnavailableError,
    UnknownNetworkError,
)
from tallystick.chain.prices import FixedSource, Quote, run_prices, take_prices
from tallystick.db import Query
from tests.chain.rows import CHAIN, PRICE

THEN = datetime.datetime(2026, 11, 1, 9, 30, tzinfo=datetime.UTC)


class Source:
    """A source that a test steers."""

    def __init__(self, name: str = "kraken", symbol: str = "ETH") -> None:
        self.symbol = symbol
        self.source = f"http:{name}"
        self.quote: Quote | None = Quote(Decimal(3100), THEN)
        self.asked = threading.Event()

    def read(self) -> Quote:
        """Answer what the test wants."""
        self.asked.set()
        if self.quote is None:
            raise PriceSourceError
        return self.quote


def test_the_newest_price_counts(chain_database, chain_rows):
    """The price is what was taken last, whatever its own time; source and time come with it."""
    with chain_database.transaction() as tx:
        assert latest_price(tx, "ETH").usd == Decimal(PRICE)
        number = record_price(tx, "ETH", Decimal("3050.5"), "chainlink:0xfeed", THEN)
        found = native_price(tx, CHAIN)
    assert (found.price_id, found.usd, found.source, found.observed_at) == (
        number,
        Decimal("3050.5"),
        "chainlink:0xfeed",
        THEN,
    )


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1.000000005", "1.00000000"),
        ("1.000000015", "1.00000002"),
        ("1.0000000150000000001", "1.00000002"),
        ("0.000000006", "0.00000001"),
        ("999999999999.99999999", "999999999999.99999999"),
    ],
)
def test_prices_are_rounded_half_even(chain_database, chain_rows, given, stored):
    """A price has 8 decimals, half even; a float never touches it."""
    with chain_database.transaction() as tx:
        record_price(tx, "ETH", Decimal(given), "fixed:me", THEN)
        assert latest_price(tx, "ETH").usd == Decimal(stored)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("usd", {"usd": Decimal(0)}),
        ("usd", {"usd": Decimal(-1)}),
        ("usd", {"usd": Decimal("0.000000001")}),
        ("usd", {"usd": Decimal(10) ** 12}),
        ("usd", {"usd": Decimal("999999999999.999999999")}),
        ("usd", {"usd": Decimal("NaN")}),
        ("usd", {"usd": Decimal("Infinity")}),
        ("symbol", {"symbol": "eth"}),
        ("symbol", {"symbol": ""}),
        ("source", {"source": "me"}),
        ("source", {"source": "http:"}),
        ("source", {"source": "fixed:a\nb"}),
        ("observed_at", {"observed_at": THEN.replace(tzinfo=None)}),
    ],
)
def test_what_is_no_price_is_refused(chain_database, chain_rows, field, change):
    """A price out of range, or one without symbol, source or zone, is refused by its field."""
    values = {"symbol": "ETH", "usd": Decimal(1), "source": "fixed:me", "observed_at": THEN}
    with pytest.raises(InvalidChainValueError) as raised, chain_database.transaction() as tx:
        record_price(tx, **{**values, **change})
    assert raised.value.field == field


def test_missing_prices_and_networks_are_named(chain_database, chain_rows):
    """A symbol that nobody priced, and a network that is not there, are errors of their own."""
    with chain_database.transaction() as tx:
        with pytest.raises(PriceUnavailableError):
            latest_price(tx, "POL")
        with pytest.raises(PriceUnavailableError):
            native_price(tx, 137)
        with pytest.raises(UnknownNetworkError):
            native_price(tx, 999)


def test_lists(chain_database, chain_rows):
    """The newest of each symbol, and all of one symbol paged from the newest down."""
    with chain_database.transaction() as tx:
        numbers = [
            record_price(tx, symbol, Decimal(usd), "fixed:me", THEN)
            for symbol, usd in (("POL", 1), ("BNB", 600), ("POL", 2), ("POL", 3))
        ]
        newest = list_latest_prices(tx)
        first = list_prices(tx, symbol="POL", limit=2)
        rest = list_prices(tx, symbol="POL", after=first[-1].id)
        assert len(list_prices(tx)) == 5
    assert [(row.symbol, row.usd) for row in newest] == [
        ("BNB", 600),
        ("ETH", Decimal(PRICE)),
        ("POL", 3),
    ]
    assert [row.id for row in first] == [numbers[3], numbers[2]]
    assert [row.id for row in rest] == [numbers[0]]


def test_a_source_that_is_down_leaves_the_last_price(chain_database, chain_rows):
    """A source that gives nothing costs the others nothing, and leaves its price with its time."""
    broken, works = Source(), Source("coinbase", "POL")
    assert take_prices(chain_database, [broken, works]) == 2
    broken.quote = None
    works.quote = Quote(Decimal("0.7"), THEN + datetime.timedelta(minutes=1))
    assert take_prices(chain_database, [broken, works]) == 1
    with chain_database.transaction() as tx:
        assert latest_price(tx, "ETH").observed_at == THEN
        assert latest_price(tx, "POL").usd == Decimal("0.7")


def test_the_same_word_is_not_recorded_twice(chain_database, chain_rows):
    """What a source says again unchanged makes no row; a fixed price is recorded once."""
    source, fixed = Source(), FixedSource("BNB", Decimal(600))
    assert [take_prices(chain_database, [source, fixed]) for _ in range(3)] == [2, 0, 0]
    source.quote = Quote(Decimal(3100), THEN + datetime.timedelta(minutes=1))
    assert take_prices(chain_database, [source, fixed]) == 1


def test_a_price_that_is_none_is_not_recorded(chain_database, chain_rows):
    """A source that answers nothing, a negative number or none at all makes no row."""
    source = Source()
    for usd in ("0", "-5", "NaN", "1e30"):
        source.quote = Quote(Decimal(usd), THEN)
        assert take_prices(chain_database, [source]) == 0


def test_the_worker_takes_prices_until_it_is_stopped(chain_database, chain_rows):
    """The worker asks at once and ends when it is told to."""
    source, stop = Source(), threading.Event()
    thread = threading.Thread(target=run_prices, args=(chain_database, [source], stop))
    thread.start()
    assert source.asked.wait(10)
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
    with chain_database.transaction() as tx:
        assert latest_price(tx, "ETH").source == "http:kraken"


def test_the_servers_role_may_record(chain_database, chain_rows):
    """The role of servers and workers records prices, through the function alone."""
    with chain_database.transaction() as tx:
        tx.execute(Query(b"SET LOCAL ROLE tally_app"))
        record_price(tx, "ETH", Decimal(1), "fixed:me", THEN)
