"""
Sinks: where events go (log.md, section 2.9).

A sink is made from its kind and its configuration; nothing secret stands in either. It gets
events in the order of their positions and says by an error that it did not take one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tallystick.db import Database
from tallystick.outbox.errors import InvalidSinkError, SinkNotInstalledError
from tallystick.outbox.events import Event
from tallystick.outbox.sinks.file import FileSink, parse_file_config
from tallystick.outbox.sinks.notify import NotifySink
from tallystick.outbox.sinks.target import parse_target
from tallystick.outbox.sinks.webhook import WebhookSink, parse_webhook_config
from tallystick.tlog.note import Signer

SINK_KINDS: Final = ("sse", "webhook", "file", "notify", "firestore")


class Sink(Protocol):
    """What takes events, one at a time, from one thread."""

    def deliver(self, event: Event) -> None:
        """Take *event*; whatever is raised means that it was not taken and comes again."""
        ...

    def close(self) -> None:
        """Give back connections and files; a closed sink is not used again."""
        ...


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What sinks need of the process: nothing of it lies in the database."""

    webhook_hosts: tuple[str, ...] = ()
    """Hosts, or host:port, that webhooks may be sent to."""
    signer: Signer | None = None
    """The active key of purpose `outbox`; without it no webhook is sent."""
    tls: ssl.SSLContext | None = None
    """Whom webhooks trust; None is the system's authorities."""
    unsafe_accept_private_addresses: bool = False
    """For tests alone: a receiver on this machine."""


class StreamSink:
    """
    The kind `sse`: nothing is sent, because stream clients read the events by position.

    Its cursor says up to where events were there to be read, and keeps none back.
    """

    def deliver(self, event: Event) -> None:
        """Take *event*: it is readable already."""

    def close(self) -> None:
        """There is nothing to give back."""


def check_config(kind: str, config: Mapping[str, Any], *, webhook_hosts: tuple[str, ...]) -> None:
    """
    Check that a sink of *kind* can be made from *config*. Nothing is opened or resolved.

    Raises:
        InvalidSinkError: There is no such kind, or *config* is not of its form.
        TargetRefusedError: A webhook's URL is not https or its host is not listed.
        SinkNotInstalledError: The kind needs an extra.
    """
    match kind:
        case "webhook":
            parse_target(parse_webhook_config(config), webhook_hosts)
        case "file":
            parse_file_config(config)
        case "sse" | "notify":
            if config:
                raise InvalidSinkError(f"a sink of kind {kind} has no configuration")
        case "firestore":
            raise SinkNotInstalledError("the kind firestore needs an extra that is not installed")
        case _:
            raise InvalidSinkError(f"the kinds of sinks are {', '.join(SINK_KINDS)}")


def make_sink(
    kind: str, config: Mapping[str, Any], *, database: Database, settings: SinkSettings
) -> Sink:
    """
    Return the sink that *kind* and *config* describe.

    Raises:
        InvalidSinkError, TargetRefusedError, SinkNotInstalledError: As `check_config`.
    """
    check_config(kind, config, webhook_hosts=settings.webhook_hosts)
    match kind:
        case "webhook":
            return WebhookSink(
                parse_webhook_config(config),
                hosts=settings.webhook_hosts,
                signer=settings.signer,
                tls=settings.tls,
                unsafe_accept_private_addresses=settings.unsafe_accept_private_addresses,
            )
        case "file":
            return FileSink(parse_file_config(config))
        case "notify":
            return NotifySink(database)
        case _:
            return StreamSink()
