"""
What a request says of who sends it: its key, and the address that it comes from.

A key comes as `Authorization: Bearer`, else as `X-API-Key`, else in the cookie of the pages;
never in the query, which proxies log. A browser sends its cookie whoever made the request, so
that by cookie nothing is changed but from our own pages (identity.md, sections 4.3 and 6).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tallystick.http.errors import ForeignOriginError, UnauthenticatedError
from tallystick.http.scopes import READING

BEARER: Final = "bearer"
COOKIE: Final = "tally_key"
MAX_FORWARDED: Final = 32
"""Proxies that one request came through; who writes a longer list is not one of ours."""
UNKNOWN_ADDRESS: Final = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 (the bucket of those who have none)

RawHeaders = Iterable[tuple[bytes, bytes]]
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class SentKey:
    """A key as it came; *by_cookie*: a browser may have sent it unasked."""

    text: str
    by_cookie: bool = False

    def __repr__(self) -> str:
        return f"SentKey(..., by_cookie={self.by_cookie})"


def read_key(scope: Any) -> SentKey | None:
    """
    Return the key that the request of *scope* has, or None.

    Raises:
        UnauthenticatedError: There is an Authorization header of another form.
        ForeignOriginError: The key is in a cookie, the method changes something, and the
            request does not come from one of our own pages.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in {b"authorization", b"x-api-key", b"cookie", b"origin", b"host"}:
            found.setdefault(name, value)
    if b"authorization" in found:
        scheme, _, text = found[b"authorization"].decode("latin-1").partition(" ")
        if scheme.lower() != BEARER:
            raise UnauthenticatedError
        return SentKey(text.strip())
    if b"x-api-key" in found:
        return SentKey(found[b"x-api-key"].decode("latin-1").strip())
    kept = key_in_cookie(found.get(b"cookie", b"").decode("latin-1"))
    if not kept:
        return None
    if scope["method"] not in READING:
        check_origin(found.get(b"origin"), host=found.get(b"host"))
    return SentKey(kept, by_cookie=True)


def key_in_cookie(header: str) -> str | None:
    """Return the key in a Cookie header, whatever else is in there."""
    # Not by the standard library: it unquotes in quadratic time, and this is the event loop's.
    for pair in header.split(";"):
        name, equals, value = pair.partition("=")
        if equals and name.strip() == COOKIE:
            return value.strip()
    return None


def check_origin(origin: bytes | None, *, host: bytes | None) -> None:
    """
    Check that a request comes from a page of the host that it goes to.

    Whether the browser spoke TLS is known to a proxy alone, so both schemes are ours.

    Raises:
        ForeignOriginError: It names another origin, or none.
    """
    ours = () if not host else (b"http://" + host.lower(), b"https://" + host.lower())
    if origin is None or origin.lower() not in ours:
        raise ForeignOriginError


def address_of(scope: Any, trusted: Sequence[IpNetwork]) -> str:
    """
    Return the address of whoever sent the request.

    `X-Forwarded-For` is read from its end for as long as the one who wrote it is of *trusted*.
    """
    client = scope.get("client")
    address = parse_address(client[0]) if client else None
    if address is None:
        return str(UNKNOWN_ADDRESS)
    if not is_trusted(address, trusted):
        return str(address)
    forwarded = b",".join(
        value for name, value in scope["headers"] if name == b"x-forwarded-for"
    ).decode("latin-1")
    for text in reversed(forwarded.split(",")[-MAX_FORWARDED:]):
        named = parse_address(text.strip())
        if named is None:
            break
        address = named
        if not is_trusted(address, trusted):
            break
    return str(address)


def is_trusted(address: IpAddress, trusted: Sequence[IpNetwork]) -> bool:
    """Return whether *address* is of one of these networks."""
    return any(address in network for network in trusted)


def parse_address(text: str) -> IpAddress | None:
    """Return the IP address that *text* spells, an IPv4 one in IPv6 as such; None of others."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # A zone is of this host's interfaces, and no part of who it is.
        plain = ipaddress.IPv6Address(int(address))
        return plain.ipv4_mapped or plain
    return address
