"""What sources say: services over HTTP, and a Chainlink feed on a real node (chain.md, 2)."""

from __future__ import annotations

import datetime
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from tallystick.chain.contracts.compiling import compile_source
from tallystick.chain.errors import EstimateRevertedError, PriceSourceError
from tallystick.chain.node.nodes import Nodes
from tallystick.chain.node.reader import ChainReader
from tallystick.chain.prices import HTTP_SOURCES, ChainlinkSource, HttpSource
from tallystick.chain.prices.sources import HttpService, read_price
from tallystick.record import Address, ChainId
from tests.support.evm import running_anvil

if TYPE_CHECKING:
    from collections.abc import Iterator

DATE = "Sat, 21 Nov 2026 12:00:00 GMT"
AT = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
FEED = Address("0x" + "fe" * 20)
DECIMALS = bytes.fromhex("313ce567")


class Service:
    """A price service of the test's own, over real HTTP."""

    def __init__(self) -> None:
        self.status, self.body, self.date = 200, b"{}", DATE
        self.location: str | None = None
        self.paths: list[str] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.paths.append(self.path)
                self.send_response_only(service.status)
                if service.date:
                    self.send_header("Date", service.date)
                if service.location:
                    self.send_header("Location", service.location)
                self.send_header("Content-Length", str(len(service.body)))
                self.end_headers()
                self.wfile.write(service.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def source(self, *path: str) -> HttpSource:
        """A source that reads *path* of the service's answer."""
        listed = {"own": HttpService(self.url + "/{symbol}", path)}
        return HttpSource("ETH", "own", listed)

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def service() -> Iterator[Service]:
    """A running service."""
    running = Service()
    yield running
    running.close()


def test_a_service_is_read_exactly(service):
    """A price comes digit by digit as the service writes it, dated as its answer is."""
    service.body = b'{"data":{"amount":3123.123456789012345678901}}'
    quote = service.source("data", "amount").read()
    assert quote.usd == Decimal("3123.123456789012345678901")
    assert quote.observed_at == AT
    assert service.paths == ["/ETH"]


@pytest.mark.parametrize(
    ("name", "answer", "usd"),
    [
        ("coinbase", b'{"data":{"amount":"3123.5","base":"ETH","currency":"USD"}}', "3123.5"),
        ("kraken", b'{"error":[],"result":{"XETHZUSD":{"c":["3120.01","0.5"]}}}', "3120.01"),
        ("bitstamp", b'{"last":"3119.9","high":"3200"}', "3119.9"),
    ],
)
def test_answers_of_the_listed_services(name, answer, usd):
    """Each listed service's answer, as it documents it, holds the price where we read it."""
    assert read_price(answer, HTTP_SOURCES[name].path) == Decimal(usd)
    assert HTTP_SOURCES[name].url.startswith("https://")


@pytest.mark.parametrize(
    "change",
    [
        {"status": 500},
        {"status": 302, "location": "http://127.0.0.1:1/"},
        {"body": b"no JSON"},
        {"body": b'{"data":{}}'},
        {"body": b'{"data":{"amount":"soon"}}'},
        {"body": b'{"data":{"amount":null}}'},
        {"body": b'{"data":[1]}'},
        {"body": b'{"data":{"amount":"1"},"more":"' + b"x" * 70_000 + b'"}'},
        {"date": ""},
        {"date": "yesterday"},
        {"date": "Fri, 31 Dec 9999 23:59:59 -2300"},
        {"body": b"[" * 60_000},
    ],
)
def test_whatever_is_no_price_is_an_error(service, change):
    """Another status, a redirect, other JSON, an endless answer or none dated give no price."""
    service.body = b'{"data":{"amount":"1"}}'
    for name, value in change.items():
        setattr(service, name, value)
    with pytest.raises(PriceSourceError):
        service.source("data", "amount").read()


def test_an_answer_of_another_form_is_no_price():
    """Where an object is expected text is an error that whoever reads knows."""
    with pytest.raises(TypeError):
        read_price(b'{"result":"EService:Busy"}', HTTP_SOURCES["kraken"].path)


def test_a_service_that_is_not_listed_is_never_asked():
    """Only the services on the list are asked; there is no setting that adds a host."""
    with pytest.raises(PriceSourceError):
        HttpSource("ETH", "evil.example").read()


def words(*numbers: int) -> bytes:
    """ABI words."""
    return b"".join(number.to_bytes(32) for number in numbers)


def feed(decimals: bytes, data: bytes) -> ChainlinkSource:
    """A feed that answers so."""
    return ChainlinkSource(
        "ETH", ChainId(1), FEED, lambda _, __, call: decimals if call == DECIMALS else data
    )


def test_a_feed_is_read_with_its_time():
    """A feed's answer is scaled by its decimals and dated by its round's update."""
    at = int(AT.timestamp())
    quote = feed(words(8), words(1, 312312345678, at - 5, at, 1)).read()
    assert (quote.usd, quote.observed_at) == (Decimal("3123.12345678"), AT)
    whole = feed(words(18), words(1, 3 * 10**21 + 1, at, at, 1)).read()
    assert whole.usd == Decimal("3000.000000000000000001")


@pytest.mark.parametrize(
    ("decimals", "data"),
    [
        (b"", words(1, 1, 1, 1, 1)),
        (words(8), b""),
        (words(8), words(1, 1, 1, 1)),
        (words(8), words(1, 0, 1, 1, 1)),
        (words(8), words(1, 2**256 - 5, 1, 1, 1)),
        (words(8), words(1, 1, 0, 0, 1)),
        (words(8), words(1, 1, 1, 2**64, 1)),
        (words(2**255), words(1, 1, 1, 1, 1)),
    ],
)
def test_a_feed_that_answers_no_price_is_an_error(decimals, data):
    """A contract that is no feed, a price of nothing or below, and an open round give no price."""
    with pytest.raises(PriceSourceError):
        feed(decimals, data).read()


FEED_SOURCE = """
# pragma version ~=0.4.0

'''
@title A feed whose price stands still
@custom:version 1.0.0
'''

@external
@view
def decimals() -> uint8:
    return 8

@external
@view
def latestRoundData() -> (uint80, int256, uint256, uint256, uint80):
    return 7, 312312345678, 1795262300, 1795262400, 7
"""


def test_a_feed_on_a_real_node():
    """A feed that is a contract on a real node is read through the node client."""
    code = compile_source("Feed", FEED_SOURCE).runtime_bytecode
    with running_anvil() as anvil, Nodes({anvil.chain_id: [SecretStr(anvil.url)]}) as nodes:
        anvil.rpc("anvil_setCode", FEED, f"0x{code.hex()}")
        reader = ChainReader(nodes, lambda _: 1)
        source = ChainlinkSource("ETH", ChainId(anvil.chain_id), FEED, reader.call)
        quote = source.read()
        assert quote.usd == Decimal("3123.12345678")
        assert quote.observed_at == datetime.datetime.fromtimestamp(1795262400, datetime.UTC)
        assert source.source == f"chainlink:{FEED}"
        elsewhere = ChainlinkSource(
            "ETH", ChainId(anvil.chain_id), Address("0x" + "ab" * 20), reader.call
        )
        with pytest.raises((PriceSourceError, EstimateRevertedError)):
            elsewhere.read()
