"""
Where a witness may be asked: https anywhere, plain http only next door (log.md, section 5.8).

An operator names the address, and nobody else can: no route adds a witness. A cosignature is
verified by its key whatever carried it, but a stranger on the way could answer 409 or 422 in
the witness's place and so bring publishing to a stand. Plain http is therefore for loopback
and private addresses, written as addresses, and only where the operator says so in words.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from typing import Final

from tallystick.publish.errors import InvalidWitnessError

MAX_URL_CHARACTERS: Final = 500
URL_FORM: Final = re.compile(r"[!-~]+")
LOCALHOST: Final = "localhost"


def check_witness_url(url: str, *, allow_private_http: bool = False) -> str:
    """
    Return the submission prefix *url* as it is stored: without a slash at its end.

    Raises:
        InvalidWitnessError: It is no plain URL, or plain http where https is needed.
    """
    if len(url) > MAX_URL_CHARACTERS or not URL_FORM.fullmatch(url) or "\\" in url:
        raise InvalidWitnessError(
            f"a witness's URL is printable ASCII of at most {MAX_URL_CHARACTERS} characters"
        )
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 (a port that is no number raises here)
    except ValueError as cause:
        raise InvalidWitnessError("the witness's URL is malformed") from cause
    if parts.scheme not in {"http", "https"} or not host:
        raise InvalidWitnessError("a witness's URL is https://host/prefix")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InvalidWitnessError("a witness's URL has no user, password, query or fragment")
    if parts.scheme == "http" and not (allow_private_http and is_next_door(host)):
        raise InvalidWitnessError(
            "plain http is for localhost and private addresses, and only where it is allowed"
        )
    return url.rstrip("/")


def is_next_door(host: str) -> bool:
    """Whether *host* is localhost, or written as a loopback or private address."""
    if host == LOCALHOST:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name may be bound to another address tomorrow.
        return False
    return address.is_loopback or (address.is_private and not address.is_unspecified)
