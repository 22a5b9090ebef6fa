"""The pages of users, keys and human proofs, in a real browser (identity.md, section 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tallystick.config import Settings
from tallystick.http import Pages
from tallystick.identity import APIKeyRepository, UserRepository
from tallystick.identity.key_text import format_key
from tallystick.runtime.serve import make_pages
from tallystick.web import is_page
from tests.http.conftest import TOKEN, Running, free_port, running
from tests.support.browser import browsing
from tests.support.log_builder import LogBuilder
from tests.web.conftest import EVIL, JSON

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

WALLET = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


@dataclass(frozen=True)
class House:
    """A server with its pages, and two users: one with everything, one with nothing."""

    server: Running
    rich: str
    poor: str
    key: str
    """The rich user's, which has no scope."""

    def url(self, path: str) -> str:
        """The address of a page."""
        return f"{self.server.url}{path}"

    def twin(self, path: str, key: str = TOKEN) -> httpx.Response:
        """A page's JSON."""
        return httpx.get(self.url(path), headers=JSON | {"authorization": f"Bearer {key}"})


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """The house, running."""
    (tmp_path / "operator.key").touch(mode=0o600)
    (tmp_path / "operator.key").write_text(TOKEN)
    settings = Settings(
        database_url=database_url,
        data_dir=tmp_path,
        key_dir=tmp_path / "keys",
        port=free_port(),
        origin_prefix="log.example",
        trusted_proxies=("127.0.0.1/32",),
    )
    builder = LogBuilder(database_url, tmp_path / "keys")
    with running(settings, builder, pages=Pages(is_page, make_pages)) as server:
        with server.services.database.transaction() as tx:
            users, keys = UserRepository(tx), APIKeyRepository(tx)
            rich = users.create(WALLET, username=EVIL, tags=["vip", EVIL]).id
            said = {"reason_code": "test", "actor": "system:tests"}
            users.update_risk_score(rich, 40, reason=f"odd {EVIL}", **said)
            users.update_risk_score(rich, 25, reason="explained", **said)
            key = keys.create(rich, name=f"ci {EVIL}", actor="system:tests")
            old = keys.create(rich, name="old", scopes=["log:read"], actor="system:tests")
            keys.revoke(old.key.id, reason="leaked", actor="system:tests")
            poor = users.create().id
        yield House(server, rich, poor, key.secret)
    builder.close()


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    """A browser that has visited nothing."""
    with browsing() as opened:
        yield opened


def sign_in(browser: BrowserContext, house: House, key: str) -> Page:
    """Sign in at `/login` and return the page that it leads to."""
    page = browser.new_page()
    page.goto(house.url("/login"))
    page.fill("input[name=key]", key)
    with page.expect_navigation():
        page.click("button:text-is('Sign in')")
    return page


def test_pages_show_what_their_twins_say(browser: BrowserContext, house: House):
    """identity 23: each page renders, with data and without, what its JSON twin has."""
    page = sign_in(browser, house, TOKEN)
    assert page.url == house.url("/")
    for user in (house.rich, house.poor):
        told = house.twin(f"/users/{user}").json()
        assert page.goto(house.url(f"/users/{user}")).status == 200
        shown = page.inner_text("main")
        assert told["risk_score"] in shown
        assert (told["wallet_address"] or "none") in shown
        for line in told["risk_history"]:
            assert line["reason"] in shown
        for key in told["keys"]:
            assert key["prefix"] in shown
        assert page.locator("svg polyline").count() == (1 if told["risk_history"] else 0)
        told = house.twin(f"/api-keys?user={user}").json()
        page.goto(house.url(f"/api-keys?user={user}"))
        shown = page.inner_text("main")
        states = [key["state"] for key in told["keys"]]
        assert states == (["revoked", "active"] if user == house.rich else [])
        for key in told["keys"]:
            assert key["name"] in shown
        page.goto(house.url(f"/human-proofs?user={user}"))
        assert house.twin(f"/human-proofs?user={user}").json()["proofs"] == []
        assert "None was submitted" in page.inner_text("main")
    page.goto(house.url("/api-keys"))
    assert house.twin("/api-keys").json()["active_by_tier"] == {"free": 1}
    assert "free" in page.inner_text("main")
    page.goto(house.url("/human-proofs"))
    assert page.locator("input[name=user]").count() == 1
    # What a user calls himself is text, and no element was made of it.
    assert page.locator("script").count() == 0


def test_a_key_is_kept_where_no_script_sees_it(browser: BrowserContext, house: House):
    """identity 23: the cookie is HttpOnly and SameSite=Strict; signing out forgets it."""
    page = sign_in(browser, house, house.key)
    [cookie] = browser.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("tally_key", True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert page.goto(house.url(f"/users/{house.rich}")).status == 200
    assert page.goto(house.url("/api-keys")).status == 200
    assert page.goto(house.url(f"/users/{house.poor}")).status == 403
    page.goto(house.url("/login"))
    with page.expect_navigation():
        page.click("button:text-is('Sign out')")
    assert browser.cookies() == []
    assert page.goto(house.url(f"/users/{house.rich}")).status == 401
    assert page.locator("a[href='/login']").count() == 1


def test_beyond_this_machine_the_cookie_needs_tls(house: House):
    """identity 23: only on a loopback name is the cookie sent in clear."""
    for host, is_secure in (("127.0.0.1:1", False), ("localhost", False), ("tally.example", True)):
        headers = {"host": host, "origin": f"http://{host}"}
        sent = httpx.post(house.url("/login"), data={"key": house.key}, headers=headers)
        assert sent.status_code == 303
        assert ("Secure" in sent.headers["set-cookie"]) == is_secure


def test_a_form_of_another_origin_is_refused(house: House):
    """identity 23: a POST by cookie, and one to sign in, from another origin changes nothing."""
    for origin in ({"origin": "https://evil.example"}, {"origin": "null"}, {}):
        for path in ("/login", "/logout"):
            sent = httpx.post(house.url(path), data={"key": house.key}, headers=origin)
            assert sent.status_code == 403
            assert "set-cookie" not in sent.headers
    own = {"cookie": f"tally_key={house.key}"}
    route = house.url("/api/v1/api-keys")
    body = {"name": "x", "scopes": []}
    refused = httpx.post(route, json=body, headers=own | {"origin": "https://evil.example"})
    assert (refused.status_code, refused.json()["code"]) == (403, "foreign_origin")
    assert httpx.post(route, json=body, headers=own).status_code == 403
    sent = httpx.post(route, json=body, headers=own | {"origin": house.server.url})
    assert sent.status_code == 201


def test_a_key_that_is_not_good_is_not_kept(house: House):
    """A wrong or strange key is refused at the door, and no cookie is set."""
    origin = {"origin": house.server.url}
    for key in ("tly_wrong", "", "a b", "x" * 500, f"{house.key}; Path=/evil"):
        sent = httpx.post(house.url("/login"), data={"key": key}, headers=origin)
        assert sent.status_code == 401
        assert "set-cookie" not in sent.headers
    assert (
        httpx.post(house.url("/login"), content=b"\xff" * 5000, headers=origin).status_code >= 400
    )


def test_a_host_of_no_form_is_beyond_this_machine(house: House):
    """A Host header that is no host's is no defect, and its cookie is not sent in clear."""
    headers = {"host": "[", "origin": "http://["}
    sent = httpx.post(house.url("/login"), data={"key": house.key}, headers=headers)
    assert sent.status_code == 303
    assert "Secure" in sent.headers["set-cookie"]


def test_who_guesses_keys_is_charged_himself(house: House):
    """Guesses at the login are charged to the address behind the proxy, and told when to go on."""
    with house.server.services.database.transaction() as tx:
        limits = {"rate_limit": 10, "daily_quota": None, "actor": "system:tests"}
        APIKeyRepository(tx).set_tier_limits("anonymous", **limits)
    origin = {"origin": house.server.url}
    guess = {"key": format_key(1, bytes(32))}

    def try_from(address: str) -> httpx.Response:
        headers = origin | {"x-forwarded-for": address}
        return httpx.post(house.url("/login"), data=guess, headers=headers)

    tries = [try_from("192.0.2.1") for _ in range(3)]
    assert [401, 429] == sorted({sent.status_code for sent in tries})
    refused = tries[-1]
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["ratelimit-remaining"] == "0"
    assert try_from("192.0.2.2").status_code == 401


def test_a_visitor_with_a_dead_key_can_sign_in_again(house: House):
    """A cookie whose key is revoked opens nothing, and does not keep one from the login page."""
    with house.server.services.database.transaction() as tx:
        APIKeyRepository(tx).revoke_all(house.rich, reason="leaked", actor="system:tests")
    cookie = {"cookie": f"tally_key={house.key}", "accept": "text/html"}
    refused = httpx.get(house.url("/"), headers=cookie)
    assert refused.status_code == 401
    assert re.search("revoked", refused.text)
    assert httpx.get(house.url("/login"), headers=cookie).status_code == 200


def test_pages_are_for_whom_they_are_about(house: House):
    """A stranger signs in first; a user sees himself; who lacks the scope sees nobody else."""
    for path in (f"/users/{house.rich}", "/api-keys", "/human-proofs"):
        assert httpx.get(house.url(path), headers=JSON).status_code == 401
        assert house.twin(path, house.key).status_code == 200
    for path in (f"/users/{house.poor}", f"/api-keys?user={house.poor}"):
        assert house.twin(path, house.key).status_code == 403
    assert house.twin("/users/nobody").status_code == 404
    assert house.twin("/api-keys?user=nobody").status_code == 404
    assert house.twin(f"/api-keys?user={house.rich}&after=zzz").status_code in {400, 422}
