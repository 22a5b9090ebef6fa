"""The pages of networks, transactions and contracts, in a real browser (chain.md, section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tallystick.config import Settings
from tallystick.http import Pages
from tallystick.record import format_address
from tallystick.runtime.serve import make_pages
from tallystick.web import is_page
from tests.chain.rows import CHAIN, CONTRACT, OURS, ChainRows, hash_of
from tests.http.conftest import TOKEN, Running, free_port, running
from tests.support.browser import browsing
from tests.support.keys import issue, make_user
from tests.support.log_builder import LogBuilder
from tests.web.conftest import EVIL, JSON

if TYPE_CHECKING:
    from tests.support.server import TestServer

ABI = (
    '[{"type": "function", "name": "anchor", "inputs": [{"name": "h", "type": "bytes32"}]},'
    ' {"type": "event", "name": "Anchored", "inputs": []}, {"type": "constructor"}]'
)


@dataclass(frozen=True)
class House:
    """A server with its pages, and a chain with one transaction of each kind."""

    server: Running
    final: str
    """The hash of a transaction's newest signing, of two."""
    first: str
    """That of its first."""
    reader: dict[str, str]

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"{self.server.url}{path}"

    def twin(self, path: str, **headers: str) -> httpx.Response:
        """A page's JSON."""
        return httpx.get(self.url(path), headers=JSON | headers)

    @property
    def operator(self) -> dict[str, str]:
        """What the operator sends."""
        return {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def house(test_server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The house, running."""
    place = tmp_path_factory.mktemp("house")
    (place / "operator.key").touch(mode=0o600)
    (place / "operator.key").write_text(TOKEN)
    with test_server.database() as url:
        settings = Settings(
            database_url=url, data_dir=place, port=free_port(), origin_prefix="log.example"
        )
        builder = LogBuilder(url, place / "keys")
        with (
            psycopg.connect(url, autocommit=True) as connection,
            running(settings, builder, pages=Pages(is_page, make_pages)) as server,
        ):
            rows = ChainRows(connection).open()
            final, first = furnish(rows)
            user = make_user(server.services.database)
            reader = issue(server.services.database, user, "chain:read").headers
            yield House(server, final, first, dict(reader))
        builder.close()


def furnish(rows: ChainRows) -> tuple[str, str]:
    """A final transaction that was signed twice, one that waits, one that failed oddly."""
    rows.contract(abi=ABI)
    rows.block(10)
    rows.scan(10)
    number = rows.queue("final")
    first, final = rows.sign(number), rows.sign(number, attempt=2)
    rows.include(number, 10)
    rows.finish(number)
    rows.queue("waits")
    rows.state(rows.queue("odd"), "failed", changes=f", error_message = 'refused {EVIL}'")
    rows.sign(rows.queue("sent"))
    return final, first


def test_pages_show_what_their_twins_say(house: House):
    """chain 22: Each page renders, signed in and not, what its JSON twin has."""
    with browsing() as browser:
        page = browser.new_page()
        told = house.twin("/chain").json()
        assert (told["accounts"], told["waiting"]) == (None, None)
        assert page.goto(house.url("/chain")).status == 200
        shown = page.inner_text("main")
        [network] = told["networks"]
        assert (network["chain_id"], network["head"], network["finalized"]) == (CHAIN, 10, 10)
        assert network["name"] in shown
        assert format_address(OURS) not in page.content()
        assert page.goto(house.url(f"/chain/tx/{CHAIN}/{house.final}")).status == 401
        told = house.twin("/chain/contracts").json()
        page.goto(house.url("/chain/contracts"))
        shown = page.inner_text("main")
        [contract] = told["contracts"]
        assert contract["functions"] == ["anchor(bytes32)"]
        for text in (format_address(CONTRACT), "anchor(bytes32)", "Anchored()"):
            assert text in shown
        page.goto(house.url("/login"))
        page.fill("input[name=key]", TOKEN)
        with page.expect_navigation():
            page.click("button:text-is('Sign in')")
        told = house.twin("/chain", **house.operator).json()
        assert [one["state"] for one in told["waiting"]] == ["queued", "broadcast"]
        page.goto(house.url("/chain"))
        shown = page.inner_text("main")
        assert told["accounts"][0]["address"] == format_address(OURS)
        assert format_address(OURS) in shown
        with page.expect_navigation():
            page.click(f"a[href*='{told['waiting'][1]['transaction_hash']}']")
        assert "It is in no block." in page.inner_text("main")
        path = f"/chain/tx/{CHAIN}/{house.first}"
        told = house.twin(path, **house.operator).json()
        assert page.goto(house.url(path)).status == 200
        shown = page.inner_text("main")
        assert [one["is_current"] for one in told["attempts"]] == [False, True]
        names = [step["name"] for step in told["steps"]]
        assert names == [
            *("handed over", "signed", "signed again"),
            *("included", "confirmed", "finalized"),
        ]
        assert page.locator("ol.steps li").count() == len(names)
        for text in (house.final, house.first, told["block_hash"], told["cost"]["fee_wei"]):
            assert text in shown
        assert told["cost"]["cost_usd"] in shown
        # Nothing that was sent to a chain becomes an element.
        assert page.locator("script").count() == 0


def test_whom_a_transaction_is_for_is_not_shown_to_readers(house: House):
    """chain 22: A page and its twin name user and challenge to chain:admin alone."""
    with psycopg.connect(house.server.builder.url, autocommit=True) as connection:
        ChainRows(connection).observed(500)
    path = f"/chain/tx/{CHAIN}/{hash_of(500)}"
    read, managed = house.twin(path, **house.reader), house.twin(path, **house.operator)
    assert (read.json()["user_id"], read.json()["challenge_id"]) == (None, None)
    assert (managed.json()["user_id"], managed.json()["challenge_id"]) == ("alice", 7)
    html = {"accept": "text/html"}
    shown = httpx.get(house.url(path), headers=house.reader | html).text
    assert "alice" not in shown
    assert "alice" in httpx.get(house.url(path), headers=house.operator | html).text


def test_pages_that_there_are_not_say_so(house: House):
    """An unknown network, transaction or page is a problem, as a page and as JSON."""
    nothing = "0x" + "ee" * 32
    for path, status in (
        (f"/chain/tx/{CHAIN}/{nothing}", 404),
        (f"/chain/tx/99/{nothing}", 404),
        (f"/chain/tx/{2**80}/{nothing}", 404),
        (f"/chain/tx/{CHAIN}/0x12", 422),
        (f"/chain/tx/x/{nothing}", 404),
        ("/chain/contracts?after=x", 400),
        (f"/chain/contracts?after={10**40}", 400),
        ("/chain/other", 404),
    ):
        refused = house.twin(path, **house.operator)
        assert refused.status_code == status, path
        assert re.fullmatch(r"[a-z_]+", refused.json()["code"])
    assert house.twin("/chain/contracts?after=1").json() == {"contracts": [], "next": None}
    assert house.twin(f"/chain/tx/{CHAIN}/{house.final}").status_code == 401
