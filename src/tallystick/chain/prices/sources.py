"""
Where prices come from: an operator's word, a Chainlink feed, or a service on the list below.

Follows chain.md, section 2 (price_snapshots). A source is asked outside of any transaction, and
answers a price with the time at which it was true for the source; one that is down raises, and
the last price stays with its own time.
"""

from __future__ import annotations

import datetime
import email.utils
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from types import ModuleType
from typing import Any, Final, Protocol

from tallystick.chain.errors import PriceSourceError
from tallystick.record import Address, ChainId

DEADLINE_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 65_536
"""A price takes a line; a longer answer is of something else."""
WORD_BYTES: Final = 32
LATEST_ROUND_DATA: Final = bytes.fromhex("feaf968c")
DECIMALS: Final = bytes.fromhex("313ce567")
MAX_DECIMALS: Final = 77
"""No uint256 has more digits."""
MAX_TIME: Final = 253_402_300_799
"""The last second of the year 9999, after which Python has no times."""

Call = Callable[[ChainId, Address, bytes], bytes]
"""Calls a contract on a network: `ChainReader.call`."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A price as a source gives it."""

    usd: Decimal
    observed_at: datetime.datetime | None
    """The source's own time; None where it has none and the time of recording is as good."""


class PriceSource(Protocol):
    """Gives the price of one symbol."""

    @property
    def symbol(self) -> str:
        """What it prices: `ETH`."""
        ...

    @property
    def source(self) -> str:
        """What snapshots name: `http:coinbase`."""
        ...

    def read(self) -> Quote:
        """
        Return the price now.

        Raises:
            PriceSourceError, NodeUnavailableError: It gives none.
        """
        ...


@dataclass(frozen=True, slots=True)
class FixedSource:
    """A price that an operator set."""

    symbol: str
    usd: Decimal
    operator: str = "settings"

    @property
    def source(self) -> str:
        """`fixed:<operator>`."""
        return f"fixed:{self.operator}"

    def read(self) -> Quote:
        """Return the price that was set; it is as true now as then."""
        return Quote(self.usd, None)


@dataclass(frozen=True, slots=True)
class ChainlinkSource:
    """A feed of Chainlink, read on any network that has one."""

    symbol: str
    chain_id: ChainId
    feed: Address
    call: Call

    @property
    def source(self) -> str:
        """`chainlink:<feed's address>`."""
        return f"chainlink:{self.feed}"

    def read(self) -> Quote:
        """
        Return the answer of the latest round, at the time at which it was updated.

        Raises:
            PriceSourceError: The contract is no feed, or its answer is no price.
            NodeUnavailableError, EstimateRevertedError: The node gives no answer.
        """
        decimals = read_words(self.call(self.chain_id, self.feed, DECIMALS), 1)[0]
        data = self.call(self.chain_id, self.feed, LATEST_ROUND_DATA)
        _, answer, _, updated_at, _ = read_words(data, 5)
        if decimals > MAX_DECIMALS or not 0 < answer < 1 << 255:
            raise PriceSourceError(f"{self.source} answers no price")
        if not 0 < updated_at <= MAX_TIME:
            raise PriceSourceError(f"{self.source} has no finished round")
        return Quote(
            Decimal(answer).scaleb(-decimals),
            datetime.datetime.fromtimestamp(updated_at, datetime.UTC),
        )


@dataclass(frozen=True, slots=True)
class HttpService:
    """A service that is on the list: where it is asked, and where its answer holds the price."""

    url: str
    """With `{symbol}` where the symbol goes."""
    path: tuple[str, ...]
    """Keys from the root of the JSON to the price; `*` is the only key there is."""


HTTP_SOURCES: Final[Mapping[str, HttpService]] = {
    "coinbase": HttpService(
        "https://api.coinbase.com/v2/prices/{symbol}-USD/spot", ("data", "amount")
    ),
    "kraken": HttpService(
        "https://api.kraken.com/0/public/Ticker?pair={symbol}USD", ("result", "*", "c", "0")
    ),
    "bitstamp": HttpService("https://www.bitstamp.net/api/v2/ticker/{symbol}usd/", ("last",)),
}
"""The services that may be asked; no setting adds a host to them."""


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A price by HTTPS from a service on the list; redirects are not followed."""

    symbol: str
    name: str
    services: Mapping[str, HttpService] = field(default_factory=lambda: HTTP_SOURCES)

    @property
    def source(self) -> str:
        """`http:<name of the service>`."""
        return f"http:{self.name}"

    def read(self) -> Quote:
        """
        Return the service's price, at the time that its answer is dated.

        Raises:
            PriceSourceError: It is not on the list, does not answer, or answers no price.
        """
        service = self.services.get(self.name)
        if service is None:
            raise PriceSourceError(f"{self.source} is not on the list of services")
        try:
            body, observed_at = fetch(service.url.format(symbol=self.symbol))
            usd = read_price(body, service.path)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as cause:
            raise PriceSourceError(f"{self.source} gives no price") from cause
        return Quote(usd, observed_at)


def fetch(url: str) -> tuple[bytes, datetime.datetime]:
    """
    Return the body at *url* and the time that the answer is dated.

    Raises:
        ValueError, TypeError, OverflowError: There is no answer in time, or it is not 200, too
            long or without a date.
    """
    # A tenth of a second of import, which only a process that takes prices pays.
    import httpx  # noqa: PLC0415

    try:
        return fetch_with(httpx, url)
    except httpx.HTTPError as cause:
        raise ValueError(f"no answer: {type(cause).__name__}") from cause


def fetch_with(httpx: ModuleType, url: str) -> tuple[bytes, datetime.datetime]:
    """As `fetch`; errors of *httpx* leave as they are."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    with (
        httpx.Client(timeout=DEADLINE_SECONDS, follow_redirects=False) as client,
        client.stream("GET", url) as response,
    ):
        if response.status_code != httpx.codes.OK:
            raise ValueError(f"status {response.status_code}")
        body = b""
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_ANSWER_BYTES:
                raise ValueError("the answer is too long")
            if time.monotonic() > deadline:
                raise ValueError("the answer is too slow")
        # Services that quote a live price name no time in it; the answer's date is theirs.
        dated = email.utils.parsedate_to_datetime(response.headers.get("Date"))
    aware = dated if dated.tzinfo else dated.replace(tzinfo=datetime.UTC)
    # Here and not where the row is read: a zone may carry a date out of all that Python knows.
    return body, aware.astimezone(datetime.UTC)


def read_price(body: bytes, path: tuple[str, ...]) -> Decimal:
    """
    Return the number at *path* of a JSON text, exactly as it is written there.

    Raises:
        ValueError, TypeError, LookupError, RecursionError: There is none.
    """
    value: Any = json.loads(body, parse_float=Decimal, parse_int=Decimal)
    for key in path:
        if isinstance(value, list):
            value = value[int(key)]
        elif not isinstance(value, dict):
            raise TypeError("the answer has another form")
        elif key == "*":
            (value,) = value.values()
        else:
            value = value[key]
    try:
        return Decimal(value)
    except InvalidOperation as cause:
        raise ValueError("the price is no number") from cause


def read_words(data: bytes, count: int) -> list[int]:
    """
    Return *count* ABI words as unsigned numbers.

    Raises:
        PriceSourceError: There are fewer.
    """
    if len(data) < count * WORD_BYTES:
        raise PriceSourceError("the contract is no price feed")
    return [
        int.from_bytes(data[at : at + WORD_BYTES])
        for at in range(0, count * WORD_BYTES, WORD_BYTES)
    ]
