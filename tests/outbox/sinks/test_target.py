"""Targets: where webhooks may go, decided without a network."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.outbox.errors import TargetRefusedError
from tallystick.outbox.sinks.target import Target, check_target, is_public, parse_target

HOSTS = ["hooks.example", "other.example:8443"]
PUBLIC = "93.184.215.14"

# The IANA special-purpose registries, as a naive list.
SPECIAL = [
    *["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
    *["192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"],
    *["198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
    *["::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23"],
    *["2001:db8::/32", "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8"],
]
NETWORKS = [ipaddress.ip_network(network) for network in SPECIAL]


@st.composite
def special_addresses(draw: st.DrawFn) -> str:
    """An address of a special network: its first, its last, or any between."""
    network = draw(st.sampled_from(NETWORKS))
    last = network.num_addresses - 1
    return str(network[draw(st.sampled_from([0, last]) | st.integers(0, last))])


@settings(max_examples=200, deadline=None)
@given(special_addresses())
def test_private_and_special_addresses_are_refused(address):
    """log 31: An address of a private or special network is refused, wherever it lies in it."""
    with pytest.raises(TargetRefusedError, match="not a public address"):
        check_target("https://hooks.example/", HOSTS, [address])


@settings(max_examples=200, deadline=None)
@given(st.integers(1 << 24, (223 << 24) - 1))
def test_ipv4_is_public_outside_the_registries(number):
    """An IPv4 address is public exactly where no registry sets it aside."""
    address = ipaddress.IPv4Address(number)
    special = any(address in net for net in NETWORKS if net.version == 4)
    assert is_public(address) == (not special)


def test_public_addresses_pass():
    """Public addresses of both families are returned as they were resolved, in their order."""
    addresses = ["2606:2800:21f:cb07:6820:80da:af6b:8b2c", PUBLIC]
    checked = check_target("https://hooks.example/in", HOSTS, addresses)
    assert addresses == [str(address) for address in checked]


@pytest.mark.parametrize(
    "addresses",
    [[], [PUBLIC, "10.0.0.1"], ["fe80::1%eth0"], ["not an address"], [PUBLIC, "::1"], ["127.1"]],
)
def test_every_address_must_be_public(addresses):
    """One address that is not public refuses the target, and so does none at all."""
    with pytest.raises(TargetRefusedError):
        check_target("https://hooks.example/in", HOSTS, addresses)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.example", Target("hooks.example", 443, "/")),
        ("https://HOOKS.example:443/a?b=c", Target("hooks.example", 443, "/a?b=c")),
        ("https://other.example:8443/%20", Target("other.example", 8443, "/%20")),
    ],
)
def test_listed_hosts_are_allowed(url, expected):
    """A listed host is allowed on its listed port, 443 where none is named."""
    assert expected == parse_target(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "ftp://hooks.example/",
        "https://unlisted.example/",
        "https://sub.hooks.example/",
        "https://hooks.example.evil.example/",
        "https://hooks.example:8443/",
        "https://other.example/",
        "https://user@hooks.example/",
        "https://user:word@hooks.example/",
        "https://hooks.example@evil.example/",
        "https://evil.example#@hooks.example/",
        "https://evil.example\\@hooks.example/",
        "https://hooks.example\\@evil.example/",
        "https://hooks.example/#part",
        "https://hooks.example/a b",
        "https://hooks.example/\r\nX: y",
        "https://hooks.example\t/",
        "https://höoks.example/",
        "https://hooks.example:99999/",
        "https://[::1/",
        "https:///path",
        "hooks.example",
        "",
        "https://hooks.example/" + "a" * 2000,
    ],
)
def test_other_targets_are_refused(url):
    """log 31: A target outside the list, without https, or ambiguous is refused."""
    with pytest.raises(TargetRefusedError):
        parse_target(url, HOSTS)


def test_nothing_is_allowed_by_default():
    """With an empty list no webhook is sent anywhere."""
    with pytest.raises(TargetRefusedError, match="not a listed"):
        parse_target("https://hooks.example/", [])
