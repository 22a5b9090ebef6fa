"""
One endpoint: a URL behind which a node answers JSON-RPC (chain.md, section 4.4.5).

The URL carries a credential. It stays in this object: no error, log line, metric or repr names
more than the endpoint's number in the configuration, and what a node says is cleared of every
part of the URL before it is kept.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, unquote_plus, urlsplit

import httpx
import msgspec

from tallystick.chain.errors import InvalidEndpointError

MAX_ANSWER_BYTES: Final = 128 * 2**20
"""The logs of 2,000 blocks, or a full block with its receipts, are a tenth of this."""
MAX_CONNECTIONS: Final = 16
BUSY_OR_CLOSED: Final = frozenset({401, 403, 429, 502, 503, 504})
"""HTTP statuses by which a service, and not the node behind it, refuses to answer."""
SHORTEST_SECRET: Final = 6
"""Parts of a URL that are shorter, such as `v3` or `rpc`, are words and no credentials."""
WITHHELD: Final = "[endpoint]"
USER_AGENT: Final = "tallystick-chain"

# Both libraries put whole URLs into their lines at levels below this one.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)


class EndpointFailed(Exception):  # noqa: N818 (no error that leaves the node client)
    """The endpoint gave no answer that could be read; its text is a word, never a URL."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What was last seen of an endpoint."""

    chain_id: int | None = None
    """The chain that it says it serves; None until it has answered."""
    head: int | None = None
    """Its newest block."""
    failure: str | None = "not asked yet"
    """Why it is not used, in a word; None where it answered."""
    looked_at: float = float("-inf")
    """Seconds of the monotonic clock."""


class Endpoint:
    """One endpoint of one network; safe for any number of threads."""

    def __init__(self, url: str, *, number: int, deadline_seconds: float) -> None:
        self.number = number
        self.standing = Standing()
        self.is_looked_at = threading.Lock()
        """Held while somebody looks, so that looks at a silent endpoint do not pile up."""
        self._url = parse_url(url, number)
        self._secrets = secrets_of(url)
        self._deadline_seconds = deadline_seconds
        self._client = httpx.Client(
            timeout=deadline_seconds,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            # Settings of the environment could name a proxy, which would see the credential.
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json"},
        )

    def __repr__(self) -> str:
        return f"<endpoint {self.number}>"

    def post(self, payload: bytes) -> Any:
        """
        Return the JSON value that the endpoint answers to *payload*.

        Raises:
            EndpointFailed: It did not answer in time, or not with JSON.
        """
        try:
            return self._post(payload)
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            # A kept connection that the server has closed: nothing that we ask does harm twice.
            pass
        except (httpx.HTTPError, httpx.InvalidURL) as raised:
            raise EndpointFailed(type(raised).__name__) from None
        try:
            return self._post(payload)
        except (httpx.HTTPError, httpx.InvalidURL) as raised:
            raise EndpointFailed(type(raised).__name__) from None

    def without_secrets(self, text: str) -> str:
        """Return *text* without any part of the URL that could be a credential."""
        for secret in self._secrets:
            text = text.replace(secret, WITHHELD)
        return text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, payload: bytes) -> Any:
        deadline = time.monotonic() + self._deadline_seconds
        body = bytearray()
        with self._client.stream("POST", self._url, content=payload) as response:
            status = response.status_code
            # Another endpoint may still answer; with any other status the body decides.
            if status in BUSY_OR_CLOSED:
                raise EndpointFailed(f"HTTP {status}")
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise EndpointFailed("answer too long")
                if time.monotonic() > deadline:
                    raise EndpointFailed("answer too slow")
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The last one: brackets within brackets, deeper than anything that is asked for.
            raise EndpointFailed(f"HTTP {status} without JSON") from None


def parse_url(url: str, number: int) -> httpx.URL:
    """
    Return the URL of endpoint *number*.

    Raises:
        InvalidEndpointError: It is no http or https URL with a host.
    """
    try:
        parsed = httpx.URL(url)
        urlsplit(url)
    except (httpx.InvalidURL, TypeError, ValueError):
        parsed = None
    if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.host:
        # Raised here and not where the library refused: its message quotes the URL.
        raise InvalidEndpointError(f"endpoint {number} is no http or https URL")
    return parsed


def secrets_of(url: str) -> tuple[str, ...]:
    """Return every part of *url* that must not be shown, longest first."""
    parts = urlsplit(url)
    found = {url, parts.netloc, parts.hostname or "", parts.username or "", parts.password or ""}
    found.update(parts.path.split("/"))
    found.update(pair.partition("=")[2] for pair in parts.query.split("&"))
    # Each as it is written and as it is meant: a server may quote the one or the other.
    found |= {unquote_plus(part) for part in found} | {unquote(part) for part in found}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        found.add(base64.b64encode(pair.encode()).decode())
    return tuple(
        sorted((part for part in found if len(part) >= SHORTEST_SECRET), key=len, reverse=True)
    )
