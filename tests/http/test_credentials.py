"""Where a key comes from, and which address a request is charged to (identity.md, section 4.3)."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from tallystick.http.credentials import (
    UNKNOWN_ADDRESS,
    SentKey,
    address_of,
    key_in_cookie,
    read_key,
)
from tallystick.http.errors import ForeignOriginError, UnauthenticatedError

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


def request(
    *headers: tuple[str, str], method: str = "GET", client: str | None = "192.0.2.7"
) -> dict[str, Any]:
    """The ASGI scope of a request."""
    return {
        "type": "http",
        "method": method,
        "client": None if client is None else (client, 1),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "query_string": b"api_key=tly_query&tally_key=tly_query",
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("Authorization", "Bearer tly_a")], SentKey("tly_a")),
        ([("Authorization", "bearer  tly_a ")], SentKey("tly_a")),
        ([("X-API-Key", "tly_b")], SentKey("tly_b")),
        ([("Cookie", "theme=dark; tally_key=tly_c")], SentKey("tly_c", by_cookie=True)),
        ([("Cookie", "theme=dark")], None),
        (
            [("Cookie", "tally_key=tly_c"), ("X-API-Key", "b"), ("Authorization", "Bearer a")],
            SentKey("a"),
        ),
        ([("Cookie", "tally_key=tly_c"), ("X-API-Key", "b")], SentKey("b")),
    ],
)
def test_a_key_comes_as_bearer_then_header_then_cookie(
    headers: list[tuple[str, str]], expected: SentKey | None
) -> None:
    """A key is read from Authorization, else X-API-Key, else the cookie; never from the query."""
    assert expected == read_key(request(*headers))


def test_an_authorization_of_another_form_is_no_stranger() -> None:
    """Who sends an Authorization that is no bearer token is refused, not taken for a stranger."""
    for value in ("Basic YTpi", "tly_a", "", "Token tly_a"):
        with pytest.raises(UnauthenticatedError):
            read_key(request(("Authorization", value), ("X-API-Key", "tly_b")))


def test_a_key_is_not_shown() -> None:
    """The representation of a key that came, as tracebacks have it, holds none of it."""
    assert "tly_secret" not in repr(SentKey("tly_secret"))


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("origin", "answer"),
    [
        ("https://tally.example", "ours"),
        ("http://tally.example", "ours"),
        ("https://evil.example", "foreign"),
        ("https://tally.example:8443", "foreign"),
        ("https://tally.example.evil.example", "foreign"),
        ("null", "foreign"),
        (None, "foreign"),
    ],
)
def test_by_cookie_only_our_own_pages_change_anything(
    method: str, origin: str | None, answer: str
) -> None:
    """identity 23: An unsafe method whose key is in the cookie needs our own pages' Origin."""
    headers = [("Host", "tally.example"), ("Cookie", "tally_key=tly_c")]
    headers += [] if origin is None else [("Origin", origin)]
    asked = request(*headers, method=method)
    if answer == "ours":
        assert read_key(asked) == SentKey("tly_c", by_cookie=True)
    else:
        with pytest.raises(ForeignOriginError):
            read_key(asked)
    # What only reads, and what brings its key itself, comes from wherever it likes.
    assert read_key({**asked, "method": "GET"}) == SentKey("tly_c", by_cookie=True)
    assert read_key(request(*headers, ("X-API-Key", "k"), method=method)) == SentKey("k")


def test_cookies_are_parsed_as_browsers_send_them() -> None:
    """Of many cookies the one of our name counts, and a header of nonsense is none."""
    assert key_in_cookie('a="b"; tally_key=tly_x; c=d') == "tly_x"
    assert key_in_cookie("a:b=c; tally_key=tly_x") == "tly_x"
    assert key_in_cookie('tally_key="' + "\\" * 60_000 + '"') is not None
    assert key_in_cookie("not_tally_key=tly_x") is None
    assert key_in_cookie("tally_key") is None
    assert not key_in_cookie("tally_key=")


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        # Whoever is not a proxy of ours may write what he likes.
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        # The last that is not ours; what stands before it, the client wrote himself.
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.2.3.4", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.9.9.9", "10.9.9.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("::ffff:192.0.2.7", None, "192.0.2.7"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("fe80::1%eth0", None, "fe80::1"),
        ("unix", None, str(UNKNOWN_ADDRESS)),
        (None, None, str(UNKNOWN_ADDRESS)),
    ],
)
def test_forwarded_addresses_count_from_our_own_proxies(
    client: str | None, forwarded: str | None, expected: str
) -> None:
    """X-Forwarded-For counts only as far as trusted proxies wrote it."""
    headers = [] if forwarded is None else [("X-Forwarded-For", forwarded)]
    assert expected == address_of(request(*headers, client=client), PROXIES)


def test_without_trusted_proxies_no_header_counts() -> None:
    """By default a client is who the connection comes from."""
    assert address_of(request(("X-Forwarded-For", "198.51.100.1")), ()) == "192.0.2.7"
