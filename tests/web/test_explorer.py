"""The explorer's pages, as a browser and as a program see them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from tallystick.tlog import hash_leaf
from tallystick.web import is_page
from tests.web.conftest import EVIL, JSON, POOR_KEY, SIGNED_IN, change

if TYPE_CHECKING:
    from litestar.testing import TestClient

    from tallystick.publish import Publisher
    from tests.support.log_builder import LogBuilder


@pytest.fixture
def payments(builder: LogBuilder, publisher: Publisher) -> list[bytes]:
    """A public log with three versions of payment 42 in it; their leaves."""
    builder.create("payments", visibility="public", description="Money")
    number = builder.add_table("payments", "payment")
    leaves = []
    for op, note in (("insert", "a"), ("update", "b"), ("delete", "b")):
        made = change("payments", "42", op, note=note)
        leaves.append(builder.append_change("payments", number, made, key_text='["42"]'))
        builder.seal("payments")
    publisher.refresh()
    return leaves


@pytest.fixture
def sealed(builder: LogBuilder, publisher: Publisher) -> None:
    """A log of each visibility with one pushed leaf."""
    for visibility in ("public", "hashes", "private"):
        builder.filled(f"log_{visibility}", [b"leaf"], visibility=visibility)
    publisher.refresh()


def test_first_page_lists_logs_with_sizes(client: TestClient[Any], payments: list[bytes]):
    """The first page lists the logs, each with its size and a link."""
    answer = client.get("/")
    assert answer.status_code == 200
    assert '<a href="/logs/payments">payments</a>' in answer.text
    assert '<td class="number">3</td>' in answer.text
    assert client.get("/", headers=JSON).json()["logs"][0]["size"] == 3


def test_log_shows_its_growth(client: TestClient[Any], payments: list[bytes]):
    """A log's page has its checkpoints, the newest first, and a line of them."""
    answer = client.get("/logs/payments")
    assert '<polyline points="' in answer.text
    twin = client.get("/logs/payments", headers=JSON).json()
    assert [line["tree_size"] for line in twin["checkpoints"]] == [3, 2, 1, 0]
    assert twin["log"]["root"] in {line["root_hash"] for line in twin["checkpoints"]}


def test_row_shows_its_versions_with_differences(client: TestClient[Any], payments: list[bytes]):
    """A row's page has its versions, the oldest first, each with what changed."""
    answer = client.get("/logs/payments/rows", params={"table": "payment", "key": "42"})
    assert '<tr class="changed"><td>note</td><td class="before">a</td>' in answer.text
    twin = client.get(
        "/logs/payments/rows", params={"table": "payment", "key": "42"}, headers=JSON
    ).json()
    assert [version["op"] for version in twin["versions"]] == ["insert", "update", "delete"]
    kinds = [[column["kind"] for column in version["columns"]] for version in twin["versions"]]
    assert kinds == [["added", "added"], ["same", "changed"], ["removed", "removed"]]


def test_key_may_be_the_array_that_leaves_carry(client: TestClient[Any], payments: list[bytes]):
    """A row is found by its key's columns, or by the JSON array of them."""
    twin = client.get(
        "/logs/payments/rows", params={"table": "public.payment", "key": '["42"]'}, headers=JSON
    ).json()
    assert len(twin["versions"]) == 3


def test_versions_are_paged_without_a_seam(
    client: TestClient[Any],
    payments: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
):
    """Pages of versions follow one another, and each version is compared across their border."""
    parameters = {"table": "payment", "key": "42"}
    whole = client.get("/logs/payments/rows", params=parameters, headers=JSON).json()
    monkeypatch.setattr("tallystick.web.pages.VERSIONS", 2)
    pieces, after = [], None
    while True:
        more = parameters if after is None else {**parameters, "after": after}
        page = client.get("/logs/payments/rows", params=more, headers=JSON).json()
        pieces += page["versions"]
        after = page["next"]
        if after is None:
            break
    assert pieces == whole["versions"]


def test_entry_shows_leaf_and_path(client: TestClient[Any], payments: list[bytes]):
    """An entry's page has the leaf and the hashes that lead from it to the published root."""
    answer = client.get("/logs/payments/entries/1")
    assert hash_leaf(payments[1]).hex() in answer.text
    assert 'href="/logs/payments/rows?table=public.payment&amp;key=42"' in answer.text
    twin = client.get("/logs/payments/entries/1", headers=JSON).json()
    assert base64.b64decode(twin["leaf"]) == payments[1]
    assert [step["side"] for step in twin["path"]] == ["left", "right"]
    assert twin["path"][0]["sibling"] == base64.b64encode(hash_leaf(payments[0])).decode()


@pytest.mark.parametrize("path", ["/logs/none", "/logs/none/entries/0", "/logs/payments/entries/3"])
def test_what_is_missing_is_404(client: TestClient[Any], payments: list[bytes], path: str):
    """A log or leaf that does not exist is told as a page, and to programs as a problem."""
    assert client.get(path).status_code == 404
    twin = client.get(path, headers=JSON)
    assert (twin.status_code, twin.headers["content-type"]) == (404, "application/problem+json")
    assert twin.json()["code"] in {"log_not_found", "leaf_not_found"}


@pytest.mark.parametrize(
    "query",
    ["", "?table=payment", "?table=payment&key=42&after=x", "?table=payment&key=42&after=1-²"],
)
def test_request_that_does_not_parse_is_400(
    client: TestClient[Any], payments: list[bytes], query: str
):
    """A row's page without a row, or with a made-up place to go on, is refused in words."""
    answer = client.get(f"/logs/payments/rows{query}", headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "page_request")


def test_every_value_is_escaped(client: TestClient[Any], builder: LogBuilder, publisher: Publisher):
    """Markup in a key, a value or a table's name is text on every page."""
    builder.create("evil", visibility="public", description=EVIL)
    number = builder.add_table("evil", "evil")
    key = f'["{EVIL}"]'
    made = change("evil", EVIL, **{EVIL: EVIL})
    builder.append_change("evil", number, made, key_text=key)
    builder.seal("evil")
    publisher.refresh()
    pages = ("/", "/logs/evil", "/logs/evil/entries/0")
    texts = [client.get(path).text for path in pages]
    texts.append(client.get("/logs/evil/rows", params={"table": "evil", "key": EVIL}).text)
    texts.append(client.get("/logs/evil/rows", params={"table": EVIL, "key": EVIL}).text)
    for text in texts:
        assert "<script" not in text
        assert "&lt;script&gt;" in text


def test_pages_may_load_nothing_but_the_style_sheet(client: TestClient[Any], payments: list[bytes]):
    """Every page forbids scripts and foreign content, and its style sheet is there."""
    for path in ("/", "/logs/payments", "/logs/none", "/logs/payments/entries/0"):
        policy = client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in policy
    style = client.get("/static/explorer.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in style.text


OPEN = {
    "/logs/log_public": True,
    "/logs/log_public/entries/0": True,
    "/logs/log_hashes": True,
    "/logs/log_hashes/entries/0": False,
    "/logs/log_hashes/rows?table=t&key=1": False,
    "/logs/log_private": False,
    "/logs/log_private/entries/0": False,
    "/logs/log_private/rows?table=t&key=1": False,
}


@pytest.mark.usefixtures("sealed")
@pytest.mark.parametrize(("path", "is_open"), OPEN.items())
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_visibility_decides_what_is_open(
    client: TestClient[Any], path: str, accept: str, is_open: object
):
    """A page is open as far as the log's visibility opens it; the operator's key opens all."""
    headers = {"accept": accept}
    answer = client.get(path, headers=headers)
    assert answer.status_code == (200 if is_open else 401)
    if not is_open:
        assert answer.headers["www-authenticate"] == "Bearer"
        assert ("/login" in answer.text) == (accept == "text/html")
        poor = client.get(path, headers=headers | {"authorization": f"Bearer {POOR_KEY}"})
        assert poor.status_code == 403
    assert client.get(path, headers=headers | SIGNED_IN).status_code == 200


@pytest.mark.usefixtures("sealed")
def test_private_logs_are_listed_to_the_operator_alone(client: TestClient[Any]):
    """The list has a private log only where the operator asks."""
    names = [log["log_name"] for log in client.get("/", headers=JSON).json()["logs"]]
    assert names == ["log_hashes", "log_public"]
    signed_in = client.get("/", headers=JSON | SIGNED_IN).json()["logs"]
    assert [log["log_name"] for log in signed_in] == ["log_hashes", "log_private", "log_public"]


def test_pushed_entry_is_shown_as_it_is(
    client: TestClient[Any], builder: LogBuilder, publisher: Publisher
):
    """A leaf that is no record, and no text either, has a page all the same."""
    builder.filled("bytes", [b"\xff\x00"], visibility="public")
    publisher.refresh()
    answer = client.get("/logs/bytes/entries/0")
    assert "<pre>ff00</pre>" in answer.text


def test_a_defect_shows_nothing_of_itself(
    client: TestClient[Any], publisher: Publisher, monkeypatch: pytest.MonkeyPatch
):
    """A bug ends in status 500 and says nothing of what went wrong."""
    monkeypatch.setattr(publisher, "_heads", None)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "NoneType" not in answer.text


ADDRESSES = {
    ("/", ""): True,
    ("/login", ""): True,
    ("/users/7", ""): True,
    ("/users/7/risk", ""): False,
    ("/api-keys", "*/*"): True,
    ("/human-proofs", ""): True,
    ("/logout", ""): False,
    ("/static/explorer.css", ""): True,
    ("/witness", "*/*"): True,
    ("/logs/payments", "*/*"): True,
    ("/logs/payments/audit", "*/*"): True,
    ("/logs/payments/history", "text/html"): True,
    ("/logs/payments/history", "*/*"): False,
    ("/logs/payments/rows", "text/html,application/xhtml+xml,*/*;q=0.8"): True,
    ("/logs/payments/entries/7", "text/html"): True,
    ("/logs/payments/entries/7", "application/json"): False,
    ("/logs/payments/entries/7", "*/*"): False,
    ("/logs/payments/entries/7", "text/html;q=0.1, application/json"): False,
    ("/logs/payments/entries", "text/html"): False,
    ("/logs/payments/checkpoint", "text/html"): False,
    ("/logs", "text/html"): False,
    ("/api/v1/health", "text/html"): False,
}


@pytest.mark.parametrize(("request_line", "expected"), ADDRESSES.items())
def test_explorer_and_api_share_addresses(request_line: tuple[str, str], expected: object):
    """Where both answer, people get the page and programs the API; elsewhere there is one."""
    path, accept = request_line
    headers = [(b"accept", accept.encode())]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    assert is_page(scope) is expected
    assert is_page({**scope, "method": "POST"}) == (path in {"/login", "/logout"})
