"""
The sink `webhook`: a signed POST over https (log.md, section 2.9).

The body is the event's RFC 8785 bytes, the header `Tally-Signature` the outbox key's
signature. The name is resolved for each event, every address is checked, and the connection
goes to a checked address under the host's own name and certificate: a name that is rebound
between check and connection gains nothing. No proxy, no redirect, no cookie.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import httpx

from tallystick.outbox.errors import (
    DeliveryError,
    InvalidSinkError,
    NoSigningKeyError,
    ReceiverError,
    RedirectRefusedError,
)
from tallystick.outbox.events import Event
from tallystick.outbox.sinks.target import Target, check_target, parse_target
from tallystick.record.messages import sign_outbox_event
from tallystick.tlog.note import Signer

SIGNATURE_HEADER: Final = "Tally-Signature"
TIMEOUT_SECONDS: Final = 10.0
"""For each of connecting, writing and reading: a receiver acknowledges first and works later."""
MAX_ADDRESSES: Final = 4
"""Addresses of one host that are tried for one event."""
USER_AGENT: Final = "tallystick-outbox"


def parse_webhook_config(config: Mapping[str, Any]) -> str:
    """
    Return the URL in *config*, `{"url": "https://..."}`; whether it is allowed is not looked at.

    Raises:
        InvalidSinkError: It is not of that form.
    """
    url = config.get("url")
    if set(config) != {"url"} or not isinstance(url, str):
        raise InvalidSinkError("a sink of kind webhook has a url and nothing else")
    return url


class WebhookSink:
    """Posts to one URL and keeps the connection while the receiver does."""

    def __init__(
        self,
        url: str,
        *,
        hosts: tuple[str, ...],
        signer: Signer | None,
        tls: ssl.SSLContext | None = None,
        unsafe_accept_private_addresses: bool = False,
    ) -> None:
        self._url = url
        self._hosts = hosts
        self._signer = signer
        self._accepts_private = unsafe_accept_private_addresses
        self._client = httpx.Client(
            verify=tls or ssl.create_default_context(),
            timeout=TIMEOUT_SECONDS,
            # Settings of the environment could name a proxy, which would resolve by itself.
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": USER_AGENT, "Content-Type": "application/json"},
        )

    def deliver(self, event: Event) -> None:
        """
        Post *event*; any answer 2xx means that it was taken.

        Raises:
            NoSigningKeyError: There is no outbox key.
            InvalidEventError: The event has no canonical form.
            TargetRefusedError: The URL or one of its addresses is not allowed.
            RedirectRefusedError: The answer is a redirect.
            ReceiverError: The answer is no success.
            DeliveryError: There was no answer.
        """
        if self._signer is None:
            raise NoSigningKeyError
        body = event.body()
        signature = sign_outbox_event(body, self._signer)
        target = parse_target(self._url, self._hosts)
        check_status(self._post(target, self._checked_addresses(target), body, signature))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _checked_addresses(self, target: Target) -> list[str]:
        addresses = resolve(target)
        if self._accepts_private:
            return addresses
        return [str(address) for address in check_target(self._url, self._hosts, addresses)]

    def _post(self, target: Target, addresses: list[str], body: bytes, signature: str) -> int:
        failure: httpx.HTTPError | None = None
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return self._post_to(target, address, body, signature)
            except (httpx.ConnectError, httpx.ConnectTimeout) as raised:
                # A machine without IPv6 reaches the same host by its next address.
                failure = raised
            except httpx.HTTPError as raised:
                failure = raised
                break
        reason = type(failure).__name__
        raise DeliveryError(f"{target.host} did not answer: {reason}") from failure

    def _post_to(self, target: Target, address: str, body: bytes, signature: str) -> int:
        literal = f"[{address}]" if ":" in address else address
        request = self._client.build_request(
            "POST",
            f"https://{literal}:{target.port}{target.path}",
            content=body,
            headers={"Host": target.authority, SIGNATURE_HEADER: signature},
            extensions={"sni_hostname": target.host},
        )
        response = self._client.send(request, stream=True)
        try:
            # Only an empty body is read, to keep the connection: none says anything to us.
            if response.headers.get("Content-Length") == "0":
                response.read()
            return response.status_code
        finally:
            response.close()
            # What a receiver sets, the next event would send back.
            self._client.cookies.clear()


def check_status(status: int) -> None:
    """
    Check that the HTTP *status* says that the event was taken.

    Raises:
        RedirectRefusedError: It is 3xx.
        ReceiverError: It is not 2xx either.
    """
    if 300 <= status <= 399:  # noqa: PLR2004 (RFC 9110, section 15)
        raise RedirectRefusedError
    if not 200 <= status <= 299:  # noqa: PLR2004 (RFC 9110, section 15)
        raise ReceiverError(f"the receiver answered {status}", status=status)


def resolve(target: Target) -> list[str]:
    """
    Return every address of the target's host, each once, at least one.

    Raises:
        DeliveryError: The name has none, or cannot be resolved now.
    """
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as cause:
        raise DeliveryError(f"{target.host} cannot be resolved") from cause
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
