"""The usual proof request: answered without the framework, with the bytes that it would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tallystick.http.app import make_api
from tallystick.http.proofs import parse_plain

if TYPE_CHECKING:
    import httpx

    from tests.http.conftest import Running

LEAVES = [b"leaf %d" % number for number in range(700)]
UNLIKE = {"date", "x-request-id"}


@pytest.fixture
def trees(server: Running) -> Running:
    """A server with an open log and a private one."""
    server.builder.filled("open", LEAVES, visibility="public")
    server.builder.filled("closed", LEAVES)
    server.services.publisher.refresh()
    return server


def said(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but what differs from request to request."""
    headers = {name: value for name, value in response.headers.items() if name not in UNLIKE}
    return response.status_code, headers, response.content


@pytest.mark.parametrize("log", ["open", "closed", "nowhere"])
@pytest.mark.parametrize("key", ["operator", "anonymous"])
def test_both_ways_give_the_same_bytes(trees: Running, log: str, key: str) -> None:
    """log 22: The plain form of a proof request and a written-out one have the same answer."""
    client = getattr(trees, key)
    for index in (0, 1, 255, 256, 511, 512, 698, 699, 700, 10**14):
        for size in (None, 0, 1, 256, 257, 699, 700, 701, 10**14):
            query = f"index={index}" if size is None else f"index={index}&size={size}"
            plain = client.get(f"/logs/{log}/proof?{query}")
            # A parameter that nobody minds takes the request to the framework.
            framed = client.get(f"/logs/{log}/proof?{query}&_=")
            assert said(plain) == said(framed)


def test_a_wrong_key_is_refused_in_both_ways(trees: Running) -> None:
    """log 22: A key that nobody knows is 401 on the plain way too, also for an open log."""
    wrong = {"Authorization": "Bearer tly_x"}
    for log in ("open", "closed"):
        assert trees.anonymous.get(f"/logs/{log}/proof?index=1", headers=wrong).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "query", "headers"),
    [
        ("POST", "/logs/open/proof", b"index=1", []),
        ("HEAD", "/logs/open/proof", b"index=1", []),
        ("GET", "/logs/open/proof", b"index=", []),
        ("GET", "/logs/open/proof", b"index=-1", []),
        ("GET", "/logs/open/proof", b"index=1&index=2", []),
        ("GET", "/logs/open/proof", b"indexes=1", []),
        ("GET", "/logs/open/proof", b"size=1&index=1", []),
        ("GET", "/logs/open/proof", b"index=9007199254740992", []),
        ("GET", "/logs/open/proof", b"index=1", [(b"accept", b"text/plain")]),
        ("GET", "/logs/open/proofs", b"index=1", []),
        ("GET", "/logs/a/b/proof", b"index=1", []),
        ("GET", "/proof", b"index=1", []),
    ],
)
def test_other_forms_are_the_frameworks(
    method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    """Whatever is not the plain form is left to the framework, which knows the whole of it."""
    scope = {"method": method, "path": path, "query_string": query, "headers": headers}
    assert parse_plain(scope) is None


def test_the_framework_has_the_route_as_well(trees: Running) -> None:
    """The documents and the table of needs describe one route, whoever answers it."""
    routes = {route.path_format for route in make_api(trees.services).routes}
    assert "/logs/{log}/proof" in routes
