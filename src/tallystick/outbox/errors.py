"""
Errors of events and sinks (log.md, sections 2.9 and 4.9).

    Error
    └── OutboxError
        ├── InvalidEventError        an event that no sink could deliver
        ├── UnknownTopicError        no slice registered the topic
        ├── SinkNotFoundError
        ├── SinkExistsError          other fields under the same name
        ├── InvalidSinkError         name or configuration are not of the kind's form
        ├── SinkNotInstalledError    the kind needs an extra that is absent
        ├── NotNextEventError        only the next event of a sink can be skipped
        └── DeliveryError            one attempt failed; it is tried again
            ├── NoSigningKeyError        a webhook without an outbox key
            ├── TargetRefusedError       a host that is not listed, not https, or a private address
            ├── RedirectRefusedError
            └── ReceiverError            the receiver answered with another status than 2xx

No message holds a payload or an answer's body.
"""

from __future__ import annotations

from typing import ClassVar

from tallystick.errors import Error, Kind


class OutboxError(Error):
    """The outbox refuses the operation."""


class InvalidEventError(OutboxError):
    """The event's topic, key or payload is not of its form."""

    kind: ClassVar[Kind] = Kind.INVALID


class UnknownTopicError(OutboxError):
    """No part of the program has events of this topic."""

    kind: ClassVar[Kind] = Kind.INVALID


class SinkNotFoundError(OutboxError):
    """There is no sink of this name."""

    kind: ClassVar[Kind] = Kind.NOT_FOUND


class SinkExistsError(OutboxError):
    """There is a sink of this name with another kind, configuration or topics."""


class InvalidSinkError(OutboxError):
    """The sink's name or configuration is not of its kind's form."""

    kind: ClassVar[Kind] = Kind.INVALID


class SinkNotInstalledError(OutboxError):
    """The sink's kind needs an extra that is not installed."""

    kind: ClassVar[Kind] = Kind.UNPROCESSABLE


class NotNextEventError(OutboxError):
    """Only the event that a sink would get next can be skipped."""

    def __init__(
        self, message: str | None = None, *, expected: int | None = None, actual: int = 0
    ) -> None:
        super().__init__(message)
        self.expected = expected
        """The event_id that is next; None where nothing waits."""
        self.actual = actual
        """The event_id that was named."""


class DeliveryError(OutboxError):
    """A sink did not take an event."""

    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class NoSigningKeyError(DeliveryError):
    """There is no outbox key, and webhooks are never sent unsigned."""


class TargetRefusedError(DeliveryError):
    """Webhooks are not sent to this target."""

    kind: ClassVar[Kind] = Kind.FORBIDDEN


class RedirectRefusedError(DeliveryError):
    """The receiver answered with a redirect, and redirects are not followed."""

    kind: ClassVar[Kind] = Kind.FORBIDDEN


class ReceiverError(DeliveryError):
    """The receiver answered with a status that is not 2xx."""

    def __init__(self, message: str | None = None, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status of the answer."""
