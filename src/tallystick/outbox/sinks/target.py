"""
Where webhooks may go: listed hosts, https, public addresses (log.md, section 2.9).

The URL of a webhook comes from a table, and the server stands where its author does not: so
the host must be one that the operator listed, and every address that its name has must be
public. Whoever connects, connects to an address that was checked and does not resolve again.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.outbox.errors import TargetRefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HTTPS_PORT: Final = 443
MAX_URL_BYTES: Final = 2000
URL_BYTES: Final = re.compile(r"[!-~]+")
"""Printable ASCII without space: a host is written in its A-label form, a path escaped."""

GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
"""All that IANA gives out of IPv6; site-local, mapped and translated addresses lie outside."""
SPECIAL_IPV6_NETWORKS: Final = (
    ipaddress.IPv6Network("2001::/23"),
    ipaddress.IPv6Network("2001:db8::/32"),
    ipaddress.IPv6Network("2002::/16"),
    ipaddress.IPv6Network("3fff::/20"),
)
"""Inside it: tunnels that carry IPv4, which may be private, protocols, and documentation."""
SPECIAL_IPV4_NETWORKS: Final = (
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
)
"""IPv4 of carriers and relays, on which Python releases do not agree."""


@dataclass(frozen=True, slots=True)
class Target:
    """A listed host with its port, and the path and query that are asked of it."""

    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The host as the header `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def check_target(url: str, hosts: Collection[str], addresses: Sequence[str]) -> tuple[Address, ...]:
    """
    Return the addresses that *url* may be connected to: *addresses*, each being public.

    *hosts* are the listed hosts, `name` for port 443 and `name:port` for another.

    Raises:
        TargetRefusedError: *url* is not https or has a user, its host is not listed, it has
            no address, or one of them is private, special or not an address.
    """
    target = parse_target(url, hosts)
    checked = tuple(check_address(address) for address in addresses)
    if not checked:
        raise TargetRefusedError(f"{target.host} has no address")
    return checked


def parse_target(url: str, hosts: Collection[str]) -> Target:
    """
    Return the target that *url* names, if *hosts* lists it. Addresses are not looked at.

    Raises:
        TargetRefusedError: As `check_target`, but for addresses.
    """
    if len(url) > MAX_URL_BYTES or not URL_BYTES.fullmatch(url) or "\\" in url:
        raise TargetRefusedError("a webhook's URL is printable ASCII of at most 2,000 characters")
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port or HTTPS_PORT
    except ValueError as cause:
        raise TargetRefusedError("the webhook's URL is malformed") from cause
    if parts.scheme != "https":
        raise TargetRefusedError("webhooks are sent by https only")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise TargetRefusedError("a webhook's URL has no user, no password and no fragment")
    target = Target(host, port, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    if not host or target.authority not in {listed.lower() for listed in hosts}:
        raise TargetRefusedError(f"{target.authority} is not a listed webhook host")
    return target


def check_address(text: str) -> Address:
    """
    Return the address that *text* spells, if it is a public unicast one.

    Raises:
        TargetRefusedError: It is not, or *text* is no address.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as cause:
        raise TargetRefusedError("the host's address is malformed") from cause
    if not is_public(address):
        raise TargetRefusedError(f"{address} is not a public address")
    return address


def is_public(address: Address) -> bool:
    """Whether *address* belongs to one host on the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or address not in GLOBAL_UNICAST:
            return False
        if any(address in net for net in SPECIAL_IPV6_NETWORKS):
            return False
    elif any(address in net for net in SPECIAL_IPV4_NETWORKS):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
